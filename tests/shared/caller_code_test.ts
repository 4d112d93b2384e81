// Code of the caller that runs in the middle of a call, and closes the pool there or answers otherwise
// the second time: the process lives, and no block is lent twice.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { Control, WORKER } from "../../shared/control.ts";
import { SharedBlockPool } from "../../shared/mod.ts";
import { endedThread } from "../support/ended_thread.ts";
import { provesDeath } from "../support/platform.ts";
import { numbers, sharedPool, whole } from "./pools.ts";
import { Puppet } from "./puppet.ts";
import { refused, rejected } from "../support/misuse.ts";
import { gone } from "../support/invariants.ts";

/** How a caller may end the pool under itself. */
const ENDS: Record<string, (pool: SharedBlockPool) => void> = {
  "close()": (pool) => void pool.close().catch(() => {}),
  "leave()": (pool) => pool.leave(),
};

for (const [how, end] of Object.entries(ENDS)) {
  Deno.test(`acquireMany() is refused when a listener of "grow" calls ${how}`, async () => {
    const pool = sharedPool({ initialBlocks: 1 });
    pool.addEventListener("grow", () => end(pool));
    await rejected("closed", pool.acquireMany(2));
    await gone(pool);
  });

  Deno.test(`a block acquired while a listener of "grow" calls ${how} harms nobody`, async () => {
    const ways = [
      (pool: SharedBlockPool) => pool.acquire(),
      (pool: SharedBlockPool) => pool.acquireMany(1).then(([block]) => block),
      (pool: SharedBlockPool) => pool.acquireSync(),
    ];
    for (const acquire of ways) {
      const pool = sharedPool({ initialBlocks: 1 });
      pool.addEventListener("grow", () => end(pool));
      const block = await acquire(pool);
      if (how === "leave()") refused("released", () => block.bytes);
      else {
        block.bytes.fill(1);
        block.release();
      }
      await gone(pool);
    }
  });

  Deno.test(`adopt() is refused when reading its options calls ${how}`, async () => {
    for (const many of [false, true]) {
      const pool = sharedPool();
      const tickets = pool.detachMany([pool.acquireSync()]);
      const [id, slot, serial] = tickets;
      const options = {
        get tag() {
          end(pool);
          return undefined;
        },
      };
      refused(
        "closed",
        () =>
          many
            ? pool.adoptMany(tickets, options as never)
            : pool.adopt({ pool: id, slot, serial }, options as never),
      );
      await gone(pool);
    }
  });

  Deno.test(`acquire() does not ask its signal what could call ${how}`, async () => {
    const pool = sharedPool();
    const signal = Object.assign(new AbortController().signal, {
      throwIfAborted: () => end(pool),
      addEventListener: () => end(pool),
    });
    (await pool.acquire({ signal })).release();
    const blocks = await pool.acquireMany(4, { signal });
    const waiting = pool.acquire({ signal });
    for (const block of blocks) block.release();
    (await waiting).release();
    whole(pool);
    await pool.close();
  });
}

Deno.test("adopt() reads a ticket once", async () => {
  const pool = sharedPool();
  const [first, second] = await pool.acquireMany(2);
  first.bytes[0] = 1;
  second.bytes[0] = 2;
  const [one, two] = [first.detach(), second.detach()];
  const sly = {
    [Symbol.toPrimitive]: (hint: string) =>
      hint === "string" ? `${one.slot}` : two.slot,
  };
  let reads = 0;
  const ticket = {
    ...one,
    get slot() {
      return reads++ === 0 ? one.slot : sly as never;
    },
  };
  const block = pool.adopt(ticket);
  assertEquals(block.bytes[0], 1);
  refused("foreign-block", () => pool.adopt(one));
  const other = pool.adopt(two);
  assertEquals(other.bytes[0], 2);
  for (const wrong of [{ ...one, slot: sly }, { ...one, serial: sly }]) {
    assertThrows(() => pool.adopt(wrong as never), TypeError);
  }
  block.release();
  other.release();
  whole(pool);
  await pool.close();
});

Deno.test("adoptMany() refuses what only looks like an Int32Array", async () => {
  const pool = sharedPool();
  const tickets = pool.detachMany([pool.acquireSync()]);
  const proxy = new Proxy(tickets, {
    get: (target, key) => Reflect.get(target, key),
  });
  assertThrows(() => pool.adoptMany(proxy), TypeError);
  pool.adoptMany(tickets)[0].release();
  whole(pool);
  await pool.close();
});

