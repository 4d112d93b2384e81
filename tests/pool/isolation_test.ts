// A lease never shows the bytes of an earlier one, whichever way the memory
// came; and ending a lease touches no other one's bytes.

import { assert, assertEquals, assertGreater } from "@std/assert";
import { type Block, BlockPool, type PoolOptions } from "@smriti/pool";
import { lawful } from "../support/invariants.ts";
import { addressOf, refused, takeAll } from "../support/misuse.ts";
import { PAGE } from "../support/sizes.ts";

/** Leaves a secret in a block and says where. */
function soil(block: Block): bigint {
  block.bytes.fill(0xee);
  return addressOf(block.bytes);
}

/** Each way from one lease to the next lease of the same memory. */
const WAYS: Record<string, (pool: BlockPool) => Promise<[bigint, Block]>> = {
  async "release() and acquire()"(pool) {
    const block = pool.acquireSync();
    const address = soil(block);
    block.release();
    return [address, await pool.acquire()];
  },
  "the end of a using scope and tryAcquire()"(pool) {
    let address: bigint;
    {
      using block = pool.acquireSync();
      address = soil(block);
    }
    return Promise.resolve([address, pool.tryAcquire()!]);
  },
  async "use() and acquire() with a tag"(pool) {
    const address = await pool.use(soil);
    return [address, await pool.acquire({ tag: "next" })];
  },
  async "use() that fails"(pool) {
    let address = 0n;
    await pool.use((block) => {
      address = soil(block);
      throw new Error("handler");
    }).catch(() => {});
    return [address, pool.acquireSync()];
  },
  async "hand-off to a waiter"(pool) {
    const block = pool.acquireSync();
    const waiter = pool.acquire();
    const address = soil(block);
    block.release();
    return [address, await waiter];
  },
  async "hand-off to a reserved waiter"(pool) {
    const block = pool.acquireSync();
    const waiter = pool.acquire({ reserved: true });
    const address = soil(block);
    pool.release(block);
    return [address, await waiter];
  },
  async "acquireMany() and its waiter"(pool) {
    const [block] = await pool.acquireMany(1);
    const waiter = pool.acquireMany(1);
    const address = soil(block);
    block.release();
    return [address, (await waiter)[0]];
  },
  async "disposing the array of acquireMany()"(pool) {
    const blocks = await pool.acquireMany(1);
    const address = soil(blocks[0]);
    blocks[Symbol.dispose]();
    return [address, (await pool.acquireMany(1))[0]];
  },
  async "a release that waits for a lend"(pool) {
    const block = pool.acquireSync();
    const gate = Promise.withResolvers<void>();
    const address = addressOf(block.bytes);
    const waiter = pool.acquire();
    const lent = block.lend((bytes) => gate.promise.then(() => bytes.fill(1)));
    block.release();
    gate.resolve();
    await lent;
    return [address, await waiter];
  },
  "release() with the number of bytes used"(pool) {
    const block = pool.acquireSync();
    block.bytes.fill(0xee, 0, 10);
    const address = addressOf(block.bytes);
    block.release(10);
    return Promise.resolve([address, pool.acquireSync()]);
  },
  "a buffer that left and was taken back"(pool) {
    const block = pool.acquireSync();
    const address = soil(block);
    const out = structuredClone(block.bytes, {
      transfer: [block.bytes.buffer],
    });
    block.reattach(out);
    out[0] = 1;
    block.release();
    return Promise.resolve([address, pool.acquireSync()]);
  },
  "an address used by native code"(pool) {
    const block = pool.acquireSync();
    const address = Deno.UnsafePointer.value(block.pointer);
    // What an FFI call would do: `bytes` was never asked for.
    const raw = Deno.UnsafePointerView.getArrayBuffer(block.pointer, 100);
    new Uint8Array(raw).fill(0xee);
    raw.transfer(0);
    block.release();
    return Promise.resolve([address, pool.acquireSync()]);
  },
};

