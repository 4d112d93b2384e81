// Blocks kept back for urgent callers: no other gets them, however small or idle the pool is.

import { assertEquals, assertLessOrEqual } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import type { Block } from "../../mod.ts";
import { lawful } from "../support/invariants.ts";
import { microtasks, refused, releaseAll, takeAll } from "../support/misuse.ts";
import { committed, pagePool, upTo } from "../support/sizes.ts";

const URGENT = { reserved: true } as const;

Deno.test("at every reserve a normal caller gets the rest, and an urgent one all", () => {
  for (const maxBlocks of [3, 7, 20, 100]) {
    for (let percent = 0; percent < 50; percent++) {
      const reservedBlocks = Math.floor(maxBlocks * percent / 100);
      using pool = pagePool({ maxBlocks, reservedBlocks });
      assertEquals(lawful(pool).reservedBlocks, reservedBlocks);
      const normal = takeAll(pool);
      const told = `${reservedBlocks} of ${maxBlocks}`;
      assertEquals(normal.length, maxBlocks - reservedBlocks, told);
      refused("exhausted", () => pool.acquireSync());
      const urgent = upTo(reservedBlocks).map(() => pool.acquireSync(URGENT));
      assertEquals(pool.tryAcquire(URGENT), undefined, told);
      assertEquals(lawful(pool).acquiredBlocks, maxBlocks);
      assertEquals(lawful(pool).reservedBlocks, 0);
      releaseAll(normal);
      releaseAll(urgent);
    }
  }
});

Deno.test("a normal caller never makes free blocks fewer than the reserve", () => {
  using pool = pagePool({ maxBlocks: 30, reservedBlocks: 7 });
  const blocks: Block[] = [];
  for (let block; (block = pool.tryAcquire()) !== undefined;) {
    blocks.push(block);
    assertLessOrEqual(7, lawful(pool).freeBlocks);
  }
  assertEquals(blocks.length, 23);
  releaseAll(blocks);
});

Deno.test("released blocks fill the reserve first, whoever had them", () => {
  using pool = pagePool({ maxBlocks: 10, reservedBlocks: 3 });
  const normal = takeAll(pool);
  const urgent = upTo(3).map(() => pool.acquireSync(URGENT));
  for (const filled of upTo(3)) {
    normal.pop()!.release();
    assertEquals(lawful(pool).reservedBlocks, filled);
    assertEquals(pool.tryAcquire(), undefined);
  }
  normal.pop()!.release();
  assertEquals(lawful(pool).reservedBlocks, 3);
  normal.push(pool.acquireSync());
  assertEquals(pool.tryAcquire(), undefined);
  releaseAll(normal);
  releaseAll(urgent);
});

Deno.test("an urgent caller takes what is free before it eats the reserve up", () => {
  using pool = pagePool({ maxBlocks: 10, reservedBlocks: 4 });
  const urgent = upTo(6).map(() => pool.acquireSync(URGENT));
  assertEquals(lawful(pool).reservedBlocks, 4);
  assertEquals(pool.tryAcquire(), undefined);
  urgent.push(...upTo(4).map(() => pool.acquireSync(URGENT)));
  assertEquals(lawful(pool).reservedBlocks, 0);
  releaseAll(urgent);
});

Deno.test("a normal waiter is not served from the reserve, an urgent one is", async () => {
  using pool = pagePool({ maxBlocks: 4, reservedBlocks: 1 });
  const normal = takeAll(pool);
  const urgent = pool.acquireSync(URGENT);
  const served: string[] = [];
  const waiting = [
    pool.acquire().then((block) => (served.push("normal"), block)),
    pool.acquire(URGENT).then((block) => (served.push("urgent"), block)),
  ];
  urgent.release();
  await microtasks();
  assertEquals(served, ["urgent"]);
  // This one fills the reserve, the next one is for all callers.
  normal.pop()!.release();
  await microtasks();
  assertEquals(served, ["urgent"]);
  normal.pop()!.release();
  await microtasks();
  assertEquals(served, ["urgent", "normal"]);
  for (const block of await Promise.all(waiting)) block.release();
  releaseAll(normal);
});

Deno.test("acquireMany() leaves the reserve alone and refuses what only it could meet", async () => {
  using pool = pagePool({ maxBlocks: 10, reservedBlocks: 4 });
  using six = await pool.acquireMany(6);
  assertEquals([six.length, lawful(pool).freeBlocks], [6, 4]);
  await pool.acquireMany(7).then(
    () => Promise.reject(new Error("7 of 6")),
    ({ code }) => assertEquals(code, "exhausted"),
  );
  using four = await pool.acquireMany(4, URGENT);
  assertEquals(four.length, 4);
});

Deno.test("the pool grows for normal callers at 80 % of what is not reserved", () => {
  // 20 % and the reserve: 2 + 4 committed; 0.8 × (6 − 4) is 1.6.
  using pool = pagePool({ maxBlocks: 10, reservedBlocks: 4 });
  const blocks: Block[] = [];
  const sizes = upTo(6).map(() => {
    blocks.push(pool.acquireSync());
    return committed(pool);
  });
  assertEquals(sizes, [6, 7, 8, 9, 10, 10]);
  releaseAll(blocks);
});

Deno.test("at every reserve an idle pool shrinks to its initial blocks, and grows again", () => {
  using time = new FakeTime();
  for (let percent = 0; percent < 50; percent++) {
    // Days go by: without looks at the files of the container.
    using pool = pagePool({ reservedBlocks: percent, pressureTrim: false });
    for (let round = 0; round < 2; round++) {
      const blocks = takeAll(pool);
      assertEquals(blocks.length, 100 - percent);
      releaseAll(blocks);
      time.tick(30 * 60_000);
      assertEquals(committed(pool), 20 + percent, `${percent} %`);
      assertEquals(lawful(pool).reservedBlocks, percent);
    }
  }
});

Deno.test("abandoned blocks that are not replaced come off what everybody has, not off the reserve", () => {
  for (const [maxAbandonedBytes, left] of [[undefined, 3], [0, 2]]) {
    using pool = pagePool({
      maxBlocks: 5,
      reservedBlocks: 2,
      maxAbandonedBytes,
    });
    const blocks = takeAll(pool);
    assertEquals(blocks.length, 3);
    blocks.pop()!.abandon();
    releaseAll(blocks);
    assertEquals(takeAll(pool).map((block) => block.release()).length, left);
    const { reservedBlocks, capacityBlocks } = lawful(pool);
    assertEquals([reservedBlocks, capacityBlocks], [2, left! + 2]);
  }
});
