// What is given up is replaced at once: the capacity stays, no address is used twice, a
// buffer that is out keeps its bytes, and the numbers tell what stays behind.

import { assert, assertEquals, assertGreater } from "@std/assert";
import { BlockPool, type PoolOptions } from "@smriti/pool";
import { FakeTime } from "@std/testing/time";
import {
  type Bytes,
  dropsPages,
  giveUp,
  healsSixteen,
  healsWithinBound,
  isFull,
  keepsBytes,
  livesOnInterruptions,
  rawAt,
  READABLE,
  stamp,
  take,
  UNREADABLE,
  UNTRANSFERABLE,
} from "../support/giving_up.ts";
import { lawful } from "../support/invariants.ts";
import {
  addressOf,
  microtasks,
  refused,
  rejected,
  takeAll,
  until,
} from "../support/misuse.ts";
import {
  hasNative,
  hasPipes,
  hasProc,
  isEmulated,
  marksBuffers,
} from "../support/platform.ts";
import { isMapped, residentAt } from "../support/resident.ts";
import { unmapsParts } from "../support/unmaps_parts.ts";
import { Fifo } from "../support/connections.ts";

const LEVELS = ["trust", "revoke", "strict"] as const;
const KIB = 1024;

function native(options: Partial<PoolOptions> = {}): BlockPool {
  return new BlockPool({
    blockSize: 64 * KIB,
    maxBlocks: 64,
    initialBlocks: 4,
    ...options,
  });
}

const test = (name: string, fn: () => void | Promise<void>, needs = true) =>
  Deno.test({ name, fn, ignore: !hasNative || !needs });

for (const safety of LEVELS) {
  // Under trust such a buffer matters only when its memory is to go back.
  const ways = safety === "trust" || !marksBuffers
    ? READABLE
    : { ...READABLE, "release() of a buffer that stays": UNTRANSFERABLE };
  for (const [name, end] of Object.entries(ways)) {
    test(`${name} is replaced, and its bytes stay, also after close(): ${safety}`, async () => {
      const pool = native({
        blockSize: 16 * KIB,
        maxBlocks: 8,
        safety,
        maxAbandonedBytes: Infinity,
      });
      await keepsBytes(pool, end);
    });
  }

  for (const [name, end] of Object.entries(UNREADABLE)) {
    test(`${name} is replaced, and its pages go: ${safety}`, async () => {
      const pool = native({ blockSize: 16 * KIB, maxBlocks: 8, safety });
      await dropsPages(pool, end);
    });
  }
}

test(
  "a pool of 64 × 64 KiB heals 16 by default, and then loses one each",
  () => healsSixteen(native),
);

test(
  "maxAbandonedBytes is a bound of bytes: what fits below it heals",
  () => healsWithinBound(native),
);

test("a bound that one block passes by far stays passed", () => {
  using pool = native({
    blockSize: 4 * KIB,
    maxBlocks: 4,
    maxAbandonedBytes: 0,
  });
  const blocks = takeAll(pool);
  for (const [at, block] of blocks.entries()) {
    block.abandon();
    const { capacityBlocks, committedBlocks, freeBlocks } = lawful(pool);
    assertEquals(
      [capacityBlocks, committedBlocks, freeBlocks],
      [3 - at, 3 - at, 0],
    );
  }
  assertEquals(pool.tryAcquire(), undefined);
});

test(
  "thousands of interrupted reads leave 64 of 64 blocks and no memory behind",
  () => livesOnInterruptions(native),
);

test(
  "real reads that were interrupted write into what nobody has",
  async () => {
    const pool = native({ blockSize: 4 * KIB, maxBlocks: 2, initialBlocks: 1 });
    for (let round = 0; round < 8; round++) {
      await using fifo = await Fifo.open();
      const block = pool.acquireSync();
      const raw = rawAt(addressOf(block.bytes), block.size);
      const read = block.lend((bytes) => fifo.reader.read(bytes));
      const waiter = pool.acquireMany(2);
      await microtasks();
      fifo.reader.close();
      await read.catch(() => {});
      // Served in the same call, by what took the place.
      const blocks = await waiter;
      await fifo.say("LATE");
      await until(() => raw[0] !== 0);
      for (const { bytes } of blocks) {
        assert(
          isFull(bytes.map((byte) => byte + 1), 1),
          "a stray write is seen",
        );
        bytes.fill(7);
      }
      blocks[Symbol.dispose]();
      const { capacityBlocks, abandonedBytes } = lawful(pool);
      assertEquals([capacityBlocks, abandonedBytes], [2, 0]);
    }
    await pool.close();
  },
  hasPipes,
);