Deno.test("attach() reads a handle once, and takes nothing but data", async () => {
  const pool = sharedPool();
  const { handle } = pool;
  const range = { ...handle.range, base: 4096n };
  let reads = 0;
  const sly = {
    ...handle,
    get range() {
      return reads++ === 0 ? handle.range : range;
    },
  };
  const same = SharedBlockPool.attach(sly);
  same.acquireSync().bytes[0] = 1;
  same.leave();
  const toJSON = () => handle.range;
  for (
    const wrong of [
      { ...handle, range },
      { ...handle, range: { ...range, toJSON } },
      { ...handle, range: Object.assign(Object.create({ toJSON }), range) },
    ]
  ) assertThrows(() => SharedBlockPool.attach(wrong), TypeError);
  assertEquals(numbers(pool).attachedWorkers, 1);
  whole(pool);
  await pool.close();
});

for (const [how, end] of Object.entries(ENDS)) {
  Deno.test(`a listener that calls ${how} while the pool is looked after ends it after that`, async () => {
    using time = new FakeTime();
    const pool = sharedPool({
      maxBlocks: 16,
      initialBlocks: 4,
      growStep: 0.5,
      growThreshold: 1,
      ticketTimeoutMs: 300,
      shrinkIntervalMs: 250,
    });
    pool.addEventListener("grow", () => end(pool));
    // These are not adopted: housekeeping takes them back, one by one, and serves what waits.
    pool.detachMany(await pool.acquireMany(3));
    const waiter = pool.acquireMany(16);
    const refusal = rejected("closed", waiter);
    time.tick(1000);
    await refusal;
    assert(pool.closed);
    time.tick(1000);
    gone(pool);
    await time.runMicrotasks();
  });
}

Deno.test("whoever stands still in acquireBlocking() looks after the pool all the same", async () => {
  const pool = sharedPool({ maxBlocks: 1, ticketTimeoutMs: 100 });
  using puppet = await Puppet.start(pool);
  pool.leave();
  const served = await puppet.run(({ pool }) => {
    pool.acquireSync().detach(); // not adopted
    const block = pool.acquireBlocking({ timeoutMs: 20_000 });
    const isClean = block.bytes.every((byte) => byte === 0);
    block.release();
    return isClean;
  });
  assertEquals(served, true);
  await puppet.run(({ pool }) => pool.leave());
});

Deno.test("what housekeeping frees goes to who stands still, not to who waits behind", async () => {
  const pool = sharedPool({ maxBlocks: 1, ticketTimeoutMs: 100 });
  using puppet = await Puppet.start(pool);
  pool.acquireSync().detach(); // not adopted
  pool.leave();
  const order = await puppet.run(async ({ pool }) => {
    const order: string[] = [];
    const waiter = pool.acquire().then((block) => {
      order.push("waited");
      block.release();
    });
    pool.acquireBlocking({ timeoutMs: 20_000 }).release();
    order.push("stood still");
    await waiter;
    pool.leave();
    return order;
  });
  assertEquals(order, ["stood still", "waited"]);
});

Deno.test({
  name: "reclaim() from within a reclaim leaves it to that one",
  ignore: !provesDeath,
  fn: async () => {
    const pool = sharedPool({
      maxBlocks: 32,
      initialBlocks: 16,
      growThreshold: 1,
    });
    const dead = SharedBlockPool.attach(pool.handle);
    const { workerId } = dead;
    const lost = await dead.acquireMany(16);
    const all = pool.acquireMany(20);
    let other: SharedBlockPool | undefined;
    pool.addEventListener("grow", () => {
      if (other !== undefined) return;
      assertEquals(pool.reclaim(workerId), 0);
      other = SharedBlockPool.attach(pool.handle);
      assert(other.workerId !== workerId);
    });
    // Its thread has ended, as far as can be known.
    const control = new Control(32, pool.handle.control);
    const at = control.at(workerId, WORKER.THREAD);
    Atomics.store(control.words, at, await endedThread());
    assertEquals(pool.reclaim(workerId), 16);
    (await all)[Symbol.dispose]();
    assertEquals(lost.length, 16);
    other!.leave();
    whole(pool);
    await pool.close();
  },
});

Deno.test("every block of a batch is watched by itself", async () => {
  using time = new FakeTime();
  const pool = sharedPool({ maxBlocks: 8, overdueMs: 1000 });
  const held: number[] = [];
  pool.addEventListener("overdue", ({ detail }) => held.push(detail.heldMs));
  const blocks = await pool.acquireMany(3);
  const adopted = pool.adoptMany(pool.detachMany(await pool.acquireMany(3)));
  time.tick(900);
  assertEquals(held, []);
  time.tick(1000);
  assertEquals(held.length, 6);
  for (const ms of held) assert(ms >= 1000 && ms <= 1900, `${ms}`);
  for (const block of [...blocks, ...adopted]) block.release();
  whole(pool);
  await pool.close();
});
