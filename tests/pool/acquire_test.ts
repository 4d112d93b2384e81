// One block for one caller: acquire, tryAcquire, acquireSync, use and release
// where no acquire has to wait.

import {
  assert,
  assertEquals,
  assertExists,
  assertNotEquals,
  assertNotStrictEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { type Block, BlockPool } from "@smriti/pool";
import { lawful } from "../support/invariants.ts";
import { addressOf, refused, takeAll } from "../support/misuse.ts";
import { PAGE } from "../support/sizes.ts";

Deno.test("acquire() gives exactly blockSize zeroed bytes of a buffer of their own", async () => {
  for (const blockSize of [1, 63, 64, 65, 4095, 4096, 4097, 65_536]) {
    using pool = new BlockPool({ blockSize, maxBlocks: 3 });
    using block = await pool.acquire();
    assertEquals(block.size, blockSize);
    assertEquals(block.bytes, new Uint8Array(blockSize));
    assertEquals(block.bytes.byteOffset, 0);
    assertEquals(block.bytes.buffer.byteLength, blockSize);
  }
});

Deno.test("acquire() needs no turn of the event loop when a block is free", async () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 2 });
  for (const options of [undefined, { tag: "a" }]) {
    let block: Block | undefined;
    pool.acquire(options).then((acquired) => block = acquired);
    for (let i = 0; i < 3; i++) await Promise.resolve();
    assertExists(block);
    block.release();
  }
  assertEquals(pool.stats().waits, 0);
});

Deno.test("acquire() rejects with the reason of an aborted signal and takes nothing", async () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  const reason = new Error("client left");
  const signal = AbortSignal.abort(reason);
  const error = await assertRejects(() => pool.acquire({ signal }));
  assertStrictEquals(error, reason);
  assertEquals(pool.stats().acquires, 0);
});

Deno.test("acquire() never lets two blocks share a byte", () => {
  // One byte, less than a line, a line and a bit, more than a page.
  for (const blockSize of [1, 63, 65, 4097]) {
    using pool = new BlockPool({ blockSize, maxBlocks: 200 });
    const blocks = takeAll(pool);
    assertEquals(blocks.length, 200);
    blocks.forEach((block, i) => block.bytes.fill(i + 1));
    for (const [i, block] of blocks.entries()) {
      assert(block.bytes.every((byte) => byte === i + 1), `block ${i}`);
      block.release();
    }
  }
});

Deno.test("acquire() grows the pool when no block is free and it may", async () => {
  // A threshold of 1 never grows ahead: the fourth acquire finds nothing free.
  using pool = new BlockPool({
    blockSize: PAGE,
    maxBlocks: 8,
    initialBlocks: 3,
    growThreshold: 1,
  });
  const blocks = takeAll(pool);
  assertEquals(blocks.length, 8);
  for (const block of blocks) block.release();
  pool.trim();
  assertEquals(lawful(pool).committedBlocks, 3);
  const again = [];
  for (let i = 0; i < 8; i++) again.push(await pool.acquire());
  assertEquals(lawful(pool).committedBlocks, 8);
  assertEquals(pool.stats().waits, 0);
  for (const block of again) block.release();
});

Deno.test("tryAcquire() is undefined when every block is out, and counts an exhaustion", () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 2 });
  using _a = pool.acquireSync();
  using b = pool.acquireSync();
  assertEquals(pool.tryAcquire(), undefined);
  assertEquals(pool.tryAcquire({ reserved: true }), undefined);
  assertEquals(pool.stats().exhaustions, 2);
  b.release();
  using c = pool.tryAcquire();
  assertExists(c);
  assertEquals(lawful(pool).acquiredBlocks, 2);
});

Deno.test("tryAcquire() hands the most recently released block out first", () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 8 });
  const blocks = takeAll(pool);
  const address = addressOf(blocks[5].bytes);
  blocks[2].release();
  blocks[5].release();
  using next = pool.acquireSync();
  assertEquals(addressOf(next.bytes), address);
  for (const block of blocks) block[Symbol.dispose]();
});

Deno.test("acquireSync() throws exhausted when every block is out", () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1, name: "uploads" });
  using _block = pool.acquireSync();
  const error = refused("exhausted", () => pool.acquireSync());
  assertStringIncludes(error.message, '"uploads"');
  assertStringIncludes(error.message, "1 of at most 1");
  assertEquals(pool.stats().exhaustions, 1);
});

Deno.test("reserved callers alone may take the reserved blocks", async () => {
  using pool = new BlockPool({
    blockSize: 64,
    maxBlocks: 5,
    initialBlocks: 5,
    reservedBlocks: 2,
  });
  const blocks = takeAll(pool);
  assertEquals(blocks.length, 3);
  assertEquals(pool.stats().reservedBlocks, 2);
  refused("exhausted", () => pool.acquireSync());
  blocks.push(pool.acquireSync({ reserved: true }));
  assertEquals(pool.stats().reservedBlocks, 1);
  blocks.push(await pool.acquire({ reserved: true }));
  refused("exhausted", () => pool.acquireSync({ reserved: true }));
  // What comes back fills the reserve first: a normal caller gets none of it.
  blocks.pop()!.release();
  blocks.pop()!.release();
  assertEquals(pool.tryAcquire(), undefined);
  blocks.pop()!.release();
  using normal = pool.tryAcquire();
  assertExists(normal);
  for (const block of blocks) block.release();
});

