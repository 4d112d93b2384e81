// Once: the bound on quarantine is one per pool. Thirty strict pools of 8192 one-page blocks use up
// `vm.max_map_count` (65 530 on Linux) between them, and V8 ends the process. Fix: count the slots
// that are inaccessible over all pools of the isolate and, beyond some 8192 of them, admit a slot
// with the pattern alone, without `forbid` (as it is done already where the OS refuses). When it is
// in, move this test to strict_test.ts.

import { assertEquals } from "@std/assert";
import { survives } from "./support/child.ts";
import { canRunDeno, hasNative, hasProc } from "./support/platform.ts";

Deno.test({
  name: "many strict pools together keep far below the limit of mappings",
  ignore: !hasNative || !hasProc || !canRunDeno,
}, async () => {
  const lines = await survives(({ BlockPool }) => {
    const pools = [];
    for (let i = 0; i < 12; i++) {
      const pool = new BlockPool({
        blockSize: 4096,
        maxBlocks: 8192,
        safety: "strict",
      });
      const blocks = Array.from({ length: 4096 }, () => pool.acquireSync());
      for (const block of blocks.filter((_, at) => at % 4 === 0)) {
        block.bytes[0] = 1;
        block.release();
      }
      // Kept: a pool that is collected would not be told from one that is bounded.
      pools.push(pool, blocks);
    }
    const maps = Deno.readTextFileSync("/proc/self/maps").split("\n").length;
    console.log(maps < 20_000 ? "far below" : `${maps} mappings`, pools.length);
  });
  assertEquals(lines, ["far below 24"]);
});
