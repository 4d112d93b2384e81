// What the heap backend does its own way: no permission, no addresses, memory that lives as long as
// its view. What it does like the others is in the suite that runs over every backend.

import {
  assert,
  assertEquals,
  assertGreater,
  assertInstanceOf,
  assertLess,
  assertMatch,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { BlockPool, type PoolOptions, type Safety } from "@smriti/pool";
import { lawful } from "../support/invariants.ts";
import { refused, takeAll } from "../support/misuse.ts";
import { canRunDeno, hasNative } from "../support/platform.ts";

const SAFETIES: Safety[] = ["trust", "revoke", "strict"];

const CHOICES = import.meta.resolve("../support/backend_choices.ts");

function heapPool(options: Partial<PoolOptions> = {}): BlockPool {
  return new BlockPool({
    blockSize: 4096,
    maxBlocks: 4,
    initialBlocks: 1,
    backend: "heap",
    ...options,
  });
}

Deno.test("a heap pool says so, and has no pointers", () => {
  using pool = heapPool();
  assertEquals(pool.backend, "heap");
  using block = pool.acquireSync();
  const error = refused("unsupported", () => block.pointer);
  assertStringIncludes(error.message, "heap");
});

Deno.test("a heap block is an ArrayBuffer of its own, exactly blockSize long", () => {
  for (const blockSize of [1, 63, 64, 4096, 4097]) {
    using pool = heapPool({ blockSize });
    const blocks = takeAll(pool);
    assertEquals(blocks.length, 4);
    const buffers = new Set(blocks.map(({ bytes }) => bytes.buffer));
    assertEquals(buffers.size, 4);
    for (const { bytes } of blocks) {
      assertEquals(bytes, new Uint8Array(blockSize));
      assertInstanceOf(bytes.buffer, ArrayBuffer);
      assertEquals(bytes.buffer.byteLength, blockSize);
    }
    for (const block of blocks) block.release();
  }
});

for (const safety of SAFETIES) {
  Deno.test(`a heap block never shows an earlier lease's bytes (${safety})`, () => {
    using pool = heapPool({ safety });
    for (let i = 1; i < 20; i++) {
      using block = pool.acquireSync();
      assertEquals(block.bytes, new Uint8Array(4096));
      block.bytes.fill(i);
    }
    lawful(pool);
  });
}

Deno.test("a view of a released heap block is empty, except under trust", () => {
  for (const safety of SAFETIES) {
    using pool = heapPool({ safety });
    const block = pool.acquireSync();
    const views = [block.bytes, block.bytes.subarray(8, 16)];
    block.release();
    const lengths = views.map(({ length }) => length);
    assertEquals(lengths, safety === "trust" ? [4096, 8] : [0, 0]);
  }
});

Deno.test("a heap block without zeroing is the same memory again", () => {
  using pool = heapPool({ zero: false });
  const first = pool.acquireSync();
  first.bytes.fill(7);
  first.release();
  using second = pool.acquireSync();
  assert(second.bytes.every((byte) => byte === 7));
});

Deno.test("a heap block that lost its buffer heals with fresh memory, and leaves the pool", () => {
  using pool = heapPool();
  const block = pool.acquireSync();
  block.bytes.fill(7);
  const away = structuredClone(block.bytes, {
    transfer: [block.bytes.buffer],
  });
  // Elsewhere this is the same memory; here the old one went along with its buffer.
  assertEquals(block.bytes, new Uint8Array(4096));
  assert(away.every((byte) => byte === 7));
  block.release();
  assertEquals(lawful(pool).abandonedBlocks, 1);
});

Deno.test("a heap block takes a buffer back by its size", () => {
  using pool = heapPool();
  const block = pool.acquireSync();
  block.bytes[0] = 7;
  const away = new Uint8Array(block.bytes.buffer.transfer());
  refused("foreign-block", () => block.reattach(new Uint8Array(4095)));
  block.reattach(away);
  assertStrictEquals(block.bytes.buffer, away.buffer);
  assertEquals(block.bytes[0], 7);
  block.release();
  assertEquals(away.length, 0);
  assertEquals(lawful(pool).abandonedBlocks, 0);
});

Deno.test("a heap block never takes the buffer that another block has", async () => {
  using pool = heapPool();
  using one = pool.acquireSync();
  using other = pool.acquireSync();
  other.bytes[0] = 7;
  one.bytes[0] = 1;
  refused("foreign-block", () => one.reattach(other.bytes));
  // Nor from an operation that took its own along.
  await one.lend((bytes) => {
    bytes.buffer.transfer();
    return other.bytes;
  });
  assertEquals(other.bytes[0], 7);
  assert(one.bytes.buffer !== other.bytes.buffer);
  assertEquals(one.bytes[0], 0);
});

Deno.test("a BYOB read on a lent heap block brings its buffer back", async () => {
  using pool = heapPool();
  using block = pool.acquireSync();
  const stream = new ReadableStream({
    type: "bytes",
    pull: (controller) => controller.enqueue(new Uint8Array([1, 2, 3])),
  });
  const reader = stream.getReader({ mode: "byob" });
  const { value } = await block.lend((bytes) => reader.read(bytes));
  assertEquals(value?.length, 3);
  assertEquals(block.bytes.subarray(0, 4), new Uint8Array([1, 2, 3, 0]));
  await reader.cancel();
});

Deno.test("trim() and close() give a heap pool's memory back at once", async () => {
  const blockSize = 1024 * 1024;
  const external = () => Deno.memoryUsage().external;
  const pool = heapPool({ blockSize, maxBlocks: 64 });
  const before = external();
  const blocks = takeAll(pool);
  assertLess(external() - before, blockSize, "nothing before the first use");
  for (const { bytes } of blocks) bytes.fill(1);
  assertGreater(external() - before, 63 * blockSize);
  for (const block of blocks) block.release();
  assertEquals(pool.trim(), 63 * blockSize);
  assertLess(external() - before, 2 * blockSize);
  assertEquals(lawful(pool).committedBytes, blockSize);

  using again = pool.acquireSync();
  const others = takeAll(pool);
  for (const { bytes } of others) assertEquals(bytes[0], 0);
  for (const block of others) block.release();
  again.release();
  await pool.close();
  assertLess(external() - before, blockSize);
  assertEquals(pool.stats().mappedBytes, 0);
});

Deno.test("a heap block that there is no room for is out of memory, and the pool goes on", () => {
  using pool = heapPool();
  using block = pool.acquireSync();
  const { ArrayBuffer } = globalThis;
  try {
    // As V8 does; a size that every machine refuses takes some of them a minute to refuse.
    globalThis.ArrayBuffer = class {
      constructor() {
        throw new RangeError("Array buffer allocation failed");
      }
    } as unknown as ArrayBufferConstructor;
    const { cause } = refused("out-of-memory", () => block.bytes);
    assertEquals(cause, {
      call: "allocate",
      bytes: 4096,
      error: "no room on the heap",
    });
  } finally {
    globalThis.ArrayBuffer = ArrayBuffer;
  }
  assertEquals(block.bytes, new Uint8Array(4096));
  block.release();
  assertEquals(lawful(pool).abandonedBlocks, 0);
});

Deno.test("auto is native memory where that is allowed", {
  ignore: !hasNative,
}, () => {
  using pool = heapPool({ backend: "auto" });
  using native = heapPool({ backend: "native" });
  assertEquals([pool.backend, native.backend], ["native", "native"]);
});

Deno.test(
  "without --allow-ffi auto is the heap and native a permission error",
  {
    ignore: !canRunDeno,
  },
  async () => {
    const { stdout, success } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", "--no-check", CHOICES],
    }).output();
    assert(success);
    const lines = new TextDecoder().decode(stdout).trim().split(/\r?\n/);
    assertEquals(lines.slice(0, 2), ["auto is heap", "heap is heap"]);
    assertMatch(lines[2], /^native is permission .*--allow-ffi/);
    assertEquals(lines.length, 3);
  },
);
