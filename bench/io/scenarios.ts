/**
 * What is measured: each scenario with its contestants, how one of them is run, which ratios must be
 * held, and what a reader of docs/io.md is told of it.
 */
import { Child } from "./child.ts";
import * as load from "./load.ts";

/** What a run of one contestant came to. */
export interface Result {
  /** µs for one request: processor time, or wall time where no request is served. */
  micros: number;
  peakBytes: number;
  markCompacts: number;
}

/** A ratio that must not be exceeded, or a number if there is no `against`. */
export interface Target {
  of: string;
  against?: string;
  value: keyof Result;
  atMost: number;
}

/** A row of docs/io.md: what to use for something, and instead of what. */
export interface Advice {
  have: string;
  use: string;
  /** The contestant that does so, and the one that it is compared with. */
  is: string;
  against: string;
  not: string;
}

/** See the file. */
export interface Scenario {
  name: string;
  unit: string;
  contestants: string[];
  /** Runs one of them; `share` of the load. */
  run: (contestant: string, share: number) => Promise<Result>;
  targets: Target[];
  advice: Advice[];
  /** Whether it has a row in the README, too. */
  isShown?: boolean;
}

const SERVERS = new URL("servers.ts", import.meta.url).href;
const KIB = 1024;
const MIB = 1024 * KIB;

