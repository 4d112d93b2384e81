/**
 * Scenario: what buffers cost the garbage collector, and what the collector costs the program. Also
 * writes the README's first table.
 *
 * Run as a program, this file measures one contestant: buffers of 64 KiB, each written whole, the last
 * so many kept alive, beside a heap of small objects. Arguments: the contestant, MB of live heap,
 * buffers kept, operations a second (0: as many as will), milliseconds.
 */
import { BlockPool, type PoolOptions } from "@smriti/pool";
import { waitedMs } from "../measure.ts";
import { inChild, peakBytes, report, type Tuning } from "../child.ts";
import { leftOutText } from "../compile.ts";
import { tuned, TUNED_NOTE, tunedName } from "../tuned.ts";
import { Histogram } from "./histogram.ts";
import {
  over,
  ratio,
  type Scenario,
  type Section,
  type Table,
  tableOf,
  type Turns,
  type Verdict,
} from "./section.ts";
import { machine } from "./machine.ts";
import { bars } from "./svg.ts";

const SIZE = 65_536;
/** Operations between two turns of the event loop. */
const BATCH = 32;
const WARM_MS = 400;

/** What one run came to. */
interface Churn {
  readonly operationsPerSecond: number;
  /** Microseconds of one operation; when paced, from the time it was due. */
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
  /** The longest time between two turns of the event loop, in ms. */
  readonly stallMs: number;
  readonly peakBytes: number;
  /** Share of the time that the main thread waited for a processor. */
  readonly waitedShare: number;
  /** On the clock of `--trace-gc`. */
  readonly startMs: number;
  readonly endMs: number;
}

/** One operation on the ring. */
type Operation = (at: number, byte: number) => void;

function fresh(kept: number): Operation {
  const ring = new Array<Uint8Array | undefined>(kept).fill(undefined);
  return (at, byte) => {
    const bytes = new Uint8Array(SIZE);
    bytes.fill(byte);
    ring[at] = bytes;
  };
}

/** What any pool of arrays can reach: it checks nothing and clears nothing. */
function list(kept: number): Operation {
  const ring = Array.from({ length: kept }, () => new Uint8Array(SIZE));
  const free: Uint8Array<ArrayBuffer>[] = [];
  return (at, byte) => {
    free.push(ring[at]);
    const bytes = free.pop()!;
    bytes.fill(byte);
    ring[at] = bytes;
  };
}

function pooled(options: Partial<PoolOptions>): (kept: number) => Operation {
  return (kept) => {
    const pool = new BlockPool({
      blockSize: SIZE,
      maxBlocks: kept + 64,
      ...options,
    });
    const ring = Array.from({ length: kept }, () => pool.acquireSync());
    return (at, byte) => {
      ring[at].release();
      // Not `tryAcquire`: `strict` may have all that is free in quarantine, and then grows.
      const block = pool.acquireSync();
      block.bytes.fill(byte);
      ring[at] = block;
    };
  };
}

const CONTESTANTS: Record<string, (kept: number) => Operation> = {
  "new Uint8Array": fresh,
  "bare array free list": list,
  "smriti trust, not zeroed": pooled({ safety: "trust", zero: false }),
  "smriti trust, not zeroed, huge pages": pooled({
    safety: "trust",
    zero: false,
    hugePages: true,
  }),
  "smriti trust": pooled({ safety: "trust" }),
  "smriti revoke (default)": pooled({}),
  "smriti strict": pooled({ safety: "strict" }),
};

