// close() in every state a pool can be in, and under every call that is under way.

import {
  assert,
  assertEquals,
  assertGreater,
  assertInstanceOf,
  assertLess,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { FakeTime } from "@std/testing/time";
import {
  type Block,
  BlockPool,
  type PoolEvent,
  SizeClassPool,
  SmritiError,
} from "@smriti/pool";
import { survives } from "../support/child.ts";
import { catchErrors, catchWarnings } from "../support/console.ts";
import { gone, lawful } from "../support/invariants.ts";
import { microtasks, refused, rejected, takeAll } from "../support/misuse.ts";
import { canRunDeno, hasNative } from "../support/platform.ts";

const TWO = { blockSize: 64, maxBlocks: 2 };

/** Collects the close events of a pool. */
function closings(pool: BlockPool): PoolEvent<"close">["detail"][] {
  const seen: PoolEvent<"close">["detail"][] = [];
  pool.addEventListener("close", ({ detail }) => seen.push(detail));
  return seen;
}

/** Whether a promise has settled, after everything that is due has run. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const settle = () => settled = true;
  promise.then(settle, settle);
  await microtasks();
  return settled;
}

Deno.test("close() of an idle pool unmaps at once, resolves and says so", async () => {
  const pool = new BlockPool({ ...TWO, name: "idle" });
  const events = closings(pool);
  pool.acquireSync().release();
  const closed = pool.close();
  assertEquals(pool.closed, true);
  gone(pool);
  assertEquals(await closed, undefined);
  const detail = { pool: "idle", abandonedBlocks: 0, mappedBytes: 0 };
  assertEquals(events, [detail]);
});

Deno.test("close() waits for acquired blocks, which stay usable until released", async () => {
  const pool = new BlockPool(TWO);
  const events = closings(pool);
  const [a, b] = takeAll(pool);
  const closed = pool.close();
  a.release();
  assertEquals(await isSettled(closed), false);
  assertEquals(lawful(pool).acquiredBlocks, 1);
  b.bytes.fill(7);
  assertEquals(b.bytes[63], 7);
  assertEquals(events.length, 0);
  b.release();
  // At the release itself, not some time later.
  gone(pool);
  await closed;
  assertEquals(events.length, 1);
});

Deno.test("close() gives the memory of free blocks back at once", async () => {
  const pool = new BlockPool({
    blockSize: 4096,
    maxBlocks: 100,
    initialBlocks: 100,
  });
  const block = pool.acquireSync();
  const closed = pool.close();
  assertEquals(lawful(pool).committedBlocks, 1);
  block.release();
  await closed;
  gone(pool);
});

Deno.test("close() rejects those who wait, and later releases serve nobody", async () => {
  const pool = new BlockPool(TWO);
  const [a, b] = takeAll(pool);
  const waits = [
    pool.acquire(),
    pool.acquireMany(2),
    pool.acquire({ reserved: true }),
    pool.use(() => assert(false, "fn must not run")),
  ];
  const closed = pool.close();
  assertEquals(lawful(pool).waiting, 0);
  a.release();
  b.release();
  for (const waiter of waits) await rejected("closed", waiter);
  await closed;
  gone(pool);
});

Deno.test("close() comes too late for a waiter that was served in the same tick", async () => {
  const pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  const block = pool.acquireSync();
  const waiter = pool.acquire();
  block.release();
  const closed = pool.close();
  const served = await waiter;
  assertEquals(await isSettled(closed), false);
  served.release();
  await closed;
  gone(pool);
});

Deno.test("every way to get a block says closed from close() on", async () => {
  const pool = new BlockPool(TWO);
  const block = pool.acquireSync();
  const closed = pool.close();
  // While it waits for the last block, and after the end.
  for (const end of [() => block.release(), () => {}]) {
    refused("closed", () => pool.tryAcquire());
    refused("closed", () => pool.tryAcquire({ reserved: true }));
    refused("closed", () => pool.acquireSync());
    await rejected("closed", pool.acquire());
    await rejected("closed", pool.acquire({ timeoutMs: 0, tag: "x" }));
    await rejected("closed", pool.acquireMany(2));
    await rejected("closed", pool.use(() => {}));
    assertEquals(pool.trim(), 0);
    end();
    await microtasks();
  }
  await closed;
  refused("released", () => block.release());
  refused("released", () => block.bytes);
  assertEquals([pool.name, pool.blockSize, pool.maxBlocks], ["smriti", 64, 2]);
  gone(pool);
});

Deno.test("close() ends once, for all who call it, and the first timeout counts", async () => {
  const pool = new BlockPool(TWO);
  const events = closings(pool);
  const block = pool.acquireSync();
  const calls = [
    pool.close({ timeoutMs: 60_000 }),
    pool.close({ timeoutMs: 0 }),
    pool[Symbol.asyncDispose](),
  ];
  assertStrictEquals(calls[1], calls[0]);
  // Were it the second one's, the block would be revoked in the next turn.
  await new Promise((resolve) => setTimeout(resolve, 5));
  assertEquals(block.released, false);
  for (const call of calls) assertEquals(await isSettled(call), false);
  block.release();
  await Promise.all(calls);
  await pool.close();
  pool[Symbol.dispose]();
  assertEquals(events.length, 1);
});

Deno.test("await using closes, and waits for what is still out", async () => {
  let pool: BlockPool;
  {
    await using scoped = pool = new BlockPool(TWO);
    const block = scoped.acquireSync();
    setImmediate(() => block.release());
  }
  gone(pool);
});

Deno.test("await using shows the program's own error, and prints what close() rejects with", async () => {
  const own = new Error("the program's own");
  // Reachable until the end: a block that is not is a leak, which the collector may find before `close()`.
  const held: (Block | undefined)[] = [];
  const scopes: Record<string, () => Promise<void>> = {
    BlockPool: async () => {
      await using pool = new BlockPool({ ...TWO, name: "small" });
      held.push(pool.acquireSync({ tag: "forgotten" }));
      pool.close({ timeoutMs: 0 }).catch(() => {});
      throw own;
    },
    SizeClassPool: async () => {
      await using pool = new SizeClassPool([{ ...TWO, name: "small" }]);
      held.push(pool.tryAcquire(1, { tag: "forgotten" }));
      pool.close({ timeoutMs: 0 }).catch(() => {});
      throw own;
    },
  };
  for (const [kind, scope] of Object.entries(scopes)) {
    using errors = catchErrors();
    // Not a SuppressedError.
    assertStrictEquals(await assertRejects(scope), own, kind);
    assertEquals(errors.lines.length, 1, kind);
    const [[error, ...rest]] = errors.lines;
    assertInstanceOf(error, SmritiError, kind);
    assertEquals([error.code, rest], ["timeout", []], kind);
    assertStringIncludes(error.message, '"small"');
    assertStringIncludes(error.message, '"forgotten"');
  }
  assertEquals(held.length, 2);
});

Deno.test("await using that runs out of time is a scope like any other", async () => {
  using time = new FakeTime();
  using errors = catchErrors();
  using _warnings = catchWarnings();
  let block: Block;
  const scope = (async () => {
    await using pool = new BlockPool(TWO);
    block = pool.acquireSync();
    return pool.blockSize;
  })();
  await microtasks();
  time.tick(9_999);
  assertEquals(await isSettled(scope), false);
  time.tick(1);
  assertEquals(await scope, 64);
  assertEquals(errors.lines.length, 1);
  assertEquals(block!.released, true);
});

Deno.test("close() says once, after a second, whom it waits for", async () => {
  using time = new FakeTime();
  using warnings = catchWarnings();
  const pool = new BlockPool({ ...TWO, name: "up\x1bloads" });
  const lent = pool.acquireSync({ tag: "lent" });
  const gate = Promise.withResolvers<number>();
  const lend = lent.lend(gate.promise);
  lent.release();
  const block = pool.acquireSync({ tag: "request\n7" });
  const closed = pool.close({ timeoutMs: 60_000 });
  pool.close().catch(() => {});
  time.tick(999);
  assertEquals(warnings.lines, []);
  time.tick(1);
  assertEquals(warnings.lines, [[
    'close() of pool "up\\u001bloads" waits for 2 blocks ("lent", "request\\n7")',
  ]]);
  time.tick(50_000);
  assertEquals(warnings.lines.length, 1);
  block.release();
  gate.resolve(1);
  await lend;
  await closed;
  time.tick(10_000);
  assertEquals(warnings.lines.length, 1);
});

Deno.test("close() says nothing if it is over soon, gives up sooner, or was not asked to wait", async () => {
  using time = new FakeTime();
  using warnings = catchWarnings();
  const [soon, hasty, silent] = Array.from(
    { length: 3 },
    () => new BlockPool(TWO),
  );
  const blocks = [soon, hasty, silent].map((pool) => pool.acquireSync());
  const closed = soon.close();
  const given = rejected("timeout", hasty.close({ timeoutMs: 1_000 }));
  silent[Symbol.dispose]();
  time.tick(900);
  blocks[0].release();
  time.tick(5_000);
  assertEquals(warnings.lines, []);
  blocks[2].release();
  await Promise.all([closed, given]);
});

Deno.test("using closes without waiting and unmaps when the last block returns", () => {
  let pool: BlockPool;
  let blocks: Block[];
  {
    using scoped = pool = new BlockPool(TWO);
    blocks = takeAll(scoped);
  }
  const events = closings(pool);
  refused("closed", () => pool.tryAcquire());
  // Nothing was revoked.
  blocks[0].bytes.fill(1);
  blocks[0].release();
  assertGreater(lawful(pool).mappedBytes, 0);
  assertEquals(events.length, 0);
  blocks[1].release();
  gone(pool);
  assertEquals(events.length, 1);
});

Deno.test("close() after [Symbol.dispose]() waits for the rest, or finds it over", async () => {
  const pool = new BlockPool(TWO);
  const block = pool.acquireSync();
  pool[Symbol.dispose]();
  pool[Symbol.dispose]();
  const closed = pool.close();
  assertEquals(await isSettled(closed), false);
  block.release();
  await closed;
  gone(pool);

  const idle = new BlockPool(TWO);
  idle[Symbol.dispose]();
  gone(idle);
  await idle.close();
});

Deno.test("close() that runs out of time rejects with the tags, and revokes what is out", async () => {
  using time = new FakeTime();
  const pool = new BlockPool({ blockSize: 64, maxBlocks: 4, name: "late" });
  const events = closings(pool);
  const blocks = [
    pool.acquireSync({ tag: "request 7" }),
    pool.acquireSync({ tag: "request 8" }),
    pool.acquireSync(),
  ];
  const views = blocks.map(({ bytes }) => bytes);
  const parts = views.map((view) => view.subarray(3, 9));
  const closed = pool.close({ timeoutMs: 500 });
  time.tick(499);
  assertEquals(await isSettled(closed), false);
  assertEquals(views[0].length, 64);
  time.tick(1);
  const { message } = await rejected("timeout", closed);
  for (const word of ['"late"', "500 ms", "3 ", '"request 7"', '"request 8"']) {
    assertStringIncludes(message, word);
  }
  assertEquals([...views, ...parts].map((v) => v.length), Array(6).fill(0));
  const stats = lawful(pool);
  assertEquals([stats.acquiredBlocks, stats.abandonedBlocks], [0, 3]);
  // Native code may still write there, so the addresses stay.
  assertGreater(stats.mappedBytes, 0);
  assertEquals(events.map(({ abandonedBlocks }) => abandonedBlocks), [3]);
  assertEquals(events[0].mappedBytes, stats.mappedBytes);

  // A call that comes late is told nothing new and breaks nothing.
  for (const block of blocks) {
    assertEquals(block.released, true);
    refused("released", () => block.bytes);
    block.release();
    pool.release(block);
    block[Symbol.dispose]();
  }
  assertEquals(lawful(pool), stats);
  await rejected("timeout", pool.close());
  assertEquals(events.length, 1);
});

Deno.test("close() gives up after ten seconds if not told otherwise", async () => {
  using time = new FakeTime();
  using _warnings = catchWarnings();
  const pool = new BlockPool(TWO);
  const block = pool.acquireSync();
  const closed = pool.close();
  time.tick(9_999);
  assertEquals(await isSettled(closed), false);
  time.tick(1);
  await rejected("timeout", closed);
  block.release();
});

Deno.test("close() with timeoutMs 0 gives up in the next turn, or resolves if nothing is out", async () => {
  const idle = new BlockPool(TWO);
  await idle.close({ timeoutMs: 0 });
  gone(idle);
  const pool = new BlockPool(TWO);
  const block = pool.acquireSync();
  await rejected("timeout", pool.close({ timeoutMs: 0 }));
  block.release();
  assertEquals(lawful(pool).abandonedBlocks, 1);
});

Deno.test("close() that runs out of time names each tag once, and not hundreds", async () => {
  const pool = new BlockPool({ blockSize: 64, maxBlocks: 300 });
  // Held on to, or some might be found as leaks meanwhile.
  const blocks = Array.from(
    { length: 300 },
    (_, i) => pool.acquireSync({ tag: i % 2 ? "same" : `request ${i}` }),
  );
  const { message } = await rejected("timeout", pool.close({ timeoutMs: 0 }));
  assertStringIncludes(message, "300");
  assertEquals(message.split('"same"').length, 2);
  assertLess(message.length, 1_000);
  for (const block of blocks) block.release();
});

Deno.test("close() that runs out of time takes lent blocks along; their settling is harmless", async () => {
  const pool = new BlockPool({ blockSize: 64, maxBlocks: 3 });
  const gate = Promise.withResolvers<string>();
  const held = pool.acquireSync({ tag: "held" });
  const released = pool.acquireSync({ tag: "released" });
  const lends = [held.lend(gate.promise), released.lend(gate.promise)];
  released.release();
  const error = await rejected("timeout", pool.close({ timeoutMs: 0 }));
  assertStringIncludes(error.message, '"held"');
  assertStringIncludes(error.message, '"released"');
  const stats = lawful(pool);
  assertEquals([stats.abandonedBlocks, stats.lentBlocks], [2, 0]);
  gate.resolve("late");
  assertEquals(await Promise.all(lends), ["late", "late"]);
  held.release();
  assertEquals(lawful(pool), stats);
});

Deno.test("close() with an abandoned block resolves and keeps its addresses and bytes", async () => {
  const pool = new BlockPool(TWO);
  const events = closings(pool);
  const [a, b] = takeAll(pool);
  const view = a.bytes.fill(7);
  a.abandon();
  const closed = pool.close();
  assertEquals(await isSettled(closed), false);
  b.release();
  await closed;
  const { abandonedBlocks, committedBlocks, mappedBytes, abandonedBytes } =
    lawful(pool);
  assertEquals([abandonedBlocks, committedBlocks], [1, 0]);
  assertEquals(abandonedBytes, 64);
  assertGreater(mappedBytes, 0);
  assertEquals(events[0].mappedBytes, mappedBytes);
  // The view may still be read, and a late write hits no lease.
  assertEquals(view, new Uint8Array(64).fill(7));
  view[0] = 1;
});

Deno.test("close() ends when the last block out is abandoned instead of released", async () => {
  const pool = new BlockPool(TWO);
  const block = pool.acquireSync();
  const closed = pool.close();
  block.abandon();
  await closed;
  assertEquals(lawful(pool).abandonedBlocks, 1);
});

Deno.test("close() unmaps also what is being faulted in", async () => {
  const pool = new BlockPool({
    blockSize: 1024 * 1024,
    maxBlocks: 64,
    initialBlocks: 32,
    prefault: true,
  });
  await new Promise((resolve) => setTimeout(resolve, 3));
  await pool.close();
  gone(pool);
});

Deno.test("close() called by a listener ends the pool under the acquire that told it", async () => {
  const pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  const block = pool.acquireSync();
  let closed: Promise<void> | undefined;
  pool.addEventListener("exhausted", () => closed = pool.close());
  assertEquals(pool.tryAcquire(), undefined);
  await rejected("closed", pool.acquire());
  block.release();
  await closed;
  gone(pool);
});

Deno.test("close() that runs out of time is handled once for all who called it", async () => {
  const lines = await survives(async ({ BlockPool }) => {
    const pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
    const block = pool.acquireSync();
    // A signal handler that fires twice, say; the server awaits the second.
    pool.close({ timeoutMs: 1 });
    console.log(await pool.close().catch(({ code }) => code));
    block.release();
    await new Promise((resolve) => setTimeout(resolve, 5));
  });
  assertEquals(lines, ["timeout"]);
});

// An acquire during which the pool is closed, by a listener that it tells or by an option's getter, is
// refused as `closed`.

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

Deno.test({
  name: "views of the last block to come back are empty once the pool is gone",
  ignore: !hasNative || !canRunDeno,
}, async () => {
  const lines = await survives(async ({ BlockPool }) => {
    for (const safety of ["trust", "revoke", "strict"] as const) {
      for (const blockSize of [64, 70_000]) {
        const pool = new BlockPool({ blockSize, maxBlocks: 8, safety });
        const first = pool.acquireSync();
        const last = pool.acquireSync();
        const kept = [first.bytes, last.bytes.subarray(1), last.bytes];
        pool[Symbol.dispose]();
        // Everything else has gone back by now; these two are whole.
        for (const view of kept) view.fill(1);
        last.release();
        first.release();
        await pool.close();
        let touched = 0;
        for (const view of kept) {
          // Of an empty view this writes nothing and reads nothing.
          view[0] = 2;
          touched += view.length + (view[0] ?? 0);
        }
        console.log(safety, touched, pool.stats().mappedBytes);
      }
    }
  });
  const all = ["trust", "revoke", "strict"].flatMap((safety) => [
    `${safety} 0 0`,
    `${safety} 0 0`,
  ]);
  assertEquals(lines, all);
});
