// Every view of an ended lease is dead, and no other one is.

import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { Buffer } from "node:buffer";
import { type Block, BlockPool } from "@smriti/pool";
import { lawful } from "../support/invariants.ts";
import { addressOf, takeAll } from "../support/misuse.ts";
import { PAGE } from "../support/sizes.ts";

const ONE = { blockSize: 64, maxBlocks: 1 };

/** Every kind of view that a user may have kept. */
function viewsOf({ bytes }: Block) {
  const { buffer } = bytes;
  return {
    bytes,
    whole: bytes.subarray(),
    part: bytes.subarray(8, 24),
    empty: bytes.subarray(64),
    words: new Int32Array(buffer),
    floats: new Float64Array(buffer, 8, 2),
    big: new BigUint64Array(buffer, 16),
    clamped: new Uint8ClampedArray(buffer, 1, 3),
    node: Buffer.from(buffer, 4, 16),
  };
}

/** Each way a lease can end. */
const ENDS: Record<string, (pool: BlockPool, block: Block) => unknown> = {
  "release()": (_, block) => block.release(),
  "release(0)": (_, block) => block.release(0),
  "pool.release()": (pool, block) => pool.release(block),
  "[Symbol.dispose]()": (_, block) => block[Symbol.dispose](),
  "the settling of a lend": async (_, block) => {
    const gate = Promise.withResolvers<void>();
    const lent = block.lend(gate.promise);
    block.release();
    gate.resolve();
    await lent;
  },
  "hand-off to a waiter": async (pool, block) => {
    const waiter = pool.acquire();
    block.release();
    (await waiter).release();
  },
};

/** Does so at both levels that revoke. */
async function revokesBy(end: (typeof ENDS)[string]): Promise<void> {
  for (const safety of ["revoke", "strict"] as const) {
    using pool = new BlockPool({ ...ONE, safety });
    const block = pool.acquireSync();
    const views = viewsOf(block);
    const data = new DataView(views.bytes.buffer, 8);
    const { buffer } = views.bytes;
    await end(pool, block);
    for (const [kind, view] of Object.entries(views)) {
      assertEquals([view.length, view.byteLength], [0, 0], kind);
      assertEquals(view[0], undefined, kind);
    }
    assertEquals(buffer.detached, true);
    assertEquals(buffer.byteLength, 0);
    assertThrows(() => data.getUint8(0), TypeError);
    assertThrows(() => data.byteLength, TypeError);
    assertEquals(lawful(pool).acquiredBlocks, 0);
  }
}

for (const [name, end] of Object.entries(ENDS)) {
  Deno.test(`${name} leaves every view of the lease with length 0`, () =>
    revokesBy(end));
}

Deno.test("a revoked view reads and writes nothing of the lease that has the memory now", () => {
  using pool = new BlockPool(ONE);
  const block = pool.acquireSync();
  const { bytes, words } = viewsOf(block);
  const address = addressOf(bytes);
  block.release();
  using next = pool.acquireSync();
  assertEquals(addressOf(next.bytes), address);
  next.bytes.fill(5);
  bytes[0] = 1;
  words[1] = 1;
  assertThrows(() => bytes.fill(1), TypeError);
  assertThrows(() => bytes.set([1]), TypeError);
  assertThrows(() => new Uint8Array(bytes.buffer), TypeError);
  assertEquals([bytes[0], words[1]], [undefined, undefined]);
  assertEquals(next.bytes, new Uint8Array(64).fill(5));
});

Deno.test("release() leaves the views of neighbours alone", () => {
  // Below a line, below a page, above a page: slots lie side by side.
  for (const blockSize of [8, 64, 100, 4096, 5000]) {
    using pool = new BlockPool({ blockSize, maxBlocks: 5 });
    const blocks = takeAll(pool);
    const views = blocks.map(({ bytes }) => bytes);
    const parts = views.map((view) => view.subarray(1, 5).fill(7));
    blocks[2].release();
    for (const [i, block] of blocks.entries()) {
      const length = i === 2 ? 0 : blockSize;
      assertEquals([views[i].length, parts[i].length > 0], [length, i !== 2]);
      if (i === 2) continue;
      assertStrictEquals(block.bytes, views[i]);
      assertEquals([...parts[i]], [7, 7, 7, 7]);
      block.release();
    }
    // No buffer ever showed more than its own block, so a kept one cannot.
    assertEquals(
      views.map(({ buffer }) => buffer.detached),
      Array(5).fill(true),
    );
  }
});

Deno.test("bytes is one and the same view for as long as the lease lasts", () => {
  using pool = new BlockPool(ONE);
  using block = pool.acquireSync();
  const { bytes } = block;
  assertEquals(bytes.length, 64);
  block.pointer;
  assertStrictEquals(block.bytes, bytes);
});

Deno.test("views stay alive while a released block is still lent", async () => {
  using pool = new BlockPool(ONE);
  const block = pool.acquireSync();
  const { bytes } = block;
  const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const lends = gates.map((gate) => block.lend(gate.promise));
  block.release();
  gates[0].resolve();
  await lends[0];
  // Cutting them off would not stop a native read, only hide it.
  bytes[0] = 1;
  assertEquals([bytes.length, bytes[0]], [64, 1]);
  gates[1].resolve();
  await lends[1];
  assertEquals(bytes.length, 0);
});

Deno.test("trust lends the same view object again, zeroed", () => {
  using pool = new BlockPool({ ...ONE, safety: "trust" });
  const block = pool.acquireSync();
  const { bytes } = block;
  bytes.fill(7);
  block.release();
  using next = pool.acquireSync();
  assertStrictEquals(next.bytes, bytes);
  assertEquals(bytes, new Uint8Array(64));
});

Deno.test("trim() and close() end the views that trust left alive", async () => {
  await using pool = new BlockPool({
    blockSize: PAGE,
    maxBlocks: 4,
    initialBlocks: 1,
    safety: "trust",
  });
  const blocks = takeAll(pool);
  const views = blocks.map(({ bytes }) => bytes);
  for (const block of blocks) block.release();
  assertEquals(views.map(({ length }) => length), Array(4).fill(PAGE));
  pool.trim();
  // The initial block keeps its memory, so its view may live on.
  assertEquals(views.map(({ length }) => length), [PAGE, 0, 0, 0]);
  await pool.close();
  assertEquals(views.map(({ length }) => length), [0, 0, 0, 0]);
});
