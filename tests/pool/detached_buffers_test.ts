// Buffers that leave a block by a transfer. A block whose buffer may be with
// another holder is never lent again. BYOB reads are in byob_test.ts.

import {
  assert,
  assertEquals,
  assertGreater,
  assertNotStrictEquals,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { type Block, BlockPool } from "@smriti/pool";
import { lawful } from "../support/invariants.ts";
import { addressOf, refused, rejected, takeAll } from "../support/misuse.ts";

const ONE = { blockSize: 64, maxBlocks: 1 };
const LEVELS = ["trust", "revoke", "strict"] as const;

/** Takes the buffer of a block away, as postMessage and others do. */
function take({ bytes }: Block): Uint8Array<ArrayBuffer> {
  return structuredClone(bytes, { transfer: [bytes.buffer] });
}

function abandoned(pool: BlockPool): number {
  return lawful(pool).abandonedBlocks;
}

Deno.test("bytes heals after a transfer: a new view of the same memory", () => {
  using pool = new BlockPool(ONE);
  using block = pool.acquireSync();
  const before = block.bytes;
  before.fill(7);
  const out = take(block);
  assertEquals(before.length, 0);
  assertEquals(addressOf(block.bytes), addressOf(out));
  assertNotStrictEquals(block.bytes.buffer, out.buffer);
  assertEquals(block.bytes, new Uint8Array(64).fill(7));
  // Both see the same memory: the reason why it must not be lent again.
  out[0] = 1;
  assertEquals(block.bytes[0], 1);
  block.reattach(out);
});

for (const safety of LEVELS) {
  Deno.test(`release() with a buffer out abandons the block, healed or not (${safety})`, () => {
    using pool = new BlockPool({ blockSize: 64, maxBlocks: 3, safety });
    const blocks = takeAll(pool);
    const lost = blocks.slice(0, 2).map(({ bytes }) => addressOf(bytes));
    const outs = blocks.slice(0, 2).map(take);
    outs[0].fill(3);
    blocks[1].bytes.fill(4);
    for (const block of blocks) block.release();
    // The first is replaced; the second is more than may be kept beside the pool.
    const { abandonedBlocks, freeBlocks, capacityBlocks, abandonedBytes } =
      lawful(pool);
    assertEquals([abandonedBlocks, freeBlocks, capacityBlocks], [2, 2, 2]);
    assertEquals(abandonedBytes, 128);
    const others = takeAll(pool);
    assertEquals(others.length, 2);
    for (const { bytes } of others) {
      assert(!lost.includes(addressOf(bytes)));
      bytes.fill(9);
    }
    assertEquals(outs, [3, 4].map((byte) => new Uint8Array(64).fill(byte)));
    for (const block of others) block.release();
  });

  Deno.test(`reattach() makes the block whole again (${safety})`, () => {
    using pool = new BlockPool({ ...ONE, safety });
    const block = pool.acquireSync();
    // Not healed, healed, and by a part of the buffer.
    const out = take(block);
    block.reattach(out);
    assertStrictEquals(block.bytes.buffer, out.buffer);
    const again = take(block);
    const healed = block.bytes;
    block.reattach(new DataView(again.buffer, 8, 8));
    assertStrictEquals(block.bytes.buffer, again.buffer);
    // One buffer of this memory at a time.
    assertEquals([healed.length, block.bytes.length], [0, 64]);
    block.release();
    assertEquals([abandoned(pool), takeAll(pool).length], [0, 1]);
    assertEquals(again.length, safety === "trust" ? 64 : 0);
  });

  Deno.test(`reattach() is needed for each buffer that left (${safety})`, () => {
    using pool = new BlockPool({ blockSize: 64, maxBlocks: 2, safety });
    const bothBack = pool.acquireSync();
    const outs = [take(bothBack), take(bothBack), take(bothBack)];
    for (const out of outs.toReversed()) bothBack.reattach(out);
    bothBack.release();
    assertEquals(abandoned(pool), 0);

    const oneMissing = pool.acquireSync();
    const [first] = [take(oneMissing), take(oneMissing)];
    // Twice the same is one.
    oneMissing.reattach(first);
    oneMissing.reattach(first);
    oneMissing.release();
    assertEquals(abandoned(pool), 1);
  });

  Deno.test(`release() while lent with a buffer out abandons when the lend settles (${safety})`, async () => {
    using pool = new BlockPool({ blockSize: 64, maxBlocks: 2, safety });
    for (const isHealed of [true, false]) {
      const block = pool.acquireSync();
      take(block);
      if (isHealed) block.bytes[0] = 1;
      const gate = Promise.withResolvers<void>();
      const lent = block.lend(gate.promise);
      block.release();
      assertEquals(lawful(pool).acquiredBlocks, 1);
      gate.resolve();
      await lent;
      assertEquals(lawful(pool).acquiredBlocks, 0);
    }
    assertEquals(abandoned(pool), 2);
  });

  Deno.test(`a buffer that left and is gone for good leaves the block abandoned (${safety})`, () => {
    using pool = new BlockPool({ ...ONE, safety });
    const block = pool.acquireSync();
    // What is done in another place with the buffer cannot be seen from here.
    block.bytes.buffer.transfer(0);
    assertEquals(block.bytes.length, 64);
    block.release();
    assertEquals(abandoned(pool), 1);
  });
}

Deno.test("reattach() takes back what went through postMessage", async () => {
  using pool = new BlockPool(ONE);
  const block = pool.acquireSync();
  const address = addressOf(block.bytes);
  const { port1, port2 } = new MessageChannel();
  const echo = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
  port2.onmessage = ({ data }) => {
    data[0] = 42;
    port2.postMessage(data, [data.buffer]);
  };
  port1.onmessage = ({ data }) => echo.resolve(data);
  port1.postMessage(block.bytes, [block.bytes.buffer]);
  const back = await echo.promise;
  port1.close();
  port2.close();
  block.reattach(back);
  assertEquals([addressOf(block.bytes), block.bytes[0]], [address, 42]);
  block.release();
  assertEquals(abandoned(pool), 0);
});

Deno.test("reattach() refuses every other buffer and changes nothing", () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 2, initialBlocks: 2 });
  using other = new BlockPool(ONE);
  using stranger = other.acquireSync();
  using neighbour = pool.acquireSync();
  const block = pool.acquireSync();
  const gone = new Uint8Array(64);
  gone.buffer.transfer();
  const strangers = [
    stranger.bytes,
    neighbour.bytes,
    new Uint8Array(64),
    new Uint8Array(0),
    new Uint8Array(new SharedArrayBuffer(64)),
    new Uint8Array(new ArrayBuffer(64, { maxByteLength: 128 })),
    gone,
    // The right place, but not all of it: the rest would be out for ever.
    new Uint8Array(
      Deno.UnsafePointerView.getArrayBuffer(block.pointer, 32),
    ),
  ];
  for (const isOut of [false, true]) {
    if (isOut) take(block);
    for (const view of strangers) {
      refused("foreign-block", () => block.reattach(view));
    }
  }
  assertEquals([neighbour.bytes.length, stranger.bytes.length], [64, 64]);
  block.release();
  assertEquals(abandoned(pool), 1);
});

