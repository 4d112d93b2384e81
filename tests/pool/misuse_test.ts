// What a pool answers to those who use it wrongly: an error that says so, and
// nothing else changed.

import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { type Block, BlockPool } from "@smriti/pool";
import { lawful } from "../support/invariants.ts";
import { microtasks, refused, rejected, takeAll } from "../support/misuse.ts";

const ONE = { blockSize: 64, maxBlocks: 1 };

/** What every use of an ended lease must be answered with. */
async function refusesAllUse(block: Block): Promise<void> {
  refused("released", () => block.bytes);
  refused("released", () => block.pointer);
  refused("released", () => block.abandon());
  refused("released", () => block.reattach(new Uint8Array(64)));
  await rejected("released", block.lend(() => Promise.resolve()));
  await rejected("released", block.lend(Promise.resolve()));
}

Deno.test("release() a second time throws released and is counted", () => {
  using pool = new BlockPool({ ...ONE, name: "uploads" });
  const block = pool.acquireSync({ tag: "request 7" });
  block.release();
  const error = refused("released", () => block.release());
  assertStringIncludes(error.message, '"request 7"');
  assertStringIncludes(error.message, '"uploads"');
  refused("released", () => pool.release(block));
  refused("released", () => block.release(1));
  assertEquals(lawful(pool).doubleReleases, 3);
  assertEquals(pool.stats().releases, 1);
  assertEquals(lawful(pool).freeBlocks, 1);
});

Deno.test("[Symbol.dispose]() on a released block does nothing and counts nothing", () => {
  using pool = new BlockPool(ONE);
  const block = pool.acquireSync();
  block.release();
  block[Symbol.dispose]();
  block[Symbol.dispose]();
  assertEquals(lawful(pool).doubleReleases, 0);
  assertEquals(pool.stats().releases, 1);
});

Deno.test("a stale handle cannot touch the lease that has the memory now", async () => {
  using pool = new BlockPool(ONE);
  for (const tag of [undefined, "first"]) {
    const stale = pool.acquireSync({ tag });
    stale.bytes.fill(1);
    stale.release();
    const owner = pool.acquireSync({ tag: "second" });
    owner.bytes.fill(2);
    refused("released", () => stale.release());
    refused("released", () => pool.release(stale));
    stale[Symbol.dispose]();
    await refusesAllUse(stale);
    assertEquals(stale.released, true);
    assertEquals(stale.tag, tag);
    assertEquals(owner.released, false);
    assert(owner.bytes.every((byte) => byte === 2));
    assertEquals(lawful(pool).acquiredBlocks, 1);
    owner.release();
  }
});

Deno.test("a stale handle cannot touch the lease that a waiter got by hand-off", async () => {
  using pool = new BlockPool(ONE);
  const stale = pool.acquireSync();
  const waiter = pool.acquire();
  stale.release();
  refused("released", () => stale.release());
  const owner = await waiter;
  await refusesAllUse(stale);
  assertEquals(owner.released, false);
  owner.release();
  assertEquals(lawful(pool).freeBlocks, 1);
});

Deno.test("release() of a lent block throws released the second time, and frees it once", async () => {
  using pool = new BlockPool(ONE);
  const gate = Promise.withResolvers<void>();
  const block = pool.acquireSync();
  const lent = block.lend(gate.promise);
  block.release();
  refused("released", () => block.release());
  refused("released", () => pool.release(block));
  await refusesAllUse(block);
  assertEquals(lawful(pool).acquiredBlocks, 1);
  gate.resolve();
  await lent;
  assertEquals([lawful(pool).freeBlocks, pool.stats().releases], [1, 1]);
  refused("released", () => block.release());
  assertEquals(pool.stats().doubleReleases, 3);
});

Deno.test("release() does nothing on an abandoned block, every other use throws", async () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 2 });
  const block = pool.acquireSync({ tag: "gone" });
  block.abandon();
  assertEquals(block.released, true);
  block.release();
  pool.release(block);
  block[Symbol.dispose]();
  block.abandon();
  for (const use of [() => block.bytes, () => block.pointer]) {
    assertStringIncludes(refused("released", use).message, "abandoned");
  }
  await rejected("released", block.lend(() => Promise.resolve()));
  const stats = lawful(pool);
  assertEquals([stats.abandonedBlocks, stats.acquiredBlocks], [1, 0]);
  assertEquals([stats.doubleReleases, stats.releases], [0, 0]);
});

