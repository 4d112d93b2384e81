// Small shared pools for tests, and what the tests of them ask again and again.

import { assertEquals, assertGreaterOrEqual } from "@std/assert";
import {
  SharedBlockPool,
  type SharedPoolOptions,
  type SharedPoolStats,
} from "../../shared/mod.ts";
import { isCovered } from "../support/resident.ts";
import { lawful } from "../support/invariants.ts";

/** Whole pages on every system, so a slab is one block. */
export const PAGE = 16_384;

/** A pool of a few blocks of a page, all committed. */
export function sharedPool(
  options: Partial<SharedPoolOptions> = {},
): SharedBlockPool {
  const { maxBlocks = 4 } = options;
  return SharedBlockPool.create({
    blockSize: PAGE,
    maxBlocks,
    initialBlocks: maxBlocks,
    ...options,
  });
}

/** The numbers, after a look at whether they agree with each other. */
export function numbers(pool: SharedBlockPool): SharedPoolStats {
  const stats = lawful(pool) as SharedPoolStats;
  assertGreaterOrEqual(stats.acquiredBlocks, stats.transitBlocks);
  return stats;
}

/**
 * A pool of so much address space that its lowest part stays free for a while once it is unmapped:
 * other threads map things all the time, but Linux gives the highest addresses first.
 */
export function widePool(): SharedBlockPool {
  return sharedPool({ blockSize: 2 ** 23 });
}

/** Whether all memory of a pool is mapped, as Linux tells: once it is unmapped others may get a part. */
export function isThere({ handle: { range } }: SharedBlockPool): boolean {
  return isCovered(range.mappedBase, range.mappedSize);
}

/** What is in the control block besides owners: for tests that play a death. */
export { Control } from "../../shared/control.ts";

/** Nothing is out and nothing was lost. */
export function whole(pool: SharedBlockPool): void {
  const { acquiredBlocks, abandonedBlocks, lentBlocks, waiting } = numbers(
    pool,
  );
  assertEquals([acquiredBlocks, abandonedBlocks, lentBlocks, waiting], [
    0,
    0,
    0,
    0,
  ]);
}

/** Opens and closes one, or the library opened once per process looks like a leak of some test. */
await sharedPool().close();
