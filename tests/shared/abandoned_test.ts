// What is given up in a shared pool is replaced at once, whichever isolate gave it up: the capacity stays, no
// address is used twice, a buffer that is out keeps its bytes, and the numbers tell what stays behind.

import { assert, assertEquals, assertGreater } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import type { PoolEventMap } from "../../mod.ts";
import { Control, HEADER, MOST_WORKERS } from "../../shared/control.ts";
import { SharedBlockPool, type SharedPoolOptions } from "../../shared/mod.ts";
import { Puppet, troupe } from "./puppet.ts";
import { type Call, FailingBackend } from "../support/failing_backend.ts";
import {
  type Bytes,
  dropsPages,
  fillAll,
  giveUp,
  healsSixteen,
  healsWithinBound,
  interrupted,
  isFull,
  keepsBytes,
  livesOnInterruptions,
  READABLE,
  stamp,
  take,
  UNREADABLE,
  UNTRANSFERABLE,
} from "../support/giving_up.ts";
import { lawful } from "../support/invariants.ts";
import {
  addressOf,
  refused,
  rejected,
  takeAll,
  until,
} from "../support/misuse.ts";
import "../support/open_library.ts";
import {
  hasNative,
  hasProc,
  isEmulated,
  marksBuffers,
  provesDeath,
} from "../support/platform.ts";
import { residentAt } from "../support/resident.ts";
import { unmapsParts } from "../support/unmaps_parts.ts";

const KIB = 1024;
const ABANDON = READABLE["abandon()"]!;
const INTERRUPT = UNREADABLE["an interruption"]!;

function shared(options: Partial<SharedPoolOptions> = {}): SharedBlockPool {
  return SharedBlockPool.create({
    blockSize: 64 * KIB,
    maxBlocks: 64,
    initialBlocks: 4,
    ...options,
  });
}

const test = (name: string, fn: () => void | Promise<void>, needs = true) =>
  Deno.test({ name: `shared: ${name}`, fn, ignore: !hasNative || !needs });

const WAYS = marksBuffers
  ? { ...READABLE, "release() of a buffer that stays": UNTRANSFERABLE }
  : READABLE;

for (const [name, end] of Object.entries(WAYS)) {
  test(`${name} is replaced, and its bytes stay, also after close()`, async () => {
    const pool = shared({
      blockSize: 16 * KIB,
      maxBlocks: 8,
      maxAbandonedBytes: Infinity,
    });
    // Its views of free blocks are of places that will be given up.
    const other = SharedBlockPool.attach(pool.handle);
    for (const block of takeAll(other)) {
      block.bytes.fill(1);
      block.release();
    }
    await keepsBytes(pool, end, other, () => other.leave());
  });
}

for (const [name, end] of Object.entries(UNREADABLE)) {
  test(`${name} is replaced, and its pages go`, async () => {
    await dropsPages(shared({ blockSize: 16 * KIB, maxBlocks: 8 }), end);
  });
}

test(
  "a pool of 64 × 64 KiB heals 16 by default, and then loses one each",
  () => healsSixteen(shared),
);

test(
  "maxAbandonedBytes is a bound of bytes: what fits below it heals",
  () => healsWithinBound(shared),
);

test(
  "thousands of interrupted reads leave 64 of 64 blocks and no memory behind",
  () => livesOnInterruptions(shared),
);

test("hundreds of buffers that are out keep their bytes beside a whole pool", async () => {
  const pool = shared({ blockSize: 4 * KIB, maxAbandonedBytes: Infinity });
  const outs: Bytes[] = [];
  const gone = new Set<bigint>();
  for (let round = 0; round < 8; round++) {
    const blocks = takeAll(pool);
    assertEquals(blocks.length, 64);
    for (const block of blocks) {
      gone.add(addressOf(block.bytes.fill(stamp(outs.length))));
      outs.push(take(block));
      block.release();
    }
  }
  const { capacityBlocks, abandonedBytes } = lawful(pool);
  assertEquals([capacityBlocks, abandonedBytes], [64, 512 * 4 * KIB]);
  for (const block of fillAll(pool, gone)) block.release();
  await pool.close();
  assertEquals(gone.size, 512);
  outs.forEach((out, at) => assert(isFull(out, stamp(at))));
  if (unmapsParts()) assertEquals(lawful(pool).mappedBytes, 512 * 4 * KIB);
});