test("a late write that strict finds costs an address only", async () => {
  const pool = native({ blockSize: 256, maxBlocks: 16, safety: "strict" });
  const gone = new Set<bigint>();
  for (let number = 0; number < 40; number++) {
    const block = pool.acquireSync();
    const address = addressOf(block.bytes);
    assert(!gone.has(address));
    const raw = rawAt(address, 256);
    block.release();
    raw[number] = 7;
    // It is looked at when the blocks run out.
    const blocks = [];
    let found = 0;
    for (let left = 17; left > 0; left--) {
      try {
        const block = pool.tryAcquire();
        if (block !== undefined) blocks.push(block);
      } catch (error) {
        assertEquals((error as { code: string }).code, "corrupted");
        found++;
      }
    }
    assertEquals([blocks.length, found], [16, 1]);
    gone.add(address);
    for (const { bytes } of blocks) assert(!gone.has(addressOf(bytes)));
    for (const block of blocks) {
      try {
        block.release();
      } catch {
        assert(false, "it was told once");
      }
    }
  }
  const { abandonedBlocks, capacityBlocks, abandonedBytes } = lawful(pool);
  assertEquals([abandonedBlocks, capacityBlocks], [40, 16]);
  // 16 slots of 256 bytes are a page: two of them are wholly given up.
  assertEquals(abandonedBytes, restOf(pool, 16) * 256);
  await pool.close();
});

/** Slots given up in slabs that have others. */
function restOf(pool: BlockPool, slabSlots: number): number {
  const gone = new Map<number, number>();
  for (const { index, state } of pool.slots()) {
    if (state !== "abandoned") continue;
    const slab = Math.floor(index / slabSlots);
    gone.set(slab, (gone.get(slab) ?? 0) + 1);
  }
  return [...gone.values()].filter((count) => count < slabSlots)
    .reduce((sum, count) => sum + count, 0);
}

test(
  "blocks below a page count until nothing living is on their page",
  async () => {
    const stride = 128;
    const pool = native({ blockSize: 100, maxBlocks: 40, initialBlocks: 40 });
    const slabSlots = 4096 / stride;
    if (pool.stats().committedBytes !== 2 * slabSlots * stride) return;
    const addresses = new Set<bigint>();
    let most = 0;
    for (let number = 0; number < 300; number++) {
      await giveUp(pool, 1, UNREADABLE["an interruption"], addresses);
      const { capacityBlocks, abandonedBytes } = lawful(pool);
      assertEquals(capacityBlocks, 40);
      assertEquals(abandonedBytes, restOf(pool, slabSlots) * stride);
      most = Math.max(most, abandonedBytes);
    }
    assertGreater(most, 0);
    const blocks = takeAll(pool);
    assertEquals(blocks.length, 40);
    for (const block of blocks) block.release();

    // With one of them that may be read, the page stays, and what it costs is that one.
    const outs = await giveUp(pool, 1, READABLE["abandon()"], addresses);
    const slab = pool.slots().findLast(({ state }) => state === "abandoned")!;
    const first = Math.floor(slab.index / slabSlots);
    const before = lawful(pool).abandonedBytes;
    let more = 0;
    for (let left = 2 * slabSlots; left > 0; left--) {
      await giveUp(pool, 1, UNREADABLE["an interruption"], addresses);
    }
    for (const { index, state } of pool.slots()) {
      if (Math.floor(index / slabSlots) === first) {
        assertEquals(state, "abandoned");
        more++;
      }
    }
    assertEquals(more, slabSlots);
    assertGreater(lawful(pool).abandonedBytes, before);
    assertEquals(outs[0], new Uint8Array(100).fill(stamp(0)));
    assertEquals(lawful(pool).capacityBlocks, 40);
    await pool.close();
    assertEquals(outs[0], new Uint8Array(100).fill(stamp(0)));
  },
  !isEmulated,
);

test("the bound of small blocks is their bytes, and leaks do not use it up", async () => {
  const pool = native({ blockSize: 100, maxBlocks: 40 });
  await giveUp(pool, 200, UNREADABLE["an interruption"]);
  const addresses = new Set<bigint>();
  for (let number = 1; number <= 14; number++) {
    await giveUp(pool, 1, READABLE["abandon()"], addresses);
    assertEquals(lawful(pool).capacityBlocks, 40 - Math.max(0, number - 10));
  }
  await pool.close();
});

