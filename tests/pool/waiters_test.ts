// Waiting for a block: who is served when, and every way out of the queue.

import {
  assert,
  assertEquals,
  assertExists,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { getEventListeners } from "node:events";
import { type Block, BlockPool, type PoolOptions } from "@smriti/pool";
import { FailingBackend } from "../support/failing_backend.ts";
import { lawful } from "../support/invariants.ts";
import { microtasks, refused, rejected, takeAll } from "../support/misuse.ts";
import { hasNative } from "../support/platform.ts";

const ONE = { blockSize: 64, maxBlocks: 1 };

/** Who was served, in order; each passes the block on at once. */
function line(log: string[], name: string, acquired: Promise<Block>) {
  return acquired.then((block) => {
    log.push(name);
    block.release();
  });
}

Deno.test("acquire() serves waiters in the order they came", async () => {
  using pool = new BlockPool(ONE);
  const block = pool.acquireSync();
  const log: string[] = [];
  const names = Array.from({ length: 20 }, (_, i) => `${i}`);
  const waits = names.map((name) => line(log, name, pool.acquire()));
  assertEquals(lawful(pool).waiting, 20);
  block.release();
  await Promise.all(waits);
  assertEquals(log, names);
  assertEquals(lawful(pool).waiting, 0);
  assertEquals(pool.stats().waits, 20);
});

Deno.test("acquire() serves reserved waiters before the others, each kind in order", async () => {
  using pool = new BlockPool(ONE);
  const block = pool.acquireSync();
  const log: string[] = [];
  const waits = [
    line(log, "a", pool.acquire()),
    line(log, "b", pool.acquire()),
    line(log, "urgent a", pool.acquire({ reserved: true })),
    line(log, "urgent b", pool.acquire({ reserved: true })),
  ];
  block.release();
  await Promise.all(waits);
  assertEquals(log, ["urgent a", "urgent b", "a", "b"]);
});

Deno.test("release() hands the block to the waiter before anybody else can ask", async () => {
  using pool = new BlockPool(ONE);
  const block = pool.acquireSync();
  const waiter = pool.acquire();
  block.release();
  // The waiter's code has not run yet, but the block is already his.
  assertEquals(lawful(pool).waiting, 0);
  assertEquals(lawful(pool).acquiredBlocks, 1);
  assertEquals(pool.tryAcquire(), undefined);
  (await waiter).release();
});

Deno.test("nobody overtakes a waiter, even with a block free", async () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 2 });
  const [a, b] = takeAll(pool);
  const both = pool.acquireMany(2);
  a.release();
  assertEquals(lawful(pool).freeBlocks, 1);
  assertEquals(pool.tryAcquire(), undefined);
  assertEquals(pool.tryAcquire({ tag: "me first" }), undefined);
  refused("exhausted", () => pool.acquireSync());
  await rejected("timeout", pool.acquire({ timeoutMs: 0 }));
  const behind = pool.acquire();
  assertEquals(lawful(pool).freeBlocks, 1);
  b.release();
  (await both)[Symbol.dispose]();
  (await behind).release();
});

Deno.test("tryAcquire() for a reserved block yields to reserved waiters only", async () => {
  using pool = new BlockPool({
    blockSize: 64,
    maxBlocks: 5,
    initialBlocks: 5,
    reservedBlocks: 2,
  });
  const blocks = takeAll(pool);
  const normal = pool.acquire();
  // Two are free for urgent callers, and the one who waits is not urgent.
  const urgent = pool.tryAcquire({ reserved: true });
  assertExists(urgent);
  const both = pool.acquireMany(2, { reserved: true });
  assertEquals(pool.stats().freeBlocks, 1);
  assertEquals(pool.tryAcquire({ reserved: true }), undefined);
  urgent.release();
  (await both)[Symbol.dispose]();
  blocks.pop()!.release();
  (await normal).release();
  for (const block of blocks) block.release();
  assertEquals(lawful(pool).freeBlocks, 5);
});

