// A block that native I/O works on belongs to the I/O until it settles.

import {
  assert,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { deadline, delay } from "@std/async";
import { type Block, BlockPool } from "@smriti/pool";
import { Fifo, say, wire } from "../support/connections.ts";
import { gone, lawful } from "../support/invariants.ts";
import {
  addressOf,
  microtasks,
  refused,
  rejected,
  takeAll,
  until,
} from "../support/misuse.ts";
import { hasPipes } from "../support/platform.ts";

const ONE = { blockSize: 64, maxBlocks: 1 };
const TWO = { blockSize: 64, maxBlocks: 2 };
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const ignore = !hasPipes;

Deno.test("lend() gives what the operation gives and is lent meanwhile", async () => {
  using pool = new BlockPool(ONE);
  using block = pool.acquireSync();
  const gate = Promise.withResolvers<number>();
  const operations = [
    gate.promise,
    () => gate.promise,
    // Anything with a `then` counts.
    { then: gate.promise.then.bind(gate.promise) } as PromiseLike<number>,
  ];
  const lends = operations.map((operation) => block.lend(operation));
  // Blocks are counted, not operations.
  assertEquals(lawful(pool).lentBlocks, 1);
  gate.resolve(7);
  assertEquals(await Promise.all(lends), [7, 7, 7]);
  assertEquals(await block.lend(() => 8), 8);
  assertEquals(lawful(pool).lentBlocks, 0);
});

Deno.test("lend() hands fn the block's bytes", async () => {
  using pool = new BlockPool(ONE);
  using block = pool.acquireSync();
  const given = await block.lend((bytes) => bytes);
  assertStrictEquals(given, block.bytes);
});

Deno.test("lend(fn) that gives undefined rejects, and its block leaves the pool", async () => {
  for (const safety of ["trust", "revoke", "strict"] as const) {
    for (const options of [undefined, { socket: true }]) {
      using pool = new BlockPool({ ...TWO, safety });
      using net = await wire();
      let address = 0n;
      let read: Promise<unknown>;
      const { ours } = net;
      const error = await assertRejects(async () => {
        using block = pool.acquireSync();
        // As a function does that forgets to return what it has begun.
        await block.lend((bytes) => {
          address = addressOf(bytes);
          read = ours.read(bytes);
        }, options);
      }, TypeError);
      assertStringIncludes(error.message, "lend()");
      assertStringIncludes(error.message, "return");
      const stats = lawful(pool);
      assertEquals([stats.abandonedBlocks, stats.lentBlocks], [1, 0]);
      assertEquals(stats.acquiredBlocks, 0);
      // What it has begun is answered, into memory that no other lease gets.
      await say(net.peer, "late");
      await read!;
      using next = pool.tryAcquire();
      if (next !== undefined) {
        assertNotEquals(addressOf(next.bytes), address);
        assertEquals(text(next.bytes), "\0".repeat(64));
      }
    }
  }
});

Deno.test("lend() of what is no function and no promise names the value and both", async () => {
  using pool = new BlockPool(ONE);
  using block = pool.acquireSync();
  for (const wrong of [undefined, null, 5, "x", {}, [], block.bytes]) {
    const error = await assertRejects(
      () => block.lend(wrong as never),
      TypeError,
    );
    assertStringIncludes(
      error.message,
      "operation must be a function or a promise, got ",
    );
  }
  assertEquals(lawful(pool).lentBlocks, 0);
});

Deno.test("lend(fn) takes every other result, a promise of undefined too", async () => {
  using pool = new BlockPool(ONE);
  using block = pool.acquireSync();
  for (const result of [null, 0, "", false, NaN, 7n, { a: 1 }, []]) {
    assertEquals(await block.lend(() => result), result);
  }
  const nothing: (() => PromiseLike<unknown>)[] = [
    async () => {},
    () => Promise.resolve(undefined),
    () => ({ then: (resolve) => resolve!(undefined as never) as never }),
  ];
  for (const fn of nothing) assertEquals(await block.lend(fn), undefined);
  assertEquals(await block.lend(Promise.resolve()), undefined);
  assertEquals(lawful(pool).acquiredBlocks, 1);
});

Deno.test("lend(fn) that gives undefined spares no operation that runs besides", async () => {
  using pool = new BlockPool(ONE);
  const block = pool.acquireSync();
  const gate = Promise.withResolvers<number>();
  const other = block.lend(gate.promise);
  await assertRejects(() => block.lend(() => {}), TypeError);
  assertEquals(lawful(pool).abandonedBlocks, 1);
  await rejected("released", block.lend(() => 1));
  gate.resolve(5);
  assertEquals(await other, 5);
  block.release();
  assertEquals(lawful(pool).lentBlocks, 0);
});

Deno.test("lend() rejects with the operation's error and the block goes on", async () => {
  using pool = new BlockPool(ONE);
  const block = pool.acquireSync();
  const failure = new Error("disk");
  const thrower = () => {
    throw failure;
  };
  const failing = [Promise.reject(failure), thrower, () => {
    return Promise.reject(failure);
  }];
  for (const operation of failing) {
    const error = await assertRejects(() => block.lend<void>(operation));
    assertStrictEquals(error, failure);
    assertEquals(lawful(pool).lentBlocks, 0);
  }
  block.bytes[0] = 1;
  block.release();
  assertEquals(lawful(pool).freeBlocks, 1);
});

Deno.test("lend() on a released block rejects and does not start fn", async () => {
  using pool = new BlockPool(ONE);
  const block = pool.acquireSync();
  block.release();
  const never = () => assert(false, "the operation must not start");
  await rejected("released", block.lend(never));
  assertEquals(lawful(pool).lentBlocks, 0);
});

Deno.test("release() of a block lent several times takes effect after the last settles", async () => {
  using pool = new BlockPool(ONE);
  const block = pool.acquireSync();
  const gates = [1, 2, 3].map(() => Promise.withResolvers<void>());
  const lends = gates.map((gate) => block.lend(gate.promise));
  const waiter = pool.acquire();
  block.release();
  assertEquals(block.released, true);
  for (const i of [1, 0]) {
    gates[i].resolve();
    await lends[i];
    assertEquals([lawful(pool).lentBlocks, pool.stats().waiting], [1, 1]);
    refused("released", () => block.bytes);
  }
  gates[2].reject(new Error("late"));
  await assertRejects(() => lends[2]);
  assertEquals([lawful(pool).lentBlocks, pool.stats().waiting], [0, 0]);
  (await waiter).release();
});

Deno.test("use() returns while a lend runs on, and the block comes back afterwards", async () => {
  using pool = new BlockPool(ONE);
  const gate = Promise.withResolvers<void>();
  await pool.use((block) => void block.lend(gate.promise));
  assertEquals(pool.tryAcquire(), undefined);
  gate.resolve();
  await microtasks();
  assertEquals(lawful(pool).freeBlocks, 1);
});

Deno.test("abandon() of a lent block takes it out at once; settling changes nothing", async () => {
  using pool = new BlockPool(TWO);
  const block = pool.acquireSync();
  const gate = Promise.withResolvers<string>();
  const lent = block.lend(gate.promise);
  block.abandon();
  const before = lawful(pool);
  assertEquals([before.abandonedBlocks, before.lentBlocks], [1, 0]);
  gate.resolve("late");
  assertEquals(await lent, "late");
  assertEquals(lawful(pool), before);
});

Deno.test("a TCP read that ends after release() never shows its bytes to the next owner", async () => {
  using pool = new BlockPool(ONE);
  using net = await wire();
  const block = pool.acquireSync();
  const address = addressOf(block.bytes);
  const kept = block.bytes;
  const read = block.lend((bytes) => net.ours.read(bytes));
  const next = pool.acquire();
  block.release();
  await delay(5);
  assertEquals([lawful(pool).lentBlocks, pool.stats().waiting], [1, 1]);
  await say(net.peer, "late bytes");
  assertEquals(await read, 10);
  using owner = await next;
  assertEquals(addressOf(owner.bytes), address);
  assertEquals(owner.bytes, new Uint8Array(64));
  assertEquals(kept.length, 0);
});

Deno.test("a race that gives up on a TCP read leaves the block with the read", async () => {
  using pool = new BlockPool(TWO);
  using net = await wire();
  let read: Promise<number | null>;
  {
    using block = pool.acquireSync();
    read = block.lend((bytes) => net.ours.read(bytes));
    // The commonest mistake: losing a race does not stop a read.
    await Promise.race([read, delay(2)]);
  }
  using other = pool.acquireSync();
  assertEquals(pool.tryAcquire(), undefined);
  await say(net.peer, "too late");
  assertEquals(await read, 8);
  assertEquals(other.bytes, new Uint8Array(64));
  using again = pool.acquireSync();
  assertEquals(again.bytes, new Uint8Array(64));
});

Deno.test("a TCP read cut by conn.close() frees the block with socket, abandons it without", async () => {
  for (const socket of [true, false]) {
    using pool = new BlockPool(ONE);
    using net = await wire();
    const block = pool.acquireSync();
    const lent = block.lend((bytes) => net.ours.read(bytes), { socket });
    await delay(2);
    net.ours.close();
    await assertRejects(() => lent, Deno.errors.Interrupted);
    assertEquals(block.released, !socket);
    block.release();
    const { freeBlocks, abandonedBlocks, abandonedBytes } = lawful(pool);
    assertEquals(freeBlocks, 1);
    assertEquals([abandonedBlocks, abandonedBytes], socket ? [0, 0] : [1, 64]);
  }
});

Deno.test({
  name:
    "a pipe read cut by close() writes later, into a block that nobody gets",
  ignore,
  async fn() {
    using pool = new BlockPool({ ...TWO, initialBlocks: 2 });
    await using fifo = await Fifo.open();
    const block = pool.acquireSync();
    const { bytes } = block;
    const address = addressOf(bytes);
    // SAFETY: an abandoned slot stays mapped; this is what the reader's thread sees of it.
    const raw = new Uint8Array(
      Deno.UnsafePointerView.getArrayBuffer(block.pointer, 64),
    );
    const read = block.lend(() => fifo.reader.read(bytes));
    await delay(5);
    fifo.reader.close();
    await assertRejects(() => read, Deno.errors.Interrupted);
    assertEquals(block.released, true);
    assertEquals(lawful(pool).abandonedBlocks, 1);
    // In a `finally`, this must not hide the error above.
    block.release();
    // What is read from now on must reach no lease.
    assertEquals(bytes.length, 0);
    const others = takeAll(pool);
    assertEquals(others.length, 2);
    await fifo.say("LATE");
    // The reader's thread is still at work: this is why it is abandoned.
    await until(() => text(raw.subarray(0, 4)) === "LATE");
    for (const other of others) {
      assert(addressOf(other.bytes) !== address);
      assertEquals(other.bytes, new Uint8Array(64));
      other.release();
    }
  },
});

Deno.test({
  name:
    "a pipe read cut after release() is abandoned, and its waiter gets a fresh block",
  ignore,
  async fn() {
    using pool = new BlockPool(ONE);
    await using fifo = await Fifo.open();
    const block = pool.acquireSync();
    const address = addressOf(block.bytes);
    // SAFETY: as above.
    const raw = new Uint8Array(
      Deno.UnsafePointerView.getArrayBuffer(block.pointer, 64),
    );
    const read = block.lend((bytes) => fifo.reader.read(bytes));
    const waiter = pool.acquire();
    block.release();
    await delay(5);
    assertEquals(lawful(pool).waiting, 1);
    fifo.reader.close();
    await assertRejects(() => read, Deno.errors.Interrupted);
    using fresh = await waiter;
    const { abandonedBlocks, capacityBlocks, releases } = lawful(pool);
    assertEquals([abandonedBlocks, capacityBlocks, releases], [1, 1, 0]);
    await fifo.say("LATE");
    await until(() => text(raw.subarray(0, 4)) === "LATE");
    assert(addressOf(fresh.bytes) !== address);
    assertEquals(fresh.bytes, new Uint8Array(64));
  },
});

Deno.test({
  name: "a cut read among several lends abandons the block at once",
  ignore,
  async fn() {
    using pool = new BlockPool({ ...TWO, initialBlocks: 2 });
    await using fifo = await Fifo.open();
    const block = pool.acquireSync();
    const gate = Promise.withResolvers<void>();
    const read = block.lend((bytes) => fifo.reader.read(bytes));
    const other = block.lend(gate.promise);
    await delay(5);
    fifo.reader.close();
    await assertRejects(() => read, Deno.errors.Interrupted);
    assertEquals(lawful(pool).abandonedBlocks, 1);
    gate.resolve();
    await other;
    assertEquals(lawful(pool).abandonedBlocks, 1);
    await fifo.say("LATE");
  },
});

Deno.test({
  name: "a pipe read that is answered fills the block and gives it back",
  ignore,
  async fn() {
    using pool = new BlockPool(ONE);
    await using fifo = await Fifo.open();
    using block = pool.acquireSync();
    const read = block.lend((bytes) => fifo.reader.read(bytes));
    await fifo.say("hello");
    assertEquals(await read, 5);
    assertEquals(text(block.bytes.subarray(0, 5)), "hello");
  },
});

Deno.test("close() waits for a lent block that was released, then unmaps", async () => {
  const pool = new BlockPool(ONE);
  using net = await wire();
  const block = pool.acquireSync();
  const read = block.lend((bytes) => net.ours.read(bytes));
  block.release();
  const closed = pool.close({ timeoutMs: 60_000 });
  await delay(2);
  assert(pool.stats().mappedBytes > 0);
  await say(net.peer, "late");
  assertEquals(await read, 4);
  await deadline(closed, 5_000);
  assertEquals(lawful(pool).mappedBytes, 0);
});

// A lent operation's result is searched for a returned buffer, which may run the caller's code. Whatever
// that does, the block comes back or is counted as lost, and its memory gets no second buffer.

/** Takes a view's buffer away and keeps it. */
function steal(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return structuredClone(bytes, { transfer: [bytes.buffer] });
}

/** An object of which looking at a property throws. */
function mined(name: string, more: object = {}): object {
  return Object.defineProperty(more, name, {
    get() {
      throw new Error("mine");
    },
  });
}

async function counts(lent: (block: Block) => Promise<unknown>) {
  const pool = new BlockPool({ blockSize: 64, maxBlocks: 4 });
  const block = pool.acquireSync();
  const pending = lent(block);
  block.release();
  await pending;
  const { acquiredBlocks, lentBlocks, abandonedBlocks } = lawful(pool);
  await pool.close();
  if (abandonedBlocks === 0) gone(pool);
  return { acquiredBlocks, lentBlocks, abandonedBlocks };
}

const LOST = { acquiredBlocks: 0, lentBlocks: 0, abandonedBlocks: 1 };

Deno.test("a result that throws when it is looked at loses its block, and says so", async () => {
  const kept: unknown[] = [];
  assertEquals(
    await counts((block) =>
      block.lend((bytes) => {
        kept.push(steal(bytes));
        return mined("value");
      })
    ),
    LOST,
  );
});

Deno.test("a result that throws when asked whether it was cancelled is taken for what it is", async () => {
  const kept: Uint8Array[] = [];
  for (const result of [mined("done"), mined("value", { done: true })]) {
    const told = await counts(async (block) => {
      const given = await block.lend((bytes) => {
        kept.push(steal(bytes));
        return result;
      }, { socket: true });
      assertStrictEquals(given, result);
    });
    // The memory is still in use.
    assertEquals(told, LOST);
  }
});

Deno.test("an error that throws when it is looked at may stand for a read that goes on", async () => {
  const error = new Proxy(new Error("opaque"), {
    getPrototypeOf() {
      throw new Error("mine");
    },
  });
  const told = await counts((block) =>
    block.lend((bytes) => {
      bytes.fill(1);
      return Promise.reject(error);
    }).catch(() => {})
  );
  assertEquals(told, LOST);
});

Deno.test("an interrupted read costs its block also when the error was wrapped", async () => {
  const wrap = (cause: unknown) => new Error("upload failed", { cause });
  const circle = new Error("a circle");
  circle.cause = circle;
  const errors: [unknown, number][] = [
    [wrap(new Deno.errors.Interrupted()), 1],
    [wrap(wrap(new Deno.errors.Interrupted())), 1],
    [wrap(new Deno.errors.ConnectionReset()), 0],
    [circle, 0],
    [undefined, 0],
  ];
  for (const [error, abandonedBlocks] of errors) {
    const told = await counts((block) =>
      block.lend((bytes) => {
        bytes.fill(1);
        return Promise.reject(error);
      }).catch(() => {})
    );
    assertEquals(told, { ...LOST, abandonedBlocks });
  }
});

Deno.test("a block lent anew while the result is looked at waits for that, too", async () => {
  await using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  const gate = Promise.withResolvers<void>();
  const block = pool.acquireSync();
  let second: Promise<void> | undefined;
  let looked = 0;
  await block.lend((bytes) => {
    const stolen = steal(bytes);
    return {
      get value() {
        looked++;
        second = block.lend(gate.promise);
        block.release();
        return stolen;
      },
    };
  });
  assertEquals(looked, 1);
  const { lentBlocks, acquiredBlocks } = lawful(pool);
  assertEquals([lentBlocks, acquiredBlocks], [1, 1]);
  assertEquals(pool.tryAcquire(), undefined);
  gate.resolve();
  await second;
  assertEquals(lawful(pool).freeBlocks, 1);
});

Deno.test("a lend that ends with Interrupted is no longer counted in lentBlocks", async () => {
  for (const isReleased of [false, true]) {
    using pool = new BlockPool(ONE);
    const block = pool.acquireSync();
    const read = Promise.withResolvers<void>();
    const lent = block.lend(read.promise);
    if (isReleased) block.release();
    read.reject(new Deno.errors.Interrupted("closed"));
    await assertRejects(() => lent, Deno.errors.Interrupted);
    const { abandonedBlocks, lentBlocks } = pool.stats();
    assertEquals([abandonedBlocks, lentBlocks], [1, 0]);
    lawful(pool);
  }
});
