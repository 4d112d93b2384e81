// SharedBlockPool in one isolate: what is its own. What it shares with BlockPool is held to the same
// model in shared_model_test.ts.

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertNotStrictEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { type Block, BlockPool, SmritiError } from "@smriti/pool";
import { SharedBlockPool, type SharedPoolHandle } from "../../shared/mod.ts";
import { HEADER } from "../../shared/control.ts";
import {
  isThere,
  numbers,
  PAGE,
  sharedPool,
  whole,
  widePool,
} from "./pools.ts";
import { gone } from "../support/invariants.ts";
import { addressOf, refused, rejected, until } from "../support/misuse.ts";
import { hasProc, provesDeath } from "../support/platform.ts";

Deno.test("create() refuses by name what makes no sense for many isolates", () => {
  const size = { blockSize: 64, maxBlocks: 4 };
  const wrong: [object, RegExp][] = [
    [{ ...size, safety: "trust" }, /^safety must be "revoke".*"trust".*Worker/],
    [{ ...size, safety: "strict" }, /^safety must be "revoke".*"strict"/],
    [{ ...size, backend: "heap" }, /^backend must be "native".*"heap"/],
    [{ ...size, backend: "auto" }, /^backend must be "native".*"auto"/],
    [{ ...size, prefault: true }, /^prefault must be false.*true/],
    [{ ...size, ticketTimeoutMs: 0 }, /^ticketTimeoutMs must be .* got 0/],
    [{ ...size, ticketTimeoutMs: 1.5 }, /^ticketTimeoutMs must be /],
    [{ ...size, ticketTimeoutMs: "1" }, /^ticketTimeoutMs must be .*"1"/],
    [{ ...size, ticketTimeoutMs: 2 ** 31 }, /^ticketTimeoutMs must be /],
    [
      { ...size, ticketTimeout: 5 },
      /option "ticketTimeout".*, ticketTimeoutMs$/,
    ],
    [{ ...size, maxBlocks: 0 }, /^maxBlocks must be /],
    [{ blockSize: 64 }, /^maxBlocks must be /],
    [[], /^options must be an object/],
  ];
  for (const [options, message] of wrong) {
    const error = assertThrows(() => SharedBlockPool.create(options as never));
    assert(error instanceof TypeError || error instanceof RangeError);
    assertMatch(error.message, message);
  }
  for (const nothing of [undefined, null, 5, "x"]) {
    assertThrows(() => SharedBlockPool.create(nothing as never), TypeError);
  }
});

Deno.test("null is no options of a shared pool's acquires", async () => {
  await using pool = sharedPool();
  for (
    const acquire of [
      () => pool.acquire(null as never),
      () => pool.use(() => {}, null as never),
      () => pool.acquireMany(1, null as never),
      async () => await pool.tryAcquire(null as never),
      async () => await pool.acquireSync(null as never),
    ]
  ) {
    await assertRejects(acquire, TypeError, "options must be an object");
  }
  assertEquals(numbers(pool).acquiredBlocks, 0);
});

Deno.test("a shared pool is all there is to have, and create(), attach() and join() alone make one", async () => {
  assertEquals(Object.keys(await import("../../shared/mod.ts")), [
    "SharedBlockPool",
  ]);
  const Made = SharedBlockPool as never as new (...args: unknown[]) => object;
  for (const args of [[], [Symbol("inside"), {}], [{}, {}]]) {
    assertThrows(() => new Made(...args), TypeError, "create()");
  }
});

Deno.test("create() takes every option that changes nothing here", async () => {
  const pool = SharedBlockPool.create({
    blockSize: 64,
    maxBlocks: 4,
    safety: "revoke",
    backend: "native",
    zero: false,
    name: "all said",
    leakDetection: "off",
    overdueMs: 50,
    ticketTimeoutMs: undefined,
    ...{ prefault: false },
  });
  const { name, blockSize, maxBlocks, backend, closed, workerId } = pool;
  assertEquals([name, blockSize, maxBlocks], ["all said", 64, 4]);
  assertEquals([backend, closed, workerId], ["native", false, 1]);
  assertMatch(
    Deno.inspect(pool),
    /^SharedBlockPool\("all said", 0 of .*worker 1\)/,
  );
  await pool.close();
  assertMatch(Deno.inspect(pool), /, closed\)$/);
});

