// Once: an operation that ends with Interrupted leaves lentBlocks one too
// high for ever. Leases.lendEnds() loses the slot before it has counted the
// last lend down, and #lose() counts down only while lends are left.

import { assertEquals, assertRejects } from "@std/assert";
import { BlockPool } from "@smriti/pool";
import { lawful } from "./support/invariants.ts";
import "./support/open_library.ts";

Deno.test(
  "a lend that ends with Interrupted is no longer counted in lentBlocks",
  async () => {
    for (const isReleased of [false, true]) {
      using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
      const block = pool.acquireSync();
      const read = Promise.withResolvers<void>();
      const lent = block.lend(read.promise);
      if (isReleased) block.release();
      read.reject(new Deno.errors.Interrupted("closed"));
      await assertRejects(() => lent, Deno.errors.Interrupted);
      const { abandonedBlocks, lentBlocks } = pool.stats();
      assertEquals([abandonedBlocks, lentBlocks], [1, 0]);
      lawful(pool);
    }
  },
);