Deno.test("acquire() times out after timeoutMs, not before, and the next is served", async () => {
  using time = new FakeTime();
  using pool = new BlockPool({ ...ONE, name: "small" });
  const block = pool.acquireSync();
  const late = pool.acquire({ timeoutMs: 100 });
  const patient = pool.acquire();
  time.tick(99);
  assertEquals(lawful(pool).waiting, 2);
  time.tick(1);
  assertEquals(lawful(pool).waiting, 1);
  const error = await rejected("timeout", late);
  assert(error.message.includes("100 ms"), error.message);
  assertEquals(pool.stats().timeouts, 1);
  block.release();
  (await patient).release();
  assertEquals(lawful(pool).freeBlocks, pool.stats().committedBlocks);
});

Deno.test("acquire() that is served in time never times out afterwards", async () => {
  using time = new FakeTime();
  using pool = new BlockPool(ONE);
  const block = pool.acquireSync();
  const waiter = pool.acquire({ timeoutMs: 100 });
  time.tick(99);
  block.release();
  time.tick(1_000);
  using served = await waiter;
  assertEquals(served.released, false);
  assertEquals(pool.stats().timeouts, 0);
});

Deno.test("acquire() leaves no timer behind when it is served or closed", async () => {
  // Real time: the test runner complains about a timer that is still there.
  using pool = new BlockPool(ONE);
  const block = pool.acquireSync();
  const served = pool.acquire({ timeoutMs: 60_000 });
  const refusedLater = pool.acquire({ timeoutMs: 60_000 });
  block.release();
  using _block = await served;
  pool[Symbol.dispose]();
  await rejected("closed", refusedLater);
});

Deno.test("acquire() with timeoutMs 0 tries once and never queues", async () => {
  using pool = new BlockPool(ONE);
  const block = await pool.acquire({ timeoutMs: 0 });
  await rejected("timeout", pool.acquire({ timeoutMs: 0 }));
  assertEquals(
    [pool.stats().waits, pool.stats().waiting, pool.stats().timeouts],
    [0, 0, 1],
  );
  block.release();
  (await pool.acquire({ timeoutMs: 0 })).release();
});

Deno.test("acquire() ends with the signal's reason when aborted while it waits", async () => {
  using pool = new BlockPool(ONE);
  const block = pool.acquireSync();
  const controller = new AbortController();
  const given = pool.acquire({ signal: controller.signal });
  const patient = pool.acquire();
  const reason = new Error("client left");
  controller.abort(reason);
  assertEquals(lawful(pool).waiting, 1);
  assertStrictEquals(await assertRejects(() => given), reason);
  assertEquals(getEventListeners(controller.signal, "abort").length, 0);
  block.release();
  (await patient).release();
  assertEquals(lawful(pool).acquiredBlocks, 0);
});

Deno.test("acquire() has one outcome when abort comes in the tick of a release()", async () => {
  for (const releaseFirst of [true, false]) {
    using pool = new BlockPool(ONE);
    const block = pool.acquireSync();
    const controller = new AbortController();
    const waiter = pool.acquire({ signal: controller.signal });
    if (releaseFirst) block.release();
    controller.abort();
    block[Symbol.dispose]();
    // Served first: the block must reach it, or no code could release it.
    if (releaseFirst) (await waiter).release();
    else await assertRejects(() => waiter, DOMException);
    assertEquals(lawful(pool).freeBlocks, 1);
  }
});

Deno.test("acquire() has one outcome when its time is over in the tick of a release()", async () => {
  for (const releaseFirst of [true, false]) {
    using time = new FakeTime();
    using pool = new BlockPool(ONE);
    const block = pool.acquireSync();
    const release = () => block.release();
    if (releaseFirst) setTimeout(release, 50);
    const waiter = pool.acquire({ timeoutMs: 50 });
    if (!releaseFirst) setTimeout(release, 50);
    time.tick(50);
    if (releaseFirst) (await waiter).release();
    else await rejected("timeout", waiter);
    assertEquals(lawful(pool).freeBlocks, 1);
    assertEquals(pool.stats().timeouts, releaseFirst ? 0 : 1);
  }
});

