// Bodies of unknown length that grow side by side in one pool: as many as can
// finish, in their order, and none waits for another in vain.

import { assertEquals, assertStrictEquals } from "@std/assert";
import { delay } from "@std/async";
import { BlockPool, SmritiError } from "@smriti/pool";
import { collect, type CollectOptions } from "@smriti/pool/io";
import { unharmed } from "../support/invariants.ts";
import { microtasks, rejected, until } from "../support/misuse.ts";
import { Rng, seedOfRun } from "../support/rng.ts";
import { join, pattern } from "../support/uploads.ts";

const SIZE = 16;

function poolOf(maxBlocks: number): BlockPool {
  return new BlockPool({ blockSize: SIZE, maxBlocks });
}

/** A body of so many blocks, one a step, as slow as `pause`. */
async function* bodyOf(
  blocks: number,
  pause: () => Promise<unknown> = microtasks,
): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < blocks; i++) {
    await pause();
    yield pattern(SIZE, i);
  }
}

/** A body that goes on when it is told to. */
function told(blocks: number) {
  let more = Promise.withResolvers<void>();
  const go = () => {
    more.resolve();
    more = Promise.withResolvers();
  };
  return { go, body: bodyOf(blocks, () => more.promise) };
}

for (const limit of [8 * SIZE, undefined]) {
  Deno.test(`bodies of twice the pool are all served, limit ${limit}`, async () => {
    using pool = poolOf(64);
    await Promise.all(Array.from({ length: 24 }, async () => {
      using chain = await collect(bodyOf(8), pool, { limit });
      assertEquals(chain?.byteLength, 8 * SIZE);
      await delay(5); // what a server does with it
    }));
    assertEquals(pool.stats().timeouts, 0);
    unharmed(pool);
  });
}

Deno.test("far more bodies than blocks are all served", async () => {
  using pool = poolOf(16);
  await Promise.all(Array.from({ length: 200 }, async (_, i) => {
    using chain = await collect(bodyOf(i % 9), pool, { limit: 8 * SIZE });
    assertEquals(chain?.byteLength, i % 9 * SIZE);
  }));
  assertEquals(pool.stats().timeouts, 0);
  unharmed(pool);
});

Deno.test("a body that grows slowly holds up none that fits a block, nor others while there is room", async () => {
  using pool = poolOf(16);
  for (const limit of [12 * SIZE, undefined]) {
    const slow = told(12);
    const growing = collect(slow.body, pool, { limit });
    slow.go();
    await until(() => pool.stats().acquiredBlocks === 1);
    slow.go(); // it is admitted now
    await until(() => pool.stats().acquiredBlocks === 2);
    const small = await Promise.all(
      Array.from({ length: 8 }, () => collect(bodyOf(1), pool, { limit })),
    );
    for (const chain of small) chain!.release();
    using other = await collect(bodyOf(2), pool, { limit: 2 * SIZE });
    assertEquals(other!.byteLength, 2 * SIZE);
    for (let i = 0; i < 12; i++) {
      slow.go();
      await microtasks();
    }
    (await growing)!.release();
  }
});

Deno.test("a body begins as soon as another is admitted, although that goes on", async () => {
  using pool = poolOf(4); // two may have one block
  const limit = 3 * SIZE;
  const slow = [told(3), told(3)];
  const growing = slow.map(({ body }) => collect(body, pool, { limit }));
  for (const { go } of slow) go();
  await until(() => pool.stats().acquiredBlocks === 2);
  const third = collect(bodyOf(1), pool, { limit });
  for (let i = 0; i < 5; i++) await microtasks();
  assertEquals(pool.stats().acquiredBlocks, 2);
  slow[0].go(); // it is admitted now, and stays without an end
  (await third)!.release();
  const done = growing.map(async (each) => (await each)!.release());
  for (let i = 0; i < 4; i++) {
    for (const { go } of slow) go();
    await microtasks();
  }
  await Promise.all(done);
  unharmed(pool);
});

Deno.test("a second block is waited for in order, as long as timeoutMs and the signal allow", async () => {
  using pool = poolOf(12);
  const limit = 8 * SIZE;
  const slow = told(8);
  const growing = collect(slow.body, pool, { limit });
  slow.go();
  await microtasks();
  slow.go();
  await until(() => pool.stats().acquiredBlocks === 2);

  // Four blocks are left, but they were promised.
  const late: CollectOptions[] = [{ timeoutMs: 0 }, { timeoutMs: 5 }];
  for (const options of late) {
    const source = bodyOf(2);
    await rejected("timeout", collect(source, pool, { limit, ...options }));
    assertEquals(await source.next(), { done: true, value: undefined });
  }
  const reason = new Error("stop");
  const aborting = new AbortController();
  const { signal } = aborting;
  const aborted = collect(bodyOf(2), pool, { limit, signal })
    .catch((error) => error);
  await until(() => pool.stats().acquiredBlocks === 3);
  aborting.abort(reason);
  assertStrictEquals(await aborted, reason);
  assertEquals(pool.stats().acquiredBlocks, 2);

  const order: number[] = [];
  const next = [0, 1, 2].map(async (i) => {
    using chain = await collect(bodyOf(3), pool, { limit });
    order.push(i);
    assertEquals(chain?.byteLength, 3 * SIZE);
  });
  for (let i = 0; i < 8; i++) {
    slow.go();
    await microtasks();
  }
  (await growing)!.release();
  await Promise.all(next);
  assertEquals(order, [0, 1, 2]);
  unharmed(pool);
});