Deno.test("reattach() of the buffer that the block has is no change", () => {
  using pool = new BlockPool(ONE);
  const block = pool.acquireSync();
  const { bytes } = block;
  block.reattach(bytes.subarray(5));
  assertEquals(block.bytes.buffer, bytes.buffer);
  assertEquals(block.bytes.length, 64);
  block.release();
  assertEquals([abandoned(pool), bytes.length], [0, 0]);
});

Deno.test("a buffer still out at release() gives the waiter a fresh block", async () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 2 });
  const [a, b] = takeAll(pool);
  const held = [a, b].map(({ bytes }) => addressOf(bytes));
  const one = pool.acquire();
  const two = pool.acquireMany(2);
  const out = take(a);
  a.release();
  assertEquals(lawful(pool).waiting, 1);
  const fresh = await one;
  assert(!held.includes(addressOf(fresh.bytes)));
  out.fill(9);
  assertEquals(fresh.bytes, new Uint8Array(64));
  fresh.release();
  b.release();
  (await two)[Symbol.dispose]();
});

Deno.test("a buffer still out at release() leaves the waiter to another block if none may be kept", async () => {
  using pool = new BlockPool({
    blockSize: 64,
    maxBlocks: 2,
    maxAbandonedBytes: 0,
  });
  const [a, b] = takeAll(pool);
  const one = pool.acquire();
  const two = pool.acquireMany(2);
  take(a);
  a.release();
  assertEquals(lawful(pool).waiting, 1);
  await rejected("exhausted", two);
  b.release();
  (await one).release();
});

Deno.test("a raw view transferred after release under trust costs the next lease its block", () => {
  using pool = new BlockPool({
    blockSize: 64,
    maxBlocks: 2,
    initialBlocks: 2,
    safety: "trust",
  });
  const block = pool.acquireSync();
  const raw = block.bytes;
  block.release();
  const out = structuredClone(raw, { transfer: [raw.buffer] });
  const next = pool.acquireSync();
  assertEquals([next.bytes.length, addressOf(next.bytes)], [
    64,
    addressOf(out),
  ]);
  next.release();
  assertEquals(abandoned(pool), 1);
});

Deno.test("trim() under trust takes a free block out whose buffer has left", () => {
  using pool = new BlockPool({
    blockSize: 4096,
    maxBlocks: 4,
    initialBlocks: 1,
    safety: "trust",
  });
  const blocks = takeAll(pool);
  const raw = blocks[2].bytes;
  for (const block of blocks) block.release();
  const out = structuredClone(raw, { transfer: [raw.buffer] });
  out.fill(9);
  assertGreater(pool.trim(), 0);
  const { abandonedBlocks, abandonedBytes, capacityBlocks } = lawful(pool);
  assertEquals([abandonedBlocks, abandonedBytes], [1, 4096]);
  assertEquals(capacityBlocks, 4);
  const again = takeAll(pool);
  assertEquals(again.length, 4);
  assert(again.every(({ bytes }) => bytes.every((byte) => byte === 0)));
  for (const { bytes } of again) bytes.fill(1);
  assert(out.every((byte) => byte === 9));
  for (const block of again) block.release();
});

