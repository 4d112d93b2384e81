/**
 * Scenario: what a pool's own life costs, and whether its size shows in the price of a block. Run as
 * a program, this file measures one pool, step by step: `life` MiB MODE, `heap` BLOCKS, `flat` BLOCKS
 * HELD.
 */
import { BlockPool, type PoolOptions } from "@smriti/pool";
import { next, nsPerOperation, spread, stopwatch } from "../measure.ts";
import { inChild, report } from "../child.ts";
import {
  over,
  type Scenario,
  type Section,
  tableOf,
  type Turns,
} from "./section.ts";
import { lines } from "./svg.ts";

const SIZE = 65_536;
/** The cost of a cycle is the least of so many slices. */
const SLICES = 10;
const SLICE_MS = 10;

/** Milliseconds, but for `touchMicros`. */
interface Life {
  /** With `initialBlocks: 1`. */
  readonly create: number;
  /** With a fifth committed. */
  readonly createFifth: number;
  /** First acquire and write of a whole block, each. */
  readonly touchMicros: number;
  /** Committing a tenth more. */
  readonly grow: number;
  /** Giving back all that is free, touched or not. */
  readonly trim: number;
  readonly trimmedBytes: number;
  readonly close: number;
}

/** How memory is put behind blocks. */
const MODES: Readonly<Record<string, Partial<PoolOptions>>> = {
  plain: {},
  prefault: { prefault: true },
  hugePages: { hugePages: true },
};

/** Bytes for each block. */
interface Heap {
  readonly created: number;
  /** Beside the heap: integers in typed arrays, which V8 counts as external. */
  readonly beside: number;
  readonly lentOnce: number;
}

/** Nanoseconds for one operation. */
interface Flat {
  readonly ns: number;
}

async function live(mebibytes: number, mode: string): Promise<Life> {
  const maxBlocks = mebibytes * 2 ** 20 / SIZE;
  const options = { blockSize: SIZE, maxBlocks, ...MODES[mode] };
  // The first pool pays for the code and the library.
  await new BlockPool({ blockSize: SIZE, maxBlocks: 4 }).close();

  let pool: BlockPool | undefined;
  const create = clocked(() => {
    pool = new BlockPool({ ...options, initialBlocks: 1 });
  });
  await pool!.close();
  const createFifth = clocked(() => {
    pool = new BlockPool(options);
  });
  const { committedBlocks } = pool!.stats();
  // At most 64 MiB: touching is dear.
  const count = Math.min(1024, Math.floor(0.7 * committedBlocks));
  // What is faulted in ahead should be there.
  if (mode === "prefault") await resident(count * SIZE);
  const blocks: Disposable[] = [];
  const elapsed = stopwatch();
  for (let i = 0; i < count; i++) {
    const block = pool!.acquireSync();
    block.bytes.fill(1);
    blocks.push(block);
  }
  const touchMicros = 1000 * elapsed() / count;
  for (const block of blocks.splice(0)) block[Symbol.dispose]();
  const start = performance.now();
  await pool!.close();
  const close = performance.now() - start;

  pool = new BlockPool({ ...options, initialBlocks: 1 });
  blocks.push(pool.acquireSync());
  // Nothing is free: this one waits for a tenth of the limit to be committed.
  const grow = clocked(() => blocks.push(pool!.acquireSync()));
  const touched = Array.from(
    { length: Math.min(2048, Math.floor(0.7 * maxBlocks)) },
    () => pool!.acquireSync(),
  );
  for (const block of touched) {
    block.bytes.fill(1);
    block.release();
  }
  for (const block of blocks) block[Symbol.dispose]();
  let trimmedBytes = 0;
  const trim = clocked(() => {
    trimmedBytes = pool!.trim();
  });
  await pool.close();
  return { create, createFifth, touchMicros, grow, trim, trimmedBytes, close };
}

/** Milliseconds of something that happens once. */
function clocked(fn: () => void): number {
  const start = performance.now();
  fn();
  return performance.now() - start;
}