Deno.test("one that waits to grow gives way to one that was promised its block", async () => {
  using pool = poolOf(8);
  const limit = 8 * SIZE;
  const slow = told(8);
  const first = collect(slow.body, pool, { limit });
  slow.go();
  await microtasks();
  slow.go();
  await until(() => pool.stats().acquiredBlocks === 2);
  // Others that are none of ours take all but one, which the second body has.
  const taken = await pool.acquireMany(5);
  const second = collect(bodyOf(2), pool, { limit });
  await until(() => pool.stats().acquiredBlocks === 8);
  const { acquires } = pool.stats();
  slow.go();
  await until(() => pool.stats().acquires === acquires + 1); // its block is the first's
  assertEquals(pool.stats().acquiredBlocks, 8);
  taken[Symbol.dispose]();
  for (let i = 0; i < 8; i++) {
    slow.go();
    await microtasks();
  }
  (await first)!.release();
  using chain = await second;
  assertEquals(chain?.bytes(), join([pattern(SIZE, 0), pattern(SIZE, 1)]));
  chain!.release();
  assertEquals(pool.stats().timeouts, 0);
  unharmed(pool);
});

Deno.test("bodies that may take the whole pool, or most of it, are all served", async () => {
  for (const [most, reservedBlocks] of [[8, 0], [6, 0], [5, 3]]) {
    using pool = new BlockPool({
      blockSize: SIZE,
      maxBlocks: 8,
      reservedBlocks,
    });
    await Promise.all(Array.from({ length: 24 }, async (_, i) => {
      const blocks = i % 3 === 0 ? 1 : most;
      const limit = most * SIZE;
      using chain = await collect(bodyOf(blocks), pool, { limit });
      const parts = Array.from({ length: blocks }, (_, j) => pattern(SIZE, j));
      assertEquals(chain?.bytes(), join(parts));
    }));
    assertEquals(pool.stats().timeouts, 0);
    unharmed(pool);
  }
});

Deno.test("bodies that fail, stop or are cut at any moment leave the pool to the next ones", async () => {
  const seed = seedOfRun();
  const rng = new Rng(seed);
  for (const maxBlocks of [1, 2, 3, 8, 33]) {
    using pool = poolOf(maxBlocks);
    for (let round = 0; round < 5; round++) {
      const aborting = new AbortController();
      await Promise.all(Array.from({ length: 40 }, async (_, i) => {
        const blocks = rng.below(12);
        const cut = rng.below(12);
        const source = async function* () {
          for (let j = 0; j < blocks; j++) {
            if (j === cut) throw new Error("cut");
            if (rng.below(2) === 0) await microtasks();
            if (rng.below(20) === 0) aborting.abort(new Error("cut"));
            yield pattern(1 + rng.below(2 * SIZE));
          }
        };
        const limit = [undefined, SIZE, 3 * SIZE, 100 * SIZE][rng.below(4)];
        const timeoutMs = [0, 1, 5, 50][rng.below(4)];
        const signal = i % 3 === 0 ? aborting.signal : undefined;
        try {
          using _ = await collect(source(), pool, { limit, timeoutMs, signal });
          if (rng.below(2) === 0) await microtasks();
        } catch (error) {
          if (error instanceof SmritiError) {
            assertEquals(error.code, "timeout", `seed ${seed}`);
          } else assertEquals((error as Error).message, "cut", `seed ${seed}`);
        }
      }));
      unharmed(pool);
      // None is counted any more: the whole pool can be had, at once and one after another.
      for (let i = 0; i < 2; i++) {
        const size = maxBlocks * SIZE;
        using chain = await collect(bodyOf(maxBlocks), pool, { timeoutMs: 0 });
        assertEquals(chain?.byteLength, size, `seed ${seed}`);
      }
    }
  }
});

Deno.test("a pool that closes leaves no body at the gate", async () => {
  const pool = poolOf(8);
  const limit = 8 * SIZE;
  const slow = told(8);
  const outcomes = [collect(slow.body, pool, { limit })];
  slow.go();
  await microtasks();
  slow.go();
  await until(() => pool.stats().acquiredBlocks === 2);
  outcomes.push(collect(bodyOf(2), pool, { limit }));
  await until(() => pool.stats().acquiredBlocks === 3);
  const closing = pool.close();
  slow.go();
  for (const outcome of outcomes) await rejected("closed", outcome);
  await closing;
  unharmed(pool);
});