for (const safety of ["trust", "revoke", "strict"] as const) {
  for (const [way, next] of Object.entries(WAYS)) {
    Deno.test(`a lease shows only zeroes after ${way} (${safety})`, async () => {
      using pool = new BlockPool({ blockSize: 100, maxBlocks: 1, safety });
      const [address, block] = await next(pool);
      // The same memory, or the test would prove nothing.
      assertEquals(Deno.UnsafePointer.value(block.pointer), address);
      assertEquals(block.bytes, new Uint8Array(100));
      block.release();
      const { acquiredBlocks, abandonedBlocks } = lawful(pool);
      assertEquals([acquiredBlocks, abandonedBlocks], [0, 0]);
    });
  }

  Deno.test(`a lease shows only zeroes after trim() and growing again (${safety})`, () => {
    using pool = new BlockPool({
      blockSize: PAGE,
      maxBlocks: 16,
      initialBlocks: 1,
      safety,
      // Nothing is zeroed at release: whatever is zero has come from the OS.
      zero: false,
    });
    const addresses = takeAll(pool).map((block) => {
      const address = soil(block);
      block.release();
      return address;
    });
    assertGreater(pool.trim(), 0);
    const blocks = takeAll(pool);
    assertEquals(blocks.length, addresses.length);
    // The first was below initialBlocks and kept its bytes.
    for (const { bytes } of blocks.slice(1)) {
      assert(addresses.includes(addressOf(bytes)));
      assert(bytes.every((byte) => byte === 0));
    }
    for (const block of blocks) block.release();
  });

  for (const blockSize of [1, 64, 100, 4096, 5000]) {
    Deno.test(`release() of a ${blockSize} byte block leaves its neighbours' bytes alone (${safety})`, () => {
      using pool = new BlockPool({ blockSize, maxBlocks: 9, safety });
      const blocks = takeAll(pool);
      assertEquals(blocks.length, 9);
      blocks.forEach(({ bytes }, i) => bytes.fill(i + 1));
      for (const gone of [4, 0, 8]) {
        blocks[gone].release();
        using next = pool.acquireSync();
        assertEquals(next.bytes, new Uint8Array(blockSize));
        for (const [i, block] of blocks.entries()) {
          if (block.released) continue;
          assert(block.bytes.every((byte) => byte === i + 1), `block ${i}`);
        }
      }
      for (const block of blocks) block[Symbol.dispose]();
    });
  }
}

Deno.test("release(usedBytes) zeroes only those: for the rest the caller vouches", () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  for (const usedBytes of [0, 1, 10, 64]) {
    const block = pool.acquireSync();
    soil(block);
    block.release(usedBytes);
    const next = pool.acquireSync();
    const expected = new Uint8Array(64).fill(0xee);
    assertEquals(next.bytes, expected.fill(0, 0, usedBytes));
    next.release();
  }
});

Deno.test("release(usedBytes) while lent zeroes only those when the lend settles", async () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  const block = pool.acquireSync();
  soil(block);
  const gate = Promise.withResolvers<void>();
  const lent = block.lend(gate.promise);
  block.release(16);
  gate.resolve();
  await lent;
  using next = pool.acquireSync();
  assertEquals(next.bytes, new Uint8Array(64).fill(0xee, 16));
});

Deno.test("zero: false shows earlier bytes, as it says", () => {
  for (const safety of ["trust", "revoke"] as const) {
    using pool = new BlockPool({
      blockSize: 64,
      maxBlocks: 1,
      zero: false,
      safety,
    });
    const block = pool.acquireSync();
    soil(block);
    block.release();
    using next = pool.acquireSync();
    assertEquals(next.bytes, new Uint8Array(64).fill(0xee));
  }
});

/** Counts calls of a method of every ArrayBuffer or Uint8Array meanwhile. */
function counting(prototype: object, name: string, fn: () => void): number {
  const methods = prototype as Record<string, (...args: unknown[]) => unknown>;
  const original = methods[name];
  let calls = 0;
  methods[name] = function (...args) {
    calls++;
    return original.apply(this, args);
  };
  try {
    fn();
  } finally {
    methods[name] = original;
  }
  return calls;
}

Deno.test("a lease whose memory was never asked for is neither zeroed nor revoked", () => {
  const revokes = (options: PoolOptions, touch: (block: Block) => void) => {
    using pool = new BlockPool(options);
    // The slot's first use makes its view; the leases after it are counted.
    const first = pool.acquireSync();
    first.bytes[0] = 1;
    first.release();
    const cycle = () => {
      const block = pool.acquireSync({ tag: "x" });
      touch(block);
      block.release();
    };
    return [
      counting(ArrayBuffer.prototype, "transfer", cycle),
      counting(Uint8Array.prototype, "fill", cycle),
    ];
  };
  const options = { blockSize: 64, maxBlocks: 1 };
  const ask = (block: Block) => block.size + (block.tag ?? "");
  assertEquals(revokes(options, ask), [0, 0]);
  // The counting itself works: a lease that looked at its bytes costs both.
  assertEquals(revokes(options, (block) => block.bytes), [1, 1]);
  const trusting = { ...options, safety: "trust" as const };
  assertEquals(revokes(trusting, (block) => block.bytes), [0, 1]);
});

Deno.test("trust hides nothing from a raw view, but a stale handle still gets nothing", () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1, safety: "trust" });
  const block = pool.acquireSync();
  const raw = block.bytes;
  block.release();
  using next = pool.acquireSync();
  next.bytes[0] = 5;
  // This is what "trust" means, and why it is not the default.
  assertEquals(raw[0], 5);
  refused("released", () => block.bytes);
});
