// Giving memory back in a thousand places must not cut a region into a thousand mappings: a process
// has 65 530 of them on Linux, and V8 ends it when they run out.

import { assertEquals, assertLessOrEqual } from "@std/assert";
import { survives } from "../support/child.ts";
import { canRunDeno, hasNative, hasProc } from "../support/platform.ts";

const ignore = !hasNative || !hasProc || !canRunDeno;

Deno.test({
  name:
    "200 000 blocks released, trimmed and shrunk at random stay in a few mappings",
  ignore,
}, async () => {
  const [told] = await survives(
    async ({ BlockPool }, helper) => {
      const maxBlocks = 200_000;
      const pool = new BlockPool({
        blockSize: 4096,
        maxBlocks,
        initialBlocks: 1,
        shrinkIntervalMs: 20,
      });
      const { mappingsIn } = await import(helper);
      const held = Array.from({ length: maxBlocks }, () => pool.acquireSync());
      const base = BigInt(Deno.UnsafePointer.value(held[0].pointer));
      const maps = (): number => mappingsIn(base, maxBlocks * 4096);
      let most = maps();
      let state = 1;
      // The same numbers each time, and no two neighbours alike.
      const below = (end: number) =>
        (state = Math.imul(state, 1664525) + 1013904223 >>> 0) % end;
      for (let round = 0; round < 60; round++) {
        for (let i = 0; i < 8000 && held.length > 0; i++) {
          const at = below(held.length);
          const block = held[at];
          held[at] = held[held.length - 1];
          held.pop();
          // One in eight has been written to, which is what makes a page.
          if (i % 8 === 0) block.bytes[0] = 1;
          block.release();
        }
        if (round % 3 === 0) pool.trim();
        // Time for the pool to shrink by itself.
        else if (round % 3 === 1) await new Promise((go) => setTimeout(go, 25));
        for (let i = 0; i < 3000; i++) held.push(pool.acquireSync());
        most = Math.max(most, maps());
      }
      for (const block of held) block.release();
      const { shrinks, abandonedBlocks } = pool.stats();
      pool.trim();
      most = Math.max(most, maps());
      await pool.close();
      const { mappedBytes } = pool.stats();
      console.log(
        JSON.stringify({ most, shrinks, abandonedBlocks, mappedBytes }),
      );
    },
    [],
    [import.meta.resolve("../support/maps.ts")],
  );
  const { most, shrinks, abandonedBlocks, mappedBytes } = JSON.parse(told);
  assertLessOrEqual(20, shrinks);
  // What is committed, what is not yet, and perhaps a neighbour joined to it.
  assertLessOrEqual(most, 3);
  assertEquals([abandonedBlocks, mappedBytes], [0, 0]);
});
