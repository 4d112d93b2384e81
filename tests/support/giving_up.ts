// Ways in which a block is given up, with a buffer that others may read, or so that its bytes are read by
// no one; and what becomes of it in a pool of either kind.

import { assert, assertEquals, assertGreater } from "@std/assert";
import { markAsUntransferable } from "node:worker_threads";
import type { Block, Pool, PoolOptions } from "../../mod.ts";
import { lawful } from "./invariants.ts";
import { addressOf, rejected, takeAll } from "./misuse.ts";
import { hasProc, isEmulated } from "./platform.ts";
import { residentAt } from "./resident.ts";
import { unmapsParts } from "./unmaps_parts.ts";

const KIB = 1024;

export type Bytes = Uint8Array<ArrayBuffer>;

/** Takes the buffer of a block away, as postMessage and others do. */
export function take({ bytes }: Block): Bytes {
  return structuredClone(bytes, { transfer: [bytes.buffer] });
}

export const interrupted = (): Promise<never> =>
  Promise.reject(new Deno.errors.Interrupted());

/** Ends of a lease that give its block up; what each gives can still be read afterwards. */
export const READABLE: Record<
  string,
  (block: Block) => Bytes | Promise<Bytes>
> = {
  "abandon()": (block) => {
    const { bytes } = block;
    block.abandon();
    return bytes;
  },
  "release() with the buffer out": (block) => {
    const out = take(block);
    block.release();
    return out;
  },
  "release() with one of two buffers out": (block) => {
    const out = take(block);
    const again = take(block);
    block.reattach(again);
    block.release();
    return out;
  },
  "a lend that settles after release(), with the buffer out": async (block) => {
    const out = take(block);
    const lent = block.lend(Promise.resolve());
    block.release();
    await lent;
    return out;
  },
  "an interruption with the buffer out": async (block) => {
    const out = take(block);
    await block.lend(interrupted()).catch(() => {});
    return out;
  },
  "an interruption beside another operation": async (block) => {
    const { bytes } = block;
    const other = Promise.withResolvers<void>();
    const lent = block.lend(other.promise);
    await block.lend(interrupted()).catch(() => {});
    other.resolve();
    await lent;
    return bytes;
  },
};

/** A release of a buffer that was made undetachable. */
export const UNTRANSFERABLE = (block: Block): Bytes => {
  const { bytes } = block;
  markAsUntransferable(bytes.buffer);
  block.release();
  return bytes;
};

/** Ends after which no one may read the bytes. */
export const UNREADABLE: Record<string, (block: Block) => Promise<void>> = {
  "an interruption": async (block) => {
    const { bytes } = block;
    await block.lend(interrupted()).catch(() => {});
    assertEquals(bytes.length, 0);
  },
  "an interruption after release()": async (block) => {
    const lent = block.lend(interrupted());
    block.release();
    await lent.catch(() => {});
  },
  "an interruption inside of another error": async (block) => {
    const cause = new Deno.errors.Interrupted();
    const error = new Error("outer", { cause });
    await block.lend(Promise.reject(error)).catch(() => {});
    block.release();
  },
};

export function isFull(bytes: Uint8Array, byte: number): boolean {
  return bytes.length > 0 && bytes.every((each) => each === byte);
}

export const stamp = (number: number): number => number % 250 + 1;

/** Gives blocks up in one way, each filled with its number. */
export async function giveUp<T>(
  pool: Pool,
  count: number,
  end: (block: Block) => T | Promise<T>,
  addresses = new Set<bigint>(),
): Promise<T[]> {
  const outs: T[] = [];
  for (let number = 0; number < count; number++) {
    const block = pool.acquireSync();
    const address = addressOf(block.bytes);
    assert(!addresses.has(address), "an address is used again");
    addresses.add(address);
    assert(isFull(block.bytes.map((byte) => byte + 1), 1), "zero at first");
    block.bytes.fill(stamp(number));
    outs.push(await end(block));
    lawful(pool);
  }
  return outs;
}

/** What native code sees that has the address. */
export function rawAt(address: bigint, size: number): Bytes {
  // SAFETY: an address given up stays mapped for ever.
  const pointer = Deno.UnsafePointer.create(address)!;
  return new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(pointer, size));
}

/** All of the pool's blocks, filled, beside what was given up. */
export function fillAll(pool: Pool, gone: ReadonlySet<bigint>): Block[] {
  const blocks = takeAll(pool);
  for (const { bytes } of blocks) {
    assert(!gone.has(addressOf(bytes)), "an address is used again");
    assert(isFull(bytes.map((byte) => byte + 1), 1), "zero at first");
    bytes.fill(0xff);
  }
  return blocks;
}

/** Makes a pool of 64 blocks of 64 KiB, or with other options. */
type Make = (options?: Partial<PoolOptions>) => Pool;

/**
 * In a pool of 8 × 16 KiB that keeps all: 40 blocks are replaced, and what each `end` gave keeps its bytes,
 * also after close(). `reader` is the same pool, perhaps of another worker; `leave` ends that one.
 */