test(
  "blocks below a page count until nothing living is on their page",
  async () => {
    const stride = 128;
    const pool = shared({ blockSize: 100, maxBlocks: 40, initialBlocks: 40 });
    // Two pages of 32 blocks.
    if (pool.stats().committedBytes !== 64 * stride) return;
    const addresses = new Set<bigint>();
    /** Bytes of blocks given up on pages that have others. */
    const left = (kept: ReadonlySet<bigint> = new Set()) => {
      const pages = new Map<bigint, number>();
      for (const address of addresses) {
        const page = address / 4096n;
        pages.set(page, (pages.get(page) ?? 0) + 1);
      }
      let count = 0;
      for (const [page, slots] of pages) {
        const isKept = [...kept].some((address) => address / 4096n === page);
        if (slots < 32 || isKept) count += slots;
      }
      return count * stride;
    };
    let most = 0;
    for (let number = 0; number < 300; number++) {
      await giveUp(pool, 1, INTERRUPT, addresses);
      const { capacityBlocks, abandonedBytes } = lawful(pool);
      assertEquals([capacityBlocks, abandonedBytes], [40, left()]);
      most = Math.max(most, abandonedBytes);
    }
    assertGreater(most, 0);
    const blocks = takeAll(pool);
    assertEquals(blocks.length, 40);
    for (const { bytes } of blocks) assert(!addresses.has(addressOf(bytes)));
    for (const block of blocks) block.release();

    // With one of them that may be read, the page stays, with all that is on it.
    const before = new Set(addresses);
    const [out] = await giveUp(pool, 1, ABANDON, addresses);
    const kept = addresses.difference(before);
    for (let number = 0; number < 100; number++) {
      await giveUp(pool, 1, INTERRUPT, addresses);
      assertEquals(lawful(pool).abandonedBytes, left(kept));
    }
    assert(isFull(out!, stamp(0)));
    assertEquals(lawful(pool).capacityBlocks, 40);
    await pool.close();
    assert(isFull(out!, stamp(0)));
  },
  hasProc && !isEmulated,
);

test("the bound of small blocks is their bytes, and leaks do not use it up", async () => {
  const pool = shared({ blockSize: 100, maxBlocks: 40 });
  await giveUp(pool, 200, INTERRUPT);
  for (let number = 1; number <= 14; number++) {
    await giveUp(pool, 1, ABANDON);
    assertEquals(lawful(pool).capacityBlocks, 40 - Math.max(0, number - 10));
  }
  await pool.close();
});

test("a pool of small blocks that have moved is trimmed without harm", async () => {
  const pool = shared({
    blockSize: 100,
    maxBlocks: 96,
    initialBlocks: 1,
    maxAbandonedBytes: Infinity,
  });
  const blocks = takeAll(pool);
  blocks.forEach((block, at) => block.bytes.fill(stamp(at)));
  // One on each page, and their neighbours are free.
  const outs = [5, 40, 80].map((at) => {
    const out = take(blocks[at]!);
    blocks[at]!.release();
    return out;
  });
  const kept = blocks[50]!;
  for (const block of blocks) if (block !== kept) block[Symbol.dispose]();
  const moved = takeAll(pool);
  for (const block of moved) block.release();
  pool.trim();
  const { committedBlocks, capacityBlocks } = lawful(pool);
  assert(committedBlocks <= capacityBlocks && capacityBlocks === 96);
  assertEquals(outs.map((out) => out[0]), [6, 41, 81]);
  assert(isFull(kept.bytes, stamp(50)));
  kept.release();
  const all = takeAll(pool);
  assertEquals(all.length, 96);
  for (const { bytes } of all) assert(isFull(bytes.map((byte) => byte + 1), 1));
  for (const block of all) block.release();
  await pool.close();
  assertEquals(outs.map((out) => out[0]), [6, 41, 81]);
});