Deno.test("create() that finds no room for its words says out-of-memory and maps nothing", () => {
  const { SharedArrayBuffer } = globalThis;
  globalThis.SharedArrayBuffer = class {
    constructor() {
      throw new RangeError("Array buffer allocation failed");
    }
  } as never;
  try {
    const error = refused("out-of-memory", () => sharedPool());
    assertInstanceOf(error.cause, RangeError);
  } finally {
    globalThis.SharedArrayBuffer = SharedArrayBuffer;
  }
});

Deno.test("the handle survives a structured clone, and attach() sees the same pool", async () => {
  const pool = sharedPool();
  const other = SharedBlockPool.attach(structuredClone(pool.handle));
  assertEquals([pool.workerId, other.workerId], [1, 2]);
  const block = pool.acquireSync();
  assertEquals(numbers(other).acquiredBlocks, 1);
  assertEquals({ ...numbers(other) }, { ...numbers(pool) });
  assertEquals(numbers(pool).attachedWorkers, 2);
  block.release();
  other.leave();
  assertEquals([other.closed, pool.closed], [true, false]);
  assertEquals(numbers(pool).attachedWorkers, 1);
  await pool.close();
});

Deno.test("attach() refuses what is no handle, or not as the pool made it", async () => {
  const pool = sharedPool();
  const { handle } = pool;
  const junk = [
    undefined,
    null,
    5,
    "x",
    {},
    [],
    { control: new SharedArrayBuffer(8) },
    { ...handle, control: new ArrayBuffer(8) },
    { ...handle, control: new SharedArrayBuffer(0) },
    { ...handle, control: new SharedArrayBuffer(handle.control.byteLength) },
    { ...handle, range: undefined },
    { ...handle, range: { ...handle.range, base: handle.range.base + 4096n } },
    { ...handle, options: { ...handle.options, blockSize: 2 ** 30 } },
    { ...handle, options: { ...handle.options, maxBlocks: 5 } },
    { ...handle, options: { ...handle.options, zero: false } },
    pool,
  ];
  for (const each of junk) {
    const error = assertThrows(() => SharedBlockPool.attach(each as never));
    assertInstanceOf(error, TypeError, Deno.inspect(each));
    assertStringIncludes(error.message, "handle");
  }
  const foreign = { ...handle, pid: handle.pid + 1 };
  refused("unsupported", () => SharedBlockPool.attach(foreign));
  const copy = new Int32Array(handle.control.byteLength / 4);
  copy.set(new Int32Array(handle.control));
  copy[HEADER.VERSION]++;
  const newer = new SharedArrayBuffer(handle.control.byteLength);
  new Int32Array(newer).set(copy);
  const error = refused(
    "unsupported",
    () => SharedBlockPool.attach({ ...handle, control: newer }),
  );
  assertStringIncludes(error.message, `version ${copy[HEADER.VERSION]}`);
  assertEquals(numbers(pool).attachedWorkers, 1);
  await pool.close();
});

Deno.test("attach() refuses a handle whose values are of other types, which look alike as text", async () => {
  const pool = sharedPool();
  const { handle } = pool;
  const { options, range } = handle;
  const alike = [...Object.entries(options), ...Object.entries(range)]
    .filter(([, value]) => value !== undefined)
    .flatMap(([name, value]) => [[name, Object(value)], [name, `${value}`]])
    .filter(([name, value]) => (options as never)[`${name}`] !== value);
  for (const [name, value] of alike) {
    const which = name in options ? "options" : "range";
    const forged = { ...handle, [which]: { ...handle[which], [name]: value } };
    const error = assertThrows(() => SharedBlockPool.attach(forged as never));
    assertInstanceOf(error, TypeError, `${name} ${Deno.inspect(value)}`);
  }
  assertEquals(numbers(pool).attachedWorkers, 1);
  await pool.close();
});