Deno.test("acquire() leaves no listener on the signal, whatever the outcome", async () => {
  using time = new FakeTime();
  using pool = new BlockPool(ONE);
  const { signal } = new AbortController();
  const listeners = () => getEventListeners(signal, "abort").length;

  (await pool.acquire({ signal })).release();
  assertEquals(listeners(), 0);

  const block = pool.acquireSync();
  const served = pool.acquire({ signal });
  const late = pool.acquire({ signal, timeoutMs: 10 });
  assertEquals(listeners(), 1);
  time.tick(10);
  await rejected("timeout", late);
  assertEquals(listeners(), 1);
  block.release();
  using _served = await served;
  assertEquals(listeners(), 0);

  const closed = pool.acquire({ signal });
  assertEquals(listeners(), 1);
  pool[Symbol.dispose]();
  await rejected("closed", closed);
  assertEquals(listeners(), 0);
});

Deno.test("acquire() is refused at once when maxWaiting wait already", async () => {
  using pool = new BlockPool({ ...ONE, maxWaiting: 2 });
  const block = pool.acquireSync();
  const waits = [pool.acquire(), pool.acquire()];
  await rejected("exhausted", pool.acquire());
  await rejected("exhausted", pool.acquire({ reserved: true }));
  assertEquals(pool.stats().exhaustions, 2);
  assertEquals(lawful(pool).waiting, 2);
  block.release();
  (await waits[0]).release();
  (await waits[1]).release();
});

Deno.test("acquire() with maxWaiting 0 takes a free block and never waits", async () => {
  using pool = new BlockPool({ ...ONE, maxWaiting: 0 });
  const block = await pool.acquire();
  await rejected("exhausted", pool.acquire());
  block.release();
  (await pool.acquire()).release();
});

Deno.test("acquire() says closed rather than aborted, and rather than exhausted", async () => {
  using pool = new BlockPool({ ...ONE, maxWaiting: 0 });
  using _block = pool.acquireSync();
  pool[Symbol.dispose]();
  await rejected("closed", pool.acquire({ signal: AbortSignal.abort() }));
  await rejected("closed", pool.acquire({ timeoutMs: 0 }));
  await rejected("closed", pool.acquire());
});

Deno.test("cancelling the head of the queue serves those behind it", async () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 3 });
  const [a, b, c] = takeAll(pool);
  const controller = new AbortController();
  const { signal } = controller;
  const head = pool.acquireMany(3, { signal });
  const behind = [pool.acquire(), pool.acquire(), pool.acquire()];
  a.release();
  b.release();
  assertEquals(lawful(pool).freeBlocks, 2);
  controller.abort();
  assertEquals([lawful(pool).waiting, pool.stats().freeBlocks], [1, 0]);
  await assertRejects(() => head, DOMException);
  c.release();
  for (const waiter of behind) (await waiter).release();
});

Deno.test("a head whose time is over serves those behind it", async () => {
  using time = new FakeTime();
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 2 });
  const [a, b] = takeAll(pool);
  const head = pool.acquireMany(2, { timeoutMs: 10 });
  const behind = pool.acquire();
  a.release();
  time.tick(10);
  await rejected("timeout", head);
  (await behind).release();
  b.release();
});

Deno.test("cancelling from the middle keeps the order of the others", async () => {
  using pool = new BlockPool(ONE);
  const block = pool.acquireSync();
  const log: string[] = [];
  const controllers = [..."abcdefg"].map((name) => {
    const controller = new AbortController();
    const { signal } = controller;
    line(log, name, pool.acquire({ signal })).catch(() => log.push(`-${name}`));
    return controller;
  });
  await microtasks();
  for (const place of [3, 0, 6, 4]) controllers[place].abort();
  await microtasks();
  block.release();
  await microtasks();
  assertEquals(log.join(""), "-d-a-g-ebcf");
});

