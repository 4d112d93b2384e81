// How large a pool is at the start, when it grows, by how much, and where that ends.

import {
  assert,
  assertEquals,
  assertGreater,
  assertLessOrEqual,
} from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { type Block, BlockPool } from "../../mod.ts";
import { lawful } from "../support/invariants.ts";
import { refused, rejected, releaseAll, takeAll } from "../support/misuse.ts";
import {
  committed,
  PAGE,
  pagePool,
  slabOfLines,
  upTo,
} from "../support/sizes.ts";

Deno.test("new BlockPool() commits 20 % of its blocks, at least 1, and the reserved ones", () => {
  const cases: [maxBlocks: number, reservedBlocks: number, initial: number][] =
    [
      [1, 0, 1],
      [2, 0, 1],
      [3, 1, 2],
      [5, 0, 1],
      [6, 2, 4],
      [10, 0, 2],
      [15, 7, 10],
      [100, 0, 20],
    ];
  for (const [maxBlocks, reservedBlocks, initial] of cases) {
    using pool = pagePool({ maxBlocks, reservedBlocks });
    const { committedBlocks, freeBlocks, committedBytes } = lawful(pool);
    assertEquals([committedBlocks, freeBlocks], [initial, initial]);
    assertEquals(committedBytes, initial * PAGE);
  }
});

Deno.test("acquire grows the pool by 10 % of maxBlocks at 80 %, not one block earlier", () => {
  for (const maxBlocks of [1, 2, 3, 7, 10, 15, 33, 100]) {
    using pool = pagePool({ maxBlocks });
    const step = Math.ceil(maxBlocks / 10);
    let expected = Math.ceil(maxBlocks / 5);
    let grows = 0;
    const blocks: Block[] = [];
    for (const used of upTo(maxBlocks)) {
      if (used > expected) throw new Error("it grows before it is empty");
      blocks.push(pool.acquireSync());
      // In integers: used >= 0.8 × committed.
      if (10 * used >= 8 * expected && expected < maxBlocks) {
        expected = Math.min(maxBlocks, expected + step);
        grows++;
      }
      assertEquals(committed(pool), expected, `${used} of ${maxBlocks}`);
    }
    assertEquals(committed(pool), maxBlocks);
    assertEquals(lawful(pool).grows, grows);
    releaseAll(blocks);
  }
});

Deno.test("acquire grows by other thresholds and steps as told", () => {
  using pool = pagePool({
    maxBlocks: 20,
    initialBlocks: 4,
    growThreshold: 1,
    growStep: 0.25,
  });
  const blocks: Block[] = [];
  const sizes = upTo(20).map(() => {
    blocks.push(pool.acquireSync());
    return committed(pool);
  });
  const expected = [4, 4, 4, 9, 9, 9, 9, 9, 14, 14, 14, 14, 14, 19, 19, 19, 19];
  assertEquals(sizes, [...expected, 19, 20, 20]);
  releaseAll(blocks);
});

Deno.test("the pool does not grow again for blocks that come and go", () => {
  using pool = pagePool();
  const blocks = upTo(16).map(() => pool.acquireSync());
  assertEquals(committed(pool), 30);
  for (let round = 0; round < 50; round++) {
    releaseAll(blocks);
    blocks.push(...upTo(23).map(() => pool.acquireSync()));
  }
  assertEquals([committed(pool), lawful(pool).grows], [30, 1]);
  releaseAll(blocks);
});

Deno.test("acquire fails at the limit, and is served again after one release", () => {
  for (const blockSize of [1, 64, 5000, PAGE, 3 * PAGE]) {
    using pool = pagePool({ blockSize, maxBlocks: 30 });
    const blocks = takeAll(pool);
    assertEquals(blocks.length, 30);
    const { committedBlocks, freeBlocks, peakAcquired } = lawful(pool);
    assertEquals([committedBlocks, freeBlocks, peakAcquired], [30, 0, 30]);
    assertEquals(pool.tryAcquire(), undefined);
    refused("exhausted", () => pool.acquireSync());
    blocks.pop()!.release();
    blocks.push(pool.acquireSync());
    assertEquals(pool.tryAcquire(), undefined);
    releaseAll(blocks);
  }
});

Deno.test("acquireMany() grows as many steps as it takes, and leaves the threshold met", async () => {
  using pool = pagePool({ initialBlocks: 1 });
  using many = await pool.acquireMany(45);
  assertEquals([many.length, pool.stats().waits], [45, 0]);
  // 1, 11, … 51 to have 45 free; 45 of 51 is above 80 %, so once more.
  assertEquals(committed(pool), 61);
});

Deno.test("blocks smaller than a page are committed in whole slabs", () => {
  const slab = slabOfLines();
  using pool = new BlockPool({
    blockSize: 10,
    maxBlocks: 10 * slab,
    initialBlocks: 1,
    growStep: 0.001,
  });
  const blocks: Block[] = [];
  const sizes = new Set<number>();
  for (let i = 0; i < 3 * slab; i++) {
    const { committedBlocks, committedBytes } = lawful(pool);
    sizes.add(committedBlocks);
    assertEquals(committedBytes, committedBlocks * 64);
    blocks.push(pool.acquireSync());
  }
  assertEquals([...sizes], [slab, 2 * slab, 3 * slab, 4 * slab]);
  releaseAll(blocks);
});

Deno.test("a last slab that is not full ends the pool at maxBlocks", () => {
  const slab = slabOfLines();
  using pool = new BlockPool({
    blockSize: 64,
    maxBlocks: slab + 3,
    initialBlocks: 1,
  });
  assertEquals(committed(pool), slab);
  const blocks = takeAll(pool);
  assertEquals([blocks.length, committed(pool)], [slab + 3, slab + 3]);
  releaseAll(blocks);
  assertEquals(pool.trim() > 0, true);
  assertEquals(committed(pool), slab);
});