/** Waits until so much more is resident, or ten seconds. */
async function resident(bytes: number): Promise<void> {
  const { rss } = Deno.memoryUsage();
  for (let i = 0; i < 1000 && Deno.memoryUsage().rss - rss < bytes; i++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function heap(count: number): Promise<Heap> {
  const { gc } = globalThis as unknown as { gc(): void };
  const used = () => {
    gc();
    gc();
    return Deno.memoryUsage();
  };
  await new BlockPool({ blockSize: 64, maxBlocks: 4 }).close();
  const start = used();
  const options = { blockSize: 64, maxBlocks: count, initialBlocks: count };
  const pool = new BlockPool(options);
  const made = used();
  const created = (made.heapUsed - start.heapUsed) / count;
  const beside = (made.external - start.external) / count;
  const lent = Math.min(count, 100_000);
  const blocks = Array.from({ length: lent }, () => pool.acquireSync());
  for (const block of blocks) block.bytes[0] = 1;
  for (const block of blocks.splice(0)) block.release();
  const lentOnce = (used().heapUsed - made.heapUsed) / lent;
  await pool.close();
  return { created, beside, lentOnce };
}

async function flat(count: number, share: number): Promise<Flat> {
  const pool = new BlockPool({
    blockSize: 64,
    maxBlocks: count,
    initialBlocks: count,
    safety: "trust",
    zero: false,
  });
  const held = Array.from(
    { length: Math.floor(share * count) },
    () => pool.acquireSync(),
  );
  // A random quarter of them comes back: free slots lie scattered over the whole pool.
  let seed = 1;
  for (let i = 0; i < held.length / 4; i++) {
    seed = next(seed);
    const at = (seed >> 4) % held.length;
    held[at].release();
    held[at] = held[held.length - 1];
    held.pop();
  }
  // What building owes to the collector is paid before.
  (globalThis as unknown as { gc(): void }).gc();
  const cycle = (n: number) => {
    for (let i = 0; i < n; i++) {
      const block = pool.tryAcquire()!;
      block.bytes[0] = i;
      block.release();
    }
  };
  const slices: number[] = [];
  while (slices.length < SLICES) {
    slices.push(await nsPerOperation(cycle, SLICE_MS));
  }
  // The least: the loop is compared with itself in other pools, and all that others do on the machine
  // is in the way.
  return { ns: Math.min(...slices) };
}

if (import.meta.main) {
  const [what, size, more] = Deno.args;
  if (what === "life") report(await live(Number(size), more));
  else if (what === "heap") report(await heap(Number(size)));
  else report(await flat(Number(size), Number(more)));
  Deno.exit(0);
}

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
      lives[`${space}, ${mode}`] = () => inChild(import.meta.url, args);
    }
  }
  const lived = await turns.take("life of a pool", lives);
  const collected = <T>(...args: (string | number)[]) =>
    inChild<T>(import.meta.url, args, { v8Flags: ["--expose-gc"] });
  const { heap } = await turns.take("heap of a pool", {
    heap: () => collected<Heap>("heap", 1_000_000),
  });
  const flats: Record<string, () => Promise<Flat>> = {};
  const key = (count: number, held: string) => `${count} blocks, ${held}`;
  for (const count of COUNTS) {
    for (const [held, share] of Object.entries(HELD)) {
      flats[key(count, held)] = () => collected("flat", count, share);
    }
  }
  const cost = await turns.take("size of a pool", flats);
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
      tableOf("ms, blocks of 64 KiB", lived, {
        "create, 1 block": (one) => one.create,
        "create, 20 % committed": (one) => one.createFifth,
        "first write, µs a block": (one) => one.touchMicros,
        "grow by 10 %": (one) => one.grow,
        "trim": (one) => one.trim,
        "trimmed MiB": (one) => one.trimmedBytes / 2 ** 20,
        "close": (one) => one.close,
      }),
      tableOf("bytes of JavaScript heap for each block", {
        "1 000 000 blocks of 64 B": heap,
      }, {
        "never lent": (one) => one.created,
        "beside the heap": (one) => one.beside,
        "more, once lent": (one) => one.lentOnce,
      }),
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
      "its time between other work. The price of a cycle is the least of ten slices in its process: " +
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
