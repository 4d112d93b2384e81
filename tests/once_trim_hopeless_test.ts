// Once: a free block that trim() takes out because its buffer has left
// (under trust) is not told to those who wait: Leases.dropViews() abandons it
// without the `lost` hook.

import { assertEquals } from "@std/assert";
import { BlockPool, type PoolOptions } from "@smriti/pool";
import { lawful } from "./support/invariants.ts";
import { rejected, takeAll } from "./support/misuse.ts";
import "./support/open_library.ts";

const options: PoolOptions = {
  blockSize: 4096,
  maxBlocks: 2,
  initialBlocks: 1,
  safety: "trust",
};

/** A pool of which one block is held, the other's buffer is gone, and somebody waits for both. */
function waitedFor(maxAbandonedBytes?: number) {
  const pool = new BlockPool({ ...options, maxAbandonedBytes });
  const [a, b] = takeAll(pool);
  const raw = b.bytes;
  const both = pool.acquireMany(2);
  both.catch(() => {});
  b.release();
  structuredClone(raw, { transfer: [raw.buffer] });
  pool.trim();
  assertEquals(lawful(pool).abandonedBlocks, 1);
  return { pool, a, both };
}

Deno.test(
  "trim() that finds a buffer gone refuses those who now wait in vain",
  async () => {
    const { pool, a, both } = waitedFor(0);
    assertEquals(pool.stats().waiting, 0);
    await rejected("exhausted", both);
    a.release();
    await pool.close();
  },
);

Deno.test(
  "trim() that finds a buffer gone has it replaced for those who wait",
  async () => {
    const { pool, a, both } = waitedFor();
    const { waiting, committedBlocks, capacityBlocks } = lawful(pool);
    // It is above the initial blocks, so the same trim has given its memory back.
    assertEquals([waiting, committedBlocks, capacityBlocks], [1, 1, 2]);
    a.release();
    (await both)[Symbol.dispose]();
    await pool.close();
  },
);
