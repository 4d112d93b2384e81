// Several sizes in one pool: who serves, what it wastes, who waits where, and that nothing is left
// when one class cannot be made or closed.

import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  type Block,
  BlockPool,
  SizeClassPool,
  SmritiError,
} from "../../mod.ts";
import { FailingBackend } from "../support/failing_backend.ts";
import { lawful } from "../support/invariants.ts";
import { microtasks, refused, rejected } from "../support/misuse.ts";
import { hasNative } from "../support/platform.ts";
import { PAGE } from "../support/sizes.ts";

const SIZES = [1000, PAGE, 3 * PAGE];
const [SMALL, MIDDLE, LARGE] = SIZES;

/** Three classes, given in no order, of so many blocks each. */
function three(maxBlocks = 2): SizeClassPool {
  const [small, middle, large] = SIZES.map((blockSize) => ({
    blockSize,
    maxBlocks,
  }));
  return new SizeClassPool([middle, large, small]);
}

/** The classes' numbers, each of them lawful. */
function numbers(pool: SizeClassPool) {
  const classes = pool.stats();
  for (const stats of classes) lawful({ stats: () => stats });
  return classes;
}

const acquired = (pool: SizeClassPool) =>
  numbers(pool).map(({ acquiredBlocks }) => acquiredBlocks);

Deno.test("the smallest class that fits serves, at every edge", async () => {
  using pool = three();
  const asks: [number, number][] = [
    [0, SMALL],
    [1, SMALL],
    [SMALL, SMALL],
    [SMALL + 1, MIDDLE],
    [MIDDLE, MIDDLE],
    [MIDDLE + 1, LARGE],
    [LARGE, LARGE],
  ];
  for (const [byteLength, size] of asks) {
    for (
      const take of [
        pool.tryAcquire(byteLength)!,
        await pool.acquire(byteLength),
      ]
    ) {
      assertEquals([take.size, take.bytes.length], [size, size]);
      take.release();
    }
  }
});

Deno.test("a size that no class has is a RangeError that names both", async () => {
  using pool = three();
  for (const wrong of [LARGE + 1, -1, 1.5, NaN, Infinity]) {
    const error = assertThrows(() => pool.tryAcquire(wrong), RangeError);
    assertStringIncludes(error.message, `${wrong}`);
    assertStringIncludes(error.message, "byteLength");
    await assertRejects(() => pool.acquire(wrong), RangeError);
    await assertRejects(
      () => pool.acquire(wrong, { upgrade: true }),
      RangeError,
    );
  }
  for (const wrong of ["5", null, undefined, 5n, {}]) {
    assertThrows(
      () => pool.tryAcquire(wrong as number),
      TypeError,
      "byteLength",
    );
    await assertRejects(() => pool.acquire(wrong as number), TypeError);
  }
  assertEquals(acquired(pool), [0, 0, 0]);
});

Deno.test("upgrade goes up strictly in order, and never down", async () => {
  using pool = three();
  const sizes: (number | undefined)[] = [];
  for (let i = 0; i < 5; i++) {
    sizes.push(pool.tryAcquire(MIDDLE, { upgrade: true })?.size);
  }
  assertEquals(sizes, [MIDDLE, MIDDLE, LARGE, LARGE, undefined]);
  assertEquals(acquired(pool), [0, 2, 2]);
  assertEquals(numbers(pool).map(({ upgrades }) => upgrades), [0, 0, 2]);
  // Without it, a free larger block is no use.
  const small = [pool.tryAcquire(1)!, pool.tryAcquire(1)!];
  assertEquals(pool.tryAcquire(1), undefined);
  assertEquals(pool.tryAcquire(1, { upgrade: false }), undefined);
  small[0].release();
  assertEquals((await pool.acquire(1, { upgrade: true })).size, SMALL);
});

Deno.test("who waits, waits for the right class, with upgrade too", async () => {
  using pool = three(1);
  const [small, middle, large] = [1, MIDDLE, LARGE].map((n) =>
    pool.tryAcquire(n)!
  );
  let served: Block | undefined;
  const waiting = pool.acquire(50, { upgrade: true }).then((block) => {
    served = block;
  });
  middle.release();
  large.release();
  await microtasks();
  assertEquals(served, undefined, "a waiter is not moved to another class");
  small.release();
  await waiting;
  assertEquals(served!.size, SMALL);
  assertEquals(numbers(pool).map(({ waits }) => waits), [1, 0, 0]);
});

Deno.test("an ask passes its options on to its class", async () => {
  using pool = three(1);
  const block = await pool.acquire(1, { tag: "first" });
  assertStrictEquals(block.tag, "first");
  await rejected("timeout", pool.acquire(1, { timeoutMs: 0 }));
  const reason = new Error("enough");
  const aborted = AbortSignal.abort(reason);
  for (const upgrade of [false, true]) {
    assertStrictEquals(
      await assertRejects(() => pool.acquire(1, { signal: aborted, upgrade })),
      reason,
    );
    await assertRejects(
      () => pool.acquire(1, { timeoutMs: -1, upgrade }),
      RangeError,
      "timeoutMs",
    );
  }
  const upgrade = "yes" as unknown as boolean;
  assertThrows(() => pool.tryAcquire(1, { upgrade }), TypeError, "upgrade");
  await assertRejects(
    () => pool.acquire(1, { upgrades: true } as never),
    TypeError,
    "upgrades",
  );
  assertEquals(acquired(pool), [1, 0, 0]);
});

