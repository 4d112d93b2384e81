/**
 * Scenario: memory over a day of load.
 */
import { inChild } from "./child.ts";
import {
  type Day,
  DAY_SECONDS,
  MAX_BLOCKS,
  NAMES,
  SHRINK_INTERVAL_MS,
} from "./day_child.ts";
import { area, ideal } from "./ideal.ts";
import { over, type Scenario, type Section, type Turns } from "./section.ts";
import { lines, type Series } from "./svg.ts";

const OURS = "smriti";
const BLOCK_MB = 65_536 / 1e6;

/** All contestants over the same hours: they sleep most of the time. */
type Days = Record<string, Day>;

async function run(turns: Turns): Promise<Section> {
  const { days } = await turns.take<Days>(`a day in ${DAY_SECONDS} s`, {
    days: async () =>
      Object.fromEntries(
        await Promise.all(NAMES.map(async (name) =>
          [
            name,
            (await inChild<Day>("day_child.ts", [name])).result,
          ] as const
        )),
      ),
  });
  const of = (name: string) => days.map((all) => all[name]);
  const used = ({ ticks }: Day) => area(ticks, ticks.map(({ used }) => used));
  const committed = ({ ticks }: Day) =>
    area(ticks, ticks.map(({ committed }) => committed));
  const best = ({ ticks }: Day) =>
    area(ticks, ideal(ticks, MAX_BLOCKS, SHRINK_INTERVAL_MS));
  const resident = (day: Day) => day.resident.map(([, bytes]) => bytes / 1e6);
  const mean = (values: number[]) =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  return {
    tables: [
      {
        heading: "MB",
        columns: ["mean RSS", "most RSS", "RSS at midnight"],
        rows: NAMES.map((name) => [
          name,
          over(of(name), (day) => mean(resident(day))),
          over(of(name), (day) => Math.max(...resident(day))),
          over(of(name), (day) => resident(day).at(-1)!),
        ]),
      },
      {
        heading: "the pool",
        columns: ["a day"],
        rows: [
          [
            "area under committed, in areas of the ideal",
            over(of(OURS), (day) => committed(day) / best(day)),
          ],
          [
            "area under committed, in areas of what was in use",
            over(of(OURS), (day) => committed(day) / used(day)),
          ],
          ["acquires", over(of(OURS), ({ acquires }) => acquires)],
          ["of them, grew the pool", over(of(OURS), ({ grew }) => grew)],
        ],
      },
    ],
    verdicts: [
      {
        what: "area under committed, in areas of the ideal rules",
        figure: over(of(OURS), (day) => committed(day) / best(day)),
        atMost: 1.1,
        unit: " ×",
      },
      {
        what: "acquires that waited for a grow",
        figure: over(of(OURS), ({ grew, acquires }) => 100 * grew / acquires),
        atMost: 0.1,
        unit: " %",
      },
    ],
    plots: [blocksPlot(days[0][OURS]), memoryPlot(days[0])],
    notes: [
      `${MAX_BLOCKS} blocks of 64 KiB, each written whole; one in a hundred is swapped every 5 ms; ` +
      `\`shrinkIntervalMs: ${SHRINK_INTERVAL_MS}\`, the rest as it comes. Every acquire during which ` +
      "the pool grew counts as one that waited, though most of them had a block already.",
    ],
  };
}

/** Every n-th point: a picture needs no more than 240. */
function thin<T>(all: readonly T[]): T[] {
  const step = Math.ceil(all.length / 240);
  return all.filter((_, at) => at % step === 0);
}

function blocksPlot({ ticks }: Day) {
  const best = ideal(ticks, MAX_BLOCKS, SHRINK_INTERVAL_MS);
  const rows = thin(ticks.map((tick, at) => ({ ...tick, best: best[at] })));
  const hour = (ms: number) => 24 * ms / (1000 * DAY_SECONDS);
  const title = "A day of load: blocks in use and committed";
  const series: Series[] = [
    {
      name: "committed",
      points: rows.map(({ ms, committed }) => [hour(ms), committed]),
    },
    {
      name: "committed, ideal rules",
      points: rows.map(({ ms, best }) => [hour(ms), best]),
      dashed: true,
    },
    { name: "in use", points: rows.map(({ ms, used }) => [hour(ms), used]) },
  ];
  return {
    file: "day_blocks.svg",
    alt: title,
    svg: lines(title, "hour", "blocks", series),
  };
}

function memoryPlot(days: Days) {
  const title = "A day of load: resident memory of the process";
  const series: Series[] = Object.entries(days).map(([name, day]) => ({
    name,
    points: thin(day.resident).map(([ms, bytes]) =>
      [24 * ms / (1000 * DAY_SECONDS), bytes / 1e6] as const
    ),
  }));
  series.push({
    name: "bytes in use",
    points: thin(days[OURS].ticks).map(({ ms, used }) =>
      [24 * ms / (1000 * DAY_SECONDS), used * BLOCK_MB] as const
    ),
    dashed: true,
  });
  return {
    file: "day_memory.svg",
    alt: title,
    svg: lines(title, "hour", "MB", series),
  };
}

/** The scenario. */
export const day: Scenario = {
  id: "day",
  title: "Memory over time",
  asks:
    `A day of load (quiet, ramp, peak, plateau, quiet) in ${DAY_SECONDS} seconds, ` +
    "on the pool, on a list of arrays that only grows, and on fresh arrays: what is committed, what is " +
    "resident, and who waits? Beside it the same rules in their ideal form: a pool that can give back " +
    "any free block.",
  hides:
    "the shrink interval of a minute in a real day, and blocks held for hours: one of them keeps its " +
    "slab, and nothing else, from going back.",
  run,
};
