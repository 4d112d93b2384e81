/**
 * Scenario: what buffers cost the garbage collector, and what the collector costs the program.
 */
import { inChild } from "./child.ts";
import type { Churn } from "./churn_child.ts";
import {
  over,
  ratio,
  type Scenario,
  type Section,
  type Table,
  type Turns,
  type Verdict,
} from "./section.ts";
import { bars } from "./svg.ts";

const FRESH = "new Uint8Array";
const LIST = "bare array free list";
const TRUST = "smriti trust, not zeroed";
const ZEROED = "smriti trust";
const HUGE = "smriti trust, not zeroed, huge pages";
const REVOKE = "smriti revoke (default)";
const STRICT = "smriti strict";
const PACE = 10_000;

/** With what V8 said of its collections. */
interface Run extends Churn {
  readonly markCompacts: number;
  readonly collectingMs: number;
}

/** One load. */
interface Load {
  readonly heading: string;
  readonly heapMb: number;
  readonly kept: number;
  readonly perSecond: number;
  readonly runMs: number;
  readonly names: readonly string[];
}

const LOADS = {
  small: {
    heading: "As fast as will, 256 kept, no live heap",
    heapMb: 0,
    kept: 256,
    perSecond: 0,
    runMs: 1200,
    names: [FRESH, LIST, TRUST, HUGE, ZEROED, REVOKE, STRICT],
  },
  heap: {
    heading: "As fast as will, 256 kept, 500 MB of live heap",
    heapMb: 500,
    kept: 256,
    perSecond: 0,
    runMs: 1200,
    names: [FRESH, TRUST, ZEROED, REVOKE],
  },
  large: {
    heading: "As fast as will, 4 096 kept, 500 MB of live heap",
    heapMb: 500,
    kept: 4096,
    perSecond: 0,
    runMs: 2500,
    names: [FRESH, LIST, TRUST, ZEROED, REVOKE, STRICT],
  },
  paced: {
    heading: "10 000 operations a second, 4 096 kept, 500 MB of live heap",
    heapMb: 500,
    kept: 4096,
    perSecond: PACE,
    runMs: 1500,
    names: [FRESH, TRUST, REVOKE],
  },
} satisfies Record<string, Load>;

async function once(load: Load, name: string): Promise<Run> {
  const { heapMb, kept, perSecond, runMs } = load;
  const args = [name, heapMb, kept, perSecond, runMs];
  const { result, trace } = await inChild<Churn>("churn_child.ts", args, [
    "--trace-gc",
  ]);
  let markCompacts = 0;
  let collectingMs = 0;
  for (const line of trace.split("\n")) {
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
  const found: Record<string, Runs> = {};
  for (const [key, load] of Object.entries<Load>(LOADS)) {
    found[key] = await turns.take(
      `churn, ${load.heading}`,
      Object.fromEntries(
        load.names.map((name) => [name, () => once(load, name)]),
      ),
    );
  }
  const { small, large } = found;
  const rate =
    "64 KiB written whole, 4 096 kept beside 500 MB: operations a second";
  const tail = "the same: p99.9 of one operation";
  return {
    tables: Object.entries<Load>(LOADS).map(([key, { heading }]) =>
      table(heading, found[key])
    ),
    verdicts: [...ofSmall(small), ...ofLarge(large)],
    plots: [
      {
        file: "churn.svg",
        alt: rate,
        svg: bars(
          rate,
          "1/s, logarithmic",
          picture(large, (one) => one.operationsPerSecond),
        ),
      },
      {
        file: "churn_tail.svg",
        alt: tail,
        svg: bars(tail, "µs, logarithmic", picture(large, (one) => one.p999)),
      },
    ],
    notes: [
      "Operations a second count the time that the main thread had a processor; latencies and " +
      "stalls are the clock's, and on a shared machine also hold what other programs took " +
      "(last column: the share of the time that the main thread waited for a processor).",
      "The targets of `trust` are held against the level without zeroing, where a block is written " +
      "once; with zeroing it is written twice, once cold and once warm. The bare list checks and " +
      "clears nothing: faster than that is no pool, because the rest is the writing itself.",
    ],
  };
}

function picture(runs: Runs, value: (one: Run) => number) {
  return Object.entries(runs).map(([name, all]) => ({
    name,
    figure: over(all, value),
    ours: name.startsWith("smriti"),
  }));
}

function table(heading: string, runs: Runs): Table {
  return {
    heading,
    columns: [
      "operations/s",
      "p50 µs",
      "p99 µs",
      "p99.9 µs",
      "max ms",
      "longest stall ms",
      "mark-compacts",
      "their ms",
      "peak RSS MB",
      "waited %",
    ],
    rows: Object.entries(runs).map(([name, all]) => [
      name,
      over(all, (one) => one.operationsPerSecond),
      over(all, (one) => one.p50),
      over(all, (one) => one.p99),
      over(all, (one) => one.p999),
      over(all, (one) => one.max / 1000),
      over(all, (one) => one.stallMs),
      over(all, (one) => one.markCompacts),
      over(all, (one) => one.collectingMs),
      over(all, (one) => one.peakBytes / 1e6),
      over(all, (one) => 100 * one.waitedShare),
    ]),
  };
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
  const both = [TRUST, REVOKE];
  return against(runs, "4 096 kept beside 500 MB", [
    ...both.map((name) =>
      [name, "operations/s", rate, { atLeast: 4 }] as const
    ),
    [TRUST, "p99.9", (one) => one.p999, { atMost: 1 / 10 }],
    [REVOKE, "p99.9", (one) => one.p999, { atMost: 1 / 6 }],
    ...both.map((name) =>
      [name, "longest stall", (one: Run) => one.stallMs, {
        atMost: 1 / 8,
      }] as const
    ),
    ...both.map((name) =>
      [name, "peak RSS", resident, { atMost: 1 / 3 }] as const
    ),
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