Deno.test("waste is what was lent beyond what was asked, class by class", async () => {
  using pool = three(4);
  pool.tryAcquire(30);
  await pool.acquire(SMALL);
  pool.tryAcquire(0)!.release();
  await pool.acquire(LARGE - 7, { tag: "big" });
  const told = numbers(pool).map((
    stats,
  ) => [stats.askedBytes, stats.wastedBytes]);
  assertEquals(told, [
    [
      1030,
      970 + SMALL,
    ],
    [0, 0],
    [LARGE - 7, 7],
  ]);
  assert(Object.isFrozen(pool.stats()[0]));
});

Deno.test("release() takes blocks of its classes only, and each once", () => {
  using pool = three();
  using other = new BlockPool({ blockSize: MIDDLE, maxBlocks: 1 });
  using odd = new BlockPool({ blockSize: 7, maxBlocks: 1 });
  const block = pool.tryAcquire(MIDDLE)!;
  pool.release(block);
  refused("released", () => pool.release(block));
  refused("foreign-block", () => pool.release(other.acquireSync()));
  refused("foreign-block", () => pool.release(odd.acquireSync()));
  for (const junk of [undefined, null, 5, {}, { size: MIDDLE }]) {
    assertThrows(() => pool.release(junk as Block), TypeError, "block must be");
  }
});

Deno.test("no class, the same size twice, or wrong options of any class are refused", () => {
  for (const none of [[], undefined, null, {}, "ab"]) {
    assertThrows(() => new SizeClassPool(none as never), TypeError, "classes");
  }
  const twice = [8, 9, 8].map((blockSize) => ({ blockSize, maxBlocks: 1 }));
  assertThrows(() => new SizeClassPool(twice), RangeError, "got 8 twice");
  for (
    const wrong of [null, 3, undefined, { blockSize: 9 }, { maxBlocks: 1 }]
  ) {
    assertThrows(
      () => new SizeClassPool([{ blockSize: 8, maxBlocks: 1 }, wrong as never]),
      TypeError,
    );
  }
});

Deno.test({
  name: "nothing is left mapped when one class cannot be made, whichever it is",
  ignore: !hasNative,
}, () => {
  for (let failure = 1; failure <= 6; failure++) {
    using os = new FailingBackend();
    let calls = 0;
    os.fails = (call) =>
      (call === "map" || call === "commit") && ++calls === failure;
    const error = assertThrows(() => three(), SmritiError);
    assertEquals([error.code, os.mapped], ["out-of-memory", 0]);
    assertEquals(os.violations, []);
  }
});

Deno.test("trim() and close() are for all classes", async () => {
  // Two whole slabs of the smallest where pages are of 64 KiB, more elsewhere.
  const pool = three(128);
  for (const { blockSize, maxBlocks } of pool.stats()) {
    const blocks = Array.from(
      { length: maxBlocks },
      () => pool.tryAcquire(blockSize)!,
    );
    for (const block of blocks) block.bytes[0] = 1;
    for (const block of blocks) block.release();
  }
  const before = numbers(pool).map(({ committedBytes }) => committedBytes);
  const gave = pool.trim();
  const after = numbers(pool).map(({ committedBytes }) => committedBytes);
  const sum = (all: number[]) => all.reduce((a, b) => a + b);
  assertEquals(gave, sum(before) - sum(after));
  assert(after.every((bytes, at) => bytes < before[at]));

  await pool.close();
  assert(pool.closed);
  for (const stats of numbers(pool)) {
    assertEquals([stats.committedBytes, stats.mappedBytes], [0, 0]);
  }
  refused("closed", () => pool.tryAcquire(1));
  await rejected("closed", pool.acquire(1));
  await rejected("closed", pool.acquire(1, { upgrade: true }));
  await pool.close();
});

Deno.test("close() names what every class misses", async () => {
  const pool = three();
  // Held to the end: a block that nothing refers to is a leak, which the collector may find first.
  const held = [
    await pool.acquire(1, { tag: "small one" }),
    await pool.acquire(LARGE, { tag: "large one" }),
  ];
  const error = await rejected("timeout", pool.close({ timeoutMs: 0 }));
  assertStringIncludes(error.message, "small one");
  assertStringIncludes(error.message, "large one");
  assert(error.cause instanceof AggregateError);
  const alone = three();
  held.push(await alone.acquire(1, { tag: "alone" }));
  const { cause } = await rejected("timeout", alone.close({ timeoutMs: 0 }));
  assert(!(cause instanceof AggregateError));
  assertEquals(held.map(({ released }) => released), [true, true, true]);
});

Deno.test("console.log() of a SizeClassPool is one readable line", async () => {
  const pool = three(10);
  pool.tryAcquire(MIDDLE);
  const [small] = pool.stats();
  assertEquals(
    Deno.inspect(pool),
    `SizeClassPool(in use: 0 of ${small.committedBlocks} × 1000 bytes, ` +
      `1 of 2 × ${MIDDLE} bytes, 0 of 2 × ${LARGE} bytes)`,
  );
  pool[Symbol.dispose]();
  await microtasks();
  assertStringIncludes(Deno.inspect(pool), ", closed)");
});
