// A listener whose own calls bring about what it listens for was told of it again inside itself,
// until the stack ran out in the middle of whatever the pool was doing.

import { assertEquals } from "@std/assert";
import { type Block, BlockPool } from "../mod.ts";
import { gone, lawful } from "./support/invariants.ts";
import { takeAll } from "./support/misuse.ts";
import "./support/open_library.ts";

Deno.test("an exhausted listener that asks again is told once per refusal from outside", async () => {
  const pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  const block = pool.acquireSync();
  let told = 0;
  pool.addEventListener("exhausted", () => {
    told++;
    assertEquals(pool.tryAcquire(), undefined);
  });
  for (let ask = 1; ask <= 3; ask++) {
    assertEquals(pool.tryAcquire(), undefined);
    assertEquals(told, ask);
  }
  const { exhaustions, listenerErrors } = lawful(pool);
  // Each refusal is counted, those that the listener met too.
  assertEquals([exhaustions, listenerErrors], [6, 0]);
  block.release();
  await pool.close();
  gone(pool);
});

Deno.test("listeners that undo each other's grow and shrink come to an end", () => {
  using pool = new BlockPool({
    blockSize: 16_384,
    maxBlocks: 20,
    initialBlocks: 1,
  });
  const told: string[] = [];
  pool.addEventListener("grow", () => {
    told.push("grow");
    pool.trim();
  });
  pool.addEventListener("shrink", () => {
    told.push("shrink");
    for (const block of takeAll(pool)) block.release();
    pool.trim();
  });
  const blocks: Block[] = takeAll(pool);
  assertEquals(blocks.length > 0, true);
  for (const block of blocks) block.release();
  pool.trim();
  assertEquals(lawful(pool).listenerErrors, 0);
  assertEquals(told.slice(0, 2), ["grow", "shrink"]);
});
