// Giving memory back: by the pool's own clock when it is idle, and at once when asked to trim.

import {
  assert,
  assertEquals,
  assertGreater,
  assertLessOrEqual,
} from "@std/assert";
import { deadline } from "@std/async";
import { FakeTime } from "@std/testing/time";
import { type Block, BlockPool } from "../../mod.ts";
import { survives } from "../support/child.ts";
import { gone, lawful } from "../support/invariants.ts";
import { releaseAll, takeAll } from "../support/misuse.ts";
import { canRunDeno } from "../support/platform.ts";
import { Rng } from "../support/rng.ts";
import {
  committed,
  PAGE,
  pagePool,
  slabOfLines,
  upTo,
} from "../support/sizes.ts";

const MINUTE = 60_000;

/** Grows the pool to all its blocks and gives them back. */
function burst(pool: BlockPool): void {
  releaseAll(takeAll(pool));
}

/** The committed blocks at the end of each of the next minutes. */
function minutes(time: FakeTime, pool: BlockPool, count: number): number[] {
  return upTo(count).map(() => {
    time.tick(MINUTE);
    return committed(pool);
  });
}

Deno.test("an idle pool gives 10 % back each minute, down to its initial blocks", () => {
  using time = new FakeTime();
  using pool = pagePool();
  burst(pool);
  time.tick(MINUTE - 1);
  assertEquals(committed(pool), 100);
  time.tick(1);
  assertEquals(committed(pool), 90);
  assertEquals(minutes(time, pool, 5), [81, 72, 64, 57, 51]);
  assertEquals(minutes(time, pool, 20).slice(-3), [20, 20, 20]);
  assertEquals(lawful(pool).shrinks, 14);
});

Deno.test("shrinkIntervalMs and shrinkStep set the pace", () => {
  using time = new FakeTime();
  using pool = pagePool({
    shrinkIntervalMs: 50,
    shrinkStep: 0.3,
    initialBlocks: 40,
  });
  burst(pool);
  const sizes = upTo(5).map(() => {
    time.tick(50);
    return committed(pool);
  });
  assertEquals(sizes, [70, 49, 40, 40, 40]);
});

Deno.test("a pool with half of its blocks in use does not shrink, with one less it does", () => {
  using time = new FakeTime();
  using pool = pagePool();
  const blocks = takeAll(pool);
  releaseAll(blocks.splice(50));
  assertEquals(minutes(time, pool, 5), [100, 100, 100, 100, 100]);
  blocks.pop()!.release();
  assertEquals(minutes(time, pool, 2), [90, 90], "49 of 90 is over half");
  releaseAll(blocks);
});

Deno.test("one busy moment in an interval puts shrinking off", () => {
  using time = new FakeTime();
  using pool = pagePool();
  burst(pool);
  for (const _ of upTo(4)) {
    time.tick(MINUTE / 2);
    releaseAll(upTo(50).map(() => pool.acquireSync()));
    time.tick(MINUTE / 2);
    assertEquals(committed(pool), 100);
  }
  time.tick(MINUTE);
  assertEquals(committed(pool), 90);
});

Deno.test("a release each interval, or a steady trickle, does not put shrinking off", () => {
  for (const everyMs of [MINUTE, 7_000, 1000]) {
    using time = new FakeTime();
    using pool = pagePool();
    burst(pool);
    const sizes: number[] = [];
    for (let now = everyMs; now <= 6 * MINUTE; now += everyMs) {
      pool.acquireSync().release();
      time.tick(everyMs);
      sizes.push(committed(pool));
    }
    assertLessOrEqual(sizes.at(-1)!, 57, `one each ${everyMs} ms`);
  }
});

Deno.test("a shrunken pool does not have to grow for the load it has", () => {
  using time = new FakeTime();
  const rng = new Rng(7);
  using pool = pagePool({ initialBlocks: 1 });
  burst(pool);
  const { grows } = lawful(pool);
  const blocks: Block[] = [];
  // 30 to 40 in use at any time: the pool settles somewhere above and stays there.
  for (let step = 0; step < 3000; step++) {
    const wanted = 30 + rng.below(11);
    while (blocks.length < wanted) blocks.push(pool.acquireSync());
    while (blocks.length > wanted) blocks.pop()!.release();
    time.tick(1000);
  }
  assertEquals(lawful(pool).grows, grows);
  assertGreater(lawful(pool).shrinks, 1);
  releaseAll(blocks);
});

