// acquireMany: all or nothing, in one place of the queue.

import {
  assertEquals,
  assertExists,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { deadline } from "@std/async";
import { type Block, BlockPool } from "@smriti/pool";
import { lawful } from "../support/invariants.ts";
import { addressOf, microtasks, rejected, takeAll } from "../support/misuse.ts";

const THREE = { blockSize: 64, maxBlocks: 3 };

Deno.test("acquireMany() gives that many blocks, none of them twice", async () => {
  using pool = new BlockPool(THREE);
  using blocks = await pool.acquireMany(3, { tag: "batch" });
  assertEquals(blocks.length, 3);
  assertEquals(new Set(blocks.map(({ bytes }) => addressOf(bytes))).size, 3);
  assertEquals(blocks.map(({ tag }) => tag), ["batch", "batch", "batch"]);
  assertEquals(lawful(pool).acquiredBlocks, 3);
  assertEquals(pool.stats().acquires, 3);
});

Deno.test("acquireMany() gives an array also for a count of 1", async () => {
  using pool = new BlockPool(THREE);
  using blocks = await pool.acquireMany(1);
  assertEquals(blocks.length, 1);
});

Deno.test("acquireMany() takes nothing before it can take all", async () => {
  using pool = new BlockPool(THREE);
  const held = takeAll(pool);
  const wanted = pool.acquireMany(3);
  held[0].release();
  held[1].release();
  await microtasks();
  assertEquals([lawful(pool).acquiredBlocks, pool.stats().waiting], [1, 1]);
  held[2].release();
  (await wanted)[Symbol.dispose]();
});

Deno.test("acquireMany() takes nothing when it ends unserved", async () => {
  using pool = new BlockPool(THREE);
  const [a, b, c] = takeAll(pool);
  const controller = new AbortController();
  const wanted = pool.acquireMany(3, { signal: controller.signal });
  a.release();
  b.release();
  controller.abort("enough");
  assertStrictEquals(await wanted.catch((reason) => reason), "enough");
  await rejected("timeout", pool.acquireMany(3, { timeoutMs: 0 }));
  assertEquals([lawful(pool).freeBlocks, pool.stats().acquires], [2, 3]);
  c.release();
});

Deno.test("acquireMany() at the head holds back all behind it", async () => {
  using pool = new BlockPool(THREE);
  const [a, b, c] = takeAll(pool);
  const order: string[] = [];
  const note = (name: string) => () => order.push(name);
  const two = pool.acquireMany(2);
  two.then(note("two"));
  const one = pool.acquire();
  one.then(note("one"));
  a.release();
  await microtasks();
  assertEquals(order, []);
  // The last is free for the one behind as soon as two were enough.
  b.release();
  c.release();
  await microtasks();
  assertEquals(order, ["two", "one"]);
  (await two)[Symbol.dispose]();
  (await one).release();
});

Deno.test("acquireMany() for reserved blocks goes before the others", async () => {
  using pool = new BlockPool(THREE);
  const held = takeAll(pool);
  const normal = pool.acquire();
  const urgent = pool.acquireMany(3, { reserved: true });
  held[0].release();
  held[1].release();
  assertEquals(lawful(pool).waiting, 2);
  held[2].release();
  assertEquals(lawful(pool).waiting, 1);
  (await urgent)[Symbol.dispose]();
  (await normal).release();
});

Deno.test("two tasks that need two of two blocks cannot deadlock", async () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 2 });
  const task = async () => {
    for (let round = 0; round < 50; round++) {
      using blocks = await pool.acquireMany(2);
      assertEquals(lawful(pool).acquiredBlocks, 2);
      blocks[0].bytes[0] = 1;
      await microtasks();
    }
  };
  await deadline(Promise.all([task(), task()]), 5_000);
  assertEquals(lawful(pool).acquires, 200);
});

Deno.test("acquireMany() refuses at once what can never be met", async () => {
  using pool = new BlockPool({
    blockSize: 64,
    maxBlocks: 5,
    reservedBlocks: 2,
  });
  await rejected("exhausted", pool.acquireMany(4));
  await rejected("exhausted", pool.acquireMany(6, { reserved: true }));
  await rejected("exhausted", pool.acquireMany(2 ** 53 - 1));
  assertEquals(pool.stats().exhaustions, 3);
  assertEquals(lawful(pool).waits, 0);
  (await pool.acquireMany(3))[Symbol.dispose]();
  (await pool.acquireMany(5, { reserved: true }))[Symbol.dispose]();
});