/** So many MB of small objects, alive as long as the result is. */
function liveHeap(megabytes: number): unknown {
  const chunks: unknown[] = [];
  while (Deno.memoryUsage().heapUsed < megabytes * 1e6) {
    let list: unknown = null;
    for (let i = 0; i < 50_000; i++) list = { i, next: list };
    chunks.push(list);
  }
  return chunks;
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Runs until `endMs`; counts what it did. */
async function drive(
  operate: Operation,
  kept: number,
  perSecond: number,
  endMs: number,
  latencies: Histogram,
  stalls: Histogram,
): Promise<number> {
  let done = 0;
  const start = performance.now();
  const period = perSecond === 0 ? 0 : 1000 / perSecond;
  let lastTurn = start;
  for (let now = start; now < endMs;) {
    for (let i = 0; i < BATCH; i++) {
      const due = start + done * period;
      if (now < due) break;
      operate(done % kept, done & 255);
      const after = performance.now();
      latencies.add(1000 * (after - (period === 0 ? now : due)));
      now = after;
      done++;
    }
    await turn();
    now = performance.now();
    stalls.add(1000 * (now - lastTurn));
    lastTurn = now;
  }
  return done;
}

if (import.meta.main) {
  const [name, megabytes, keptText, rate, runMs] = Deno.args;
  const kept = Number(keptText);
  const heap = liveHeap(Number(megabytes));
  const operate = CONTESTANTS[name](kept);
  for (let i = 0; i < kept; i++) operate(i, i & 255);
  const warmEnd = performance.now() + WARM_MS;
  const unused = new Histogram();
  await drive(operate, kept, Number(rate), warmEnd, unused, unused);
  const latencies = new Histogram();
  const stalls = new Histogram();
  const waited = waitedMs();
  const startMs = performance.now();
  const end = startMs + Number(runMs);
  const done = await drive(operate, kept, Number(rate), end, latencies, stalls);
  const endMs = performance.now();
  const busyMs = endMs - startMs - (waitedMs() - waited);
  report(
    {
      operationsPerSecond: 1000 * done /
        (Number(rate) === 0 ? busyMs : endMs - startMs),
      p50: latencies.quantile(0.5),
      p99: latencies.quantile(0.99),
      p999: latencies.quantile(0.999),
      max: latencies.max,
      stallMs: stalls.max / 1000,
      peakBytes: peakBytes(),
      waitedShare: 1 - busyMs / (endMs - startMs),
      startMs,
      endMs,
    } satisfies Churn,
  );
  // The heap has to live until here.
  if (heap === undefined) throw new Error("never");
  Deno.exit(0);
}

const FRESH = "new Uint8Array";
const LIST = "bare array free list";
const TRUST = "smriti trust, not zeroed";
const ZEROED = "smriti trust";
const HUGE = "smriti trust, not zeroed, huge pages";
const REVOKE = "smriti revoke (default)";
const STRICT = "smriti strict";

/** With what V8 said of its collections. */
interface Run extends Churn {
  readonly markCompacts: number;
  readonly collectingMs: number;
}

/** One load; `args`: MB of live heap, buffers kept, operations a second, milliseconds. */
interface Load {
  readonly heading: string;
  readonly args: readonly number[];
  readonly names: readonly string[];
}

const FULL = "As fast as will";
const HEAP = "500 MB of live heap";
const LOADS = {
  small: {
    heading: `${FULL}, 256 kept, no live heap`,
    args: [0, 256, 0, 1200],
    names: [FRESH, LIST, TRUST, HUGE, ZEROED, REVOKE, STRICT],
  },
  heap: {
    heading: `${FULL}, 256 kept, ${HEAP}`,
    args: [500, 256, 0, 1200],
    names: [FRESH, TRUST, ZEROED, REVOKE],
  },
  large: {
    heading: `${FULL}, 4 096 kept, ${HEAP}`,
    args: [500, 4096, 0, 2500],
    names: [FRESH, LIST, TRUST, ZEROED, REVOKE, STRICT],
  },
  paced: {
    heading: `10 000 operations a second, 4 096 kept, ${HEAP}`,
    args: [500, 4096, 10_000, 1500],
    names: [FRESH, TRUST, REVOKE],
  },
} satisfies Record<string, Load>;

async function once(
  load: Load,
  name: string,
  { v8Flags = [], env }: Tuning = {},
): Promise<Run> {
  const args = [name, ...load.args];
  const result = await inChild<Churn>(import.meta.url, args, {
    v8Flags: ["--trace-gc", ...v8Flags],
    env,
  });
  let markCompacts = 0;
  let collectingMs = 0;
  for (const line of result.trace.split("\n")) {
    const at = Number(/(\d+) ms: .*Mark-Compact/.exec(line)?.[1]);
    if (!(at >= result.startMs && at <= result.endMs)) continue;
    markCompacts++;
    collectingMs += Number(/([\d.]+) \/ [\d.]+ ms/.exec(line)?.[1] ?? 0) +
      Number(/\(\+ ([\d.]+) ms in/.exec(line)?.[1] ?? 0);
  }
  return { ...result, markCompacts, collectingMs };
}

type Runs = Record<string, Run[]>;

async function run(turns: Turns): Promise<Section> {
  using other = await tuned();
  const found: Record<string, Runs> = {};
  for (const [key, load] of Object.entries<Load>(LOADS)) {
    const contestants: Record<string, () => Promise<Run>> = {};
    for (const name of load.names) contestants[name] = () => once(load, name);
    for (const [name, tuning] of Object.entries(other.tunings)) {
      // What 256 arrays cost, tuned, is asked without a heap.
      if (key === "heap") break;
      contestants[tunedName(FRESH, name)] = () => once(load, FRESH, tuning);
    }
    found[key] = await turns.take(`churn, ${load.heading}`, contestants);
  }
  const { small, large } = found;
  const plot = (
    file: string,
    title: string,
    unit: string,
    value: typeof rate,
  ) => ({
    file,
    alt: title,
    svg: bars(
      title,
      `${unit}, logarithmic`,
      Object.entries(large).map(([name, all]) => ({
        name,
        figure: over(all, value),
        ours: name.startsWith("smriti"),
      })),
    ),
  });
  const what = "64 KiB written whole, 4 096 kept beside 500 MB";
  return {
    tables: Object.entries<Load>(LOADS).map(([key, { heading }]) =>
      table(heading, found[key])
    ),
    verdicts: [...ofSmall(small), ...ofLarge(large)],
    plots: [
      plot("churn.svg", `${what}: operations a second`, "1/s", rate),
      plot("churn_tail.svg", "the same: p99.9 of one operation", "µs", tail),
    ],
    notes: [
      TUNED_NOTE,
      leftOutText(other.leftOut),
      "Operations a second count the time that the main thread had a processor; latencies and " +
      "stalls are the clock's, and on a shared machine also hold what other programs took " +
      "(last column: the share of the time that the main thread waited for a processor).",
      "The targets of `trust` are held against the level without zeroing, where a block is written " +
      "once; with zeroing it is written twice, once cold and once warm. The bare list checks and " +
      "clears nothing: faster than that is no pool, because the rest is the writing itself.",
    ],
    readme: { gc: spared(large, turns.pace.rounds) },
  };
}

/** What a program notices of it, with and without a pool. */
function spared(runs: Runs, rounds: number): Table {
  const row = (what: string, value: (one: Run) => number) =>
    [
      what,
      ...[FRESH, REVOKE].map((name) => over(runs[name], value)),
    ] as const;
  return {
    caption: `\`deno task bench:report --only churn\`: median of ${rounds} ` +
      `rounds with the least and the most. ${machine()}.`,
    heading: "64 KiB written whole, 4 096 kept beside a heap of 500 MB",
    columns: [FRESH, REVOKE],
    rows: [
      row("operations a second", (one) => one.operationsPerSecond),
      row("99.9 % of them within, µs", (one) => one.p999),
      row("longest stall of the event loop, ms", (one) => one.stallMs),
      row("in full collections, ms of 2 500", (one) => one.collectingMs),
      row("peak resident memory, MB", (one) => one.peakBytes / 1e6),
    ],
  };
}

function table(heading: string, runs: Runs): Table {
  return tableOf(heading, runs, {
    "operations/s": rate,
    "p50 µs": (one) => one.p50,
    "p99 µs": (one) => one.p99,
    "p99.9 µs": (one) => one.p999,
    "max ms": (one) => one.max / 1000,
    "longest stall ms": (one) => one.stallMs,
    "mark-compacts": (one) => one.markCompacts,
    "their ms": (one) => one.collectingMs,
    "peak RSS MB": (one) => one.peakBytes / 1e6,
    "waited %": (one) => 100 * one.waitedShare,
  });
}

function against(
  runs: Runs,
  where: string,
  checks: readonly (readonly [
    name: string,
    what: string,
    value: (one: Run) => number,
    limit: { atMost?: number; atLeast?: number },
  ])[],
): Verdict[] {
  return checks.map(([name, what, value, limit]) => ({
    what: `${where}: ${what} of ${name}, in those of fresh arrays`,
    figure: ratio(runs[name], runs[FRESH], value),
    unit: " ×",
    ...limit,
  }));
}

const rate = (one: Run) => one.operationsPerSecond;
const resident = (one: Run) => one.peakBytes;
const tail = (one: Run) => one.p999;
const stall = (one: Run) => one.stallMs;

function ofSmall(runs: Runs): Verdict[] {
  const where = "256 kept";
  return [
    ...[TRUST, REVOKE].map((name): Verdict => ({
      what: `${where}: mark-compacts of ${name}`,
      figure: over(runs[name], (one) => one.markCompacts),
      atMost: 0,
    })),
    ...against(runs, where, [
      [TRUST, "operations/s", rate, { atLeast: 2.3 }],
      [REVOKE, "operations/s", rate, { atLeast: 1.8 }],
      [TRUST, "peak RSS", resident, { atMost: 0.45 }],
      [REVOKE, "peak RSS", resident, { atMost: 0.45 }],
    ]),
  ];
}

function ofLarge(runs: Runs): Verdict[] {
  return against(runs, "4 096 kept beside 500 MB", [
    [TRUST, "operations/s", rate, { atLeast: 4 }],
    [REVOKE, "operations/s", rate, { atLeast: 4 }],
    [TRUST, "p99.9", tail, { atMost: 1 / 10 }],
    [REVOKE, "p99.9", tail, { atMost: 1 / 6 }],
    [TRUST, "longest stall", stall, { atMost: 1 / 8 }],
    [REVOKE, "longest stall", stall, { atMost: 1 / 8 }],
    [TRUST, "peak RSS", resident, { atMost: 1 / 3 }],
    [REVOKE, "peak RSS", resident, { atMost: 1 / 3 }],
  ]);
}

/** The scenario. */
export const churn: Scenario = {
  id: "churn",
  title: "The garbage collector",
  asks:
    "Buffers of 64 KiB are taken, written whole and dropped again, the last 256 or 4 096 of them " +
    "alive, beside a live heap of small objects. How many, with what tail, how long does the event " +
    "loop stand still, what does the collector do meanwhile, and how much memory stays resident? " +
    "When paced, a latency counts from the time the operation was due, and the loop polls, because " +
    "the wake-up from a sleep would hide the difference.",
  hides:
    "a program whose arrays die young in a small heap and which writes only part of them: there a " +
    "scavenge is all it takes. Part of the gain is reuse, which a plain array of arrays gives too.",
  run,
};