export async function keepsBytes(
  pool: Pool,
  end: (block: Block) => Bytes | Promise<Bytes>,
  reader: Pool = pool,
  leave: () => void = () => {},
): Promise<void> {
  const count = 40;
  const size = 16 * KIB;
  const gone = new Set<bigint>();
  const outs = await giveUp(pool, count, end, gone);
  const stats = lawful(reader);
  assertEquals([stats.abandonedBlocks, stats.capacityBlocks], [count, 8]);
  assertEquals(stats.abandonedBytes, count * size);
  const blocks = fillAll(reader, gone);
  assertEquals(blocks.length, 8);
  outs.forEach((out, at) => assert(isFull(out, stamp(at)), `${at}`));
  // The buffers that are out are written to.
  for (const out of outs) out.fill(0xee);
  for (const { bytes } of blocks) assert(isFull(bytes, 0xff));
  for (const block of blocks) block.release();
  leave();
  await pool.close();
  for (const out of outs) assert(isFull(out, 0xee));
  const { mappedBytes, abandonedBytes, committedBytes } = lawful(pool);
  assertEquals([abandonedBytes, committedBytes], [count * size, 0]);
  if (unmapsParts()) assertEquals(mappedBytes, count * size);
  else assertGreater(mappedBytes, 0);
}

/** In a pool of 8 × 16 KiB: 40 blocks are replaced, and their pages go. */
export async function dropsPages(
  pool: Pool,
  end: (block: Block) => Promise<void>,
): Promise<void> {
  const size = 16 * KIB;
  const gone = new Set<bigint>();
  await giveUp(pool, 40, end, gone);
  const stats = lawful(pool);
  assertEquals([stats.abandonedBlocks, stats.capacityBlocks], [40, 8]);
  assertEquals(stats.abandonedBytes, 0);
  const blocks = fillAll(pool, gone);
  assertEquals(blocks.length, 8);
  const strays = [...gone].map((address) => rawAt(address, size));
  if (hasProc && !isEmulated) assertEquals(residentAt(gone, size), 0);
  // A read that goes on writes to the address given up.
  for (const stray of strays) stray.fill(0xee);
  for (const { bytes } of blocks) assert(isFull(bytes, 0xff));
  for (const block of blocks) block.release();
  await pool.close();
  // And it goes on after the end.
  for (const stray of strays) stray.fill(0xdd);
  const { mappedBytes, abandonedBytes } = lawful(pool);
  assertEquals(abandonedBytes, 0);
  if (unmapsParts()) assertEquals(mappedBytes, 40 * size);
}

/** A pool of 64 × 64 KiB heals 16 by default, and then loses one each. */
export async function healsSixteen(make: Make): Promise<void> {
  const interrupt = UNREADABLE["an interruption"]!;
  for (const [name, end] of Object.entries(READABLE)) {
    const pool = make();
    const outs: Bytes[] = [];
    await giveUp(pool, 5, interrupt);
    for (let number = 1; number <= 24; number++) {
      outs.push(...await giveUp(pool, 1, end));
      const { capacityBlocks, abandonedBytes } = lawful(pool);
      assertEquals(capacityBlocks, 64 - Math.max(0, number - 16), name);
      assertEquals(abandonedBytes, number * 64 * KIB, name);
    }
    // What costs no memory costs no capacity, whatever was kept before.
    await giveUp(pool, 5, interrupt);
    assertEquals(lawful(pool).capacityBlocks, 56);
    const blocks = takeAll(pool);
    assertEquals(blocks.length, 56);
    await rejected("exhausted", pool.acquireMany(57));
    for (const block of blocks) block.release();
    await pool.close();
    assert(outs.every((out) => isFull(out, stamp(0))));
  }
}

/** `maxAbandonedBytes` is a bound of bytes: what fits below it heals. */
export async function healsWithinBound(make: Make): Promise<void> {
  const cases: [bound: number | undefined, blocks: number, heals: number][] = [
    [0, 8, 0],
    [4 * KIB - 1, 8, 0],
    [4 * KIB, 8, 1],
    [11 * KIB, 8, 2],
    [12 * KIB, 8, 3],
    [Infinity, 8, 9],
    [undefined, 8, 2],
    // Three quarters of a block is not one, so one is kept at least.
    [undefined, 3, 1],
    [undefined, 1, 1],
  ];
  for (const [maxAbandonedBytes, maxBlocks, heals] of cases) {
    const pool = make({
      blockSize: 4 * KIB,
      maxBlocks,
      initialBlocks: 1,
      maxAbandonedBytes,
    });
    for (let number = 1; number <= maxBlocks + 1; number++) {
      const block = pool.tryAcquire();
      if (block === undefined) {
        // All of its blocks were given up.
        assertEquals(lawful(pool).capacityBlocks, 0);
        await rejected("exhausted", pool.acquire());
        break;
      }
      block.abandon();
      const lost = Math.max(0, number - heals);
      assertEquals(lawful(pool).capacityBlocks, maxBlocks - lost);
    }
    await pool.close();
  }
}

/** Thousands of interrupted reads leave 64 of 64 blocks and no memory behind. */
export async function livesOnInterruptions(make: Make): Promise<void> {
  const pool = make();
  const gone = new Set<bigint>();
  for (let round = 0; round < 40; round++) {
    const blocks = takeAll(pool);
    assertEquals(blocks.length, 64);
    for (const { bytes } of blocks) bytes.fill(1);
    await Promise.allSettled(blocks.map(async (block) => {
      gone.add(addressOf(block.bytes));
      const lent = block.lend(interrupted());
      block.release();
      await lent;
    }));
  }
  const stats = lawful(pool);
  assertEquals([stats.abandonedBlocks, gone.size], [40 * 64, 40 * 64]);
  assertEquals([stats.capacityBlocks, stats.abandonedBytes], [64, 0]);
  assertEquals(takeAll(pool).map((block) => block.release()).length, 64);
  if (hasProc && !isEmulated) assertEquals(residentAt(gone, 64 * KIB), 0);
  await pool.close();
  if (unmapsParts()) {
    assertEquals(lawful(pool).mappedBytes, 40 * 64 * 64 * KIB);
  }
}
