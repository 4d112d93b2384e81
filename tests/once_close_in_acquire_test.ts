// An acquire during which the pool was closed, by a listener it told or by an option's getter,
// answered "none free" or even lent a block of the closed pool. Now it is refused as `closed`.

import { assertEquals } from "@std/assert";
import { type Block, BlockPool, type Pool } from "../mod.ts";
import { SharedBlockPool } from "../shared/mod.ts";
import { gone, lawful } from "./support/invariants.ts";
import { refused, rejected } from "./support/misuse.ts";
import "./support/open_library.ts";

/** A pool of which nothing is free, so that the next acquire must grow it. */
function full(): { pool: BlockPool; held: Block[] } {
  const options = { blockSize: 16_384, maxBlocks: 20, initialBlocks: 1 };
  const pool = new BlockPool(options);
  const held = [pool.acquireSync()];
  pool.trim();
  assertEquals(lawful(pool).freeBlocks, 0);
  return { pool, held };
}

const WAYS: Record<string, (pool: BlockPool) => Promise<unknown>> = {
  tryAcquire: (pool) => Promise.try(() => pool.tryAcquire()),
  acquireSync: (pool) => Promise.try(() => pool.acquireSync()),
  acquire: (pool) => pool.acquire(),
  acquireMany: (pool) => pool.acquireMany(2),
};

for (const [name, way] of Object.entries(WAYS)) {
  Deno.test(`${name}() whose growing makes a listener close the pool is refused as closed`, async () => {
    const { pool, held } = full();
    pool.addEventListener("grow", () => pool[Symbol.dispose]());
    await rejected("closed", way(pool));
    const { exhaustions } = lawful(pool);
    assertEquals(exhaustions, 0, "not for want of a block");
    for (const block of held) block.release();
    gone(pool);
  });

  Deno.test(`${name}() lends no block of a pool that was closed with free blocks`, async () => {
    // 64 blocks a page: the one that the listener keeps holds the others of its page free.
    const pool = new BlockPool({
      blockSize: 64,
      maxBlocks: 640,
      initialBlocks: 64,
      growThreshold: 1,
    });
    const held = [...await pool.acquireMany(64)];
    pool.trim();
    assertEquals(lawful(pool).freeBlocks, 0);
    pool.addEventListener("grow", () => {
      held.push(pool.acquireSync());
      pool[Symbol.dispose]();
    });
    await rejected("closed", way(pool));
    assertEquals(lawful(pool).acquiredBlocks, held.length);
    for (const block of held) block.release();
    gone(pool);
  });
}

Deno.test("an option's getter that closes the pool gets no block of it", () => {
  for (const name of ["tag", "reserved"]) {
    const pool = new BlockPool({ blockSize: 64, maxBlocks: 100 });
    // Keeps the memory, and with it the other blocks of its page free.
    const block = pool.acquireSync();
    const options = Object.defineProperty({}, name, {
      enumerable: true,
      get: () => void pool[Symbol.dispose](),
    });
    refused("closed", () => pool.tryAcquire(options));
    assertEquals(lawful(pool).acquiredBlocks, 1);
    block.release();
    gone(pool);
  }
});

const SIZE = { blockSize: 64, maxBlocks: 4 };
const KINDS: Record<string, () => Pool> = {
  BlockPool: () => new BlockPool(SIZE),
  SharedBlockPool: () => SharedBlockPool.create(SIZE),
};

for (const [kind, make] of Object.entries(KINDS)) {
  Deno.test(`${kind} reads options once: a getter cannot pass the check and then say something else`, async () => {
    await using pool = make();
    const reads: Record<string, number> = {};
    const changing = (values: Record<string, unknown[]>) =>
      Object.defineProperties(
        {},
        Object.fromEntries(
          Object.entries(values).map(([name, [first, ...more]]) => [name, {
            enumerable: true,
            get() {
              reads[name] = (reads[name] ?? 0) + 1;
              return reads[name] === 1 ? first : more[0];
            },
          }]),
        ),
      );
    const block = await pool.acquire(
      changing({
        tag: ["fine", 7],
        timeoutMs: [5, "soon"],
        reserved: [false, 1],
      }),
    );
    assertEquals(block.tag, "fine");
    block.release();
    assertEquals(reads, { tag: 1, timeoutMs: 1, reserved: 1 });
  });
}