test("blocks that have moved lose their memory, and get it back", async () => {
  const size = 16 * KIB;
  for (const hugePages of [false, true]) {
    const pool = shared({
      blockSize: size,
      maxBlocks: 8,
      initialBlocks: 1,
      maxAbandonedBytes: Infinity,
      hugePages,
    });
    const outs: Bytes[] = [];
    for (let round = 0; round < 2; round++) {
      for (const block of takeAll(pool)) {
        block.bytes.fill(stamp(outs.length));
        outs.push(await ABANDON(block));
      }
    }
    assertEquals(outs.length, 16);
    const blocks = takeAll(pool);
    const places = blocks.map(({ bytes }) => addressOf(bytes.fill(7)));
    for (const block of blocks) block.release();
    if (pool.trim() > 0 && hasProc && !isEmulated) {
      assert(residentAt(places, size) <= size);
    }
    const again = fillAll(pool, new Set());
    assertEquals(again.length, 8);
    assertEquals(
      again.map(({ bytes }) => addressOf(bytes)).sort(),
      places.sort(),
    );
    for (const block of again) block.release();
    outs.forEach((out, at) => assert(isFull(out, stamp(at)), `${at}`));
    const { abandonedBytes, capacityBlocks } = lawful(pool);
    assertEquals([abandonedBytes, capacityBlocks], [16 * size, 8]);
    await pool.close();
  }
});

test("blocks of 3 MiB are replaced, and keep their bytes", async () => {
  const MIB = KIB * KIB;
  const pool = shared({ blockSize: 3 * MIB, maxBlocks: 4, initialBlocks: 1 });
  const outs: Bytes[] = [];
  for (let number = 1; number <= 3; number++) {
    const block = pool.acquireSync();
    block.bytes[0] = block.bytes[3 * MIB - 1] = number;
    outs.push(take(block));
    block.release();
    const { capacityBlocks, abandonedBytes } = lawful(pool);
    assertEquals([capacityBlocks, abandonedBytes], [
      5 - number,
      number * 3 * MIB,
    ]);
  }
  for (let number = 0; number < 10; number++) {
    const block = pool.acquireSync();
    block.bytes[MIB] = 1;
    await INTERRUPT(block);
  }
  const { capacityBlocks, abandonedBytes } = lawful(pool);
  assertEquals([capacityBlocks, abandonedBytes], [2, 9 * MIB]);
  await pool.close();
  outs.forEach((out, at) => {
    assertEquals([out[0], out[3 * MIB - 1]], [at + 1, at + 1]);
  });
});

test("who waits, here and elsewhere, is served in the call that gives a block up", async () => {
  using pool = shared({
    blockSize: 4 * KIB,
    maxBlocks: 2,
    initialBlocks: 1,
    maxAbandonedBytes: Infinity,
  });
  const other = SharedBlockPool.attach(pool.handle);
  const [a, b] = takeAll(pool);
  const normal = pool.acquire();
  const urgent = pool.acquire({ reserved: true });
  a!.abandon();
  assertEquals(lawful(pool).waiting, 1);
  const first = await urgent;
  b!.bytes.buffer.transfer();
  b!.release();
  assertEquals(lawful(pool).waiting, 0);
  const elsewhere = other.acquire();
  (await normal).abandon();
  (await elsewhere).release();
  first.release();
  other.leave();
});

test("a replacement is no grow, and is told to nobody", async () => {
  using pool = shared({
    blockSize: 4 * KIB,
    maxBlocks: 40,
    initialBlocks: 40,
    maxAbandonedBytes: Infinity,
  });
  const blocks = takeAll(pool);
  const { exhaustions } = pool.stats();
  let told = 0;
  for (const event of ["grow", "shrink", "exhausted"] as const) {
    pool.addEventListener(event, () => told++);
  }
  for (const block of blocks) block.abandon();
  await INTERRUPT(pool.acquireSync());
  const stats = lawful(pool);
  assertEquals([told, stats.grows, stats.growFailures], [0, 0, 0]);
  assertEquals(stats.exhaustions, exhaustions);
});

