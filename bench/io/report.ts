/**
 * Measures the adaptors against what one would write without a pool, and compares the ratios with
 * the targets. Linux only. Ends with 1 if a target is missed.
 *
 *     deno run -A bench/io/report.ts [--rounds 5] [--only WORD] [--quick] [--write]
 *
 * Every contestant is a server process of its own; in each round they take turns, so that the noise
 * of the machine meets all of them; the median round counts. Cost is the processor time of the
 * server process for one request, and the most memory it ever had resident.
 */
import { flags } from "../flags.ts";
import { spread } from "../measure.ts";
import { intoReadme } from "../readme.ts";
import { Child, type Cost } from "./child.ts";
import * as load from "./load.ts";

/** What a run of one contestant came to. */
interface Result {
  /** µs for one request: processor time, or wall time where nobody is served. */
  micros: number;
  peakBytes: number;
  markCompacts: number;
}

/** A ratio that must not be exceeded, or a number if there is no `against`. */
interface Target {
  of: string;
  against?: string;
  value: keyof Result;
  atMost: number;
}

interface Scenario {
  name: string;
  unit: string;
  contestants: string[];
  run: (contestant: string) => Promise<Result>;
  targets: Target[];
}

const SERVERS = new URL("servers.ts", import.meta.url).href;
const KIB = 1024;
const MIB = 1024 * KIB;

const HELP = `deno run -A bench/io/report.ts [flags]

  --rounds N    how often every contestant runs (default 5, or 3 with --quick)
  --only WORD   scenarios with this in their name
  --quick       a quarter of the load
  --write       put the table into the README
  --help        this`;
const given = flags(HELP, {
  rounds: 0,
  only: "",
  quick: false,
  write: false,
});
const { only, quick, write } = given;
const rounds = given.rounds || (quick ? 3 : 5);
const share = quick ? 0.25 : 1;

/** Warms a server up, then measures `count` turns of the load. */
async function served(
  args: string[],
  count: number,
  fn: (port: number, count: number) => Promise<void>,
): Promise<Result> {
  await using child = new Child<{ port: number }>([SERVERS, ...args]);
  const { port } = await child.ready();
  const turns = Math.ceil(count * share);
  await fn(port, Math.ceil(turns / 5));
  const before = await child.cost();
  await fn(port, turns);
  const after = await child.cost();
  return {
    micros: (after.cpuMicros - before.cpuMicros) / turns,
    peakBytes: after.peakBytes,
    markCompacts: await child.stop(),
  };
}

function uploads(
  name: string,
  size: number,
  count: number,
  connections: number,
  contestants: string[],
  targets: Target[],
): Scenario {
  return {
    name,
    unit: "CPU µs a request",
    contestants,
    targets,
    run: (contestant) =>
      served(
        ["uploads", contestant],
        count,
        (port, count) => load.uploads(port, size, count, connections),
      ),
  };
}

function proxied(name: string, fresh: boolean, targets: Target[]): Scenario {
  return {
    name,
    unit: "CPU µs a request",
    contestants: ["pipeTo", "copy"],
    targets,
    async run(contestant) {
      using backend = load.backend();
      const target = String(backend.addr.port);
      return await served(
        ["proxy", contestant, target],
        fresh ? 2000 : 8000,
        (port, count) =>
          load.requests(port, 64 * KIB, count, fresh ? 16 : 32, fresh),
      );
    },
  };
}

