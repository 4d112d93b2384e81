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
import { Child, inChild } from "../child.ts";
import { compete, type Contest } from "../contest.ts";
import { flags } from "../flags.ts";
import { uploads } from "../io/load.ts";
import { Turns } from "../report/section.ts";
import { WAYS } from "./handover.ts";

/** Time of one operation, and for a server the most memory. */
type Value = "ns" | "peakBytes";
type Scenario = Contest<Value>;

const MIB = 2 ** 20;
const here = (file: string) => new URL(file, import.meta.url).href;

/** Runs `contestant.ts` in a process of its own. */
async function measured(...args: string[]) {
  const { ns } = await inChild<{ ns: number }>(here("contestant.ts"), args);
  return { ns, peakBytes: NaN };
}

/** A pattern with so many Workers, each time. */
function pattern(
  name: string,
  counts: readonly number[],
  targets: Scenario["targets"] = [],
): Scenario {
  return {
    name: `${name}, all Workers together`,
    contestants: counts.map(workersOf),
    run: (contestant) =>
      measured("pattern", name, contestant.replace(/ .*/, "")),
    targets,
  };
}

function workersOf(count: number): string {
  return count === 1 ? "1 Worker" : `${count} Workers`;
}

/** Uploads that two Workers hash; time is the clock's. */
async function pipeline(contestant: string) {
  const args = [here("pipeline.ts"), contestant];
  await using child = new Child<{ port: number }>(...args);
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
    name: "acquire and release, one isolate alone",
    contestants: ["BlockPool", "SharedBlockPool"],
    run: (contestant) => measured("alone", contestant),
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
    run: (contestant) => measured("handover", contestant),
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

const HELP = `deno run -A bench/shared/report.ts [flags]

  --rounds N    how often every contestant runs (default 5)
  --only WORD   scenarios with this in their name
  --help        this`;
const { rounds, only } = flags(HELP, { rounds: 5, only: "" });
const turns = new Turns(rounds, () => {});
let met = true;
console.log(`Medians of ${rounds} rounds, with the least and the most.`);
for (const scenario of SCENARIOS) {
  if (!scenario.name.includes(only)) continue;
  const columns: Record<string, [Value, number]> = { ns: ["ns", 1] };
  if (scenario.run === pipeline) columns["peak MB"] = ["peakBytes", 1e6];
  met = (await compete(scenario, turns, columns)).met && met;
}
Deno.exit(met ? 0 : 1);
