// block.first(): its release clears no more than was given out, and whatever is
// done to it no later lease sees a byte of it.

import {
  assert,
  assertEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  type Block,
  BlockPool,
  type Pool,
  type PoolOptions,
  SmritiError,
} from "../../mod.ts";
import { SharedBlockPool } from "../../shared/mod.ts";
import { failing, Refused } from "../support/failing_runtime.ts";
import { lawful, unharmed } from "../support/invariants.ts";
import { refused, takeAll } from "../support/misuse.ts";
import { hasNative } from "../support/platform.ts";

const SIZE = 1024 * 1024;
const LENGTH = 10_000;
const OPTIONS: PoolOptions = { blockSize: SIZE, maxBlocks: 2 };

function test(name: string, fn: () => void | Promise<void>): void {
  Deno.test({ name, ignore: !hasNative, fn });
}

/** Every byte of every block is zero. */
function clean(pool: Pool, what: string): void {
  for (const block of takeAll(pool)) {
    assertEquals(block.bytes.findIndex((byte) => byte !== 0), -1, what);
    block.release();
  }
}

/** A buffer of one's own over the memory of the block that is acquired next. */
function backDoor(pool: BlockPool): Uint8Array {
  using block = pool.acquireSync();
  const memory = Deno.UnsafePointerView.getArrayBuffer(block.pointer!, SIZE);
  return new Uint8Array(memory);
}

test("first() of a large block is a buffer of that length, and release clears no more", () => {
  using pool = new BlockPool(OPTIONS);
  const all = backDoor(pool);
  all[LENGTH] = 1; // What this lease cannot have written stays: nothing looks there.
  for (const usedBytes of [undefined, 1]) {
    const block = pool.acquireSync();
    const first = block.first(LENGTH);
    assertEquals([first.length, first.buffer.byteLength], [LENGTH, LENGTH]);
    assertStrictEquals(block.first(LENGTH), first);
    first.fill(7);
    assertEquals([all[0], all[LENGTH - 1], all[LENGTH]], [7, 7, 1]);
    block.release(usedBytes);
    assertEquals(first.length, 0);
    assertEquals(all[0], 0);
    assertEquals(all[LENGTH - 1], usedBytes === undefined ? 0 : 7);
    assertEquals(all[LENGTH], 1);
  }
  all.fill(0);
  unharmed(pool);
});

/** What may write behind the first bytes, or take them elsewhere; the lease ends after it. */
const ATTACKS: Record<string, (block: Block, first: Bytes) => unknown> = {
  "all of its buffer": (_, first) => new Uint8Array(first.buffer).fill(1),
  "a larger view of its buffer": (_, first) =>
    assertThrows(() => new Uint8Array(first.buffer, 0, LENGTH + 1), RangeError),
  "a larger buffer": (_, first) =>
    assertThrows(() => first.buffer.resize(SIZE), TypeError),
  "a subarray": (_, first) => first.subarray(0, SIZE).fill(1),
  "a set behind its end": (_, first) =>
    assertThrows(() => first.set([1], LENGTH), RangeError),
  "a DataView": (_, first) => {
    const view = new DataView(first.buffer);
    view.setUint8(LENGTH - 1, 1);
    assertThrows(() => view.setUint8(LENGTH, 1), RangeError);
  },
  "bytes": (block) => block.bytes.fill(1),
  "bytes, kept from before": (block) => block.bytes.fill(1, LENGTH),
  "the pointer": (block) => {
    const { pointer } = block;
    new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(pointer!, SIZE))
      .fill(1);
  },
  "a lend": (block) => block.lend((bytes) => Promise.resolve(bytes.fill(1))),
  "another length": (block) => block.first(LENGTH + 1).fill(1),
  "a shorter length": (block) => new Uint8Array(block.first(1).buffer).fill(1),
  "a transfer": (_, first) => new Uint8Array(first.buffer.transfer()).fill(1),
  "a longer transfer": (_, first) =>
    new Uint8Array(first.buffer.transfer(SIZE)).fill(1),
  "a message": (_, first) => {
    structuredClone(first, { transfer: [first.buffer] }).fill(1);
  },
  "a transfer, then all": (block, first) => {
    first.buffer.transfer();
    assertEquals(block.first(LENGTH)[0], 7);
    block.bytes.fill(1);
  },
};

type Bytes = Uint8Array<ArrayBuffer>;