Deno.test("release() changes nothing when usedBytes is out of range or no integer", () => {
  using pool = new BlockPool(ONE);
  const block = pool.acquireSync();
  const { bytes } = block;
  bytes.fill(7);
  for (const usedBytes of [-1, 65, 1.5, NaN, Infinity]) {
    assertThrows(() => block.release(usedBytes), RangeError, "usedBytes");
  }
  for (const usedBytes of ["64", null, true, 64n]) {
    const wrong = usedBytes as unknown as number;
    assertThrows(() => block.release(wrong), TypeError, "usedBytes");
  }
  assertEquals(block.released, false);
  assert(bytes.length === 64 && bytes.every((byte) => byte === 7));
  assertEquals(lawful(pool).doubleReleases, 0);
  block.release(64);
  assertEquals(lawful(pool).freeBlocks, 1);
});

Deno.test("nothing that a block leads to makes a second handle of its slot", async () => {
  using pool = new BlockPool(ONE);
  using block = pool.acquireSync();
  assertEquals(
    Object.keys(await import("@smriti/pool")).includes("Block"),
    false,
  );
  const { constructor } = block;
  const made = constructor as unknown as new (...given: unknown[]) => Block;
  const given = [[], [{}], [block], [Symbol("inside"), block], [{ owner: {} }]];
  for (const args of given) {
    assertThrows(() => new made(...args), TypeError, "acquire");
    assertThrows(() => Reflect.construct(made, args, Object), TypeError);
  }
  const own = (it: object) =>
    Reflect.ownKeys(it).filter((key) =>
      typeof it[key as never] === "function" && key !== "prototype"
    );
  assertEquals(own(constructor), []);
});

Deno.test("a method of Block on something else is a TypeError", () => {
  using pool = new BlockPool(ONE);
  using block = pool.acquireSync();
  for (const it of [{}, Object.create(block), new Proxy(block, {})]) {
    assertThrows(() => block.release.call(it), TypeError);
  }
  assertEquals(block.released, false);
});

const WRONG_FOR_TRY: [string, unknown][] = [
  ["options", 1],
  ["options", "reserved"],
  ["options", []],
  ["reserved", { reserved: "yes" }],
  ["reserved", { reserved: 1 }],
  ["reserved", { reserved: null }],
  ["tag", { tag: 7 }],
  ["tag", { tag: null }],
  ["colour", { colour: "red" }],
];
const WRONG_FOR_ACQUIRE: [string, unknown][] = [
  ...WRONG_FOR_TRY,
  ["timeoutMs", { timeoutMs: -1 }],
  ["timeoutMs", { timeoutMs: NaN }],
  ["timeoutMs", { timeoutMs: 2 ** 31 }],
  ["timeoutMs", { timeoutMs: "5" }],
  ["timeoutMs", { timeoutMs: null }],
  ["signal", { signal: 1 }],
  ["signal", { signal: {} }],
  ["signal", { signal: new AbortController() }],
];

/** A wrong argument is told by its class and its name, never by a code. */
function isArgumentError(error: unknown, name: string): void {
  assert(error instanceof TypeError || error instanceof RangeError);
  assertStringIncludes(error.message, name);
}

Deno.test("tryAcquire() and acquireSync() throw for wrong options and take nothing", () => {
  using pool = new BlockPool(ONE);
  const wrong: [string, unknown][] = [
    ...WRONG_FOR_TRY,
    // They never wait, so these would be silently ignored.
    ["signal", { signal: AbortSignal.abort() }],
    ["timeoutMs", { timeoutMs: 5 }],
  ];
  for (const [name, options] of wrong) {
    const given = options as undefined;
    isArgumentError(assertThrows(() => pool.tryAcquire(given)), name);
    isArgumentError(assertThrows(() => pool.acquireSync(given)), name);
  }
  assertEquals(lawful(pool).acquires, 0);
});

Deno.test("acquire(), acquireMany() and use() reject for wrong options, free block or not", async () => {
  using pool = new BlockPool(ONE);
  for (const isFull of [false, true]) {
    const held = isFull ? takeAll(pool) : [];
    const { acquires } = pool.stats();
    for (const [name, options] of WRONG_FOR_ACQUIRE) {
      const given = options as undefined;
      const never = () => assert(false, "fn must not run");
      isArgumentError(await assertRejects(() => pool.acquire(given)), name);
      isArgumentError(
        await assertRejects(() => pool.acquireMany(1, given)),
        name,
      );
      isArgumentError(await assertRejects(() => pool.use(never, given)), name);
    }
    assertEquals(lawful(pool).acquires, acquires);
    assertEquals(pool.stats().waiting, 0);
    for (const block of held) block.release();
  }
});