test("a handle whose block was given up stays as it was", async () => {
  using pool = shared({
    blockSize: 64,
    maxBlocks: 1,
    initialBlocks: 1,
    maxAbandonedBytes: Infinity,
  });
  const abandoned = pool.acquireSync({ tag: "mine" });
  abandoned.abandon();
  const cut = pool.acquireSync({ tag: "cut" });
  const other = cut.lend(new Promise<void>((resolve) => setTimeout(resolve)));
  await cut.lend(interrupted()).catch(() => {});
  const next = pool.acquireSync();
  next.bytes[0] = 9;
  const gate = Promise.withResolvers<void>();
  const lent = next.lend(gate.promise);
  // It ends when the slot is another lease's.
  await other;
  assertEquals(lawful(pool).lentBlocks, 1);
  for (const [block, tag] of [[abandoned, "mine"], [cut, "cut"]] as const) {
    assertEquals([block.released, block.tag, block.size], [true, tag, 64]);
    refused("released", () => block.bytes);
    refused("released", () => block.reattach(new Uint8Array(64)));
    refused("released", () => block.detach());
    await rejected("released", block.lend(() => {}));
    block.release();
    pool.release(block);
    block.abandon();
    block[Symbol.dispose]();
  }
  assertEquals([next.bytes[0], lawful(pool).abandonedBlocks], [9, 2]);
  gate.resolve();
  await lent;
  next.release();
});

test("close() that runs out of time keeps the bytes of buffers that are out, and no others", async () => {
  const size = 16 * KIB;
  const pool = shared({ blockSize: size, maxBlocks: 8 });
  const blocks = takeAll(pool);
  for (const { bytes } of blocks) bytes.fill(3);
  const outs = [take(blocks[2]!), take(blocks[5]!)];
  void blocks[5]!.bytes; // healed
  await rejected("timeout", pool.close({ timeoutMs: 0 }));
  await until(() => lawful(pool).committedBlocks === 0);
  const stats = lawful(pool);
  assertEquals([stats.abandonedBlocks, stats.abandonedBytes], [8, 2 * size]);
  for (const out of outs) assert(isFull(out, 3));
  if (unmapsParts()) assertEquals(stats.mappedBytes, 8 * size);
  for (const block of blocks) block.release();
});

test("a sealed pool replaces nothing, because a fresh address would have no view", async () => {
  const pool = shared({ blockSize: 4 * KIB, maxBlocks: 8, initialBlocks: 8 });
  const other = SharedBlockPool.attach(pool.handle);
  const gone = new Set<bigint>();
  await giveUp(pool, 1, INTERRUPT, gone);
  other.seal();
  await giveUp(pool, 2, INTERRUPT, gone);
  await giveUp(other, 1, ABANDON, gone);
  const { capacityBlocks, abandonedBlocks, abandonedBytes } = lawful(pool);
  assertEquals([capacityBlocks, abandonedBlocks], [5, 4]);
  assertEquals(abandonedBytes, 4 * KIB);
  await rejected("exhausted", other.acquireMany(6));
  assertEquals(fillAll(other, gone).map((block) => block.release()).length, 5);
  other.leave();
  await pool.close();
});

for (const call of ["map", "commit"] as Call[]) {
  test(`while the OS refuses to ${call}, blocks are missing, and come when it does not`, async () => {
    using time = new FakeTime();
    using backend = new FailingBackend();
    const pool = shared({
      blockSize: 4 * KIB,
      maxBlocks: 4,
      initialBlocks: 4,
      maxAbandonedBytes: Infinity,
    });
    const other = SharedBlockPool.attach(pool.handle);
    const blocks = takeAll(pool);
    const out = take(blocks[0]!);
    const told: unknown[] = [];
    pool.addEventListener("grow", ({ detail }) => told.push(detail));
    backend.fails = (each) => each === call;
    blocks[0]!.release();
    blocks[1]!.abandon();
    const stats = lawful(pool);
    assertEquals([stats.committedBlocks, stats.capacityBlocks], [2, 4]);
    assertEquals([stats.abandonedBlocks, stats.abandonedBytes], [2, 8 * KIB]);
    // Told once: the OS is not asked again at once.
    assertEquals(stats.growFailures, 1);
    const [{ blocks: added, error }] = told as [PoolEventMap["grow"]];
    assertEquals([told.length, added, error?.code], [1, 0, "out-of-memory"]);
    const late = await rejected("timeout", pool.acquire({ timeoutMs: 0 }));
    assertEquals(late.cause, error);
    // It may come, so who waits is not refused.
    const waits = other.acquireMany(2);
    await time.tickAsync(500);
    assertEquals(lawful(pool).waiting, 1);
    backend.fails = () => false;
    await time.tickAsync(500);
    (await waits)[Symbol.dispose]();
    assertEquals(lawful(pool).committedBlocks, 4);
    assertEquals(out.length, 4 * KIB);
    for (const block of blocks) block[Symbol.dispose]();
    other.leave();
    await pool.close();
  });
}