Deno.test("a load about any share of a pool of any size asks nobody for the time", () => {
  const { now } = Date;
  let asked = 0;
  Date.now = () => {
    asked++;
    return now();
  };
  try {
    for (const maxBlocks of upTo(64).map((at) => at + 1)) {
      const pool = pagePool({
        maxBlocks,
        initialBlocks: maxBlocks,
        leakDetection: "off",
      });
      const held: Block[] = [];
      const before = asked;
      for (let count = 0; count < maxBlocks; count++) {
        while (held.length < count) held.push(pool.acquireSync());
        for (let turn = 0; turn < 50; turn++) pool.tryAcquire()!.release();
      }
      // Once, when the first release made it more than half free.
      assertLessOrEqual(asked - before, 1, `${maxBlocks} blocks`);
      releaseAll(held);
      pool[Symbol.dispose]();
    }
  } finally {
    Date.now = now;
  }
});

Deno.test("a pool of any size that looks for leaks asks for the time of a sampled lease alone", () => {
  const { now } = Date;
  let asked = 0;
  Date.now = () => {
    asked++;
    return now();
  };
  try {
    for (const maxBlocks of [1, 2, 3, 10, 64]) {
      using pool = pagePool({ maxBlocks, initialBlocks: maxBlocks });
      const lease = (times: number) => {
        while (times-- > 0) pool.tryAcquire()!.release();
      };
      // The first leases are looked at more closely.
      lease(3000);
      const before = asked;
      lease(127 * 100);
      // And those whose numbers are powers of two.
      assertLessOrEqual(asked - before, 2 * 103, `${maxBlocks} blocks`);
    }
  } finally {
    Date.now = now;
  }
});

Deno.test("a pool that was half used for long shrinks within two intervals", () => {
  using time = new FakeTime();
  using pool = pagePool();
  burst(pool);
  const steady = upTo(49).map(() => pool.acquireSync());
  for (const _ of upTo(300)) {
    releaseAll(upTo(3).map(() => pool.acquireSync()));
    time.tick(1000);
  }
  assertEquals(committed(pool), 100);
  assertEquals(minutes(time, pool, 2).at(-1), 90);
  releaseAll(steady);
});

Deno.test("shrinking ends and begins again with the load", () => {
  using time = new FakeTime();
  using pool = pagePool();
  for (const _ of upTo(3)) {
    burst(pool);
    assertEquals(committed(pool), 100);
    assertEquals(minutes(time, pool, 25).at(-1), 20);
  }
});

Deno.test("a large shrink comes in pieces of 4 MiB, each with a timer of its own", () => {
  using time = new FakeTime();
  using pool = pagePool({ blockSize: 2 ** 20 });
  burst(pool);
  const pieces: number[] = [];
  pool.addEventListener("shrink", ({ detail }) => {
    pieces.push(detail.blocks);
    assertEquals(detail.bytes, detail.blocks * 2 ** 20);
    // Comes before the timer of the next piece.
    setTimeout(() => pieces.push(0), 0);
  });
  time.tick(MINUTE);
  time.tick(10);
  assertEquals(pieces, [4, 0, 4, 0, 2, 0]);
  assertEquals(committed(pool), 90);
});

Deno.test("close() between two pieces of a shrink gives the rest back itself", async () => {
  using time = new FakeTime();
  const pool = pagePool({ blockSize: 2 ** 20 });
  burst(pool);
  const pieces: number[] = [];
  let closing: Promise<void> | undefined;
  pool.addEventListener("shrink", ({ detail }) => {
    pieces.push(detail.blocks);
    closing = pool.close();
  });
  time.tick(10 * MINUTE);
  await closing;
  assertEquals(pieces, [4]);
  gone(pool);
});

Deno.test("a block in use pins its slab only; the holes around it are filled first", () => {
  using time = new FakeTime();
  using pool = pagePool();
  const blocks = takeAll(pool);
  // The last ones acquired lie highest.
  const pinned = blocks.splice(-5);
  const places = pinned.map(({ pointer }) => Deno.UnsafePointer.value(pointer));
  pinned.forEach((block) => block.bytes.fill(7));
  releaseAll(blocks);
  assertEquals(minutes(time, pool, 25).at(-1), 20);
  for (const { bytes } of pinned) assert(bytes.every((byte) => byte === 7));
  blocks.push(...takeAll(pool));
  assertEquals(blocks.length, 95);
  const others = blocks.map(({ pointer }) => Deno.UnsafePointer.value(pointer));
  assertEquals(new Set([...places, ...others]).size, 100);
  releaseAll(blocks);
  releaseAll(pinned);
});

