/**
 * What is measured: each scenario with its contestants, how one of them is run, which ratios must be
 * held, and what a reader of docs/io.md is told of it.
 */
import { Child, MOST_MS, type Program } from "../child.ts";
import { bounds, type Contest } from "../contest.ts";
import * as load from "./load.ts";
import type { Starter } from "./start.ts";

/** µs for one request: processor time, or wall time where no request is served. */
export type Value = "micros" | "peakBytes" | "markCompacts";

/** What a run of one contestant came to. */
export type Result = Readonly<Record<Value, number>>;

/** A row of docs/io.md: what to use for something, and instead of what. */
export interface Advice {
  readonly have: string;
  readonly use: string;
  readonly not: string;
  /** The contestant that does so, compared with the first. Default: the second. */
  readonly is?: string;
}

/** See the file. */
export interface Scenario extends Contest<Value> {
  /** Of the time. Default: CPU µs a request. */
  readonly unit?: string;
  readonly advice: readonly Advice[];
  /** Whether it has a row in the README, too. */
  readonly isShown?: boolean;
  /** The least that this takes in Deno without a pool, and the pooled one that is held against it. */
  readonly bare?: readonly [bare: string, pooled: string];
}

/** The contestant that reads bodies by hand into arrays of its own. */
const BARE = "bare BYOB loop";
/** The same between and from connections. */
const BARE_LOOP = "bare loop";
const KIB = 1024;
const MIB = 1024 * KIB;

/** Warms a server up, then measures `count` turns of the load. */
async function served(
  program: Program,
  count: number,
  fn: (port: number, count: number) => Promise<void>,
): Promise<Result> {
  await using child = new Child<{ port: number }>(program, MOST_MS);
  const { port } = await child.ready();
  await fn(port, Math.ceil(count / 5));
  const before = await child.cost();
  await fn(port, count);
  const after = await child.cost();
  return {
    micros: (after.cpuMicros - before.cpuMicros) / count,
    peakBytes: after.peakBytes,
    markCompacts: await child.stop(),
  };
}

/** A child that measures itself. */
async function measured(program: Program): Promise<Result> {
  await using child = new Child<{ wallMicros: number }>(program, MOST_MS);
  const { wallMicros } = await child.ready();
  const { peakBytes } = await child.cost();
  const markCompacts = await child.stop();
  return { micros: wallMicros, peakBytes, markCompacts };
}

/** No slower: less than this cannot be told from the noise. */
const NO_SLOWER = 1.05;
/** What a pool may add to the least that Deno takes. */
const NEAR_BARE = 1.08;