test("blocks of 3 MiB are replaced, and keep their bytes", async () => {
  const MIB = KIB * KIB;
  const pool = native({
    blockSize: 3 * MIB,
    maxBlocks: 4,
    initialBlocks: 1,
  });
  const outs: Bytes[] = [];
  for (let number = 1; number <= 3; number++) {
    const block = pool.acquireSync();
    block.bytes[0] = block.bytes[3 * MIB - 1] = number;
    outs.push(take(block));
    block.release();
    const { capacityBlocks, abandonedBytes } = lawful(pool);
    assertEquals(capacityBlocks, 5 - number);
    assertEquals(abandonedBytes, number * 3 * MIB);
  }
  for (let number = 0; number < 10; number++) {
    const block = pool.acquireSync();
    block.bytes[MIB] = 1;
    await UNREADABLE["an interruption"](block);
  }
  const { capacityBlocks, abandonedBytes } = lawful(pool);
  assertEquals([capacityBlocks, abandonedBytes], [2, 9 * MIB]);
  await pool.close();
  outs.forEach((out, at) => {
    assertEquals([out[0], out[3 * MIB - 1]], [at + 1, at + 1]);
  });
});

test("with huge pages the pages of one slot go, and its neighbours' stay", async () => {
  const pool = native({ hugePages: true, initialBlocks: 1 });
  const neighbours = Array.from({ length: 8 }, () => pool.acquireSync());
  for (const { bytes } of neighbours) bytes.fill(5);
  await giveUp(pool, 200, UNREADABLE["an interruption"]);
  for (const { bytes } of neighbours) assert(isFull(bytes, 5));
  for (const block of neighbours) block.release();
  const { capacityBlocks, abandonedBytes } = lawful(pool);
  assertEquals([capacityBlocks, abandonedBytes], [64, 0]);
  assertEquals(takeAll(pool).map((block) => block.release()).length, 64);
  await pool.close();
});

for (const safety of LEVELS) {
  Deno.test(`on the heap an abandoned block costs nothing: ${safety}`, async () => {
    const ways = safety === "trust" || !marksBuffers
      ? READABLE
      : { ...READABLE, "release() of a buffer that stays": UNTRANSFERABLE };
    for (const [name, end] of Object.entries(ways)) {
      for (const blockSize of [100, 16 * KIB]) {
        const pool = new BlockPool({
          blockSize,
          maxBlocks: 8,
          safety,
          backend: "heap",
          maxAbandonedBytes: 0,
        });
        const outs: Bytes[] = [];
        for (let number = 0; number < 40; number++) {
          const block = pool.acquireSync();
          block.bytes.fill(stamp(number));
          outs.push(await end(block));
        }
        for (let number = 0; number < 40; number++) {
          await UNREADABLE["an interruption"](pool.acquireSync());
        }
        const stats = lawful(pool);
        assertEquals([stats.abandonedBlocks, stats.capacityBlocks], [80, 8]);
        assertEquals(stats.abandonedBytes, 0);
        const blocks = takeAll(pool);
        assertEquals(blocks.length, 8);
        for (const { bytes } of blocks) {
          assert(isFull(bytes.map((byte) => byte + 1), 1));
          bytes.fill(0xff);
        }
        outs.forEach((out, at) => assert(isFull(out, stamp(at)), name));
        for (const block of blocks) block.release();
        await pool.close();
        assertEquals(lawful(pool).mappedBytes, 0);
        outs.forEach((out, at) => assert(isFull(out, stamp(at)), name));
      }
    }
  });
}

Deno.test("a replacement is no grow, and is told to nobody", async () => {
  using pool = new BlockPool({
    blockSize: 4 * KIB,
    maxBlocks: 40,
    initialBlocks: 40,
    maxAbandonedBytes: Infinity,
  });
  let told = 0;
  for (const event of ["grow", "shrink", "exhausted"] as const) {
    pool.addEventListener(event, () => told++);
  }
  const blocks = takeAll(pool);
  const { exhaustions } = pool.stats();
  told = 0;
  for (const block of blocks) block.abandon();
  await UNREADABLE["an interruption"](pool.acquireSync());
  const stats = lawful(pool);
  assertEquals([told, stats.grows, stats.growFailures], [0, 0, 0]);
  assertEquals(stats.exhaustions, exhaustions);
});

Deno.test("who waits is served in the call that gives a block up, in order", async () => {
  using pool = new BlockPool({
    blockSize: 4 * KIB,
    maxBlocks: 2,
    maxAbandonedBytes: Infinity,
  });
  const [a, b] = takeAll(pool);
  const normal = pool.acquire();
  const urgent = pool.acquire({ reserved: true });
  a.abandon();
  assertEquals(lawful(pool).waiting, 1);
  const first = await urgent;
  b.bytes.buffer.transfer();
  b.release();
  assertEquals(lawful(pool).waiting, 0);
  first.release();
  (await normal).release();
});

