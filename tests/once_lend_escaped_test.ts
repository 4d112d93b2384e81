// Once: lend(fn) asks for the bytes after it has marked the block as lent.
// So it takes its own mark for another operation's, and when it then fails with
// `socket` set, the pool forgets that somebody else has the buffer and lends the
// memory again. Asking for the bytes first would cure both.

import { assertEquals, assertRejects } from "@std/assert";
import { type Block, BlockPool } from "@smriti/pool";
import { rejected } from "./support/misuse.ts";
import "./support/open_library.ts";

const ONE = { blockSize: 64, maxBlocks: 1 };

function take({ bytes }: Block): Uint8Array<ArrayBuffer> {
  return structuredClone(bytes, { transfer: [bytes.buffer] });
}

Deno.test("lend(fn) heals the bytes when their buffer has left before", async () => {
  using pool = new BlockPool(ONE);
  using block = pool.acquireSync();
  take(block);
  assertEquals(await block.lend(({ length }) => length), 64);
});

Deno.test(
  "lend(fn) that fails on a socket does not forget a buffer that left before",
  async () => {
    using pool = new BlockPool(ONE);
    const block = pool.acquireSync();
    const out = take(block);
    const failing = () => Promise.reject(new Error("cut"));
    await assertRejects(() => block.lend(failing, { socket: true }));
    block.release();
    // `out` can still be written to, by a Worker for one.
    using next = pool.acquireSync();
    out[0] = 7;
    assertEquals(next.bytes[0], 0);
    assertEquals(pool.stats().abandonedBlocks, 1);
  },
);

Deno.test(
  "lend(fn) that is refused as lent leaves the operation that runs as it was",
  async () => {
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
  },
);
