// One pool seen by several Workers at once: waiting, the reserve, growing and shrinking, lending,
// leaving and closing.

import {
  assert,
  assertEquals,
  assertGreater,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { Worker as NodeWorker } from "node:worker_threads";
import type { Block } from "@smriti/pool";
import type { BlockTicket } from "../../shared/mod.ts";
import { isThere, numbers, sharedPool, whole, widePool } from "./pools.ts";
import { Puppet, troupe } from "./puppet.ts";
import { gone } from "../support/invariants.ts";
import { rejected, takeAll, until } from "../support/misuse.ts";
import { hasProc } from "../support/platform.ts";

type All = Parameters<typeof takeAll>[0];

/** Until disposed, intervals do nothing but keep the process: no acquire asks again by itself. */
function withoutRetries(): Disposable {
  const { setInterval } = globalThis;
  globalThis.setInterval =
    ((_: () => void) => setInterval(() => {}, 1000)) as never;
  return {
    [Symbol.dispose]: () => {
      globalThis.setInterval = setInterval;
    },
  };
}

/** Takes all blocks that are free, and keeps them there. */
function keepAll(puppet: Puppet): Promise<number> {
  return puppet.run(({ pool, held }) => {
    for (let b; (b = pool.tryAcquire()) !== undefined;) held.push(b);
    return held.length;
  });
}

/** Releases so many of the blocks kept there. */
function giveBack(puppet: Puppet, count: number): Promise<void> {
  return puppet.run(({ held }, count: number) => {
    for (const block of held.splice(0, count)) block.release();
  }, count);
}

Deno.test("a release in one Worker wakes a waiter in another, without his asking", async () => {
  const pool = sharedPool();
  using puppet = await Puppet.start(pool);
  assertEquals(await keepAll(puppet), 4);
  const kept: Block[] = [];
  {
    using _ = withoutRetries();
    for (let i = 0; i < 4; i++) {
      const waiter = pool.acquire();
      assertEquals(numbers(pool).waiting, 1);
      await giveBack(puppet, 1);
      const block = await waiter;
      assert(block.bytes.every((byte) => byte === 0));
      // Kept, or the next waiter would have no reason to wait.
      kept.push(block);
    }
  }
  assertEquals(numbers(pool).waits, 4);
  for (const block of kept) block.release();
  whole(pool);
  await pool.close();
});

Deno.test("several releases wake as many waiters, wherever they wait", async () => {
  const pool = sharedPool({ maxBlocks: 6 });
  using puppets = await troupe(pool, 3);
  const blocks = takeAll(pool as unknown as All);
  const waits = puppets.map((puppet) =>
    puppet.run(async ({ pool, held }) => {
      held.push(...await Promise.all([pool.acquire(), pool.acquire()]));
      return held.length;
    })
  );
  await until(() => numbers(pool).waiting === 6);
  for (const block of blocks) block.release();
  assertEquals(await Promise.all(waits), [2, 2, 2]);
  assertEquals(numbers(pool).waiting, 0);
  for (const puppet of puppets) await giveBack(puppet, 2);
  whole(pool);
  await pool.close();
});

Deno.test("waiters of one isolate are served in their order, reserved ones first", async () => {
  const pool = sharedPool({ maxBlocks: 2 });
  using puppet = await Puppet.start(pool);
  await keepAll(puppet);
  const log: string[] = [];
  const join = (name: string, reserved: boolean) =>
    pool.acquire({ reserved }).then((block) => {
      log.push(name);
      block.release();
    });
  const line = [join("a", false), join("b", false), join("urgent", true)];
  await giveBack(puppet, 1);
  await Promise.all(line);
  assertEquals(log, ["urgent", "a", "b"]);
  await giveBack(puppet, 1);
  await pool.close();
});

Deno.test("a waiter can be aborted, or run out of time, and others are not held up", async () => {
  const pool = sharedPool({ maxBlocks: 1 });
  using puppet = await Puppet.start(pool);
  await keepAll(puppet);
  const controller = new AbortController();
  const { signal } = controller;
  const aborted = pool.acquire({ signal });
  const late = pool.acquire({ timeoutMs: 20 });
  const patient = pool.acquire();
  controller.abort("enough");
  assertEquals(await aborted.catch((reason) => reason), "enough");
  await rejected("timeout", late);
  await rejected("timeout", pool.acquire({ timeoutMs: 0 }));
  const { waiting, timeouts } = numbers(pool);
  assertEquals([waiting, timeouts], [1, 2]);
  await giveBack(puppet, 1);
  (await patient).release();
  whole(pool);
  await pool.close();
});

Deno.test("waiting holds no process open when it is over", async () => {
  const pool = sharedPool({ maxBlocks: 1 });
  using puppet = await Puppet.start(pool);
  await keepAll(puppet);
  await rejected("timeout", pool.acquire({ timeoutMs: 5 }));
  // The sanitizers find the timer that is left.
  await giveBack(puppet, 1);
  await pool.close();
});

Deno.test("acquireBlocking() waits in a Worker of node:worker_threads, too", async () => {
  await using pool = sharedPool();
  const module = new URL("../../shared/mod.ts", import.meta.url);
  const code = `
    import { parentPort, workerData } from "node:worker_threads";
    import { SharedBlockPool } from ${JSON.stringify(module.href)};
    const pool = SharedBlockPool.attach(workerData);
    const ticket = pool.acquireBlocking({ timeoutMs: 20_000 }).detach();
    pool.leave();
    parentPort.postMessage(ticket);`;
  const url = new URL(`data:text/javascript,${encodeURIComponent(code)}`);
  const worker = new NodeWorker(url, { workerData: pool.handle });
  const ended = new Promise((resolve) => worker.once("exit", resolve));
  const ticket = await new Promise<BlockTicket>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  pool.adopt(ticket).release();
  await worker.terminate();
  await ended;
  whole(pool);
});

Deno.test("acquireBlocking() waits in a Worker for what another one releases", async () => {
  const pool = sharedPool({ maxBlocks: 1 });
  using puppet = await Puppet.start(pool);
  const block = pool.acquireSync();
  const code = (error: unknown) => (error as { code: string }).code;
  const tries = await puppet.run(({ pool }) => {
    try {
      pool.acquireBlocking({ timeoutMs: 10 });
    } catch (error) {
      return [(error as { code: string }).code, pool.stats().timeouts];
    }
  });
  assertEquals(tries, ["timeout", 1]);
  const waiter = puppet.run(({ pool }) => {
    const block = pool.acquireBlocking({ tag: "at last" });
    const result = [block.tag, block.bytes.every((byte) => byte === 0)];
    block.release();
    return result;
  });
  block.bytes.fill(1);
  // It cannot tell that it waits: its thread stops. Some of the time it will have to.
  await new Promise((resolve) => setTimeout(resolve, 20));
  block.release();
  assertEquals(await waiter, ["at last", true]);
  const wrong = await puppet.run(({ pool }) => {
    const signal = AbortSignal.abort("early");
    const results: unknown[] = [];
    for (const options of [{ signal }, { timeoutMs: -1 }, { reserved: 1 }]) {
      try {
        pool.acquireBlocking(options as never);
      } catch (error) {
        results.push(error instanceof Error ? error.name : error);
      }
    }
    return results;
  });
  assertEquals(wrong, ["early", "RangeError", "TypeError"]);
  void code;
  await pool.close();
});

Deno.test("acquireBlocking() ends when another isolate closes the pool", async () => {
  const pool = sharedPool({ maxBlocks: 1 });
  using puppet = await Puppet.start(pool);
  const block = pool.acquireSync();
  const waiter = puppet.run(({ pool }) => void pool.acquireBlocking());
  await until(() => numbers(pool).waits === 1);
  const closed = pool.close();
  await rejected("closed", waiter);
  block.release();
  await closed;
  gone(pool);
});

Deno.test("acquireBlocking() that can never be served is exhausted", async () => {
  const pool = sharedPool({ maxBlocks: 1, maxAbandonedBytes: 0 });
  using puppet = await Puppet.start(pool);
  pool.acquireSync().abandon();
  const waiter = puppet.run(({ pool }) => void pool.acquireBlocking());
  await rejected("exhausted", waiter);
  await pool.close();
});

Deno.test("the reserve is kept for reserved callers of any Worker", async () => {
  const pool = sharedPool({ maxBlocks: 8, reservedBlocks: 3 });
  using puppets = await troupe(pool, 2);
  const counts = await Promise.all(puppets.map(keepAll));
  assertEquals(counts[0] + counts[1], 5);
  assertEquals(pool.tryAcquire(), undefined);
  const { freeBlocks, reservedBlocks } = numbers(pool);
  assertEquals([freeBlocks, reservedBlocks], [3, 3]);
  const urgent = await puppets[0].run(({ pool, held }) => {
    for (let b; (b = pool.tryAcquire({ reserved: true })) !== undefined;) {
      held.push(b);
    }
    return held.length;
  });
  assertEquals(urgent, counts[0] + 3);
  const normal = pool.acquire();
  // One comes back, but it is the reserve's.
  await giveBack(puppets[0], 3);
  assertEquals(numbers(pool).waiting, 1);
  assertEquals(pool.tryAcquire(), undefined);
  await giveBack(puppets[1], counts[1]);
  await giveBack(puppets[0], 1);
  (await normal).release();
  await giveBack(puppets[0], urgent);
  whole(pool);
  await pool.close();
});

Deno.test("Workers that race for the last block above the reserve leave the reserve alone", async () => {
  const pool = sharedPool({ maxBlocks: 6, reservedBlocks: 2 });
  using puppets = await troupe(pool, 3);
  for (let round = 0; round < 30; round++) {
    const counts = await Promise.all(puppets.map(keepAll));
    const taken = counts.reduce((a, b) => a + b);
    // Two may both have seen the last one, given it back and gone without.
    assert(taken <= 4 && taken > 0, `${taken} taken`);
    assertEquals(numbers(pool).freeBlocks, 6 - taken);
    const urgent = [1, 2].map(() => pool.acquireSync({ reserved: true }));
    for (const block of urgent) block.release();
    await Promise.all(puppets.map((puppet) => giveBack(puppet, 6)));
  }
  whole(pool);
  await pool.close();
});

Deno.test("any Worker grows the pool at 80 %, and the others use what it has grown", async () => {
  const pool = sharedPool({ maxBlocks: 100, initialBlocks: 20 });
  using puppet = await Puppet.start(pool);
  const take = (count: number) =>
    puppet.run(({ pool, held }, count: number) => {
      for (let i = 0; i < count; i++) held.push(pool.acquireSync());
    }, count);
  await take(15);
  assertEquals(numbers(pool).committedBlocks, 20);
  await take(1);
  const { committedBlocks, grows } = numbers(pool);
  assertEquals([committedBlocks, grows], [30, 1]);
  // 16 there and 14 here: no further system call is needed for these.
  const blocks = Array.from({ length: 8 }, () => pool.acquireSync());
  assertEquals(numbers(pool).committedBlocks, 40);
  for (const { bytes } of blocks) bytes.fill(3);
  const seen = await puppet.run(({ pool, held }) => {
    for (let b; (b = pool.tryAcquire()) !== undefined;) held.push(b);
    return held.every(({ bytes }) => bytes.every((byte) => byte === 0));
  });
  assert(seen);
  assertEquals(numbers(pool).committedBlocks, 100);
  for (const block of blocks) block.release();
  await giveBack(puppet, 100);
  whole(pool);
  await pool.close();
});

Deno.test("Workers that grow at once grow no further than to the limit", async () => {
  const pool = sharedPool({ maxBlocks: 64, initialBlocks: 1, growStep: 0.01 });
  using puppets = await troupe(pool, 4);
  const counts = await Promise.all(puppets.map(keepAll));
  assertEquals(counts.reduce((a, b) => a + b), 64);
  const { committedBlocks, freeBlocks } = numbers(pool);
  assertEquals([committedBlocks, freeBlocks], [64, 0]);
  for (const puppet of puppets) await giveBack(puppet, 64);
  whole(pool);
  await pool.close();
});

Deno.test("the pool shrinks by itself when all Workers are idle, and grows again", async () => {
  const pool = sharedPool({
    maxBlocks: 40,
    initialBlocks: 2,
    shrinkIntervalMs: 5,
  });
  using puppet = await Puppet.start(pool);
  await keepAll(puppet);
  assertEquals(numbers(pool).committedBlocks, 40);
  await giveBack(puppet, 40);
  await until(() => numbers(pool).committedBlocks === 2);
  assertGreater(numbers(pool).shrinks, 0);
  const blocks = takeAll(pool as unknown as All);
  assertEquals(blocks.length, 40);
  for (const { bytes } of blocks) assert(bytes.every((byte) => byte === 0));
  for (const block of blocks) block.release();
  await pool.close();
});

Deno.test("trim() in one Worker gives back what another has used", async () => {
  const pool = sharedPool({ maxBlocks: 10, initialBlocks: 2 });
  using puppet = await Puppet.start(pool);
  const last = await puppet.run(({ pool, held }) => {
    for (let b; (b = pool.tryAcquire()) !== undefined;) held.push(b);
    for (const { bytes } of held) bytes.fill(7);
    for (const block of held.splice(1)) block.release();
    return held.length;
  });
  assertEquals(last, 1);
  assertEquals(pool.trim(), 8 * pool.blockSize);
  const { committedBlocks, acquiredBlocks, shrinks } = numbers(pool);
  assertEquals([committedBlocks, acquiredBlocks, shrinks], [2, 1, 1]);
  assertEquals(pool.trim(), 0);
  // The block held there is as it was.
  assert(await puppet.run(({ held }) => held[0].bytes.every((b) => b === 7)));
  // And the views there of blocks that went and come back are good, too.
  const clean = await puppet.run(({ pool, held }) => {
    for (let b; (b = pool.tryAcquire()) !== undefined;) held.push(b);
    return held.slice(1).every(({ bytes }) => bytes.every((b) => b === 0));
  });
  assert(clean);
  await giveBack(puppet, 10);
  await pool.close();
});

Deno.test("lent blocks of all Workers are counted, and come back when their operations end", async () => {
  const pool = sharedPool();
  using puppet = await Puppet.start(pool);
  await puppet.run(({ pool, held }) => {
    const gate = Promise.withResolvers<void>();
    (globalThis as unknown as { gate: unknown }).gate = gate;
    for (let i = 0; i < 2; i++) {
      const block = pool.acquireSync();
      void block.lend(gate.promise);
      void block.lend(gate.promise);
      held.push(block);
    }
    held.pop()!.release();
  });
  assertEquals(numbers(pool).lentBlocks, 2);
  await puppet.run(async () => {
    const { gate } = globalThis as unknown as {
      gate: PromiseWithResolvers<void>;
    };
    gate.resolve();
    await new Promise((resolve) => setTimeout(resolve, 0));
  });
  const { lentBlocks, acquiredBlocks } = numbers(pool);
  assertEquals([lentBlocks, acquiredBlocks], [0, 1]);
  await giveBack(puppet, 1);
  await pool.close();
});

Deno.test("leave() of a Worker with waiters lets them go and wakes others", async () => {
  const pool = sharedPool({ maxBlocks: 2 });
  using puppet = await Puppet.start(pool);
  await keepAll(puppet);
  const mine = pool.acquireMany(2);
  const theirs = await puppet.run(async ({ pool, held }) => {
    const waiter = pool.acquire().catch((error) => error.code);
    pool.leave();
    const view = held[0].released;
    return [await waiter, view, pool.closed];
  });
  assertEquals(theirs, ["closed", true, true]);
  const blocks = await mine;
  assertEquals(numbers(pool).attachedWorkers, 1);
  blocks[Symbol.dispose]();
  await pool.close();
});

Deno.test({
  name: "the last Worker out unmaps, whoever made the pool",
  ignore: !hasProc,
  fn: async () => {
    const pool = widePool();
    using puppets = await troupe(pool, 2);
    pool.leave();
    assert(isThere(pool));
    await puppets[0].run(({ pool }) => {
      pool.acquireSync().bytes.fill(1);
      pool.leave();
    });
    assert(isThere(pool));
    assertEquals(numbers(pool).attachedWorkers, 1);
    await puppets[1].run(({ pool }) => pool.leave());
    assert(!isThere(pool));
    gone(pool);
  },
});

Deno.test({
  name:
    "close() ends the pool in every Worker, and unmaps when the last block is back",
  ignore: !hasProc,
  fn: async () => {
    const pool = widePool();
    using puppets = await troupe(pool, 3);
    await keepAll(puppets[1]);
    const closed = pool.close();
    await rejected(
      "closed",
      puppets[0].run(({ pool }) => void pool.tryAcquire()),
    );
    await rejected("closed", puppets[1].run(({ pool }) => pool.acquire()));
    assert(isThere(pool));
    await giveBack(puppets[1], 4);
    await closed;
    assert(!isThere(pool));
    gone(pool);
    const late = await puppets[2].run(({ pool }) => pool.stats().mappedBytes);
    assertEquals(late, 0);
  },
});

Deno.test("close() says when other isolates keep blocks, and the pool ends when they come back", async () => {
  const pool = sharedPool();
  using puppet = await Puppet.start(pool);
  await keepAll(puppet);
  const { message } = await rejected("timeout", pool.close({ timeoutMs: 40 }));
  assertStringIncludes(message, "0 blocks");
  assertStringIncludes(message, ": 1");
  assertEquals(numbers(pool).acquiredBlocks, 4);
  await giveBack(puppet, 4);
  await until(() => numbers(pool).mappedBytes === 0);
  gone(pool);
});

Deno.test("a Worker may close the pool of its maker", async () => {
  const pool = sharedPool();
  using puppet = await Puppet.start(pool);
  const block = pool.acquireSync();
  const closed = puppet.run(({ pool }) => pool.close());
  await until(() => pool.closed);
  block.release();
  await closed;
  await pool.close();
  gone(pool);
});

Deno.test("close() waits for a Worker that died with blocks, until it is proven dead", async () => {
  const pool = sharedPool();
  const puppet = await Puppet.start(pool);
  await keepAll(puppet);
  puppet.kill();
  await pool.close();
  gone(pool);
});

Deno.test("nobody starves beside a Worker that has always more waiters than blocks", async () => {
  const pool = sharedPool({ maxBlocks: 4 });
  using puppet = await Puppet.start(pool);
  const going = puppet.run(async ({ pool }) => {
    let served = 0;
    const run = async () => {
      while (!pool.closed) {
        const block = await pool.acquire().catch(() => undefined);
        if (block === undefined) return;
        served++;
        await new Promise((resolve) => setTimeout(resolve, 1));
        block.release();
      }
    };
    await Promise.all(Array.from({ length: 40 }, run));
    return served;
  });
  await until(() => numbers(pool).waiting > 30);
  for (let i = 0; i < 5; i++) (await pool.acquire()).release();
  // All at once, too, though none of the others waits for so many.
  (await pool.acquireMany(4))[Symbol.dispose]();
  const closed = pool.close();
  assertGreater(await going, 20);
  await closed;
});

Deno.test("use() and every method work in a Worker as they do here", async () => {
  const pool = sharedPool();
  using puppet = await Puppet.start(pool);
  const result = await puppet.run(async ({ pool, SharedBlockPool }) => {
    const inner = SharedBlockPool.create({ blockSize: 64, maxBlocks: 2 });
    const used = await inner.use((block) => block.bytes.fill(1)[63]);
    await inner.close();
    const many = await pool.acquireMany(2, { tag: "many" });
    const tags = many.map(({ tag }) => tag);
    many[Symbol.dispose]();
    return { used, tags, text: Deno.inspect(pool) };
  });
  assertEquals([result.used, result.tags], [1, ["many", "many"]]);
  assertStringIncludes(result.text, `worker ${puppet.id}`);
  await assertRejects(
    () =>
      puppet.run(() => {
        throw new RangeError("from there");
      }),
    Error,
    "from there",
  );
  const block: Block = await pool.acquire();
  block.release();
  await pool.close();
});