const SCENARIOS: Scenario[] = [
  uploads(
    "uploads of 1 MiB, needed whole",
    MIB,
    800,
    16,
    ["req.bytes()", "readBody", "readBody, signal", "collect"],
    [
      { of: "readBody", against: "req.bytes()", value: "micros", atMost: 0.65 },
      {
        of: "readBody",
        against: "req.bytes()",
        value: "peakBytes",
        atMost: 0.25,
      },
    ],
  ),
  uploads(
    "uploads of 64 KiB, needed whole",
    64 * KIB,
    6000,
    32,
    ["req.bytes()", "readBody, 64 KiB", "collect"],
    [
      {
        of: "readBody, 64 KiB",
        against: "req.bytes()",
        value: "micros",
        atMost: 1.05, // no slower: less than this cannot be told from the noise
      },
      {
        of: "readBody, 64 KiB",
        against: "req.bytes()",
        value: "peakBytes",
        atMost: 0.4,
      },
    ],
  ),
  uploads(
    "uploads of 1 MiB, piece by piece",
    MIB,
    800,
    16,
    ["default reader", "chunks"],
    [],
  ),
  proxied("TCP proxy, answers of 64 KiB", false, [
    { of: "copy", against: "pipeTo", value: "micros", atMost: 0.55 },
  ]),
  proxied("TCP proxy, a connection for each answer", true, [
    { of: "copy", against: "pipeTo", value: "peakBytes", atMost: 0.5 },
    { of: "copy", value: "markCompacts", atMost: 0 },
  ]),
  {
    name: "frames of 30 000 bytes",
    unit: "CPU µs a frame",
    contestants: ["conn.readable", "readFrames"],
    targets: [{
      of: "readFrames",
      against: "conn.readable",
      value: "micros",
      atMost: 0.55,
    }],
    run: (contestant) =>
      served(
        ["frames", contestant],
        16_000,
        (port, count) => load.frames(port, 30_000, count, 16),
      ),
  },
  {
    name: "1500 files of 60 KB, in the page cache",
    unit: "wall µs a file",
    contestants: ["Deno.readFile", "readSync"],
    targets: [{
      of: "readSync",
      against: "Deno.readFile",
      value: "micros",
      atMost: 0.5,
    }],
    async run(contestant) {
      const folder = await Deno.makeTempDir();
      const bytes = new Uint8Array(60_000).fill(7);
      for (let i = 0; i < 1500; i++) {
        Deno.writeFileSync(`${folder}/${i}`, bytes);
      }
      try {
        const args = [SERVERS, "files", contestant, folder];
        await using child = new Child<{ wallMicros: number }>(args);
        const { wallMicros } = await child.ready();
        const { peakBytes } = await child.cost();
        const markCompacts = await child.stop();
        return { micros: wallMicros, peakBytes, markCompacts };
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  },
];

/** Interleaved rounds: by contestant, the results of each round. */
async function measure(scenario: Scenario): Promise<Map<string, Result[]>> {
  const all = new Map<string, Result[]>(
    scenario.contestants.map((name) => [name, []]),
  );
  for (let round = 0; round < rounds; round++) {
    for (const [name, results] of all) results.push(await scenario.run(name));
  }
  return all;
}

function typical(results: Result[], value: keyof Result): number {
  return spread(results.map((result) => result[value])).median;
}

function print(scenario: Scenario, all: Map<string, Result[]>): void {
  console.log(`\n${scenario.name}`);
  const unit = scenario.unit.padStart(17);
  console.log(`  ${"".padEnd(20)} ${unit}   peak MB  mark-compacts`);
  for (const [name, results] of all) {
    const micros = typical(results, "micros").toFixed(1).padStart(17);
    const peak = mb(typical(results, "peakBytes")).padStart(9);
    const collections = String(typical(results, "markCompacts")).padStart(14);
    console.log(`  ${name.padEnd(20)} ${micros} ${peak} ${collections}`);
  }
}

const LABELS = {
  micros: "time",
  peakBytes: "peak memory",
  markCompacts: "mark-compacts",
};

/** Whether all targets are met; says so. A ratio is the median of the rounds' own ratios. */
function judge({ targets }: Scenario, all: Map<string, Result[]>): boolean {
  let met = true;
  for (const { of, against, value, atMost } of targets) {
    const others = against === undefined ? undefined : all.get(against)!;
    const { median: number } = spread(
      all.get(of)!.map((result, round) =>
        result[value] / (others?.[round][value] ?? 1)
      ),
    );
    const passed = number <= atMost;
    met &&= passed;
    const what = others === undefined
      ? String(number)
      : `${number.toFixed(2)} of ${against}'s`;
    console.log(
      `  ${passed ? "pass" : "MISS"}  ${of}: ${
        LABELS[value]
      } ${what}, at most ${atMost}`,
    );
  }
  return met;
}

/** What a crowd of slow uploads came to. */
interface Crowd {
  answered: number;
  refused: number;
  grownBytes: number;
  stats: Record<string, number>;
}

async function crowdOf(contestant: string, count: number): Promise<Crowd> {
  await using child = new Child<{ port: number }>([
    SERVERS,
    "crowd",
    contestant,
  ]);
  const { port } = await child.ready();
  let idle: Cost | undefined;
  const opened = async () => void (idle = await child.cost());
  const result = await load.slowUploads(port, 60_000, count, 2000, opened);
  const { peakBytes, extra } = await child.cost();
  await child.stop();
  const grownBytes = peakBytes - idle!.residentBytes;
  return { ...result, grownBytes, stats: extra as Crowd["stats"] };
}

/** 2000 slow uploads at once on 256 blocks: answered or refused, in bounded memory. */
async function crowds(): Promise<boolean> {
  const count = quick ? 1000 : 2000;
  console.log(`\n${count} slow uploads of 60 000 bytes at once, in 2 s each`);
  console.log("                       answered  refused   memory grew by MB");
  const results: Record<string, Crowd> = {};
  for (const name of ["refuse all", "req.bytes()", "readBody"]) {
    const crowd = results[name] = await crowdOf(name, count);
    console.log(
      `  ${name.padEnd(20)} ${String(crowd.answered).padStart(8)} ` +
        `${String(crowd.refused).padStart(8)} ` +
        `${(crowd.grownBytes / 1e6).toFixed(0).padStart(19)}`,
    );
  }
  const { answered, refused, grownBytes, stats } = results.readBody;
  const poolBytes = stats.blockSize * stats.maxBlocks;
  const more = grownBytes - results["refuse all"].grownBytes;
  const bound = 2 * poolBytes + 64e6;
  const lawful = stats.acquiredBlocks === 0 && stats.abandonedBlocks === 0 &&
    stats.committedBlocks === stats.freeBlocks &&
    stats.peakAcquired <= stats.maxBlocks;
  const checks: [string, boolean][] = [
    ["every one was answered right or refused", answered + refused === count],
    [`the pool of ${stats.maxBlocks} blocks is whole again`, lawful],
    // A block and a read buffer for each that is served, and what V8 takes for the garbage of
    // any traffic. It does not grow with the crowd.
    [
      `grew by ${mb(more)} MB more than with all refused, at most ${mb(bound)}`,
      more <= bound,
    ],
  ];
  for (const [what, passed] of checks) {
    console.log(`  ${passed ? "pass" : "MISS"}  readBody: ${what}`);
  }
  return checks.every(([, passed]) => passed);
}

function mb(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}

/** A row for the README: what one would write without a pool, beside the first adaptor. */
function row(
  { name, unit, contestants }: Scenario,
  all: Map<string, Result[]>,
) {
  const [without, pooled] = contestants;
  const cell = (value: keyof Result, show: (number: number) => string) =>
    [without, pooled].map((one) => show(typical(all.get(one)!, value)))
      .join(" → ");
  const micros = cell("micros", (number) => number.toFixed(0));
  const peak = cell("peakBytes", mb);
  return `| ${name} | ${without} → ${pooled} | ${unit} ${micros} | ${peak} |`;
}

let met = true;
const rows: string[] = [];
console.log(`Median of ${rounds} rounds.`);
for (const scenario of SCENARIOS) {
  if (!scenario.name.includes(only)) continue;
  const results = await measure(scenario);
  print(scenario, results);
  met = judge(scenario, results) && met;
  rows.push(row(scenario, results));
}
if ("slow uploads".includes(only)) met = await crowds() && met;
if (write) {
  const head = "| what | without → pooled | cost | peak memory, MB |\n" +
    "| --- | --- | --- | --- |\n";
  await intoReadme("io", head + rows.join("\n"));
}
Deno.exit(met ? 0 : 1);