Deno.test("a pool smaller than a slab is committed whole and never grows", () => {
  for (const maxBlocks of [1, 2, 3, 5]) {
    using pool = new BlockPool({ blockSize: 64, maxBlocks });
    assertEquals(committed(pool), maxBlocks);
    const blocks = takeAll(pool);
    assertEquals(blocks.length, maxBlocks);
    assertEquals(lawful(pool).grows, 0);
    releaseAll(blocks);
    assertEquals(pool.trim(), 0);
  }
});

Deno.test("pools of 1, 2 and 3 blocks give all of them, again and again", () => {
  for (const maxBlocks of [1, 2, 3]) {
    for (const blockSize of [64, PAGE]) {
      for (const safety of ["trust", "revoke", "strict"] as const) {
        using pool = pagePool({ blockSize, maxBlocks, safety });
        for (let round = 0; round < 4; round++) {
          const blocks = takeAll(pool);
          assertEquals(blocks.length, maxBlocks);
          for (const block of blocks) block.bytes.fill(1);
          releaseAll(blocks);
          pool.trim();
          lawful(pool);
        }
      }
    }
  }
});

Deno.test("abandoned blocks are replaced, and count no more when the pool decides to grow", () => {
  for (const [maxAbandonedBytes, capacity] of [[undefined, 20], [0, 17]]) {
    using pool = pagePool({
      maxBlocks: 20,
      initialBlocks: 5,
      growStep: 0.05,
      maxAbandonedBytes,
    });
    for (const _ of upTo(3)) pool.acquireSync().abandon();
    assertEquals(committed(pool), 5);
    assertEquals(lawful(pool).capacityBlocks, capacity);
    const held = upTo(3).map(() => pool.acquireSync());
    assertEquals(committed(pool), 5);
    using _fourth = pool.acquireSync();
    assertEquals(committed(pool), 6);
    const more = takeAll(pool);
    assertEquals([committed(pool), more.length], [capacity, capacity! - 4]);
    releaseAll([...held, ...more]);
  }
});

Deno.test("a block of a grown part is as good as one of the first", () => {
  using pool = pagePool();
  const blocks = takeAll(pool);
  const addresses = blocks.map(({ pointer }) =>
    Deno.UnsafePointer.value(pointer)
  );
  assertEquals(new Set(addresses).size, 100);
  blocks.forEach((block, i) => {
    assertEquals(block.bytes.length, PAGE);
    block.bytes.fill(i);
  });
  blocks.forEach((block, i) => assert(block.bytes.every((byte) => byte === i)));
  releaseAll(blocks);
});

Deno.test("prefault changes nothing but when pages come", async () => {
  const pool = pagePool({ prefault: true, initialBlocks: 10 });
  const blocks = takeAll(pool);
  for (const block of blocks) {
    assertEquals(block.bytes[PAGE - 1], 0);
    block.bytes.fill(7);
  }
  assertGreater(lawful(pool).grows, 5);
  for (const block of blocks) assert(block.bytes.every((byte) => byte === 7));
  releaseAll(blocks);
  await pool.close();
  assertEquals(pool.stats().mappedBytes, 0);
});

Deno.test("acquireMany() does not grow the pool for more than can be free", async () => {
  using pool = pagePool();
  const blocks = upTo(10).map(() => pool.acquireSync());
  await rejected("timeout", pool.acquireMany(91, { timeoutMs: 0 }));
  assertEquals(committed(pool), 20);
  for (const block of blocks) block.release();
});

Deno.test("a pool that shrank below those who wait does not grow before they can be served", async () => {
  using time = new FakeTime();
  using pool = pagePool();
  const blocks = upTo(100).map(() => pool.acquireSync());
  const most = pool.acquireMany(95);
  most.catch(() => {});
  for (const block of blocks.splice(10)) block.release();
  time.tick(60_000);
  assertEquals(committed(pool), 90);
  const behind = pool.acquire();
  behind.catch(() => {});
  time.tick(1000);
  assertEquals(committed(pool), 90);
  for (const block of blocks) block.release();
  (await most)[Symbol.dispose]();
  (await behind).release();
});

Deno.test("tryAcquire() comes to an end when a grow listener trims", () => {
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

Deno.test("acquireMany() that waits is served after trim() took what was free", async () => {
  using pool = new BlockPool({
    blockSize: 4096,
    maxBlocks: 2,
    initialBlocks: 1,
  });
  const [a, b] = takeAll(pool);
  const both = pool.acquireMany(2);
  both.catch(() => {});
  b.release();
  pool.trim();
  a.release();
  assertEquals(pool.stats().waiting, 0);
  (await both)[Symbol.dispose]();
});

Deno.test("acquireMany() that waits is served after the pool has shrunk by itself", async () => {
  using time = new FakeTime();
  using pool = new BlockPool({
    blockSize: 4096,
    maxBlocks: 100,
    initialBlocks: 10,
    stallMs: Infinity,
  });
  const blocks = takeAll(pool);
  const most = pool.acquireMany(90);
  most.catch(() => {});
  for (const block of blocks.splice(20)) block.release();
  // 80 of 100 stay free: idle, says the timer, and gives back step by step.
  for (let minute = 0; minute < 10; minute++) time.tick(60_000);
  for (const block of blocks) block.release();
  assertEquals(pool.stats().waiting, 0);
  (await most)[Symbol.dispose]();
});
