// A buffer that node's `markAsUntransferable` was called on cannot be detached any more, so its views
// cannot be ended: its block leaves the pool, and its memory stays mapped. Neither release() nor a
// timer throws because of it.

import {
  assertEquals,
  assertGreater,
  assertNotStrictEquals,
} from "@std/assert";
import { markAsUntransferable } from "node:worker_threads";
import { BlockPool } from "@smriti/pool";
import { numbers, PAGE, sharedPool } from "../shared/pools.ts";
import { lawful } from "../support/invariants.ts";
import { refused, takeAll } from "../support/misuse.ts";
import { marksBuffers } from "../support/platform.ts";

const test = (name: string, fn: () => void | Promise<void>) =>
  Deno.test({ name, fn, ignore: !marksBuffers });

/** `lost`: when the block leaves the pool, 0 at release or 1 when its memory is to go back. */
const LEVELS = [
  { safety: "revoke", backend: "native", lost: 0 },
  { safety: "strict", backend: "native", lost: 0 },
  { safety: "trust", backend: "native", lost: 1 },
  { safety: "revoke", backend: "heap", lost: 0 },
  { safety: "trust", backend: "heap", lost: 1 },
] as const;

for (const { safety, backend, lost } of LEVELS) {
  test(`a buffer that cannot be detached takes its block out of the pool: ${safety}, ${backend}`, async () => {
    const pool = new BlockPool({
      blockSize: PAGE,
      maxBlocks: 8,
      initialBlocks: 1,
      safety,
      backend,
    });
    const blocks = takeAll(pool);
    const { bytes } = blocks[7];
    bytes[0] = 7;
    markAsUntransferable(bytes.buffer);
    for (const block of blocks) block.release();
    assertEquals(lawful(pool).abandonedBlocks, lost === 0 ? 1 : 0);
    assertGreater(pool.trim(), 0);
    const { abandonedBlocks, abandonedBytes } = lawful(pool);
    // On the heap the memory is the buffer's.
    const kept = backend === "native" ? PAGE : 0;
    assertEquals([abandonedBlocks, abandonedBytes], [1, kept]);
    const before = bytes.slice();
    // A buffer that is kept may be read: it is not zeroed, unless its lease could still end.
    assertEquals(before[0], lost === 0 ? 7 : 0);
    const others = takeAll(pool);
    assertEquals(others.length, 8);
    for (const { bytes: other } of others) {
      assertNotStrictEquals(other.buffer, bytes.buffer);
      other.fill(9);
    }
    assertEquals(bytes, before);
    for (const block of others) block.release();
    await pool.close();
    if (backend === "native") assertGreater(pool.stats().mappedBytes, 0);
    assertEquals(bytes, before);
    // Were the memory gone, this would end the process.
    assertEquals(bytes.fill(1).length, PAGE);
  });
}

test("close() gives up on a held block whose buffer cannot be detached", async () => {
  const pool = new BlockPool({ blockSize: PAGE, maxBlocks: 2 });
  const block = pool.acquireSync();
  const { bytes } = block;
  markAsUntransferable(bytes.buffer);
  const error = await pool.close({ timeoutMs: 1 }).catch((error) => error);
  assertEquals(error.code, "timeout");
  assertEquals(lawful(pool).abandonedBlocks, 1);
  assertEquals(bytes.fill(1).length, PAGE);
  block.release();
});

test("a block whose buffer cannot be detached is not handed over", async () => {
  const pool = sharedPool({ maxBlocks: 2 });
  const [good, bad] = await pool.acquireMany(2);
  good.bytes[0] = bad.bytes[0] = 3;
  const view = bad.bytes;
  markAsUntransferable(view.buffer);
  refused("lent", () => bad.detach());
  refused("lent", () => pool.detachMany([good, bad]));
  assertEquals(numbers(pool).transitBlocks, 0);
  assertEquals([good.bytes[0], bad.bytes[0]], [3, 3]);
  pool.adopt(good.detach()).release();
  bad.release();
  assertEquals(numbers(pool).abandonedBlocks, 1);
  await pool.close();
  assertGreater(numbers(pool).mappedBytes, 0);
  assertEquals(view.fill(1).length, PAGE);
});
