// What is true of a pool's numbers after every operation, whatever happened.

import { assertEquals, AssertionError } from "@std/assert";
import type { PoolStats } from "../../mod.ts";

/** Throws unless the numbers agree with each other. Hands them back. */
export function lawful<P extends { stats(): PoolStats }>(pool: P): PoolStats {
  const stats = pool.stats();
  // Asked a million times by some tests, so the message is made only for a breach.
  const demand = (holds: boolean, rule: string) => {
    if (holds) return;
    throw new AssertionError(`${rule}, but ${Deno.inspect(stats)}`);
  };
  for (const [name, value] of Object.entries(stats)) {
    if (typeof value !== "number") continue;
    demand(Number.isSafeInteger(value) && value >= 0, `${name} is a count`);
  }
  demand(
    stats.committedBlocks ===
      stats.freeBlocks + stats.acquiredBlocks + stats.quarantinedBlocks,
    "committed = free + acquired + quarantined",
  );
  const atMost: [keyof PoolStats, keyof PoolStats][] = [
    ["committedBlocks", "capacityBlocks"],
    ["capacityBlocks", "maxBlocks"],
    ["reservedBlocks", "freeBlocks"],
    ["lentBlocks", "acquiredBlocks"],
    ["acquiredBlocks", "peakAcquired"],
    ["peakAcquired", "acquires"],
    ["releases", "acquires"],
    ["waiting", "waits"],
  ];
  for (const [less, more] of atMost) {
    demand(stats[less] <= stats[more], `${less} <= ${more}`);
  }
  // A lease is held, ended by release, or has taken its block out of the pool. (A free block can
  // leave the pool, too: its buffer was found gone.)
  const lost = stats.acquires - stats.releases - stats.acquiredBlocks;
  demand(
    lost >= 0 && lost <= stats.abandonedBlocks,
    "acquires = acquired + releases + leases that ended by abandoning",
  );
  demand(
    stats.committedBlocks * stats.blockSize <= stats.committedBytes,
    "a block has at least blockSize bytes",
  );
  const waited = stats.waitMs.counts.reduce((sum, count) => sum + count, 0);
  // What other isolates are about to do to a shared pool is seen a moment later.
  demand(
    stats.waits === stats.waiting + waited || "attachedWorkers" in stats,
    "waits = waiting + waits that have ended",
  );
  demand(Object.isFrozen(stats), "stats() is frozen");
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

/** The same, of a pool that nothing goes on with: no block is out, none was lost, no acquire waits. */
export function unharmed(pool: { stats(): PoolStats }): void {
  const { acquiredBlocks, abandonedBlocks, lentBlocks, waiting } = lawful(pool);
  const counts = [acquiredBlocks, abandonedBlocks, lentBlocks, waiting];
  assertEquals(counts, [0, 0, 0, 0]);
}