Deno.test("acquireMany() rejects for a count below 1 or that is no integer", async () => {
  using pool = new BlockPool(ONE);
  for (const count of [0, -1, 0.5, NaN, Infinity]) {
    const error = await assertRejects(
      () => pool.acquireMany(count),
      RangeError,
    );
    assertStringIncludes(error.message, "count");
  }
  for (const count of [undefined, "1", null, 1n]) {
    const wrong = count as unknown as number;
    await assertRejects(() => pool.acquireMany(wrong), TypeError, "count");
  }
  assertEquals(lawful(pool).acquires, 0);
});

Deno.test("use() rejects for an fn that cannot be called and takes nothing", async () => {
  using pool = new BlockPool(ONE);
  for (const fn of [undefined, null, 1, {}, Promise.resolve()]) {
    const wrong = fn as unknown as () => void;
    await assertRejects(() => pool.use(wrong), TypeError, "fn");
  }
  assertEquals(lawful(pool).acquires, 0);
});

Deno.test("lend() rejects for what is no operation and for wrong options; nothing is lent", async () => {
  using pool = new BlockPool(ONE);
  using block = pool.acquireSync();
  for (const operation of [undefined, null, 1, "read", {}, []]) {
    const wrong = operation as unknown as Promise<void>;
    await assertRejects(() => block.lend(wrong), TypeError, "operation");
  }
  for (const options of [1, [], { socket: 1 }, { socked: true }]) {
    const never = () => assert(false, "the operation must not start");
    const wrong = options as unknown as undefined;
    await assertRejects(() => block.lend(never, wrong), TypeError);
  }
  assertEquals(lawful(pool).lentBlocks, 0);
});

Deno.test("reattach() throws a TypeError for what is no view", () => {
  using pool = new BlockPool(ONE);
  using block = pool.acquireSync();
  for (const view of [undefined, null, 1, [], {}, block.bytes.buffer]) {
    const wrong = view as unknown as Uint8Array;
    assertThrows(() => block.reattach(wrong), TypeError, "view");
  }
  assertEquals(block.bytes.length, 64);
});

Deno.test("close() rejects for wrong options and closes nothing", async () => {
  using pool = new BlockPool(ONE);
  for (const options of [1, [], { timeoutMs: -1 }, { timeout: 1 }]) {
    const wrong = options as unknown as undefined;
    isArgumentError(await assertRejects(() => pool.close(wrong)), "");
  }
  assertEquals(pool.closed, false);
  pool.acquireSync().release();
});

Deno.test("addEventListener() throws for an unknown event and for what cannot listen", () => {
  using pool = new BlockPool(ONE);
  const listener = () => {};
  for (const type of ["grown", "", 1, undefined]) {
    const wrong = type as "grow";
    assertThrows(() => pool.addEventListener(wrong, listener), TypeError);
    assertThrows(() => pool.removeEventListener(wrong, listener), TypeError);
  }
  for (const stranger of [undefined, null, 1, "fn"]) {
    const wrong = stranger as unknown as () => void;
    assertThrows(
      () => pool.addEventListener("grow", wrong),
      TypeError,
      "listener must be a function or an object with handleEvent(), got ",
    );
  }
});

Deno.test("a storm of misuse leaves counts and contents of others alone", async () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 8 });
  const kept = takeAll(pool);
  kept.forEach((block, i) => block.bytes.fill(i + 1));
  const stale = kept.splice(0, 4);
  for (const block of stale) block.release();
  const others = takeAll(pool);
  others.forEach((block, i) => block.bytes.fill(101 + i));
  for (let round = 0; round < 100; round++) {
    for (const block of stale) {
      assertThrows(() => block.release());
      assertThrows(() => block.bytes);
      block[Symbol.dispose]();
    }
    lawful(pool);
  }
  await microtasks();
  assertEquals(pool.stats().acquiredBlocks, 8);
  assertEquals(pool.stats().doubleReleases, 400);
  kept.forEach((block, i) => assert(block.bytes.every((b) => b === i + 5)));
  others.forEach((block, i) => assert(block.bytes.every((b) => b === i + 101)));
  for (const block of [...kept, ...others]) block.release();
});