test("whoever finds nothing next asks for what the OS has refused", async () => {
  using backend = new FailingBackend();
  const pool = shared({ blockSize: 4 * KIB, maxBlocks: 4, initialBlocks: 4 });
  const other = SharedBlockPool.attach(pool.handle);
  const blocks = takeAll(pool);
  backend.fails = (call) => call === "map";
  await INTERRUPT(blocks[0]!);
  await INTERRUPT(blocks[1]!);
  assertEquals(lawful(pool).committedBlocks, 2);
  backend.fails = () => false;
  const found = takeAll(other);
  assertEquals(found.length, 2);
  for (const block of [...found, ...blocks]) block[Symbol.dispose]();
  other.leave();
  await pool.close();
});

test("pages that the OS does not take are counted", async () => {
  using backend = new FailingBackend();
  const pool = shared({ blockSize: 4 * KIB, maxBlocks: 4, initialBlocks: 4 });
  backend.fails = (call) => call === "decommit";
  await giveUp(pool, 3, INTERRUPT);
  assertEquals(lawful(pool).abandonedBytes, 12 * KIB);
  backend.fails = () => false;
  await giveUp(pool, 3, INTERRUPT);
  const { abandonedBytes, capacityBlocks } = lawful(pool);
  assertEquals([abandonedBytes, capacityBlocks], [12 * KIB, 4]);
  await pool.close();
});

test(
  "what one isolate could not replace another one does, in ranges that it has not seen",
  async () => {
    const size = 128;
    const pool = shared({ blockSize: 100, maxBlocks: 32, initialBlocks: 32 });
    if (pool.stats().committedBytes !== 32 * size) return;
    const other = SharedBlockPool.attach(pool.handle);
    for (const block of takeAll(pool)) await INTERRUPT(block);
    await INTERRUPT(pool.acquireSync());
    // All but one on the page of the one before, which comes after the pool's first range.
    const [kept, ...blocks] = takeAll(pool);
    const gone = blocks.map(({ bytes }) => addressOf(bytes.fill(1)));
    const { words } = new Control(32, pool.handle.control);
    words[HEADER.RESIZER] = MOST_WORKERS;
    for (const block of blocks) await INTERRUPT(block);
    const { abandonedBlocks, abandonedBytes } = lawful(pool);
    assertEquals([abandonedBlocks, abandonedBytes], [32 + 32, 32 * size]);
    words[HEADER.RESIZER] = 0;
    // Nothing else is free.
    other.acquireSync().release();
    kept!.release();
    assertEquals(lawful(pool).abandonedBytes, 0);
    const page = gone[0]! / 4096n * 4096n;
    if (hasProc && !isEmulated) assertEquals(residentAt([page], 4096), 0);
    const again = fillAll(pool, new Set(gone));
    assertEquals(again.map((block) => block.release()).length, 32);
    other.leave();
    await pool.close();
  },
);