/** In the order of the tables. */
export function scenarios(
  { program, runtimes, withTuned }: Starter,
): readonly Scenario[] {
  /** Of one kind of server, `size` bytes a turn. */
  const turns = (
    kind: string,
    fn: load.Load,
    size: number,
    count: number,
    connections: number,
  ): Scenario["run"] =>
  (contestant, share) =>
    served(
      program(kind, contestant),
      Math.ceil(count * share),
      (port, count) => fn(port, size, count, connections),
    );

  const proxied = (fresh: boolean): Scenario["run"] => async (of, share) => {
    using backend = load.backend();
    return await served(
      program("proxy", of, String(backend.addr.port)),
      (fresh ? 2000 : 8000) * share,
      (port, count) =>
        load.requests(fresh)(port, 64 * KIB, count, fresh ? 16 : 32),
    );
  };

  const stored: Scenario["run"] = async (contestant, share) => {
    const store = load.store();
    try {
      return await served(
        program("store", contestant, `http://127.0.0.1:${store.addr.port}/`),
        200 * share,
        (port, count) => load.uploads(port, 4 * MIB, count, 16, "stored"),
      );
    } finally {
      await store.shutdown();
    }
  };

  const filed: Scenario["run"] = async (contestant, share) =>
    await served(
      program("store", contestant, "/dev/null"),
      800 * share,
      (port, count) => load.uploads(port, MIB, count, 16, "stored"),
    );

  const batched: Scenario["run"] = async (contestant) => {
    const folder = await Deno.makeTempDir();
    const bytes = new Uint8Array(60_000).fill(7);
    for (let i = 0; i < 1500; i++) Deno.writeFileSync(`${folder}/${i}`, bytes);
    try {
      return await measured(program("files", contestant, folder));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  };

  return [
    {
      name: "uploads of 1 MiB, needed whole",
      isShown: true,
      contestants: [
        ...["req.bytes()", "readBody", "readBody, signal", "collect", BARE],
        ...withTuned("req.bytes()").slice(1),
        ...runtimes("uploads"),
      ],
      bare: [BARE, "readBody"],
      run: turns("uploads", load.uploads, MIB, 800, 16),
      targets: [
        ...bounds("readBody", "req.bytes()", { micros: 0.6, peakBytes: 0.2 }),
        ...bounds<Value>("readBody", BARE, { micros: NEAR_BARE }),
      ],
      advice: [{
        have: "a body of at most 1 MiB, needed whole",
        use: "`readBody`",
        not: "below about 64 KiB, where memory is no concern",
      }, {
        have: "a body of any length, needed whole",
        use: "`collect`",
        is: "collect",
        not: "it fits a block: `readBody`",
      }],
    },
    {
      name: "uploads of 64 KiB, needed whole",
      contestants: [
        ...["req.bytes()", "readBody, 64 KiB", "collect", BARE],
        ...withTuned("req.bytes()").slice(1),
        ...runtimes("uploads"),
      ],
      bare: [BARE, "readBody, 64 KiB"],
      run: turns("uploads", load.uploads, 64 * KIB, 6000, 32),
      targets: [
        ...bounds("readBody, 64 KiB", "req.bytes()", {
          micros: NO_SLOWER,
          peakBytes: 0.4,
        }),
        ...bounds<Value>("readBody, 64 KiB", BARE, { micros: NEAR_BARE }),
      ],
      advice: [{
        have: "a body of 64 KiB, needed whole",
        use: "`readBody`",
        not: "memory is no concern: it saves no time",
      }],
    },
    {
      name: "uploads of 16 KiB, needed whole",
      contestants: [
        "req.bytes()",
        "readBody, 64 KiB",
        BARE,
        ...runtimes("uploads"),
      ],
      bare: [BARE, "readBody, 64 KiB"],
      run: turns("uploads", load.uploads, 16 * KIB, 8000, 32),
      targets: bounds("readBody, 64 KiB", "req.bytes()", { micros: 1.03 }),
      advice: [],
    },
    {
      name: "uploads of 1 KiB, needed whole",
      contestants: ["req.bytes()", "readBody, 64 KiB"],
      run: turns("uploads", load.uploads, 1 * KIB, 12_000, 32),
      targets: bounds("readBody, 64 KiB", "req.bytes()", { micros: 1.03 }),
      advice: [],
    },
    {
      name: "uploads of 10 000 bytes in blocks of 1 MiB",
      contestants: ["readBody, 16 KiB", "readBody"],
      run: turns("uploads", load.uploads, 10_000, 12_000, 32),
      targets: bounds("readBody", "readBody, 16 KiB", { micros: 1.1 }),
      advice: [],
    },
    {
      name: "uploads of 1 MiB, piece by piece",
      contestants: ["default reader", "chunks"],
      run: turns("uploads", load.uploads, MIB, 800, 16),
      targets: bounds("chunks", "default reader", { micros: 0.65 }),
      advice: [{
        have: "a body to hash or scan, piece by piece",
        use: "`chunks`",
        not: "it is there in one piece already",
      }],
    },
    {
      name: "uploads of 1 MiB of NDJSON",
      contestants: ["TextDecoderStream", "lines"],
      run: turns("texts", load.texts, MIB, 200, 8),
      targets: [],
      advice: [{
        have: "NDJSON or CSV",
        use: "`lines`",
        not: "to save time: `split` by hand is quicker. It gives a limit",
      }],
    },
    {
      name: "uploads of 1 MiB to a file, unseen",
      contestants: ["chunks", "pipeTo"],
      run: filed,
      targets: [],
      advice: [{
        have: "a body that goes to a file, unseen",
        use: "`req.body.pipeTo(file.writable)`",
        not: "the bytes are looked at",
      }],
    },
    {
      name: "objects of 4 MiB, hashed and passed on",
      contestants: ["bytes(), fetch", "collect, stream()"],
      run: stored,
      targets: bounds("collect, stream()", "bytes(), fetch", {
        micros: NO_SLOWER,
        peakBytes: 0.3,
      }),
      advice: [{
        have: "a body that is passed on when it is whole",
        use: "`collect`, `chain.stream()`",
        not: "it may go on as it comes: `fetch(url, { body: req.body })`",
      }],
    },
    {
      name: "forms with a file of 5 MB",
      isShown: true,
      contestants: ["formData()", "busboy, collector"],
      run: turns("forms", load.forms, 5_000_000, 100, 16),
      targets: bounds("busboy, collector", "formData()", {
        micros: 0.45,
        peakBytes: 0.3,
      }),
      advice: [{
        have: "files in a multipart form",
        use: "`collector` and `npm:busboy`",
        not: "small forms of text",
      }],
    },
    {
      name: "uploads of 1 MiB on node:http",
      contestants: ["node, Buffer.concat", "node, readBody"],
      run: turns("node", load.uploads, MIB, 400, 16),
      targets: [],
      advice: [{
        have: "an upload on node:http, Express",
        use: "`readBody(req, block)`",
        not: "to save time: it saves none. It gives a limit, and 413",
      }],
    },
    {
      name: "answers of 64 KiB, made in memory",
      contestants: [
        ...["a fresh array", "a block"],
        ...withTuned("a fresh array").slice(1),
      ],
      run: turns("answers", load.answers, 64 * KIB, 6000, 32),
      targets: [],
      advice: [{
        have: "an answer that is made in memory",
        use: "`new Response(block.bytes.subarray(0, n))`",
        not: "it is a file: `file.readable`",
      }],
    },
    {
      name: "TCP proxy, answers of 64 KiB",
      isShown: true,
      contestants: ["pipeTo", "copy", BARE_LOOP, ...runtimes("proxy")],
      bare: [BARE_LOOP, "copy"],
      run: proxied(false),
      targets: bounds("copy", "pipeTo", { micros: 0.55 }),
      advice: [{
        have: "a connection into another",
        use: "`copy`",
        not: "thousands of idle ones: blocks of 4 to 16 KiB",
      }],
    },
    {
      name: "TCP proxy, a connection for each answer",
      contestants: ["pipeTo", "copy", BARE_LOOP, ...runtimes("proxy")],
      bare: [BARE_LOOP, "copy"],
      run: proxied(true),
      targets: [
        ...bounds<Value>("copy", "pipeTo", { peakBytes: 0.5 }),
        { of: "copy", value: "markCompacts", atMost: 0 },
      ],
      advice: [{
        have: "the same, and connections come and go",
        use: "`copy`",
        not: "",
      }],
    },
    {
      name: "frames of 30 000 bytes",
      isShown: true,
      unit: "CPU µs a frame",
      contestants: [
        "conn.readable",
        "readFrames",
        BARE_LOOP,
        ...runtimes("frames"),
      ],
      bare: [BARE_LOOP, "readFrames"],
      run: turns("frames", load.frames, 30_000, 16_000, 16),
      targets: bounds("readFrames", "conn.readable", { micros: 0.55 }),
      advice: [{
        have: "messages with a length in front",
        use: "`readFrames`",
        not: "connections that live long: one array each is as fast",
      }],
    },
    {
      name: "Redis protocol, values of 100 bytes, 16 commands at once",
      unit: "CPU µs a command",
      contestants: ["one array each", "bufferedReader"],
      run: turns("resp", load.commands(16), 100, 160_000, 16),
      targets: bounds("bufferedReader", "one array each", {
        micros: NO_SLOWER,
      }),
      advice: [{
        have: "a protocol of lines and lengths",
        use: "`bufferedReader`",
        not: "to save time: it saves the reading of them by hand",
      }],
    },
    {
      name: "Redis protocol, values of 10 000 bytes, one command at a time",
      unit: "CPU µs a command",
      contestants: ["one array each", "bufferedReader"],
      run: turns("resp", load.commands(2), 10_000, 16_000, 16),
      targets: bounds("bufferedReader", "one array each", {
        micros: NO_SLOWER,
      }),
      advice: [],
    },
    {
      name: "1500 files of 60 KB, in the page cache",
      unit: "wall µs a file",
      contestants: ["Deno.readFile", "readSync"],
      run: batched,
      targets: bounds("readSync", "Deno.readFile", { micros: 0.5 }),
      advice: [{
        have: "many files, one after another",
        use: "`file.readSync(block.bytes)`",
        not: "a cold disk: it stops the event loop",
      }],
    },
    {
      name: "10 000 open bodies, and one more",
      unit: "wall µs a body",
      contestants: ["no signal", "one signal"],
      run: (contestant) => measured(program("open", contestant)),
      targets: bounds("one signal", "no signal", { micros: 1.2 }),
      advice: [],
    },
  ];
}