Deno.test("pointer is where bytes lie, aligned to a line or to a page", () => {
  for (const [blockSize, alignment] of [[1, 64n], [65, 64n], [PAGE, 4096n]]) {
    using pool = new BlockPool({ blockSize: Number(blockSize), maxBlocks: 3 });
    const blocks = takeAll(pool);
    for (const block of blocks) {
      const address = Deno.UnsafePointer.value(block.pointer);
      assertEquals(address, addressOf(block.bytes));
      assertEquals(address % BigInt(alignment), 0n);
      block.release();
    }
  }
});

Deno.test("tag stays with the lease, also after its end, and with that one only", () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  const a = pool.acquireSync({ tag: "request 7" });
  assertEquals(a.tag, "request 7");
  a.release();
  using b = pool.acquireSync();
  assertEquals(a.tag, "request 7");
  assertEquals(b.tag, undefined);
  assertStringIncludes(Deno.inspect(a), "request 7");
});

Deno.test("release() ends the lease and frees the block, by either name", () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  const ends: ((block: Block) => void)[] = [
    (block) => block.release(),
    (block) => pool.release(block),
    (block) => block[Symbol.dispose](),
  ];
  for (const end of ends) {
    const block = pool.acquireSync();
    assertEquals(block.released, false);
    end(block);
    assertEquals(block.released, true);
    assertEquals(lawful(pool).acquiredBlocks, 0);
  }
  assertEquals(pool.stats().acquires, 3);
  assertEquals(pool.stats().releases, 3);
  assertEquals(pool.stats().peakAcquired, 1);
});

Deno.test("pool.release() refuses another pool's block and leaves both pools as they were", () => {
  using ours = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  using theirs = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  using block = theirs.acquireSync();
  block.bytes[0] = 7;
  refused("foreign-block", () => ours.release(block));
  assertEquals(block.released, false);
  assertEquals(block.bytes[0], 7);
  assertEquals(theirs.stats().acquiredBlocks, 1);
  assertEquals(ours.stats().releases, 0);
});

Deno.test("pool.release() throws a TypeError for whatever is no block", () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  using block = pool.acquireSync();
  const strangers = [
    undefined,
    null,
    0,
    "block",
    {},
    [block],
    new Uint8Array(64),
    block.bytes,
    block.bytes.subarray(1),
    block.bytes.buffer,
    new Proxy(block, {}),
    Object.create(block),
  ];
  for (const stranger of strangers) {
    assertThrows(() => pool.release(stranger as Block), TypeError, "Block");
  }
  assertEquals(block.released, false);
});

Deno.test("using and an early release agree: only one lease ends", () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  let next: Block;
  {
    using block = pool.acquireSync();
    block.release();
    // The lease that has the memory now must not lose it at the end of this scope.
    next = pool.acquireSync();
  }
  assertEquals(next.released, false);
  assertEquals(pool.stats().doubleReleases, 0);
  next.release();
});

Deno.test("use() gives fn a block, its value to the caller, and the block back", async () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  const seen: Block[] = [];
  const value = await pool.use((block) => {
    seen.push(block);
    assertEquals(pool.stats().acquiredBlocks, 1);
    return block.tag;
  }, { tag: "in use" });
  assertEquals(value, "in use");
  assertEquals(seen[0].released, true);
  assertEquals(lawful(pool).freeBlocks, 1);
});

Deno.test("use() keeps the block until fn's promise settles", async () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  const gate = Promise.withResolvers<string>();
  const used = pool.use(() => gate.promise);
  await Promise.resolve();
  assertEquals(pool.tryAcquire(), undefined);
  gate.resolve("done");
  assertEquals(await used, "done");
  assertEquals(lawful(pool).acquiredBlocks, 0);
});

Deno.test("use() releases when fn throws or rejects, and hands its error on", async () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  const failure = new Error("handler");
  const thrower = () => {
    throw failure;
  };
  for (const fn of [thrower, () => Promise.reject(failure)]) {
    const error = await assertRejects(() => pool.use<void>(fn));
    assertStrictEquals(error, failure);
    assertEquals(lawful(pool).acquiredBlocks, 0);
  }
});

Deno.test("use() does not mind when fn has released or abandoned the block", async () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 2 });
  await pool.use((block) => block.release());
  assertEquals(lawful(pool).doubleReleases, 0);
  // The error of fn must not be hidden by one about the block.
  const error = await assertRejects(() =>
    pool.use((block) => {
      block.abandon();
      throw new Error("the real one");
    })
  );
  assertStringIncludes((error as Error).message, "the real one");
  assertEquals(lawful(pool).abandonedBlocks, 1);
});

Deno.test("each lease has a handle of its own though the memory is the same", () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  const a = pool.acquireSync();
  const address = addressOf(a.bytes);
  a.release();
  const b = pool.acquireSync();
  assertNotStrictEquals(a, b);
  assertEquals(addressOf(b.bytes), address);
  assertNotEquals(a.released, b.released);
  b.release();
});

Deno.test("stats() counts leases, their peak and what is free", () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 4, initialBlocks: 4 });
  const blocks = takeAll(pool);
  blocks.pop()!.release();
  const stats = lawful(pool);
  assertEquals(
    [stats.acquires, stats.releases, stats.acquiredBlocks, stats.freeBlocks],
    [4, 1, 3, 1],
  );
  assertEquals(stats.peakAcquired, 4);
  assert(Object.isFrozen(stats));
  for (const block of blocks) block.release();
});
