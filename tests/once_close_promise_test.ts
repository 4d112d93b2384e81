// Once: BlockPool.close() wraps the one promise of the closing in a new one at
// each call (Promise.try). Who handles one of them has not handled the others:
// an `await using` scope that also calls close() ends the process.

import { assertEquals, assertStrictEquals } from "@std/assert";
import { BlockPool } from "@smriti/pool";
import { survives } from "./support/child.ts";
import "./support/open_library.ts";

Deno.test(
  "later calls of close() get the first one's promise",
  async () => {
    const pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
    const first = pool.close();
    assertStrictEquals(pool.close({ timeoutMs: 5 }), first);
    await first;
  },
);

Deno.test(
  "close() that runs out of time is handled once for all who called it",
  async () => {
    const lines = await survives(async ({ BlockPool }) => {
      const pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
      const block = pool.acquireSync();
      // A signal handler that fires twice, say; the server awaits the second.
      pool.close({ timeoutMs: 1 });
      console.log(await pool.close().catch(({ code }) => code));
      block.release();
      await new Promise((resolve) => setTimeout(resolve, 5));
    });
    assertEquals(lines, ["timeout"]);
  },
);
