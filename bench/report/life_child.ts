/**
 * One pool's life, step by step, in this process alone. Arguments: `life` MiB MODE, `heap` BLOCKS,
 * `flat` BLOCKS HELD.
 */
import { BlockPool, type PoolOptions } from "@smriti/pool";
import { leastNsPerOperation, timed } from "../measure.ts";
import { next } from "../cases.ts";
import { report } from "./child.ts";

const SIZE = 65_536;
/** The cost of a cycle is the least of so many slices. */
const SLICES = 10;
const SLICE_MS = 10;

/** Milliseconds, but for `touchMicros`. */
export interface Life {
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
export const MODES: Readonly<Record<string, Partial<PoolOptions>>> = {
  plain: {},
  prefault: { prefault: true },
  hugePages: { hugePages: true },
};

/** Bytes for each block. */
export interface Heap {
  readonly created: number;
  /** Beside the heap: integers in typed arrays, which V8 counts as external. */
  readonly beside: number;
  readonly lentOnce: number;
}

/** Nanoseconds for one operation. */
export interface Flat {
  readonly ns: number;
}

async function life(mebibytes: number, mode: string): Promise<Life> {
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
  const touch = timed(() => {
    for (let i = 0; i < count; i++) {
      const block = pool!.acquireSync();
      block.bytes.fill(1);
      blocks.push(block);
    }
  });
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
  const touchMicros = 1000 * touch / count;
  return { create, createFifth, touchMicros, grow, trim, trimmedBytes, close };
}

/** Milliseconds of something that happens once. */
function clocked(fn: () => void): number {
  const start = performance.now();
  fn();
  return performance.now() - start;
}

/** Waits until so much more is resident, or two seconds. */
async function resident(bytes: number): Promise<void> {
  const { rss } = Deno.memoryUsage();
  for (let i = 0; i < 200 && Deno.memoryUsage().rss - rss < bytes; i++) {
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

function flat(count: number, share: number): Flat {
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
  return { ns: leastNsPerOperation(cycle, SLICE_MS, SLICES) };
}

if (import.meta.main) {
  const [what, size, more] = Deno.args;
  if (what === "life") report(await life(Number(size), more));
  else if (what === "heap") report(await heap(Number(size)));
  else report(flat(Number(size), Number(more)));
  Deno.exit(0);
}
