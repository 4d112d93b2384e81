// Adaptors that must give everything back although one release throws, or a peer does all it can to be
// expensive.

import { assertEquals, assertRejects } from "@std/assert";
import { BlockPool } from "@smriti/pool";
import { chunks, collect, readBody } from "@smriti/pool/io";
import { lawful } from "../support/invariants.ts";
import { refused, rejected } from "../support/misuse.ts";

const SIZE = 1024;

/** A pool in strict mode, and what makes its next release throw. */
function strict(): { pool: BlockPool; stain: () => void } {
  const pool = new BlockPool({
    blockSize: SIZE,
    maxBlocks: 8,
    initialBlocks: 8,
    safety: "strict",
  });
  const stain = () => {
    const late = pool.acquireSync();
    // SAFETY: the slot stays mapped and, below a page, accessible as long as the pool is open.
    const raw = new Uint8Array(
      Deno.UnsafePointerView.getArrayBuffer(late.pointer, SIZE),
    );
    late.release();
    raw[3] = 7;
  };
  return { pool, stain };
}

Deno.test("a chain gives all its blocks back although one release throws", async () => {
  const { pool, stain } = strict();
  const { body } = new Response(new Uint8Array(4 * SIZE));
  const chain = (await collect(body!, pool))!;
  stain();
  refused("corrupted", () => chain.release());
  assertEquals(lawful(pool).acquiredBlocks, 0);
  await pool.close();
});

Deno.test("chunks() cancels its source although the release throws", async () => {
  const { pool, stain } = strict();
  let cancelled = false;
  const source = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new Uint8Array(100)),
    cancel() {
      cancelled = true;
    },
  });
  const read = async () => {
    for await (const _ of chunks(source, pool)) {
      stain();
      break;
    }
  };
  await rejected("corrupted", read());
  assertEquals([cancelled, source.locked], [true, false]);
  assertEquals(lawful(pool).acquiredBlocks, 0);
  await pool.close();
});

Deno.test("collect() gives back what a length announced, however many blocks that is", async () => {
  const count = 200_000;
  const pool = new BlockPool({
    blockSize: 1,
    maxBlocks: count,
    backend: "heap",
    safety: "trust",
  });
  const short = new Response(new Uint8Array(1), {
    headers: { "content-length": `${count}` },
  });
  await assertRejects(
    () => collect(short, pool),
    Deno.errors.UnexpectedEof,
  );
  assertEquals(lawful(pool).acquiredBlocks, 0);
  await pool.close();
});

Deno.test("a stream of empty chunks without end lets the signal's time run out", async () => {
  using pool = new BlockPool({ blockSize: SIZE, maxBlocks: 1 });
  using block = pool.acquireSync();
  const nothing = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new Uint8Array(0)),
  });
  const signal = AbortSignal.timeout(20);
  const error = await readBody(nothing, block, { signal }).catch((e) => e);
  assertEquals(error.name, "TimeoutError");
});
