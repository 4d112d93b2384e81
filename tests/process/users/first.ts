// A program's own tests whose first pool is made in the middle of one.

import { BlockPool } from "../../../mod.ts";

for (const backend of ["native", "auto", "heap"] as const) {
  Deno.test({
    name: `a pool on ${backend} memory`,
    sanitizeExit: true,
    sanitizeOps: true,
    sanitizeResources: true,
    async fn() {
      await using pool = new BlockPool({
        blockSize: 4096,
        maxBlocks: 8,
        backend,
      });
      using block = await pool.acquire();
      block.bytes[0] = 1;
    },
  });
}
