/**
 * Scenario: memory over a day of load. Run as a program, this file measures one contestant, named by
 * its argument, over a day's load in a minute.
 */
import { BlockPool } from "@smriti/pool";
import { next } from "../measure.ts";
import { inChild, report } from "../child.ts";
import { area, ideal, type Tick } from "./ideal.ts";
import {
  over,
  type Plot,
  type Scenario,
  type Section,
  tableOf,
  type Turns,
} from "./section.ts";
import { lines, type Series } from "./svg.ts";

/** Seconds that the day takes. */
const DAY_SECONDS = 60;
const MAX_BLOCKS = 4096;
/** Six minutes of the day. */
const SHRINK_INTERVAL_MS = 6 * 60_000 * DAY_SECONDS / 86_400;
const SIZE = 65_536;
const TICK_MS = 5;

/** Share of the blocks in use by the hour; straight lines in between. */
const CURVE: readonly (readonly [hour: number, share: number])[] = [
  [0, 0.05],
  [6, 0.05],
  [9, 0.9],
  [11, 0.9],
  [12, 0.6],
  [17, 0.6],
  [20, 0.05],
  [24, 0.05],
];

/** What the day came to. */
interface Day {
  readonly ticks: readonly Tick[];
  /** Resident bytes, four times a second. */
  readonly resident: readonly (readonly [ms: number, bytes: number])[];
  readonly acquires: number;
  /** Acquires in which memory was committed. */
  readonly grew: number;
}

/** One way to have memory. */
interface Contestant {
  take(): unknown;
  give(one: unknown): unknown;
  committed(used: number): number;
  grew(): number;
}

function write(bytes: Uint8Array): void {
  bytes.fill(1);
}

const CONTESTANTS: Record<string, () => Contestant> = {
  smriti() {
    const pool = new BlockPool({
      blockSize: SIZE,
      maxBlocks: MAX_BLOCKS,
      shrinkIntervalMs: SHRINK_INTERVAL_MS,
    });
    let grows = 0;
    pool.addEventListener("grow", () => grows++);
    return {
      take() {
        const block = pool.acquireSync();
        write(block.bytes);
        return block;
      },
      give: (block) => (block as Disposable)[Symbol.dispose](),
      committed: () => pool.stats().committedBlocks,
      grew: () => grows,
    };
  },
  "grow-only list of arrays": () => arrays(true),
  "fresh arrays": () => arrays(false),
};

function arrays(areKept: boolean): Contestant {
  const list: Uint8Array[] = [];
  let made = 0;
  return {
    take() {
      let bytes = list.pop();
      if (bytes === undefined) {
        made++;
        bytes = new Uint8Array(SIZE);
      }
      write(bytes);
      return bytes;
    },
    give: (bytes) => areKept && list.push(bytes as Uint8Array),
    committed: (used) => areKept ? made : used,
    grew: () => made,
  };
}

function share(hour: number): number {
  const at = CURVE.findIndex(([end]) => end > hour);
  if (at <= 0) return CURVE[at === 0 ? 0 : CURVE.length - 1][1];
  const [fromHour, from] = CURVE[at - 1];
  const [toHour, to] = CURVE[at];
  return from + (to - from) * (hour - fromHour) / (toHour - fromHour);
}

if (import.meta.main) {
  const { take, give, committed, grew } = CONTESTANTS[Deno.args[0]]();
  let seed = 1;
  const random = () => {
    seed = next(seed);
    return (seed >> 8) / 0x800000;
  };
  const held: unknown[] = [];
  const ticks: Tick[] = [];
  const resident: [number, number][] = [];
  let acquires = 0;
  const acquire = () => {
    acquires++;
    held.push(take());
  };
  const drop = () => {
    const at = Math.floor(random() * held.length);
    const one = held[at];
    held[at] = held[held.length - 1];
    held.pop();
    give(one);
  };
  const start = performance.now();
  for (;;) {
    const ms = performance.now() - start;
    if (ms >= 1000 * DAY_SECONDS) break;
    // Wobbles by 3 % of itself, so that the pool meets more than straight lines.
    const wobble = 0.97 + 0.06 * random();
    const wanted = Math.round(share(hour(ms)) * wobble * MAX_BLOCKS);
    // One in a hundred is another one than before.
    for (let i = Math.ceil(held.length / 100); i > 0; i--) drop();
    while (held.length > wanted) drop();
    while (held.length < wanted) acquire();
    ticks.push({ ms, used: held.length, committed: committed(held.length) });
    if (ms >= 250 * resident.length) {
      resident.push([ms, Deno.memoryUsage().rss]);
    }
    await new Promise((resolve) => setTimeout(resolve, TICK_MS));
  }
  report({ ticks, resident, acquires, grew: grew() } satisfies Day);
  Deno.exit(0);
}

const OURS = "smriti";
const BLOCK_MB = SIZE / 1e6;

/** All contestants over the same hours: they sleep most of the time. */
type Days = Record<string, Day>;

async function run(turns: Turns): Promise<Section> {
  const { days } = await turns.take<Days>(`a day in ${DAY_SECONDS} s`, {
    days: async () =>
      Object.fromEntries(
        await Promise.all(
          Object.keys(CONTESTANTS).map(async (name) =>
            [name, await inChild<Day>(import.meta.url, [name])] as const
          ),
        ),
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
      tableOf(
        "MB",
        Object.fromEntries(Object.keys(CONTESTANTS).map((n) => [n, of(n)])),
        {
          "mean RSS": (day) => mean(resident(day)),
          "most RSS": (day) => Math.max(...resident(day)),
          "RSS at midnight": (day) => resident(day).at(-1)!,
        },
      ),
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

function blocksPlot({ ticks }: Day): Plot {
  const best = ideal(ticks, MAX_BLOCKS, SHRINK_INTERVAL_MS);
  const rows = thin(ticks.map((tick, at) => ({ ...tick, best: best[at] })));
  const series = (value: (row: typeof rows[number]) => number) =>
    rows.map((row) => [hour(row.ms), value(row)] as const);
  return plot("day_blocks.svg", "blocks in use and committed", "blocks", [
    { name: "committed", points: series(({ committed }) => committed) },
    {
      name: "committed, ideal rules",
      points: series(({ best }) => best),
      dashed: true,
    },
    { name: "in use", points: series(({ used }) => used) },
  ]);
}

function memoryPlot(days: Days): Plot {
  const resident: Series[] = Object.entries(days).map(([name, day]) => ({
    name,
    points: thin(day.resident).map(([ms, bytes]) => [hour(ms), bytes / 1e6]),
  }));
  return plot("day_memory.svg", "resident memory of the process", "MB", [
    ...resident,
    {
      name: "bytes in use",
      points: thin(days[OURS].ticks)
        .map(({ ms, used }) => [hour(ms), used * BLOCK_MB]),
      dashed: true,
    },
  ]);
}

function hour(ms: number): number {
  return 24 * ms / (1000 * DAY_SECONDS);
}

function plot(file: string, what: string, unit: string, all: Series[]): Plot {
  const title = `A day of load: ${what}`;
  return { file, alt: title, svg: lines(title, "hour", unit, all) };
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