Deno.test("attach() to a pool that is closed or closing says closed", async () => {
  const pool = sharedPool();
  const block = pool.acquireSync();
  const closed = pool.close();
  refused("closed", () => SharedBlockPool.attach(pool.handle));
  block.release();
  await closed;
  refused("closed", () => SharedBlockPool.attach(pool.handle));
  gone(pool);
});

Deno.test("the 255th attach() is exhausted; an id that left is free again", async () => {
  const pool = sharedPool();
  const all: SharedBlockPool[] = [];
  for (let i = 0; i < 253; i++) all.push(SharedBlockPool.attach(pool.handle));
  const ids = new Set([pool, ...all].map(({ workerId }) => workerId));
  assertEquals(ids.size, 254);
  const message = refused(
    "exhausted",
    () => SharedBlockPool.attach(pool.handle),
  ).message;
  assertStringIncludes(message, "254");
  // Those who come last work as well as the first.
  const block = all[252].acquireSync();
  assertEquals(numbers(all[0]).acquiredBlocks, 1);
  block.release();
  all[100].leave();
  const again = SharedBlockPool.attach(pool.handle);
  assertEquals(again.workerId, all[100].workerId);
  assertEquals(numbers(pool).attachedWorkers, 254);
  for (const each of [...all, again]) each.leave();
  assertEquals(numbers(pool).attachedWorkers, 1);
  await pool.close();
});

Deno.test("release() of a block of another pool, or of the same pool's other attachment, is refused", async () => {
  const pool = sharedPool();
  const other = SharedBlockPool.attach(pool.handle);
  const block = pool.acquireSync();
  refused("foreign-block", () => other.release(block));
  assertThrows(() => pool.release({} as Block), TypeError);
  pool.release(block);
  refused("released", () => block.release());
  refused("released", () => pool.release(block));
  assertEquals(numbers(other).doubleReleases, 2);
  other.leave();
  await pool.close();
});

Deno.test("what one attachment releases another gets zeroed; views die with the lease", async () => {
  const pool = sharedPool({ maxBlocks: 1 });
  const other = SharedBlockPool.attach(pool.handle);
  const first = pool.acquireSync();
  const view = first.bytes.fill(9);
  const part = view.subarray(3);
  const address = addressOf(view);
  first.release();
  assertEquals([view.length, part.length], [0, 0]);
  using second = other.acquireSync();
  assertEquals(addressOf(second.bytes), address);
  assert(second.bytes.every((byte) => byte === 0));
  assertNotStrictEquals(second.bytes, view);
  second.release();
  other.leave();
  await pool.close();
});

Deno.test("leave() gives held blocks back, abandons lent ones and ends every view", async () => {
  const pool = sharedPool({ maxBlocks: 3 });
  const other = SharedBlockPool.attach(pool.handle);
  const held = other.acquireSync({ tag: "held" });
  const lent = other.acquireSync({ tag: "lent" });
  const views = [held.bytes.fill(1), lent.bytes.fill(2)];
  const gate = Promise.withResolvers<void>();
  const lend = lent.lend(gate.promise);
  const waiter = other.acquireMany(3);
  assertEquals(numbers(pool).waiting, 1);
  const events: unknown[] = [];
  other.addEventListener("close", ({ detail }) => events.push(detail));
  other.leave();
  await rejected("closed", waiter);
  assertEquals(views.map(({ length }) => length), [0, 0]);
  assertEquals([held.released, lent.released], [true, true]);
  const stats = numbers(pool);
  assertEquals([stats.freeBlocks, stats.abandonedBlocks], [3, 1]);
  assertEquals([stats.waiting, stats.lentBlocks], [0, 0]);
  // A call that comes late breaks nothing.
  held.release();
  other.leave();
  await other.close();
  other[Symbol.dispose]();
  refused("closed", () => other.tryAcquire());
  refused("released", () => held.bytes);
  assertEquals([other.trim(), other.reclaim(1)], [0, 0]);
  gate.resolve();
  await lend;
  assertEquals(numbers(pool), stats);
  assertEquals(events.length, 1);
  assertEquals(pool.closed, false);
  const again = pool.acquireSync();
  assert(again.bytes.every((byte) => byte === 0));
  again.release();
  // The operation may still write to the abandoned block: the addresses stay.
  await pool.close();
  assert(numbers(pool).mappedBytes > 0);
});

