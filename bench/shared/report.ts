/**
 * What atomics and hand-overs cost between Workers, as ratios of one run, beside the targets. Linux
 * only. Ends with 1 if a target is missed.
 *
 *     deno run -A bench/shared/report.ts [--rounds 5] [--only WORD]
 *
 * Every contestant is a process of its own; in each round they take turns, so that the noise of the
 * machine meets all of them. A figure is the median of the rounds, a ratio the median of the
 * rounds' own ratios. What it does not show: more than two processors, and Workers that do
 * something else in between.
 */
import { flags } from "../flags.ts";
import { Child } from "../io/child.ts";
import { uploads } from "../io/load.ts";
import { type Spread, spread } from "../measure.ts";
import { WAYS } from "./handover.ts";

/** What one measurement came to. */
interface Result {
  /** Nanoseconds for one operation. */
  readonly ns: number;
  readonly peakBytes?: number;
}

/** A bound on a contestant's figure, or on its ratio to another's. */
interface Target {
  readonly of: string;
  readonly against?: string;
  readonly value: keyof Result;
  readonly atMost: number;
}

/** Contestants that are measured in turn. */
interface Scenario {
  readonly name: string;
  readonly contestants: readonly string[];
  readonly run: (contestant: string) => Promise<Result>;
  readonly targets: readonly Target[];
}

const MIB = 2 ** 20;
const here = (file: string) => new URL(file, import.meta.url).href;

/** Runs `contestant.ts` in a process of its own. */
async function inChild(...args: string[]): Promise<Result> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", here("contestant.ts"), ...args],
    stderr: "inherit",
  });
  const { success, stdout } = await command.output();
  if (!success) throw new Error(`${args} has failed`);
  return { ns: Number(new TextDecoder().decode(stdout)) };
}

/** A pattern with so many Workers, each time. */
function pattern(
  name: string,
  counts: readonly number[],
  targets: readonly Target[] = [],
): Scenario {
  return {
    name: `${name}, all Workers together`,
    contestants: counts.map(workersOf),
    run: (contestant) =>
      inChild("pattern", name, contestant.replace(/ .*/, "")),
    targets,
  };
}

function workersOf(count: number): string {
  return count === 1 ? "1 Worker" : `${count} Workers`;
}

/** Uploads that two Workers hash; time is the clock's. */
async function pipeline(contestant: string): Promise<Result> {
  const args = [here("pipeline.ts"), contestant];
  await using child = new Child<{ port: number }>(args);
  const { port } = await child.ready();
  await uploads(port, MIB, 100, 16);
  const start = performance.now();
  await uploads(port, MIB, 600, 16);
  const ms = performance.now() - start;
  const { peakBytes } = await child.cost();
  await child.stop();
  return { ns: ms * 1e6 / 600, peakBytes };
}

const SCENARIOS: readonly Scenario[] = [
  {
    name: "acquire and release, one isolate, nobody else",
    contestants: ["BlockPool", "SharedBlockPool"],
    run: (contestant) => inChild("alone", contestant),
    targets: [
      { of: "SharedBlockPool", value: "ns", atMost: 150 },
      {
        of: "SharedBlockPool",
        against: "BlockPool",
        value: "ns",
        atMost: 12,
      },
    ],
  },
  pattern("cycle", [1, 2, 4], [
    // At most 40 % of the throughput may go.
    { of: "4 Workers", against: "2 Workers", value: "ns", atMost: 1 / 0.6 },
  ]),
  {
    name: "64 KiB to a Worker and back",
    contestants: [...WAYS, "tickets, shared memory", "batches, shared memory"],
    run: (contestant) => inChild("handover", contestant),
    targets: [
      {
        of: "tickets, shared memory",
        against: "transfer list",
        value: "ns",
        atMost: 1 / 3,
      },
      {
        of: "tickets, shared memory",
        against: "clone",
        value: "ns",
        atMost: 1 / 5,
      },
      {
        of: "batches, shared memory",
        against: "transfer list",
        value: "ns",
        atMost: 1 / 20,
      },
    ],
  },
  {
    name: "uploads of 1 MiB hashed by two Workers",
    contestants: ["transferred arrays", "shared pool"],
    run: pipeline,
    targets: [
      {
        of: "shared pool",
        against: "transferred arrays",
        value: "ns",
        atMost: 1 / 1.5,
      },
      {
        of: "shared pool",
        against: "transferred arrays",
        value: "peakBytes",
        atMost: 0.5,
      },
    ],
  },
  pattern("larson", [1, 2, 4]),
  pattern("xmalloc", [2, 4]),
  pattern("mstress", [1, 2, 4]),
  pattern("scratch", [1, 2, 4]),
];

const LABELS: Record<keyof Result, string> = {
  ns: "time",
  peakBytes: "peak memory",
};

function text({ median, min, max }: Spread, unit: string): string {
  const digits = median < 10 ? 2 : 0;
  const show = (value: number) => value.toFixed(digits);
  return `${show(median)} ${unit} [${show(min)} to ${show(max)}]`;
}

/** Prints the figures, then the targets; whether all were met. */
function judge(scenario: Scenario, all: Map<string, Result[]>): boolean {
  console.log(`\n${scenario.name}`);
  for (const [name, results] of all) {
    const ns = text(spread(results.map(({ ns }) => ns)), "ns");
    const peaks = results.flatMap(({ peakBytes }) => peakBytes ?? []);
    const peak = peaks.length === 0
      ? ""
      : `, peak ${text(spread(peaks.map((bytes) => bytes / 1e6)), "MB")}`;
    console.log(`  ${name.padEnd(22)} ${ns}${peak}`);
  }
  let met = true;
  for (const { of, against, value, atMost } of scenario.targets) {
    const others = against === undefined ? undefined : all.get(against)!;
    const ratio = spread(
      all.get(of)!.map((result, round) =>
        result[value]! / (others?.[round][value] ?? 1)
      ),
    );
    const isMet = ratio.median <= atMost;
    met &&= isMet;
    const what = others === undefined
      ? text(ratio, "ns")
      : `${text(ratio, "×")} that of ${against}`;
    const bound = Number.isInteger(atMost) ? atMost : atMost.toFixed(3);
    console.log(
      `  ${isMet ? "met   " : "MISSED"} ${of}: ${
        LABELS[value]
      } ${what}, at most ${bound}`,
    );
  }
  return met;
}

const HELP = `deno run -A bench/shared/report.ts [flags]

  --rounds N    how often every contestant runs (default 5)
  --only WORD   scenarios with this in their name
  --help        this`;
const { rounds, only } = flags(HELP, { rounds: 5, only: "" });
let met = true;
console.log(`Medians of ${rounds} rounds, with the least and the most.`);
for (const scenario of SCENARIOS) {
  if (!scenario.name.includes(only)) continue;
  const all = new Map<string, Result[]>(
    scenario.contestants.map((name) => [name, []]),
  );
  for (let round = 0; round < rounds; round++) {
    for (const [name, results] of all) results.push(await scenario.run(name));
  }
  met = judge(scenario, all) && met;
}
Deno.exit(met ? 0 : 1);
