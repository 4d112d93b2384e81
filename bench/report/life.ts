/**
 * Scenario: what a pool's own life costs, and whether its size shows in the price of a block.
 */
import { inChild } from "./child.ts";
import { type Flat, type Heap, type Life, MODES } from "./life_child.ts";
import { over, type Scenario, type Section, type Turns } from "./section.ts";
import { spread } from "../measure.ts";
import { lines } from "./svg.ts";

const SPACES: readonly (readonly [string, number])[] = [
  ["64 MiB", 64],
  ["1 GiB", 1024],
  ["8 GiB", 8192],
  ["64 GiB", 65_536],
];
const COUNTS = [100, 1000, 10_000, 100_000, 1_000_000];
const HELD: Readonly<Record<string, number>> = {
  "nothing held": 0,
  "half held, scattered": 2 / 3,
};

async function run(turns: Turns): Promise<Section> {
  const lives: Record<string, () => Promise<Life>> = {};
  for (const [space, mebibytes] of SPACES) {
    for (const mode of Object.keys(MODES)) {
      // The memory faulted in ahead must fit into the machine.
      if (mode === "prefault" && mebibytes > 1024) continue;
      const args = ["life", mebibytes, mode];
      lives[`${space}, ${mode}`] = async () =>
        (await inChild<Life>("life_child.ts", args)).result;
    }
  }
  const lived = await turns.take("life of a pool", lives);
  const heaps = await turns.take("heap of a pool", {
    "1 000 000 blocks": async () =>
      (await inChild<Heap>("life_child.ts", ["heap", 1_000_000], [
        "--expose-gc",
      ])).result,
  });
  const flats: Record<string, () => Promise<Flat>> = {};
  const key = (count: number, held: string) => `${count} blocks, ${held}`;
  for (const count of COUNTS) {
    for (const [held, share] of Object.entries(HELD)) {
      flats[key(count, held)] = async () =>
        (await inChild<Flat>("life_child.ts", ["flat", count, share], [
          "--expose-gc",
        ])).result;
    }
  }
  const cost = await turns.take("size of a pool", flats);
  const [heap] = Object.values(heaps);
  const ns = (count: number, held: string) =>
    over(cost[key(count, held)], (one) => one.ns);
  // Of medians: the extremes of single rounds would show the noise of the machine.
  const steepness = (held: string) => {
    const all = COUNTS.map((count) => ns(count, held).median);
    return spread([Math.max(...all) / Math.min(...all)]);
  };
  const title = "Cost of a cycle in small pools and large";
  const large = lived["64 GiB, plain"];
  return {
    tables: [
      {
        heading: "ms, blocks of 64 KiB",
        columns: [
          "create, 1 block",
          "create, 20 % committed",
          "first write, µs a block",
          "grow by 10 %",
          "trim",
          "trimmed MiB",
          "close",
        ],
        rows: Object.entries(lived).map(([name, all]) => [
          name,
          over(all, (one) => one.create),
          over(all, (one) => one.createFifth),
          over(all, (one) => one.touchMicros),
          over(all, (one) => one.grow),
          over(all, (one) => one.trim),
          over(all, (one) => one.trimmedBytes / 2 ** 20),
          over(all, (one) => one.close),
        ]),
      },
      {
        heading: "bytes of JavaScript heap for each block",
        columns: ["never lent", "beside the heap", "more, once lent"],
        rows: [[
          "1 000 000 blocks of 64 B",
          over(heap, (one) => one.created),
          over(heap, (one) => one.beside),
          over(heap, (one) => one.lentOnce),
        ]],
      },
      {
        heading: "ns of a cycle, trust, not zeroed, blocks of 64 B",
        columns: COUNTS.map((count) => `10^${Math.log10(count)} blocks`),
        rows: Object.keys(HELD).map((
          held,
        ) => [held, ...COUNTS.map((count) => ns(count, held))]),
      },
    ],
    verdicts: [
      {
        what: "creating 64 GiB of address space, initialBlocks: 1",
        figure: over(large, (one) => one.create),
        atMost: 20,
        unit: " ms",
      },
      {
        what: "JavaScript heap for each block never lent",
        figure: over(heap, (one) => one.created),
        atMost: 160,
        unit: " bytes",
      },
      ...Object.keys(HELD).map((held) => ({
        what: `dearest cycle in cheapest, 10^2 to 10^6 blocks, ${held}`,
        figure: steepness(held),
        atMost: 1.5,
        unit: " ×",
      })),
    ],
    plots: [{
      file: "flat.svg",
      alt: title,
      svg: lines(
        title,
        "10^x blocks",
        "ns",
        Object.keys(HELD).map((name) => ({
          name,
          points: COUNTS.map((count) =>
            [Math.log10(count), ns(count, name).median] as const
          ),
        })),
      ),
    }],
    notes: [
      "With `prefault` the first write comes after the pages have been faulted in ahead, which took " +
      "its time on another thread. The price of a cycle is the least of ten slices in its process: " +
      "the same loop at other sizes is the only thing it is held against.",
    ],
  };
}

/** The scenario. */
export const life: Scenario = {
  id: "life",
  title: "Life of a pool",
  asks:
    "What does it cost to create a pool over much address space, to write to a block for the first " +
    "time, to grow, to trim and to close? Does a block of a large pool cost more than one of a small " +
    "pool, and how much of the JavaScript heap does a block take?",
  hides:
    "a machine short of memory, or one without transparent huge pages. First writes are page " +
    "faults, whose price differs by a factor of ten between virtual machines.",
  run,
};
