// What BlockPool.footprint() says is what stats() says once there is the pool, byte for byte; for
// wrong options it throws what the constructor throws.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { BlockPool, type Footprint, type PoolOptions } from "../../mod.ts";
import { FailingBackend } from "../support/failing_backend.ts";
import { hasNative } from "../support/platform.ts";

const MIB = 2 ** 20;

const SIZES = [1, 63, 64, 65, 1000, 3000, 4095, 4096, 4097, 4112, 8193]
  .concat(65_536, 65_552, 700_000, MIB, MIB + 16, 2 * MIB, 2 * MIB + 1);

/** Settings of every kind that change what a pool takes. */
function* settings(): Generator<PoolOptions> {
  for (const blockSize of SIZES) {
    for (const maxBlocks of [1, 2, 7, 100]) {
      for (const backend of ["native", "heap"] as const) {
        if (backend === "native" && !hasNative) continue;
        for (const hugePages of [false, true]) {
          yield { blockSize, maxBlocks, backend, hugePages };
          const reservedBlocks = (maxBlocks - 1) >> 1;
          yield { blockSize, maxBlocks, backend, hugePages, reservedBlocks };
        }
      }
      yield { blockSize, maxBlocks, backend: "auto", initialBlocks: maxBlocks };
    }
  }
}

Deno.test("footprint() says what stats() will say, at the start and when all is committed", async () => {
  for (const options of settings()) {
    const told = JSON.stringify(options);
    const footprint = BlockPool.footprint(options);
    const pool = new BlockPool(options);
    const { mappedBytes, committedBytes } = pool.stats();
    assertEquals(footprint.mappedBytes, mappedBytes, told);
    assertEquals(footprint.initialBytes, committedBytes, told);
    const blocks = await pool.acquireMany(options.maxBlocks, {
      reserved: true,
    });
    assertEquals(footprint.mostBytes, pool.stats().committedBytes, told);
    assertEquals(footprint.mappedBytes, pool.stats().mappedBytes, told);
    if (pool.backend === "native") {
      const [first, second] = blocks.map(({ pointer }) =>
        Deno.UnsafePointer.value(pointer)
      );
      const apart = second === undefined ? 0 : Number(second - first);
      // The second block may be the first of the next slab.
      const { strideBytes, slabBytes } = footprint;
      assert([0, strideBytes, slabBytes].includes(apart), told);
    }
    blocks[Symbol.dispose]();
    assertEquals(pool.trim() % footprint.slabBytes, 0, told);
    await pool.close();
  }
});

Deno.test("footprint() keeps its numbers in order and frozen", () => {
  for (const options of settings()) {
    const footprint = BlockPool.footprint(options);
    const { strideBytes, slabBytes, mappedBytes, initialBytes, mostBytes } =
      footprint;
    const { blockSize, maxBlocks } = options;
    assert(blockSize <= strideBytes && strideBytes <= slabBytes);
    assert(initialBytes <= mostBytes && mostBytes <= mappedBytes);
    // To one slab, and a huge page may have room for less than all of it holds.
    assert(mostBytes % slabBytes === 0 && mostBytes >= maxBlocks * strideBytes);
    assert(Object.isFrozen(footprint));
  }
});

Deno.test("footprint() of tuning.md's sizes: a cache line, or whole pages", {
  ignore: !hasNative,
}, () => {
  const { strideBytes: one } = BlockPool.footprint({
    blockSize: 1,
    maxBlocks: 1,
  });
  assertEquals(one, 64);
  using pool = new BlockPool({ blockSize: 1, maxBlocks: 1 });
  const page = pool.stats().mappedBytes;
  const { strideBytes } = BlockPool.footprint({
    blockSize: page + 16,
    maxBlocks: 1,
  });
  assertEquals(strideBytes, 2 * page);
});

Deno.test("footprint() asks nothing of the OS", { ignore: !hasNative }, () => {
  using backend = new FailingBackend();
  BlockPool.footprint({ blockSize: 2 ** 30, maxBlocks: 2 ** 16 });
  assertEquals(backend.made, []);
});

Deno.test("footprint() throws what the constructor throws, word for word", () => {
  const wrong: unknown[] = [
    undefined,
    null,
    [],
    {},
    { blockSize: 0, maxBlocks: 1 },
    { blockSize: "1", maxBlocks: 1 },
    { blockSize: 1, maxBlocks: 1, blocksize: 1 },
    { blockSize: 2 ** 40, maxBlocks: 2 ** 20 },
    { blockSize: 1, maxBlocks: 4, reservedBlocks: 2 },
    { blockSize: 1, maxBlocks: 4, initialBlocks: 5 },
    { blockSize: 1, maxBlocks: 4, growThreshold: 0.5 },
    { blockSize: 1, maxBlocks: 4, safety: "none" },
    { blockSize: 1, maxBlocks: 4, prefault: 1 },
    { blockSize: 1, maxBlocks: 4, pressureTrim: 1 },
    { blockSize: 1, maxBlocks: 4, name: 1 },
  ];
  for (const options of wrong as PoolOptions[]) {
    const made = assertThrows(() => new BlockPool(options)) as Error;
    const told = assertThrows(() => BlockPool.footprint(options)) as Error;
    assertEquals([told.name, told.message], [made.name, made.message]);
  }
});

Deno.test("footprint() reads each option once", () => {
  let reads = 0;
  const options = {
    get blockSize() {
      return ++reads;
    },
    maxBlocks: 1,
  };
  const { strideBytes }: Footprint = BlockPool.footprint(options);
  assertEquals([reads, strideBytes], [1, 64]);
});
