// ViewBudget that outlive the pool itself: the last block comes back after `close()` or the end of a
// scope, and with it the memory goes away. In a child, because touching it would be a crash.

import { assertEquals } from "@std/assert";
import { survives } from "./support/child.ts";
import { canRunDeno, hasNative } from "./support/platform.ts";

Deno.test({
  name: "views of the last block to come back are empty once the pool is gone",
  ignore: !hasNative || !canRunDeno,
}, async () => {
  const lines = await survives(async ({ BlockPool }) => {
    for (const safety of ["trust", "revoke", "strict"] as const) {
      for (const blockSize of [64, 70_000]) {
        const pool = new BlockPool({ blockSize, maxBlocks: 8, safety });
        const first = pool.acquireSync();
        const last = pool.acquireSync();
        const kept = [first.bytes, last.bytes.subarray(1), last.bytes];
        pool[Symbol.dispose]();
        // Everything else has gone back by now; these two are whole.
        for (const view of kept) view.fill(1);
        last.release();
        first.release();
        await pool.close();
        let touched = 0;
        for (const view of kept) {
          // Of an empty view this writes nothing and reads nothing.
          view[0] = 2;
          touched += view.length + (view[0] ?? 0);
        }
        console.log(safety, touched, pool.stats().mappedBytes);
      }
    }
  });
  const all = ["trust", "revoke", "strict"].flatMap((safety) => [
    `${safety} 0 0`,
    `${safety} 0 0`,
  ]);
  assertEquals(lines, all);
});