Deno.test("abandon() serves those who wait with the block that takes the place", async () => {
  using pool = new BlockPool(THREE);
  const [a, b, c] = takeAll(pool);
  const { exhaustions } = pool.stats();
  const three = pool.acquireMany(3);
  const behind = pool.acquireMany(2);
  a.release();
  b.release();
  assertEquals(lawful(pool).waiting, 2);
  c.abandon();
  assertEquals([lawful(pool).waiting, pool.stats().abandonedBlocks], [1, 1]);
  (await three)[Symbol.dispose]();
  (await behind)[Symbol.dispose]();
  assertEquals(pool.stats().exhaustions, exhaustions);
  // One was all that may be kept beside the pool: the next costs a block.
  const four = pool.acquireMany(3);
  (await four)[0].abandon();
  await rejected("exhausted", pool.acquireMany(3));
  (await four)[Symbol.dispose]();
  assertEquals(lawful(pool).freeBlocks, 2);
});

Deno.test("abandon() past the bound refuses those who now wait for what can never come, and serves the rest", async () => {
  using pool = new BlockPool({ ...THREE, maxAbandonedBytes: 0 });
  const [a, b, c] = takeAll(pool);
  const { exhaustions } = pool.stats();
  const hopeless = pool.acquireMany(3);
  const behind = pool.acquireMany(2);
  const last = pool.acquire();
  a.release();
  b.release();
  assertEquals(lawful(pool).waiting, 3);
  c.abandon();
  assertEquals([lawful(pool).waiting, pool.stats().abandonedBlocks], [1, 1]);
  await rejected("exhausted", hopeless);
  (await behind)[Symbol.dispose]();
  (await last).release();
  assertEquals(pool.stats().exhaustions, exhaustions + 1);
  // From now on three are refused at once.
  await rejected("exhausted", pool.acquireMany(3));
});

Deno.test("abandon() of the only block serves who waits, in their order", async () => {
  using pool = new BlockPool({
    blockSize: 64,
    maxBlocks: 1,
    maxAbandonedBytes: Infinity,
  });
  const block = pool.acquireSync();
  const normal = pool.acquire();
  const urgent = pool.acquire({ reserved: true });
  block.abandon();
  (await urgent).abandon();
  (await normal).abandon();
  using _next = pool.acquireSync();
  const { waiting, abandonedBlocks, capacityBlocks } = lawful(pool);
  assertEquals([waiting, abandonedBlocks, capacityBlocks], [0, 3, 1]);
});

Deno.test("abandon() of the last block past the bound refuses every acquire, waiting or new", async () => {
  using pool = new BlockPool({
    blockSize: 64,
    maxBlocks: 1,
    maxAbandonedBytes: 0,
  });
  const block = pool.acquireSync();
  const waits = [pool.acquire(), pool.acquire({ reserved: true })];
  block.abandon();
  for (const waiter of waits) await rejected("exhausted", waiter);
  await rejected("exhausted", pool.acquire());
  assertEquals(pool.tryAcquire(), undefined);
  assertEquals(lawful(pool).waiting, 0);
});

Deno.test("the array of acquireMany() releases when disposed what is left of it", async () => {
  using pool = new BlockPool(THREE);
  {
    using blocks = await pool.acquireMany(3);
    blocks[1].release();
    assertEquals(lawful(pool).acquiredBlocks, 2);
    // Another lease has it now and must keep it.
    const other = pool.tryAcquire();
    assertExists(other);
    queueMicrotask(() => other.release());
  }
  assertEquals(lawful(pool).acquiredBlocks, 1);
  await microtasks();
  assertEquals(lawful(pool).acquiredBlocks, 0);
  assertEquals(pool.stats().doubleReleases, 0);
});

Deno.test("the array of acquireMany() hands its blocks to waiters one by one", async () => {
  using pool = new BlockPool(THREE);
  const blocks = await pool.acquireMany(3);
  const waits = [pool.acquire(), pool.acquire()];
  blocks[Symbol.dispose]();
  blocks[Symbol.dispose]();
  assertEquals([lawful(pool).waiting, pool.stats().freeBlocks], [0, 1]);
  for (const waiter of waits) (await waiter).release();
});

Deno.test("acquireMany() keeps its disposer out of sight of loops over the array", async () => {
  using pool = new BlockPool(THREE);
  using blocks = await pool.acquireMany(2);
  assertEquals(Object.keys(blocks), ["0", "1"]);
  const seen: Block[] = [];
  for (const block of blocks) seen.push(block);
  assertEquals(seen.length, 2);
});

Deno.test("acquireMany() rejects with closed after close and while it waits", async () => {
  using pool = new BlockPool(THREE);
  const held = takeAll(pool);
  const waiting = pool.acquireMany(3);
  pool[Symbol.dispose]();
  await rejected("closed", waiting);
  await rejected("closed", pool.acquireMany(1));
  const error = await assertRejects(() => pool.acquireMany(0));
  assertEquals(error instanceof RangeError, true);
  for (const block of held) block.release();
});