test("Workers that give blocks up at once leave a whole pool, and no address twice", async () => {
  const rounds = 150;
  const pool = shared({
    blockSize: 4 * KIB,
    maxBlocks: 16,
    maxAbandonedBytes: Infinity,
    shrinkIntervalMs: 5,
    growStep: 0.05,
  });
  using puppets = await troupe(pool, 3);
  const all = await Promise.all(
    puppets.map((puppet, at) =>
      puppet.run(
        async ({ pool }, rounds, mark) => {
          const gone: bigint[] = [];
          const outs: Uint8Array[] = [];
          for (let round = 0; round < rounds; round++) {
            const block = await pool.acquire();
            const { bytes } = block;
            if (bytes.some((byte) => byte !== 0)) throw new Error("not zeroed");
            gone.push(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
            bytes.fill(mark);
            if (round % 3 === 0) {
              const error = new Deno.errors.Interrupted();
              await block.lend(Promise.reject(error)).catch(() => {});
            } else if (round % 3 === 1) {
              outs.push(structuredClone(bytes, { transfer: [bytes.buffer] }));
              block.release();
            } else {
              gone.pop();
              block.release();
              if (round % 30 === 2) pool.trim();
            }
          }
          const isWhole = outs.every((out) =>
            out.every((byte) => byte === mark)
          );
          return { gone, isWhole };
        },
        rounds,
        at + 1,
      )
    ),
  );
  assert(all.every(({ isWhole }) => isWhole), "others wrote to what is kept");
  const gone = all.flatMap(({ gone }) => gone);
  assertEquals(gone.length, 3 * rounds * 2 / 3);
  assertEquals(new Set(gone).size, gone.length);
  const { abandonedBlocks, abandonedBytes, capacityBlocks } = lawful(pool);
  assertEquals([abandonedBlocks, capacityBlocks], [gone.length, 16]);
  assertEquals(abandonedBytes, 3 * rounds / 3 * 4 * KIB);
  const blocks = fillAll(pool, new Set(gone));
  assertEquals(blocks.length, 16);
  for (const block of blocks) block.release();
  for (const puppet of puppets) await puppet.run(({ pool }) => pool.leave());
  await pool.close();
});

test(
  "what Workers leave that end with blocks is replaced, and what they posted keeps its bytes",
  async () => {
    const rounds = 6;
    const pool = shared({
      blockSize: 16 * KIB,
      maxBlocks: 4,
      maxAbandonedBytes: Infinity,
    });
    const outs: Bytes[] = [];
    for (let round = 0; round < rounds; round++) {
      const puppet = await Puppet.start(pool);
      outs.push(
        ...await puppet.run(({ pool, held }, mark) => {
          while (held.length < 4) held.push(pool.acquireSync());
          // What was not used comes back as it is.
          return held.slice(0, 3).map(({ bytes }) =>
            new Uint8Array(bytes.fill(mark).buffer)
          );
        }, round + 1),
      );
      puppet.kill();
      await until(() => lawful(pool).freeBlocks === 4);
    }
    const { abandonedBlocks, abandonedBytes, capacityBlocks } = lawful(pool);
    assertEquals([abandonedBlocks, capacityBlocks], [3 * rounds, 4]);
    assertEquals(abandonedBytes, 3 * rounds * 16 * KIB);
    const blocks = fillAll(pool, new Set(outs.map(addressOf)));
    assertEquals(blocks.length, 4);
    for (const block of blocks) block.release();
    await pool.close();
    outs.forEach((out, at) => assert(isFull(out, Math.floor(at / 3) + 1)));
    if (unmapsParts()) {
      assertEquals(lawful(pool).mappedBytes, 3 * rounds * 16 * KIB);
    }
  },
  provesDeath,
);

test(
  "what a Worker leaves that ends with its pool goes, but for what it gave up",
  async () => {
    const size = 16 * KIB;
    const made = shared({ blockSize: KIB, maxBlocks: 1, initialBlocks: 1 });
    const puppet = await Puppet.start(made);
    const { outs, places } = await puppet.run(({ SharedBlockPool }, size) => {
      const pool = SharedBlockPool.create({
        blockSize: size,
        maxBlocks: 16,
        maxAbandonedBytes: Infinity,
      });
      (globalThis as { kept?: unknown }).kept = pool;
      const outs: Uint8Array<ArrayBuffer>[] = [];
      while (outs.length < 40) {
        const block = pool.acquireSync();
        block.bytes.fill(outs.length + 1);
        const { buffer } = block.bytes;
        outs.push(structuredClone(block.bytes, { transfer: [buffer] }));
        block.release();
      }
      // Those that it has in the end have all moved, and memory behind them.
      const places: bigint[] = [];
      const blocks = [];
      for (let b; (b = pool.tryAcquire()) !== undefined;) {
        const pointer = Deno.UnsafePointer.of(b.bytes.fill(9));
        places.push(Deno.UnsafePointer.value(pointer));
        blocks.push(b);
      }
      for (const block of blocks) block.bytes.fill(8);
      for (const block of blocks) block.release();
      return { outs, places };
    }, size);
    assertEquals(places.length, 16);
    assertGreater(residentAt(places, size), 0);
    puppet.kill();
    // Making a pool looks for what ended isolates have left.
    await until(() => {
      shared({ blockSize: KIB, maxBlocks: 1, initialBlocks: 1 }).leave();
      return residentAt(places, size) === 0;
    });
    outs.forEach((out, at) => assert(isFull(out, at + 1)));
    await made.close();
  },
  provesDeath && hasProc && !isEmulated,
);