Deno.test("trim() gives every free block above the initial ones back, in bytes", () => {
  using pool = pagePool();
  assertEquals(pool.trim(), 0);
  burst(pool);
  assertEquals(pool.trim(), 80 * PAGE);
  assertEquals([committed(pool), pool.trim()], [20, 0]);
  const blocks = takeAll(pool);
  releaseAll(blocks.splice(60));
  assertEquals(pool.trim(), 40 * PAGE);
  assertEquals(committed(pool), 60);
  releaseAll(blocks);
});

Deno.test("trim() gives whole slabs back and leaves those with a block in use", () => {
  const slab = slabOfLines();
  using pool = new BlockPool({
    blockSize: 64,
    maxBlocks: 4 * slab,
    initialBlocks: 1,
  });
  const blocks = takeAll(pool);
  // One block of the second slab stays, and one of the third.
  const [later] = blocks.splice(2 * slab + 5, 1);
  const [kept] = blocks.splice(slab, 1);
  kept.bytes.fill(7);
  releaseAll(blocks);
  assertEquals(pool.trim(), 2 * slab * 64);
  assertEquals([committed(pool), pool.trim()], [2 * slab, 0]);
  assert(kept.bytes.every((byte) => byte === 7));
  later.release();
  assertEquals(pool.trim(), slab * 64);
  // The slab in use counts as the initial one.
  kept.release();
  assertEquals([committed(pool), pool.trim()], [slab, 0]);
});

Deno.test("trim() ends views of free blocks that trust has left alive", () => {
  using pool = pagePool({ safety: "trust" });
  const blocks = takeAll(pool);
  const views = blocks.map(({ bytes }) => bytes.fill(7));
  releaseAll(blocks);
  pool.trim();
  const alive = views.filter(({ length }) => length > 0);
  assertEquals(alive.length, 20, "those of the initial blocks");
});

Deno.test("memory that comes back after a shrink is zero", () => {
  for (const zero of [true, false]) {
    using pool = pagePool({ zero });
    const dirty = takeAll(pool);
    for (const { bytes } of dirty) bytes.fill(7);
    releaseAll(dirty);
    pool.trim();
    const blocks = takeAll(pool);
    const stained = blocks.filter(({ bytes }) => bytes.some((b) => b !== 0));
    // Without zeroing the blocks that stayed show what was in them.
    assertEquals(stained.length, zero ? 0 : 20);
    releaseAll(blocks);
  }
});

Deno.test("after close() a trim gives nothing back, and no timer runs", async () => {
  using time = new FakeTime();
  const pool = pagePool();
  burst(pool);
  const block = pool.acquireSync();
  const closing = pool.close();
  let shrunk = 0;
  pool.addEventListener("shrink", () => shrunk++);
  // The limit of close() itself would be 10 seconds.
  time.tick(5000);
  assertEquals([pool.trim(), shrunk], [0, 0]);
  block.release();
  await closing;
  time.tick(10 * MINUTE);
  gone(pool);
});

Deno.test("a pool left open with its timer running lets the process end", {
  ignore: !canRunDeno,
}, async () => {
  const child = survives(({ BlockPool }) => {
    const pool = new BlockPool({
      blockSize: 65_536,
      maxBlocks: 100,
      overdueMs: 100_000,
    });
    const blocks = Array.from({ length: 90 }, () => pool.acquireSync());
    for (const block of blocks.slice(1)) block.release();
    console.log(pool.stats().committedBlocks);
  });
  // It would go on for ever.
  assertEquals(await deadline(child, 30_000), ["100"]);
});

Deno.test("abandoned blocks do not count towards initialBlocks, and cost no more than themselves", () => {
  for (const [maxAbandonedBytes, capacity] of [[undefined, 20], [0, 17]]) {
    using pool = new BlockPool({
      blockSize: PAGE,
      maxBlocks: 20,
      initialBlocks: 4,
      maxAbandonedBytes,
    });
    const blocks = takeAll(pool);
    for (const block of blocks.splice(0, 3)) block.abandon();
    releaseAll(blocks);
    pool.trim();
    const { committedBlocks, freeBlocks, abandonedBlocks, abandonedBytes } =
      lawful(pool);
    assertEquals([committedBlocks, freeBlocks, abandonedBlocks], [4, 4, 3]);
    assertEquals(abandonedBytes, 3 * PAGE);
    const again = takeAll(pool);
    assertEquals(again.length, capacity);
    releaseAll(again);
  }
});
