// With `socket`, the buffer that a failed operation took along is known to have died. No other one is:
// not one that left before, nor one that leaves while the operation has given the first one back.

import { assert, assertEquals } from "@std/assert";
import { type Block, BlockPool } from "@smriti/pool";
import { lawful } from "./support/invariants.ts";
import "./support/open_library.ts";

function takeOut({ bytes }: Block): Uint8Array {
  return structuredClone(bytes, { transfer: [bytes.buffer] });
}

/** The operation takes the buffer, gives it back by `reattach`, and it goes somewhere else. */
function takenTwice(block: Block, how: "fails" | "is cancelled") {
  const gate = Promise.withResolvers<unknown>();
  let taken!: ArrayBuffer;
  const lent = block.lend((bytes) => {
    taken = bytes.buffer.transfer();
    return gate.promise;
  }, { socket: true });
  block.reattach(new Uint8Array(taken));
  const out = takeOut(block);
  if (how === "fails") gate.reject(new Error("cut"));
  else gate.resolve({ done: true, value: undefined });
  return [out, lent] as [Uint8Array, Promise<unknown>];
}

const FAILED = Promise.reject(new Error("cut"));
FAILED.catch(() => {});

const WAYS: Record<string, (block: Block) => [Uint8Array, Promise<unknown>]> = {
  "before a lend"(block) {
    return [takeOut(block), block.lend(FAILED, { socket: true })];
  },
  "during a lend"(block) {
    const gate = Promise.withResolvers<void>();
    const lent = block.lend(() => gate.promise, { socket: true });
    const out = takeOut(block);
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