Deno.test("a handle whose block was given up stays as it was", async () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  const abandoned = pool.acquireSync({ tag: "mine" });
  abandoned.abandon();
  const cut = pool.acquireSync({ tag: "cut" });
  await UNREADABLE["an interruption"](cut);
  const next = pool.acquireSync();
  next.bytes[0] = 9;
  for (const [block, tag] of [[abandoned, "mine"], [cut, "cut"]] as const) {
    assertEquals([block.released, block.tag, block.size], [true, tag, 64]);
    refused("released", () => block.bytes);
    refused("released", () => block.reattach(new Uint8Array(64)));
    await rejected("released", block.lend(() => {}));
    // In a `finally`, these must not hide an error.
    block.release();
    pool.release(block);
    block.abandon();
    block[Symbol.dispose]();
  }
  assertEquals([next.bytes[0], lawful(pool).abandonedBlocks], [9, 2]);
  next.release();
});

test("close() that runs out of time keeps the bytes of buffers that are out, and no others", async () => {
  const pool = native({ blockSize: 16 * KIB, maxBlocks: 8 });
  const blocks = takeAll(pool);
  const addresses = blocks.map(({ bytes }) => addressOf(bytes.fill(3)));
  const outs = [take(blocks[2]), take(blocks[5])];
  void blocks[5].bytes; // healed
  await rejected("timeout", pool.close({ timeoutMs: 0 }));
  const stats = lawful(pool);
  assertEquals([stats.abandonedBlocks, stats.committedBlocks], [8, 0]);
  assertEquals(stats.abandonedBytes, 2 * 16 * KIB);
  for (const out of outs) assert(isFull(out, 3));
  // Native code may still write to all of them.
  if (unmapsParts()) assertEquals(stats.mappedBytes, 8 * 16 * KIB);
  for (const address of addresses) rawAt(address, 16 * KIB).fill(4);
  for (const out of outs) assert(isFull(out, 4));
  for (const block of blocks) block.release();
});

test("after close() only slabs with a block given up stay mapped", async () => {
  const pool = native({ blockSize: 16 * KIB, maxBlocks: 24 });
  const blocks = takeAll(pool);
  const addresses = blocks.map(({ bytes }) => addressOf(bytes.fill(3)));
  const lost = [0, 7, 8, 23];
  blocks.forEach((block, at) => {
    if (lost.includes(at)) block.abandon();
    else block.release();
  });
  await pool.close();
  if (!unmapsParts()) return;
  assertEquals(lawful(pool).mappedBytes, lost.length * 16 * KIB);
  if (!hasProc) return;
  const mapped = addresses.flatMap((address, at) =>
    isMapped(address, 16 * KIB) ? [at] : []
  );
  assert(lost.every((at) => mapped.includes(at)), `${mapped}`);
  // Other tests of this process may have mapped something there meanwhile, but not all of it.
  assert(mapped.length < addresses.length);
});

test(
  "a pool closed after many scattered losses is cut into a bounded number of mappings",
  async () => {
    const maxBlocks = 8000;
    const pool = native({
      blockSize: 4 * KIB,
      maxBlocks,
      leakDetection: "off",
    });
    const blocks = takeAll(pool);
    blocks.forEach((block, at) => {
      if (at % 2 === 0) block.abandon();
      else block.release();
    });
    assertEquals(lawful(pool).abandonedBlocks, maxBlocks / 2);
    const before = mappings();
    await pool.close();
    assert(mappings() - before < 2200, `${mappings() - before} more`);
  },
  hasProc && !isEmulated,
);

/** Mappings of the process. */
function mappings(): number {
  return Deno.readTextFileSync("/proc/self/maps").split("\n").length;
}

test(
  "what is given up before its pages are faulted in stays without pages",
  async () => {
    using time = new FakeTime();
    const pool = native({ initialBlocks: 64, prefault: true });
    const gone = new Set<bigint>();
    const blocks = takeAll(pool);
    for (const block of blocks.splice(0, 32)) {
      gone.add(addressOf(block.bytes));
      block.bytes.fill(1);
      await UNREADABLE["an interruption"]!(block);
    }
    const out = READABLE["abandon()"]!(blocks.pop()!) as Bytes;
    const free = new Set(blocks.map((block) => addressOf(block.bytes)));
    for (const block of blocks) block.release();
    time.tick(10_000);
    assertEquals(residentAt(free, 64 * KIB), free.size * 64 * KIB);
    assertEquals(lawful(pool).abandonedBytes, 64 * KIB);
    assertEquals(residentAt(gone, 64 * KIB), 0);
    assertEquals(residentAt([addressOf(out)], 64 * KIB), 64 * KIB);
    await pool.close();
  },
  hasProc && !isEmulated,
);