/** Warms a server up, then measures `count` turns of the load. */
async function served(
  args: string[],
  count: number,
  fn: (port: number, count: number) => Promise<void>,
): Promise<Result> {
  await using child = new Child<{ port: number }>([SERVERS, ...args]);
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
async function measured(args: string[]): Promise<Result> {
  await using child = new Child<{ wallMicros: number }>([SERVERS, ...args]);
  const { wallMicros } = await child.ready();
  const { peakBytes } = await child.cost();
  const markCompacts = await child.stop();
  return { micros: wallMicros, peakBytes, markCompacts };
}

/** Of one kind of server, `size` bytes a turn. */
function turns(
  kind: string,
  fn: (
    port: number,
    size: number,
    count: number,
    connections: number,
  ) => Promise<void>,
  size: number,
  count: number,
  connections: number,
): Scenario["run"] {
  return (contestant, share) =>
    served(
      [kind, contestant],
      Math.ceil(count * share),
      (port, count) => fn(port, size, count, connections),
    );
}

function proxied(fresh: boolean): Scenario["run"] {
  return async (contestant, share) => {
    using backend = load.backend();
    const target = String(backend.addr.port);
    return await served(
      ["proxy", contestant, target],
      (fresh ? 2000 : 8000) * share,
      (port, count) =>
        load.requests(port, 64 * KIB, count, fresh ? 16 : 32, fresh),
    );
  };
}

async function stored(contestant: string, share: number): Promise<Result> {
  const store = load.store();
  try {
    return await served(
      ["store", contestant, `http://127.0.0.1:${store.addr.port}/`],
      200 * share,
      (port, count) => load.uploads(port, 4 * MIB, count, 16, "stored"),
    );
  } finally {
    await store.shutdown();
  }
}

async function filed(contestant: string, share: number): Promise<Result> {
  return await served(
    ["store", contestant, "/dev/null"],
    800 * share,
    (port, count) => load.uploads(port, MIB, count, 16, "stored"),
  );
}

async function batched(contestant: string): Promise<Result> {
  const folder = await Deno.makeTempDir();
  const bytes = new Uint8Array(60_000).fill(7);
  for (let i = 0; i < 1500; i++) Deno.writeFileSync(`${folder}/${i}`, bytes);
  try {
    return await measured(["files", contestant, folder]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Both the time and the memory of one contestant, by another's. */
function held(
  of: string,
  against: string,
  micros: number,
  peakBytes?: number,
): Target[] {
  const time: Target = { of, against, value: "micros", atMost: micros };
  return peakBytes === undefined
    ? [time]
    : [time, { of, against, value: "peakBytes", atMost: peakBytes }];
}

/** No slower: less than this cannot be told from the noise. */
const NO_SLOWER = 1.05;

/** In the order of the tables. */
export const SCENARIOS: Scenario[] = [
  {
    name: "uploads of 1 MiB, needed whole",
    isShown: true,
    unit: "CPU µs a request",
    contestants: ["req.bytes()", "readBody", "readBody, signal", "collect"],
    run: turns("uploads", load.uploads, MIB, 800, 16),
    targets: held("readBody", "req.bytes()", 0.6, 0.2),
    advice: [{
      have: "a body of at most 1 MiB, needed whole",
      use: "`readBody`",
      is: "readBody",
      against: "req.bytes()",
      not: "below about 16 KiB",
    }, {
      have: "a body of any length, needed whole",
      use: "`collect`",
      is: "collect",
      against: "req.bytes()",
      not: "it fits a block: `readBody`",
    }],
  },
  {
    name: "uploads of 64 KiB, needed whole",
    unit: "CPU µs a request",
    contestants: ["req.bytes()", "readBody, 64 KiB", "collect"],
    run: turns("uploads", load.uploads, 64 * KIB, 6000, 32),
    targets: held("readBody, 64 KiB", "req.bytes()", NO_SLOWER, 0.4),
    advice: [{
      have: "a body of 64 KiB, needed whole",
      use: "`readBody`",
      is: "readBody, 64 KiB",
      against: "req.bytes()",
      not: "memory is no concern: the time is the same",
    }],
  },
  {
    name: "uploads of 1 MiB, piece by piece",
    unit: "CPU µs a request",
    contestants: ["default reader", "chunks"],
    run: turns("uploads", load.uploads, MIB, 800, 16),
    targets: held("chunks", "default reader", 0.65),
    advice: [{
      have: "a body to hash or scan, piece by piece",
      use: "`chunks`",
      is: "chunks",
      against: "default reader",
      not: "it is there in one piece already",
    }],
  },
  {
    name: "uploads of 1 MiB of NDJSON",
    unit: "CPU µs a request",
    contestants: ["TextDecoderStream", "lines"],
    run: turns("texts", load.texts, MIB, 200, 8),
    targets: [],
    advice: [{
      have: "NDJSON or CSV",
      use: "`lines`",
      is: "lines",
      against: "TextDecoderStream",
      not: "to save time: `split` by hand is quicker. It gives a limit",
    }],
  },
  {
    name: "uploads of 1 MiB to a file, unseen",
    unit: "CPU µs a request",
    contestants: ["chunks", "pipeTo"],
    run: filed,
    targets: [],
    advice: [{
      have: "a body that goes to a file, unseen",
      use: "`req.body.pipeTo(file.writable)`",
      is: "pipeTo",
      against: "chunks",
      not: "the bytes are looked at",
    }],
  },
  {
    name: "objects of 4 MiB, hashed and passed on",
    unit: "CPU µs a request",
    contestants: ["bytes(), fetch", "collect, stream()"],
    run: stored,
    targets: held("collect, stream()", "bytes(), fetch", NO_SLOWER, 0.3),
    advice: [{
      have: "a body that is passed on when it is whole",
      use: "`collect`, `chain.stream()`",
      is: "collect, stream()",
      against: "bytes(), fetch",
      not: "it may go on as it comes: `fetch(url, { body: req.body })`",
    }],
  },
  {
    name: "forms with a file of 5 MB",
    isShown: true,
    unit: "CPU µs a request",
    contestants: ["formData()", "busboy, collector"],
    run: turns("forms", load.forms, 5_000_000, 100, 16),
    targets: held("busboy, collector", "formData()", 0.45, 0.3),
    advice: [{
      have: "files in a multipart form",
      use: "`collector` and `npm:busboy`",
      is: "busboy, collector",
      against: "formData()",
      not: "small forms of text",
    }],
  },
  {
    name: "uploads of 1 MiB on node:http",
    unit: "CPU µs a request",
    contestants: ["node, Buffer.concat", "node, readBody"],
    run: turns("node", load.uploads, MIB, 400, 16),
    targets: [],
    advice: [{
      have: "an upload on node:http, Express",
      use: "`readBody(req, block)`",
      is: "node, readBody",
      against: "node, Buffer.concat",
      not: "to save time: it saves none. It gives a limit, and 413",
    }],
  },
  {
    name: "answers of 64 KiB, made in memory",
    unit: "CPU µs a request",
    contestants: ["a fresh array", "a block"],
    run: turns("answers", load.answers, 64 * KIB, 6000, 32),
    targets: [],
    advice: [{
      have: "an answer that is made in memory",
      use: "`new Response(block.bytes.subarray(0, n))`",
      is: "a block",
      against: "a fresh array",
      not: "it is a file: `file.readable`",
    }],
  },
  {
    name: "TCP proxy, answers of 64 KiB",
    isShown: true,
    unit: "CPU µs a request",
    contestants: ["pipeTo", "copy"],
    run: proxied(false),
    targets: held("copy", "pipeTo", 0.55),
    advice: [{
      have: "a connection into another",
      use: "`copy`",
      is: "copy",
      against: "pipeTo",
      not: "thousands of idle ones: blocks of 4 to 16 KiB",
    }],
  },
  {
    name: "TCP proxy, a connection for each answer",
    unit: "CPU µs a request",
    contestants: ["pipeTo", "copy"],
    run: proxied(true),
    targets: [
      { of: "copy", against: "pipeTo", value: "peakBytes", atMost: 0.5 },
      { of: "copy", value: "markCompacts", atMost: 0 },
    ],
    advice: [{
      have: "the same, and connections come and go",
      use: "`copy`",
      is: "copy",
      against: "pipeTo",
      not: "",
    }],
  },
  {
    name: "frames of 30 000 bytes",
    isShown: true,
    unit: "CPU µs a frame",
    contestants: ["conn.readable", "readFrames"],
    run: turns("frames", load.frames, 30_000, 16_000, 16),
    targets: held("readFrames", "conn.readable", 0.55),
    advice: [{
      have: "messages with a length in front",
      use: "`readFrames`",
      is: "readFrames",
      against: "conn.readable",
      not: "connections that live long: one array each is as fast",
    }],
  },
  {
    name: "Redis protocol, values of 100 bytes, 16 commands at once",
    unit: "CPU µs a command",
    contestants: ["one array each", "bufferedReader"],
    run: turns(
      "resp",
      (port, size, count, connections) =>
        load.commands(port, size, count, connections, 16),
      100,
      160_000,
      16,
    ),
    targets: held("bufferedReader", "one array each", NO_SLOWER),
    advice: [{
      have: "a protocol of lines and lengths",
      use: "`bufferedReader`",
      is: "bufferedReader",
      against: "one array each",
      not: "to save time: it saves the reading of them by hand",
    }],
  },
  {
    name: "Redis protocol, values of 10 000 bytes, one command at a time",
    unit: "CPU µs a command",
    contestants: ["one array each", "bufferedReader"],
    run: turns(
      "resp",
      (port, size, count, connections) =>
        load.commands(port, size, count, connections, 2),
      10_000,
      16_000,
      16,
    ),
    targets: held("bufferedReader", "one array each", NO_SLOWER),
    advice: [],
  },
  {
    name: "1500 files of 60 KB, in the page cache",
    unit: "wall µs a file",
    contestants: ["Deno.readFile", "readSync"],
    run: batched,
    targets: held("readSync", "Deno.readFile", 0.5),
    advice: [{
      have: "many files, one after another",
      use: "`file.readSync(block.bytes)`",
      is: "readSync",
      against: "Deno.readFile",
      not: "a cold disk: it stops the event loop",
    }],
  },
  {
    name: "10 000 open bodies, and one more",
    unit: "wall µs a body",
    contestants: ["no signal", "one signal"],
    run: (contestant) => measured(["open", contestant]),
    targets: held("one signal", "no signal", 1.2),
    advice: [],
  },
];
