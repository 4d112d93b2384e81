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
import { Child, denoOf, inChild } from "../child.ts";
import { bounds, compete, type Contest, type Outcome } from "../contest.ts";
import { flags } from "../flags.ts";
import { uploads } from "../io/load.ts";
import { tableText, verdictText } from "../report/markdown.ts";
import { isMet, Turns } from "../report/section.ts";
import { WAYS } from "./handover.ts";

/** Time of one operation. */
type Scenario = Contest<"ns">;

const MIB = 2 ** 20;
const here = (file: string) => new URL(file, import.meta.url).href;

/** Runs `contestant.ts` in a process of its own. */
function measured(...args: string[]): Promise<{ ns: number }> {
  return inChild(here("contestant.ts"), args);
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

const SCENARIOS: readonly Scenario[] = [
  {
    name: "acquire and release, one isolate alone",
    contestants: ["BlockPool", "SharedBlockPool"],
    run: (contestant) => measured("alone", contestant),
    targets: bounds("SharedBlockPool", "BlockPool", { ns: 2.5 }),
  },
  {
    name: "the same after other workers have come and gone",
    contestants: ["0", "4", "30", "252"],
    run: (contestant) => measured("after", contestant),
    targets: ["4", "30", "252"].flatMap((of) => bounds(of, "0", { ns: 1.2 })),
  },
  {
    name: "from another thread that computes or wakes this one",
    contestants: [
      "Atomics.notify",
      "a release",
      "a cached block",
      "a cached block, 32 owners",
    ],
    run: (contestant) => measured("between", contestant),
    targets: [{ of: "a cached block", value: "ns", atMost: 50_000 }],
  },
  pattern("cycle", [1, 2, 4], bounds("4 Workers", "2 Workers", { ns: 1.1 })),
  {
    name: "64 KiB to a Worker and back",
    contestants: [...WAYS, "tickets, shared memory", "batches, shared memory"],
    run: (contestant) => measured("handover", contestant),
    targets: [
      ...bounds("tickets, shared memory", "transfer list", { ns: 1 / 3 }),
      ...bounds("tickets, shared memory", "clone", { ns: 1 / 5 }),
      ...bounds("batches, shared memory", "transfer list", { ns: 1 / 20 }),
    ],
  },
  pattern("larson", [1, 2, 4]),
  pattern("xmalloc", [2, 4]),
  pattern("mstress", [1, 2, 4]),
  pattern("scratch", [1, 2, 4]),
];

/** Time is the clock's. */
const UPLOADS: Contest<"ns" | "peakBytes"> = {
  name: "uploads of 1 MiB hashed by two Workers",
  contestants: ["transferred arrays", "shared pool"],
  async run(contestant) {
    const program = denoOf(here("pipeline.ts"), [contestant]);
    await using child = new Child<{ port: number }>(program);
    const { port } = await child.ready();
    await uploads(port, MIB, 100, 16);
    const start = performance.now();
    await uploads(port, MIB, 600, 16);
    const ms = performance.now() - start;
    const { peakBytes } = await child.cost();
    await child.stop();
    return { ns: ms * 1e6 / 600, peakBytes };
  },
  targets: bounds("shared pool", "transferred arrays", {
    ns: 1 / 1.5,
    peakBytes: 0.5,
  }),
};

const HELP = `deno run -A bench/shared/report.ts [flags]

  --rounds N    how often every contestant runs (default 5)
  --only WORD   scenarios with this in their name
  --help        this`;
const { rounds, only } = flags(HELP, { rounds: 5, only: "" });
const turns = new Turns({ rounds }, console.error);
let met = true;
console.log(`Medians of ${rounds} rounds, with the least and the most.`);
function print({ table, verdicts }: Outcome<string>): void {
  console.log(`\n${tableText(table)}\n`);
  for (const verdict of verdicts) console.log(`- ${verdictText(verdict)}`);
  met &&= verdicts.every(isMet);
}
const ns = ["ns", 1] as const;
for (const scenario of SCENARIOS) {
  if (!scenario.name.includes(only)) continue;
  print(await compete(scenario, turns, { ns }));
}
if (UPLOADS.name.includes(only)) {
  const columns = { ns, "peak MB": ["peakBytes", 1e6] } as const;
  print(await compete(UPLOADS, turns, columns));
}
Deno.exit(met ? 0 : 1);