Deno.test("close() under trust keeps the addresses of a free block whose buffer has left", async () => {
  const pool = new BlockPool({ ...ONE, safety: "trust" });
  const block = pool.acquireSync();
  const raw = block.bytes;
  block.release();
  const out = structuredClone(raw, { transfer: [raw.buffer] }).fill(5);
  await pool.close();
  assertEquals([abandoned(pool), pool.stats().abandonedBytes], [1, 64]);
  assertGreater(pool.stats().mappedBytes, 0);
  assert(out.every((byte) => byte === 5), "and its bytes");
  // Unmapped, this line would end the process.
  assertEquals(out.fill(9)[0], 9);
});

// `socket: true` says that the buffer which a failed operation took along has died. No other one has: not
// one that left before, nor one that leaves while the operation has given the first one back.

Deno.test("lend(fn) heals the bytes when their buffer has left before", async () => {
  using pool = new BlockPool(ONE);
  using block = pool.acquireSync();
  take(block);
  assertEquals(await block.lend(({ length }) => length), 64);
});

Deno.test("lend(fn) that is refused as lent leaves the operation that runs as it was", async () => {
  using pool = new BlockPool(ONE);
  const block = pool.acquireSync();
  const read = Promise.withResolvers<void>();
  const first = block.lend((bytes) => {
    bytes.buffer.transfer();
    return read.promise;
  }, { socket: true });
  await rejected("lent", block.lend(() => 1, { socket: true }));
  read.reject(new Error("cut"));
  await assertRejects(() => first);
  block.release();
  // The only operation that ran has let go, as its caller vouched.
  assertEquals(pool.stats().abandonedBlocks, 0);
});

/** The operation takes the buffer, gives it back by `reattach`, and it goes somewhere else. */
function takenTwice(block: Block, how: "fails" | "is cancelled") {
  const gate = Promise.withResolvers<unknown>();
  let taken!: ArrayBuffer;
  const lent = block.lend((bytes) => {
    taken = bytes.buffer.transfer();
    return gate.promise;
  }, { socket: true });
  block.reattach(new Uint8Array(taken));
  const out = take(block);
  if (how === "fails") gate.reject(new Error("cut"));
  else gate.resolve({ done: true, value: undefined });
  return [out, lent] as [Uint8Array, Promise<unknown>];
}

const FAILED = Promise.reject(new Error("cut"));
FAILED.catch(() => {});

const WAYS: Record<string, (block: Block) => [Uint8Array, Promise<unknown>]> = {
  "before a lend"(block) {
    return [take(block), block.lend(FAILED, { socket: true })];
  },
  "before a lend of a function": (block) => [
    take(block),
    block.lend(() => FAILED, { socket: true }),
  ],
  "during a lend"(block) {
    const gate = Promise.withResolvers<void>();
    const lent = block.lend(() => gate.promise, { socket: true });
    const out = take(block);
    gate.reject(new Error("cut"));
    return [out, lent];
  },
  "again before the operation fails": (block) => takenTwice(block, "fails"),
  "again before it is cancelled": (block) => takenTwice(block, "is cancelled"),
  "to a second operation, too"(block) {
    const [first, second] = [1, 2].map(() => Promise.withResolvers<unknown>());
    let taken!: ArrayBuffer;
    const lents = [
      block.lend((bytes) => {
        taken = bytes.buffer.transfer();
        return first.promise;
      }, { socket: true }),
    ];
    block.reattach(new Uint8Array(taken));
    let out!: Uint8Array;
    // What this one takes it keeps, and does not say so.
    lents.push(block.lend((bytes) => {
      out = structuredClone(bytes, { transfer: [bytes.buffer] });
      return second.promise;
    }));
    first.reject(new Error("cut"));
    second.reject(new Error("cut"));
    return [out, Promise.allSettled(lents)];
  },
};

Deno.test("lend() on a socket that fails costs nothing when its buffer has died", async () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  for (let turn = 0; turn < 3; turn++) {
    const block = pool.acquireSync();
    const lent = block.lend((bytes) => {
      bytes.buffer.transfer(0);
      return FAILED;
    }, { socket: true });
    await lent.catch(() => {});
    assertEquals(block.bytes.length, 64);
    block.release();
  }
  assertEquals(lawful(pool).abandonedBlocks, 0);
});

for (const [when, way] of Object.entries(WAYS)) {
  Deno.test({
    name: `lend() on a socket that fails does not forget a buffer out ${when}`,
  }, async () => {
    using pool = new BlockPool({ blockSize: 64, maxBlocks: 2 });
    const block = pool.acquireSync();
    const [out, lent] = way(block);
    await lent.catch(() => {});
    block.release();
    using next = pool.acquireSync();
    out.fill(0xee);
    assert(next.bytes.every((byte) => byte === 0), "bytes of somebody else");
    assertEquals(lawful(pool).abandonedBlocks, 1);
  });
}
