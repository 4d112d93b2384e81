// Once: a free block that trim() takes out because its buffer has left
// (under trust) is not told to those who wait: Leases.dropViews() abandons it
// without the `lost` hook.

import { assertEquals } from "@std/assert";
import { BlockPool } from "@smriti/pool";
import { rejected, takeAll } from "./support/misuse.ts";
import "./support/open_library.ts";

Deno.test(
  "trim() that finds a buffer gone refuses those who now wait in vain",
  async () => {
    using pool = new BlockPool({
      blockSize: 4096,
      maxBlocks: 2,
      initialBlocks: 1,
      safety: "trust",
    });
    const [a, b] = takeAll(pool);
    const raw = b.bytes;
    const both = pool.acquireMany(2);
    both.catch(() => {});
    b.release();
    structuredClone(raw, { transfer: [raw.buffer] });
    pool.trim();
    assertEquals(pool.stats().abandonedBlocks, 1);
    assertEquals(pool.stats().waiting, 0);
    await rejected("exhausted", both);
    a.release();
  },
);