for (const [what, attack] of Object.entries(ATTACKS)) {
  test(`a lease with first() leaves nothing behind after ${what}`, async () => {
    await using pool = new BlockPool(OPTIONS);
    for (const isLent of [false, true]) {
      const block = pool.acquireSync();
      const first = block.first(LENGTH).fill(7);
      const gate = Promise.withResolvers<void>();
      const lent = isLent ? block.lend(gate.promise) : undefined;
      await attack(block, first);
      const isAway = first.length === 0;
      block.release();
      gate.resolve();
      await lent;
      // As one that was kept, and written to later.
      assertEquals(first.length, 0);
      first[0] = 9;
      clean(pool, what);
      const { abandonedBlocks } = lawful(pool);
      assertEquals(abandonedBlocks, isAway ? 1 + Number(isLent) : 0);
    }
  });
}

test("bytes that were asked for before first() may have been written to", () => {
  using pool = new BlockPool(OPTIONS);
  const block = pool.acquireSync();
  const { bytes } = block;
  const first = block.first(LENGTH);
  assertEquals(first.buffer, bytes.buffer);
  bytes.fill(1);
  block.release();
  clean(pool, "bytes first");
});

test("a buffer of the first bytes ends with abandon(), close() and the isolate's leases", async () => {
  {
    await using pool = new BlockPool(OPTIONS);
    const block = pool.acquireSync();
    const first = block.first(LENGTH).fill(7);
    block.abandon();
    clean(pool, "abandoned");
    assertEquals(first[0], 7); // as its bytes would
    assertEquals(lawful(pool).abandonedBlocks, 1);
  }
  const pool = new BlockPool(OPTIONS);
  const block = pool.acquireSync();
  const first = block.first(LENGTH).fill(7);
  await pool.close({ timeoutMs: 0 }).catch(() => {});
  assertEquals([first.length, block.released], [0, true]);
});

test("a file read that was interrupted may write on: its block's first bytes end, and it is given up", async () => {
  await using pool = new BlockPool(OPTIONS);
  const block = pool.acquireSync();
  const first = block.first(LENGTH);
  const interrupted = Promise.reject(new Deno.errors.Interrupted());
  await block.lend(interrupted).catch(() => {});
  assertEquals(first.length, 0);
  assertEquals(lawful(pool).abandonedBlocks, 1);
});

/** Where nothing is saved, they are a part of all bytes, and all are cleared. */
const PARTS: Record<string, () => Pool> = {
  "small block": () => new BlockPool({ ...OPTIONS, blockSize: 256 * 1024 }),
  "trust": () => new BlockPool({ ...OPTIONS, safety: "trust" }),
  "strict": () => new BlockPool({ ...OPTIONS, maxBlocks: 8, safety: "strict" }),
  "heap": () => new BlockPool({ ...OPTIONS, backend: "heap" }),
  "sealed": () => {
    const pool = new BlockPool(OPTIONS);
    pool.seal();
    return pool;
  },
  "shared": () => SharedBlockPool.create(OPTIONS),
};

for (const [kind, make] of Object.entries(PARTS)) {
  test(`first() is a part of bytes (${kind})`, async () => {
    await using pool = make();
    const block = pool.acquireSync();
    const first = block.first(100);
    assertEquals([first.length, first.byteOffset], [100, 0]);
    assertEquals(first.buffer, block.bytes.buffer);
    new Uint8Array(first.buffer).fill(1);
    block.release();
    clean(pool, kind);
  });
}

test("first() checks its length and the lease, and then has done nothing", () => {
  using pool = new BlockPool(OPTIONS);
  const block = pool.acquireSync();
  for (const length of [-1, 1.5, NaN, Infinity, SIZE + 1]) {
    assertThrows(() => block.first(length), RangeError, `got ${length}`);
  }
  assertThrows(() => block.first("1" as never), TypeError, 'got "1"');
  assertThrows(() => block.first(undefined as never), TypeError, "undefined");
  assertEquals(block.first(0).length, 0);
  assertEquals(block.first(SIZE).length, SIZE);
  block.release();
  refused("released", () => block.first(0));
  refused("released", () => block.first(LENGTH));
  unharmed(pool);
});

for (const isUsed of [false, true]) {
  const then = isUsed ? "goes on" : "is over";
  test(`a runtime that throws at any call cuts neither first() nor its release in two; the lease ${then}`, async () => {
    for (let number = 0;; number++) {
      await using pool = new BlockPool(OPTIONS);
      const block = pool.acquireSync();
      const { count, error } = await failing(number, () => {
        block.first(LENGTH).fill(7);
        block.release();
      });
      const isKnown = error instanceof SmritiError || error instanceof Refused;
      assert(error === undefined || isKnown, `${number}: ${error}`);
      if (!block.released) {
        assert(error !== undefined);
        if (isUsed) {
          block.first(LENGTH).fill(8);
          block.bytes.fill(9, LENGTH);
        }
        block.release();
      }
      clean(pool, `call ${number}`);
      const { acquiredBlocks, abandonedBlocks } = lawful(pool);
      assertEquals([acquiredBlocks, abandonedBlocks], [0, 0]);
      if (count <= number) break;
    }
  });
}