Deno.test({
  name:
    "the last one to leave unmaps; a handle of the pool is then worth nothing",
  ignore: !hasProc,
  fn: () => {
    const pool = widePool();
    const other = SharedBlockPool.attach(pool.handle);
    assert(isThere(pool));
    pool.acquireSync().bytes.fill(1);
    pool.leave();
    assert(isThere(other));
    other.acquireSync().bytes.fill(1);
    other.leave();
    assert(!isThere(pool));
    gone(pool);
    gone(other);
    refused("closed", () => SharedBlockPool.attach(pool.handle));
  },
});

Deno.test("close() ends the pool for all attachments, and waits for what any of them holds", async () => {
  const pool = sharedPool({ maxBlocks: 2 });
  const other = SharedBlockPool.attach(pool.handle);
  const block = other.acquireSync();
  const waiter = other.acquireMany(2);
  const closed = pool.close();
  await rejected("closed", waiter);
  for (const attachment of [pool, other]) {
    refused("closed", () => attachment.tryAcquire());
    refused("closed", () => attachment.adopt({ pool: 1, slot: 1, serial: 1 }));
    await rejected("closed", attachment.acquire());
    assertEquals([attachment.closed, attachment.trim()], [true, 0]);
  }
  block.bytes[0] = 1;
  block.release();
  await closed;
  await other.close();
  for (const attachment of [pool, other]) gone(attachment);
});

Deno.test("close() twice gives the same end, and dispose without waiting ends it, too", async () => {
  const pool = sharedPool();
  const events: unknown[] = [];
  pool.addEventListener("close", ({ detail }) => events.push(detail));
  await Promise.all([pool.close(), pool.close({ timeoutMs: 0 })]);
  await pool[Symbol.asyncDispose]();
  assertEquals(events, [{
    pool: "smriti",
    abandonedBlocks: 0,
    mappedBytes: 0,
  }]);
  const second = sharedPool();
  const block = second.acquireSync();
  second[Symbol.dispose]();
  assertEquals(second.closed, true);
  block.release();
  gone(second);
  await assertRejects(() => pool.close({ timeoutMs: -1 }), RangeError);
});

Deno.test("close() that runs out of time tells the tags here and revokes them", async () => {
  const pool = sharedPool({ name: "late" });
  const other = SharedBlockPool.attach(pool.handle);
  const here = pool.acquireSync({ tag: "request 7" });
  const there = other.acquireSync({ tag: "elsewhere" });
  const view = here.bytes;
  const { message } = await rejected("timeout", pool.close({ timeoutMs: 30 }));
  for (const word of ['"late"', "30 ms", "1 blocks", '"request 7"', ": 1"]) {
    assertStringIncludes(message, word);
  }
  assertEquals([view.length, here.released], [0, true]);
  // The other one goes on with its block.
  there.bytes.fill(1);
  there.release();
  await until(() => numbers(pool).committedBlocks === 0);
  const stats = numbers(pool);
  assertEquals([stats.abandonedBlocks, stats.acquiredBlocks], [1, 0]);
  here.release();
  await rejected("timeout", pool.close());
});

Deno.test("a held block that is never released is told as overdue, a dropped pool object's is not", async () => {
  const pool = sharedPool({ overdueMs: 20 });
  const told = Promise.withResolvers<string | undefined>();
  pool.addEventListener("overdue", ({ detail }) => told.resolve(detail.tag));
  const block = pool.acquireSync({ tag: "slow" });
  // The timer is unref'd.
  const keep = setInterval(() => {}, 1000);
  assertEquals(await told.promise, "slow");
  clearInterval(keep);
  block.release();
  await pool.close();
});