Deno.test("10 000 waiters share one signal by one listener, and all leave at once", async () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 2 });
  const [a, b] = takeAll(pool);
  const controller = new AbortController();
  const { signal } = controller;
  const waits = Array.from({ length: 10_000 }, () => pool.acquire({ signal }));
  const other = pool.acquire();
  assertEquals(getEventListeners(signal, "abort").length, 1);
  const settled = Promise.allSettled(waits);
  // Deno takes long over promises that are rejected before they are awaited.
  await microtasks();
  // One is served before; the rest is told.
  a.release();
  controller.abort("enough");
  const outcomes = await settled;
  assertEquals(outcomes.filter((o) => o.status === "fulfilled").length, 1);
  for (const [i, outcome] of outcomes.entries()) {
    if (outcome.status === "fulfilled") outcome.value.release();
    else assertEquals(outcome.reason, "enough", `waiter ${i}`);
  }
  assertEquals(getEventListeners(signal, "abort").length, 0);
  b.release();
  (await other).release();
  assertEquals(lawful(pool).freeBlocks, 2);
});

const refusing: BlockPool[] = [];

// The sanitizers would find the timer of the next attempt.
for (const how of ["served", "aborted", "out of time"] as const) {
  Deno.test({
    name:
      `one who waits for memory that the OS refuses and is ${how} leaves no timer`,
    ignore: !hasNative,
  }, async () => {
    using backend = new FailingBackend();
    // Closing would stop the timer, too.
    const pool = new BlockPool({
      blockSize: 65_536,
      maxBlocks: 2,
      initialBlocks: 1,
    });
    backend.fails = (call) => call === "commit";
    const block = pool.acquireSync();
    const controller = new AbortController();
    const { signal } = controller;
    const timeoutMs = how === "out of time" ? 1 : 10_000;
    const waits = pool.acquire({ signal, timeoutMs }).then(
      (block) => block.release(),
      () => {},
    );
    await microtasks();
    if (how === "served") block.release();
    if (how === "aborted") controller.abort();
    await waits;
    block[Symbol.dispose]();
    refusing.push(pool);
  });
}

Deno.test("and their pools are closed", async () => {
  for (const pool of refusing.splice(0)) await pool.close();
});

const TRUSTED: PoolOptions = {
  blockSize: 4096,
  maxBlocks: 2,
  initialBlocks: 1,
  safety: "trust",
};

/** A pool of which one block is held, the other's buffer is gone, and an acquire waits for both. */
function waitedFor(maxAbandonedBytes?: number) {
  const pool = new BlockPool({ ...TRUSTED, maxAbandonedBytes });
  const [a, b] = takeAll(pool);
  const raw = b.bytes;
  const both = pool.acquireMany(2);
  both.catch(() => {});
  b.release();
  structuredClone(raw, { transfer: [raw.buffer] });
  pool.trim();
  assertEquals(lawful(pool).abandonedBlocks, 1);
  return { pool, a, both };
}

Deno.test("trim() that finds a buffer gone refuses those who now wait in vain", async () => {
  const { pool, a, both } = waitedFor(0);
  assertEquals(pool.stats().waiting, 0);
  await rejected("exhausted", both);
  a.release();
  await pool.close();
});

Deno.test("trim() that finds a buffer gone has it replaced for those who wait", async () => {
  const { pool, a, both } = waitedFor();
  const { waiting, committedBlocks, capacityBlocks } = lawful(pool);
  // It is above the initial blocks, so the same trim has given its memory back.
  assertEquals([waiting, committedBlocks, capacityBlocks], [1, 1, 2]);
  a.release();
  (await both)[Symbol.dispose]();
  await pool.close();
});

Deno.test("acquire() with a signal that overrides its methods is served all the same", async () => {
  using pool = new BlockPool(ONE);
  const block = pool.acquireSync();
  const signal = Object.assign(new AbortController().signal, {
    addEventListener() {
      throw new Error("no listeners here");
    },
  });
  const waiting = pool.acquire({ signal });
  assertEquals(lawful(pool).waiting, 1);
  block.release();
  (await waiting).release();
  assertEquals(lawful(pool).freeBlocks, 1);
});
