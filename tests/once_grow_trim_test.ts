// Once: `Sizer.growTo()` loops while fewer blocks are free than it wants, and a listener that gives
// the new ones back at once keeps it there for ever. Fix: as many turns as the way to `maxBlocks`
// has steps, `for (let left = maxBlocks; …; left -= growBy)`, or leave when a grow freed nothing.

import { assert, assertLessOrEqual } from "@std/assert";
import { BlockPool } from "../mod.ts";
import "./support/open_library.ts";

Deno.test({
  name: "tryAcquire() comes to an end when a grow listener trims",
}, () => {
  using pool = new BlockPool({
    blockSize: 16_384,
    maxBlocks: 20,
    initialBlocks: 1,
  });
  let calls = 0;
  pool.addEventListener("grow", () => {
    // The limit is what ends this test; a pool of 20 has no more than 19 steps to take.
    if (++calls < 1000) pool.trim();
  });
  const block = pool.acquireSync();
  const more = pool.tryAcquire();
  assert(calls > 0);
  assertLessOrEqual(calls, 40);
  more?.release();
  block.release();
});