Deno.test("acquireBlocking() is refused outside Workers", async () => {
  const pool = sharedPool();
  refused("unsupported", () => pool.acquireBlocking());
  await pool.close();
});

Deno.test("reclaim() takes nothing from those whose thread runs", async () => {
  const pool = sharedPool();
  const other = SharedBlockPool.attach(pool.handle);
  const block = other.acquireSync();
  assertEquals(pool.reclaim({}), 0);
  assertEquals([pool.reclaim(pool.workerId), pool.reclaim(200)], [0, 0]);
  if (provesDeath) assertEquals(pool.reclaim(other.workerId), 0);
  for (const wrong of [0, 255, 1.5, NaN]) {
    assertThrows(() => pool.reclaim(wrong), RangeError);
  }
  for (const wrong of [undefined, null, "1"]) {
    assertThrows(() => pool.reclaim(wrong as never), TypeError);
  }
  assertEquals(numbers(pool).acquiredBlocks, 1);
  block.release();
  other.leave();
  await pool.close();
});

Deno.test("a block of a BlockPool has no tickets, and its pool does not know shared ones", async () => {
  using local = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  using block = local.acquireSync();
  refused("unsupported", () => block.detach());
  const pool = sharedPool();
  refused("foreign-block", () => pool.release(block));
  refused("foreign-block", () => pool.detachMany([block]));
  const shared = pool.acquireSync();
  refused("foreign-block", () => local.release(shared));
  shared.release();
  whole(pool);
  await pool.close();
});

Deno.test("a listener that closes, releases or acquires does not break what tells it", async () => {
  const pool = sharedPool({ maxBlocks: 12, initialBlocks: 1, growStep: 0.1 });
  const taken: Block[] = [];
  let depth = 0;
  pool.addEventListener("grow", () => {
    if (depth++ > 5) return;
    const block = pool.tryAcquire();
    if (block !== undefined) taken.push(block);
    taken.shift()?.release();
  });
  const blocks = await pool.acquireMany(6);
  numbers(pool);
  for (const block of [...blocks, ...taken]) block.release();
  const all = await pool.acquireMany(12);
  const waits = [pool.acquire(), pool.acquireMany(12), pool.acquire()];
  pool.addEventListener("exhausted", () => pool[Symbol.dispose]());
  assertEquals(pool.tryAcquire(), undefined);
  for (const wait of waits) await rejected("closed", wait);
  all[Symbol.dispose]();
  gone(pool);
});

Deno.test("small blocks share pages, and shared pools of them keep the law", async () => {
  for (const [blockSize, maxBlocks] of [[1, 300], [100, 77], [5000, 9]]) {
    const pool = SharedBlockPool.create({ blockSize, maxBlocks });
    const other = SharedBlockPool.attach(pool.handle);
    const blocks = await pool.acquireMany(maxBlocks);
    const stamps = new Set(blocks.map(({ bytes }, i) => {
      bytes.fill(i);
      return addressOf(bytes);
    }));
    assertEquals(stamps.size, maxBlocks);
    blocks.forEach(({ bytes }, i) => assert(bytes.every((b) => b === i % 256)));
    assertEquals(numbers(other).committedBlocks, maxBlocks);
    blocks[Symbol.dispose]();
    assert(other.trim() > 0 || maxBlocks <= numbers(pool).committedBlocks);
    other.leave();
    await pool.close();
  }
});

Deno.test("SmritiError of a shared pool is the same class as of the others", async () => {
  const pool = sharedPool();
  await pool.close();
  const error = assertThrows(() => pool.acquireSync());
  assertInstanceOf(error, SmritiError);
  const handle: SharedPoolHandle = pool.handle;
  assert(Object.isFrozen(handle) && Object.isFrozen(handle.options));
  assertEquals(PAGE, pool.blockSize);
});
