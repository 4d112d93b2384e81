// Strict mode: what is written to a block after its lease fails or is found, and the time a block
// spends in quarantine costs no caller a block.

import {
  assert,
  assertEquals,
  assertLessOrEqual,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { FakeTime } from "@std/testing/time";
import {
  type Block,
  BlockPool,
  type PoolOptions,
  SmritiError,
} from "@smriti/pool";
import { firstStain } from "../../pool/quarantine.ts";
import { survives } from "../support/child.ts";
import { Fifo, say, wire } from "../support/connections.ts";
import { FailingBackend } from "../support/failing_backend.ts";
import { gone, lawful } from "../support/invariants.ts";
import { mappingsIn } from "../support/maps.ts";
import { addressOf, refused, rejected, takeAll } from "../support/misuse.ts";
import {
  canRunDeno,
  hasNative,
  hasPosixShell,
  hasProc,
  isEmulated,
} from "../support/platform.ts";
import { Rng } from "../support/rng.ts";

function strict(options: Partial<PoolOptions> = {}): BlockPool {
  return new BlockPool({
    blockSize: 256,
    maxBlocks: 16,
    safety: "strict",
    ...options,
  });
}

/** Ends a lease that wrote, so that its slot goes into quarantine. */
function use(block: Block): void {
  block.bytes[0] = 1;
  block.release();
}

/** Writes to a block after its lease, as native code would that was not told of its end. */
function writeLate(block: Block, at: number[]): void {
  const address = block.pointer;
  const { size } = block;
  block.release();
  const late = new Uint8Array(
    Deno.UnsafePointerView.getArrayBuffer(address, size),
  );
  for (const index of at) late[index] = 7;
}

Deno.test({
  name: "a socket read that outlives its lease rejects with EFAULT",
  ignore: !hasNative,
}, async () => {
  await using pool = strict({ blockSize: 4096 });
  using net = await wire();
  const block = pool.acquireSync({ tag: "careless" });
  const read = net.ours.read(block.bytes);
  block.release();
  const refusal = assertRejects(() => read, Error);
  await say(net.peer, "too late");
  const error = await refusal;
  // 10014 is what sockets of Windows call it.
  assertMatch(error.message, /os error (14|10014)\b|Bad address/);
  assertEquals(lawful(pool).abandonedBlocks, 0);
});

Deno.test({
  name: "a read on another thread that outlives its lease rejects with EFAULT",
  ignore: !hasNative || !hasPosixShell,
}, async () => {
  await using pool = strict({ blockSize: 8192 });
  await using fifo = await Fifo.open();
  const block = pool.acquireSync();
  const read = fifo.reader.read(block.bytes);
  block.release();
  const refusal = assertRejects(() => read, Error);
  await fifo.say("too late");
  const error = await refusal;
  assertMatch(error.message, /os error 14|Bad address/);
  // What was in the pipe is still there, and the block is as good as any other.
  using other = pool.acquireSync();
  const got = await other.lend((bytes) => fifo.reader.read(bytes));
  assertEquals(got, 8);
});

Deno.test({
  name: "release() reports a late write with its place, tag and stack, once",
  ignore: !hasNative,
}, async () => {
  const pool = strict({ maxBlocks: 8, name: "uploads" });
  const careless = pool.acquireSync({ tag: "request 7" });
  const address = careless.pointer;
  writeLate(careless, [9, 5]);
  const innocent = pool.acquireSync();
  innocent.bytes[0] = 1;
  // One in eight may be in quarantine, so this one drives the other out.
  const { message } = refused("corrupted", () => innocent.release());
  assertEquals(innocent.released, true);
  assertStringIncludes(message, '"uploads"');
  assertStringIncludes(message, '"request 7"');
  assertStringIncludes(message, "byte 5 is 7");
  assertStringIncludes(message, "strict_test.ts");
  for (let i = 0; i < 20; i++) use(pool.acquireSync());
  const stats = lawful(pool);
  assertEquals([stats.abandonedBlocks, stats.acquiredBlocks], [1, 0]);
  // The slot that was written to is never lent again, and replaced.
  const others = takeAll(pool);
  assertEquals(others.length, 8);
  for (const { pointer } of others) {
    assert(!Deno.UnsafePointer.equals(pointer, address));
  }
  for (const block of others) block.release();
  await pool.close();
  assert(pool.stats().mappedBytes > 0, "somebody may still write there");
});

Deno.test({
  name: "tryAcquire() and acquire() report a late write that they come upon",
  ignore: !hasNative,
}, async () => {
  await using pool = strict();
  for (const way of ["tryAcquire", "acquire"]) {
    const [last, ...held] = takeAll(pool);
    const address = last.pointer;
    writeLate(last, [0]);
    // The one in quarantine is the last: it must be looked at, is lost, and replaced at once.
    const fresh = way === "acquire" ? await pool.acquire() : pool.acquireSync();
    assert(!Deno.UnsafePointer.equals(fresh.pointer, address));
    assert(fresh.bytes.every((byte) => byte === 0));
    // The one who came upon it has a block; the next call says so, once.
    refused("corrupted", () => pool.tryAcquire());
    assertEquals(pool.tryAcquire(), undefined);
    for (const block of [fresh, ...held]) block.release();
  }
  const { abandonedBlocks, capacityBlocks } = lawful(pool);
  assertEquals([abandonedBlocks, capacityBlocks], [2, 16]);
});

Deno.test({
  name: "close() rejects with a late write that nobody has come upon",
  ignore: !hasNative,
}, async () => {
  const pool = strict();
  writeLate(pool.acquireSync({ tag: "last" }), [255]);
  const { message } = await rejected("corrupted", pool.close());
  assertStringIncludes(message, '"last"');
  assertStringIncludes(message, "byte 255 is 7");
  assertEquals(lawful(pool).abandonedBlocks, 1);
});

Deno.test({
  name: "a late write is found whichever byte it hits",
  ignore: !hasNative,
}, async () => {
  for (const blockSize of [1, 2, 3, 4, 7, 16, 257]) {
    for (let at = 0; at < blockSize; at++) {
      const pool = strict({ blockSize, maxBlocks: 1 });
      writeLate(pool.acquireSync(), [at]);
      const { message } = await rejected("corrupted", pool.close());
      assertStringIncludes(message, `byte ${at} is 7`);
    }
  }
});

Deno.test("a block out of quarantine is zeroed and its views are new", () => {
  for (const blockSize of [64, 4096, 5000]) {
    using pool = strict({ blockSize, maxBlocks: 1 });
    const seen = new Set<Uint8Array>();
    for (let i = 1; i < 10; i++) {
      using block = pool.acquireSync();
      assert(block.bytes.every((byte) => byte === 0));
      for (const old of seen) assertEquals(old.length, 0);
      seen.add(block.bytes.fill(i));
    }
    assertEquals(seen.size, 9);
  }
});

Deno.test("a lease that never touched its block does not go into quarantine", () => {
  using pool = strict();
  pool.acquireSync().release();
  assertEquals(lawful(pool).quarantinedBlocks, 0);
  use(pool.acquireSync());
  assertEquals(lawful(pool).quarantinedBlocks, 1);
});

Deno.test("quarantine holds an eighth of the blocks, and never more than 1024", () => {
  const limits = [[1, 1], [16, 2], [800, 100], [20_000, 1024]];
  for (const [maxBlocks, limit] of limits) {
    using pool = strict({ blockSize: 64, maxBlocks });
    const blocks = takeAll(pool);
    assertEquals(blocks.length, maxBlocks);
    for (const block of blocks) {
      use(block);
      assertLessOrEqual(pool.stats().quarantinedBlocks, limit);
    }
    assertEquals(lawful(pool).quarantinedBlocks, limit);
  }
});

Deno.test("the block longest in quarantine comes out first", () => {
  using pool = strict({ blockSize: 4096, maxBlocks: 24 });
  const blocks = takeAll(pool);
  const addresses = blocks.map(({ bytes }) => addressOf(bytes));
  const order = [7, 3, 20];
  for (const at of order) use(blocks[at]);
  assertEquals(lawful(pool).quarantinedBlocks, 3);
  const next = order.map(() => addressOf(pool.acquireSync().bytes));
  assertEquals(next, order.map((at) => addresses[at]));
});

Deno.test("acquires of every kind empty the quarantine before they are refused", async () => {
  await using pool = strict({ maxBlocks: 32, reservedBlocks: 2 });
  const ways: Record<string, () => Promise<Block[]>> = {
    tryAcquire: () => Promise.resolve(takeAll(pool)),
    acquire: () =>
      Promise.all(Array.from({ length: 30 }, () => pool.acquire())),
    acquireMany: () => pool.acquireMany(30),
    "acquire reserved": () =>
      Promise.all(
        Array.from({ length: 32 }, () => pool.acquire({ reserved: true })),
      ),
  };
  for (const [name, way] of Object.entries(ways)) {
    const blocks = await way();
    assertEquals(blocks.length, name.includes("reserved") ? 32 : 30, name);
    assertEquals(lawful(pool).acquiredBlocks, blocks.length);
    for (const block of blocks) use(block);
    assertEquals(lawful(pool).quarantinedBlocks, 4, name);
  }
});

Deno.test("a waiter is served from quarantine, in its turn", async () => {
  await using pool = strict({ maxBlocks: 1 });
  const first = await pool.acquire();
  const served: number[] = [];
  const waiters = [1, 2, 3].map((number) =>
    pool.acquire().then((block) => {
      served.push(number);
      use(block);
    })
  );
  use(first);
  await Promise.all(waiters);
  assertEquals(served, [1, 2, 3]);
  assertEquals(lawful(pool).quarantinedBlocks, 1);
});

Deno.test("a block released while lent goes into quarantine when the lend settles", async () => {
  await using pool = strict();
  const gate = Promise.withResolvers<void>();
  const block = pool.acquireSync();
  const lent = block.lend(() => gate.promise);
  block.release();
  assertEquals(lawful(pool).quarantinedBlocks, 0);
  gate.resolve();
  await lent;
  assertEquals(lawful(pool).quarantinedBlocks, 1);
});

Deno.test("trim() leaves slabs with a block in quarantine, and close() takes all", async () => {
  const pool = strict({ blockSize: 4096, maxBlocks: 64, initialBlocks: 1 });
  for (const block of takeAll(pool)) use(block);
  assertEquals(lawful(pool).quarantinedBlocks, 8);
  pool.trim();
  const stats = lawful(pool);
  assertEquals(stats.quarantinedBlocks, 8);
  assertLessOrEqual(stats.committedBlocks, 9);
  await pool.close();
  gone(pool);
});

Deno.test("strict watches every lease, whatever leakDetection says", async () => {
  await using pool = strict({ leakDetection: "off" });
  const blocks = takeAll(pool);
  for (const { state, stack } of pool.slots()) {
    assertEquals(state, "acquired");
    assertStringIncludes(stack ?? "", "strict_test.ts");
  }
  for (const block of blocks) block.release();
});

Deno.test({
  name: "strict finds every block that became unreachable",
  ignore: !hasNative || !canRunDeno,
}, async () => {
  const lines = await survives(async ({ BlockPool }) => {
    const pool = new BlockPool({
      blockSize: 4096,
      maxBlocks: 64,
      safety: "strict",
    });
    (function lose() {
      for (let i = 0; i < 40; i++) pool.acquireSync().bytes[0] = 1;
    })();
    const end = performance.now() + 5000;
    while (pool.stats().leaks < 40 && performance.now() < end) {
      // deno-lint-ignore no-explicit-any
      (globalThis as any).gc();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const { leaks, abandonedBlocks } = pool.stats();
    console.log(leaks, abandonedBlocks);
  }, ["--v8-flags=--expose-gc"]);
  assertEquals(lines, ["40 40"]);
});

Deno.test({
  name: "scattered releases cut the region into a bounded number of mappings",
  ignore: !hasNative || !hasProc || isEmulated,
}, async () => {
  const maxBlocks = 16_384;
  await using pool = strict({ blockSize: 4096, maxBlocks });
  const blocks = takeAll(pool);
  const base = Deno.UnsafePointer.value(blocks[0].pointer);
  const count = () => mappingsIn(BigInt(base), maxBlocks * 4096);
  const rng = new Rng(1);
  let most = 0;
  for (let i = 0; i < maxBlocks; i++) {
    const at = i + rng.below(maxBlocks - i);
    [blocks[i], blocks[at]] = [blocks[at], blocks[i]];
    use(blocks[i]);
    if (i % 512 === 0) most = Math.max(most, count());
  }
  assertLessOrEqual(most, 2 * 1024 + 8);
  assert(most > 1024, `${most}: nothing was made inaccessible`);
});

Deno.test("a late write is found in whichever piece of a block it lies", () => {
  for (const size of [64, 65, 127, 128, 300]) {
    const bytes = new Uint8Array(size).fill(0xdb);
    assertEquals(firstStain(bytes, 64), -1);
    for (let at = 0; at < size; at++) {
      bytes[at] = 1;
      assertEquals(firstStain(bytes, 64), at, `${at} of ${size}`);
      bytes[at] = 0xdb;
    }
  }
});

Deno.test({
  name: "the end of a using scope with a late write unreported ends no process",
  ignore: !hasNative || !canRunDeno,
}, async () => {
  const lines = await survives(async ({ BlockPool }) => {
    {
      using pool = new BlockPool({
        blockSize: 256,
        maxBlocks: 8,
        safety: "strict",
      });
      const block = pool.acquireSync();
      const late = new Uint8Array(
        Deno.UnsafePointerView.getArrayBuffer(block.pointer, 256),
      );
      block.release();
      late[3] = 7;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
    console.log("alive");
  });
  assertEquals(lines, ["alive"]);
});

Deno.test("disposing an array of blocks releases all of them even if one release throws", async () => {
  // Below a page, so quarantine can only look, not forbid.
  const pool = new BlockPool({
    blockSize: 64,
    maxBlocks: 8,
    safety: "strict",
  });
  const victim = pool.acquireSync();
  victim.bytes[0] = 1;
  const late = new Uint8Array(
    Deno.UnsafePointerView.getArrayBuffer(victim.pointer, 64),
  );
  const blocks = await pool.acquireMany(3);
  for (const block of blocks) block.bytes[0] = 1;
  victim.release();
  late[5] = 7;
  const error = assertThrows(() => blocks[Symbol.dispose](), SmritiError);
  assertEquals(error.code, "corrupted");
  assertEquals(lawful(pool).acquiredBlocks, 0);
  await pool.close().catch(() => {});
});

Deno.test({
  name: "a waiter is served from quarantine once the OS allows it again",
  ignore: !hasNative,
}, async () => {
  using time = new FakeTime();
  using backend = new FailingBackend();
  const pool = new BlockPool({
    blockSize: 16_384,
    maxBlocks: 1,
    safety: "strict",
  });
  const block = pool.acquireSync();
  block.bytes[0] = 1;
  block.release();
  assertEquals(lawful(pool).quarantinedBlocks, 1);
  backend.fails = (call) => call === "protect";
  const waiting = pool.acquire();
  await time.tickAsync(1_000);
  assertEquals(lawful(pool).waiting, 1);
  backend.fails = () => false;
  await time.tickAsync(1_000);
  assertEquals(lawful(pool).waiting, 0);
  (await waiting).release();
  await pool.close();
  gone(pool);
  assertEquals(backend.violations, []);
});
