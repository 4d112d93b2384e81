// What is true of a pool's numbers after every operation, whatever happened.

import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import type { PoolStats } from "../../mod.ts";

/** Throws unless the numbers agree with each other. Hands them back. */
export function lawful<P extends { stats(): PoolStats }>(pool: P): PoolStats {
  const stats = pool.stats();
  const told = () => Deno.inspect(stats, { compact: true });
  for (const [name, value] of Object.entries(stats)) {
    if (typeof value !== "number") continue;
    assert(Number.isSafeInteger(value) && value >= 0, `${name} in ${told()}`);
  }
  assertEquals(
    stats.committedBlocks,
    stats.freeBlocks + stats.acquiredBlocks + stats.quarantinedBlocks +
      stats.abandonedBlocks,
    `committed = free + acquired + quarantined + abandoned in ${told()}`,
  );
  const atMost: [keyof PoolStats, keyof PoolStats][] = [
    ["committedBlocks", "maxBlocks"],
    ["reservedBlocks", "freeBlocks"],
    ["lentBlocks", "acquiredBlocks"],
    ["acquiredBlocks", "peakAcquired"],
    ["peakAcquired", "acquires"],
    ["releases", "acquires"],
    ["waiting", "waits"],
  ];
  for (const [less, more] of atMost) {
    assertLessOrEqual(
      stats[less],
      stats[more],
      `${less} <= ${more}: ${told()}`,
    );
  }
  // A lease is held, ended by release, or has taken its block out of the pool. (A free block can
  // leave the pool, too: its buffer was found gone.)
  const lost = stats.acquires - stats.releases - stats.acquiredBlocks;
  assert(lost >= 0 && lost <= stats.abandonedBlocks, `leases in ${told()}`);
  assertLessOrEqual(
    stats.committedBlocks * stats.blockSize,
    stats.committedBytes,
    `a block has at least blockSize bytes in ${told()}`,
  );
  assert(Object.isFrozen(stats), "stats() is frozen");
  return stats;
}

/** The same, of a pool that has closed with nothing left in it. */
export function gone(pool: { stats(): PoolStats }): void {
  const stats = lawful(pool);
  assertEquals(
    [
      stats.committedBlocks,
      stats.waiting,
      stats.lentBlocks,
      stats.committedBytes,
      stats.mappedBytes,
    ],
    [0, 0, 0, 0, 0],
    "a closed pool holds nothing",
  );
}
