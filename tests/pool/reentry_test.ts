// Listeners that use the pool while it is telling them something: the state is complete by then.

import { assertEquals, assertStrictEquals } from "@std/assert";
import { type Block, BlockPool, type PoolOptions } from "../../mod.ts";
import { gone, lawful } from "../support/invariants.ts";
import { addressOf, rejected, releaseAll, takeAll } from "../support/misuse.ts";

/** A pool of 20 pages that grows from 10 by 2, at the 8th block. */
function made(options: Partial<PoolOptions> = {}): BlockPool {
  return new BlockPool({
    blockSize: 16_384,
    maxBlocks: 20,
    initialBlocks: 10,
    ...options,
  });
}

Deno.test("a grow listener may acquire; nobody gets the same block", () => {
  using pool = made();
  const inside: Block[] = [];
  pool.addEventListener("grow", () => {
    inside.push(pool.acquireSync());
    lawful(pool);
  });
  const outside = takeAll(pool);
  assertEquals(inside.length + outside.length, 20);
  const all = [...inside, ...outside];
  assertEquals(new Set(all.map(({ bytes }) => addressOf(bytes))).size, 20);
  assertEquals(lawful(pool).acquiredBlocks, 20);
  releaseAll(all);
});

Deno.test("a grow listener that takes all that came leaves the asker with what is right", () => {
  using pool = made({ initialBlocks: 1, growThreshold: 1 });
  const taken: Block[] = [];
  pool.addEventListener("grow", () => taken.push(...takeAll(pool)));
  const first = pool.acquireSync();
  // The listener was called again for what its own acquires made grow, up to the limit.
  assertEquals(taken.length, 19);
  assertEquals(pool.tryAcquire(), undefined);
  assertEquals(lawful(pool).acquiredBlocks, 20);
  releaseAll([first, ...taken]);
});

Deno.test("a grow listener may release the blocks there were", () => {
  using pool = made();
  const blocks: Block[] = [];
  pool.addEventListener("grow", () => releaseAll(blocks.splice(0)));
  for (let i = 0; i < 40; i++) {
    blocks.push(pool.acquireSync());
    lawful(pool);
  }
  releaseAll(blocks);
  assertEquals(lawful(pool).acquiredBlocks, 0);
});

Deno.test("a grow listener may close the pool; the block just acquired is still good", async () => {
  const pool = made();
  let closing: Promise<void> | undefined;
  pool.addEventListener("grow", () => closing ??= pool.close());
  const blocks: Block[] = [];
  while (!pool.closed) blocks.push(pool.acquireSync());
  assertEquals(blocks.length, 8);
  for (const block of blocks) block.bytes.fill(1);
  await rejected("closed", pool.acquire());
  releaseAll(blocks);
  await closing;
  gone(pool);
});

Deno.test("an exhausted listener may release, and the next acquire is served", () => {
  using pool = made({ maxBlocks: 1, initialBlocks: 1 });
  const block = pool.acquireSync();
  pool.addEventListener("exhausted", () => block.release(), { once: true });
  // This one was refused already: the event tells of it.
  assertEquals(pool.tryAcquire(), undefined);
  const next = pool.acquireSync();
  assertEquals(lawful(pool).acquiredBlocks, 1);
  next.release();
});

Deno.test("a shrink listener may take what is left and make the pool grow again", () => {
  using pool = made();
  releaseAll(takeAll(pool));
  const blocks: Block[] = [];
  pool.addEventListener("shrink", () => blocks.push(...takeAll(pool)));
  pool.trim();
  assertEquals(blocks.length, 20);
  assertEquals(lawful(pool).committedBlocks, 20);
  releaseAll(blocks);
});

Deno.test("a close listener may close again and gets the same promise", async () => {
  const pool = made();
  let inner: Promise<void> | undefined;
  pool.addEventListener("close", () => {
    gone(pool);
    inner = pool.close();
  });
  const outer = pool.close();
  assertStrictEquals(inner, outer);
  await outer;
});
