// What pools cost in memory, as the system counts it. Each measurement has a process of its own.

import {
  assertAlmostEquals,
  assertEquals,
  assertGreater,
  assertGreaterOrEqual,
  assertLess,
  assertLessOrEqual,
} from "@std/assert";
import { BlockPool } from "../../mod.ts";
import { type Library, survives } from "../support/child.ts";
import { lawful } from "../support/invariants.ts";
import { canRunDeno, hasNative, hasProc } from "../support/platform.ts";

const MIB = 2 ** 20;

/** Where a child can be started that knows how much memory it has. */
const measurable = { ignore: !canRunDeno || !hasProc || !hasNative };

const RESIDENT = new URL("../support/resident.ts", import.meta.url).href;
type Resident = typeof import("../support/resident.ts");

/** Runs `body` in a child and gives the one value it logs as JSON. */
async function measured<T>(
  body: (library: Library, resident: string) => unknown,
): Promise<T> {
  const lines = await survives(body, [], [RESIDENT]);
  return JSON.parse(lines[0]);
}

Deno.test(
  "a pool of 65 536 blocks of 64 KiB costs next to nothing until it is used",
  {
    ...measurable,
  },
  async () => {
    const { before, made, used } = await measured<Record<string, number>>(
      async ({ BlockPool }, resident) => {
        const { residentBytes }: Resident = await import(resident);
        const make = () =>
          new BlockPool({ blockSize: 65_536, maxBlocks: 65_536 });
        // The first pool pays for the code and the library.
        await make().close();
        const before = residentBytes();
        const pool = make();
        const made = residentBytes();
        const blocks = Array.from({ length: 256 }, () => pool.acquireSync());
        for (const block of blocks) block.bytes.fill(1);
        const used = residentBytes();
        console.log(JSON.stringify({ before, made, used }));
        for (const block of blocks) block.release();
        await pool.close();
      },
    );
    // 4 GiB of addresses, 0.8 GiB of them usable.
    assertLess(made - before, 4 * MIB);
    // And then what is written to, 16 MiB, and little more; the runtime may have given some of its
    // own back meanwhile.
    assertGreaterOrEqual(used - made, 15 * MIB);
    assertLess(used - made, 24 * MIB);
  },
);

Deno.test("a burst and then silence leave the memory there was at first", {
  ...measurable,
}, async () => {
  const { before, full, after } = await measured<Record<string, number>>(
    async ({ BlockPool }, resident) => {
      const { residentBytes }: Resident = await import(resident);
      const pool = new BlockPool({
        blockSize: 2 ** 20,
        maxBlocks: 200,
        initialBlocks: 40,
        shrinkIntervalMs: 20,
        shrinkThreshold: 0.8,
        shrinkStep: 0.5,
      });
      const burst = (count: number) => {
        const blocks = Array.from({ length: count }, () => pool.acquireSync());
        for (const block of blocks) block.bytes.fill(1);
        const bytes = residentBytes();
        for (const block of blocks) block.release();
        return bytes;
      };
      burst(40);
      pool.trim();
      const before = residentBytes();
      const full = burst(200);
      // Nothing calls the pool from here on. Its timer alone does not keep the process alive.
      await new Promise<void>((resolve) => {
        const patience = setTimeout(resolve, 60_000);
        pool.addEventListener("shrink", ({ detail }) => {
          if (detail.committedBlocks > 40) return;
          clearTimeout(patience);
          resolve();
        });
      });
      console.log(JSON.stringify({ before, full, after: residentBytes() }));
      await pool.close();
    },
  );
  assertGreater(full - before, 155 * MIB);
  assertLess(after, 1.1 * before);
});

Deno.test("trim() gives resident memory back at once", measurable, async () => {
  const { full, after, committed } = await measured<Record<string, number>>(
    async ({ BlockPool }, resident) => {
      const { residentBytes }: Resident = await import(resident);
      const pool = new BlockPool({
        blockSize: 2 ** 20,
        maxBlocks: 100,
        initialBlocks: 1,
      });
      const blocks = Array.from({ length: 100 }, () => pool.acquireSync());
      for (const block of blocks) block.bytes.fill(1);
      for (const block of blocks) block.release();
      const full = residentBytes();
      pool.trim();
      const after = residentBytes();
      const { committedBytes: committed } = pool.stats();
      console.log(JSON.stringify({ full, after, committed }));
      await pool.close();
    },
  );
  assertEquals(committed, MIB);
  assertAlmostEquals(full - after, 99 * MIB, 4 * MIB);
});

Deno.test(
  "blocks of 10 bytes take 64 bytes each, not a page",
  measurable,
  async () => {
    const { before, after, committed } = await measured<Record<string, number>>(
      async ({ BlockPool }, resident) => {
        const { residentBytes }: Resident = await import(resident);
        const count = 20_000;
        const before = residentBytes();
        const pool = new BlockPool({ blockSize: 10, maxBlocks: count });
        const blocks = Array.from({ length: count }, () => pool.acquireSync());
        for (const block of blocks) block.bytes.fill(1);
        const after = residentBytes();
        const { committedBytes: committed } = pool.stats();
        console.log(JSON.stringify({ before, after, committed }));
        for (const block of blocks) block.release();
        await pool.close();
      },
    );
    const { strideBytes, mostBytes } = BlockPool.footprint({
      blockSize: 10,
      maxBlocks: 20_000,
    });
    assertEquals([strideBytes, mostBytes], [64, committed]);
    // To whole pages.
    assertEquals(Math.floor(committed / 64 / 20_000), 1);
    // The views are V8's and take most of it; a page each would be 78 MiB more.
    assertLess(after - before, 40 * MIB);
  },
);

Deno.test(
  "a million blocks of 64 bytes are lent, written, released and given back",
  {
    ignore: !canRunDeno || !hasNative,
  },
  async () => {
    const lines = await survives(async ({ BlockPool }) => {
      const count = 1_000_000;
      const pool = new BlockPool({ blockSize: 64, maxBlocks: count });
      const blocks = Array.from({ length: count }, () => pool.acquireSync());
      console.log(pool.tryAcquire(), pool.stats().freeBlocks);
      // One in 64 gets a number; more would take seconds and prove the same.
      const words = (at: number) => new Uint32Array(blocks[at].bytes.buffer);
      for (let at = 0; at < count; at += 64) words(at).fill(at);
      let wrong = 0;
      for (let at = 0; at < count; at += 64) {
        if (words(at).some((word) => word !== at)) wrong++;
      }
      for (const block of blocks) block.release();
      const { freeBlocks, acquiredBlocks, peakAcquired } = pool.stats();
      console.log(wrong, freeBlocks, acquiredBlocks, peakAcquired);
      console.log(pool.trim() > 0, pool.stats().committedBlocks);
      await pool.close();
      console.log(pool.stats().mappedBytes);
    });
    assertEquals(lines, [
      "undefined 0",
      "0 1000000 0 1000000",
      "true 200000",
      "0",
    ]);
  },
);

/** Blocks of sizes that no huge page is a multiple of: size and number. */
const ODD: [blockSize: number, maxBlocks: number][] = [
  [MIB + 16, 16],
  [5000, 4000],
  [700_000, 40],
  [3 * MIB + 1, 6],
];

for (const [blockSize, maxBlocks] of ODD) {
  const name = `${maxBlocks} blocks of ${blockSize} bytes in huge pages`;
  Deno.test(`${name} take what stats() says`, measurable, async () => {
    const lines = await survives(
      async ({ BlockPool }, resident, blockSize, maxBlocks) => {
        const { residentIn }: Resident = await import(resident);
        const pool = new BlockPool({
          blockSize: Number(blockSize),
          maxBlocks: Number(maxBlocks),
          initialBlocks: Number(maxBlocks),
          hugePages: true,
          prefault: true,
        });
        const blocks = await pool.acquireMany(pool.maxBlocks);
        for (const block of blocks) block.bytes.fill(1);
        const base = BigInt(Deno.UnsafePointer.value(blocks[0].pointer));
        const { committedBytes, mappedBytes } = pool.stats();
        console.log(residentIn(base, mappedBytes), committedBytes, mappedBytes);
        blocks[Symbol.dispose]();
        await pool.close();
      },
      [],
      [RESIDENT, `${blockSize}`, `${maxBlocks}`],
    );
    const [resident, committed, mapped] = lines[0].split(" ").map(Number);
    assertLessOrEqual(resident, committed);
    assertEquals(mapped, committed);
    assertLess(committed, 2 * blockSize * maxBlocks + 2 * MIB);
  });
}

Deno.test("a pool of more than 2^32 bytes is right to its last block", {
  ignore: !hasNative,
}, async () => {
  const count = 4100;
  const pool = new BlockPool({
    blockSize: MIB,
    maxBlocks: count,
    initialBlocks: 1,
  });
  const blocks = Array.from({ length: count }, () => pool.acquireSync());
  const first = blocks[0];
  const last = blocks[count - 1];
  const at = ({ pointer }: typeof last) =>
    BigInt(Deno.UnsafePointer.value(pointer));
  assertEquals(at(last) - at(first), BigInt((count - 1) * MIB));
  assertGreater(at(last) - at(first), 2n ** 32n);
  // The block that 32 bits would take for the last one.
  const double = blocks[count - 1 - 4096];
  last.bytes[MIB - 1] = 7;
  assertEquals([last.bytes[MIB - 1], double.bytes[MIB - 1]], [7, 0]);
  assertEquals(lawful(pool).committedBytes, count * MIB);
  assertEquals(lawful(pool).mappedBytes, count * MIB);
  for (const block of blocks) block.release();
  assertEquals(pool.trim(), (count - 1) * MIB);
  await pool.close();
});

Deno.test("a block of more than 2^32 bytes is one view", {
  ignore: !hasNative || Deno.systemMemoryInfo().total < 6e9,
}, async () => {
  const blockSize = 2 ** 32 + 4096;
  const pool = new BlockPool({ blockSize, maxBlocks: 1 });
  const { bytes, size } = pool.acquireSync();
  assertEquals([size, bytes.length], [blockSize, blockSize]);
  bytes[blockSize - 1] = 7;
  assertEquals([bytes[blockSize - 1], bytes[4095]], [7, 0]);
  await pool.close({ timeoutMs: 0 }).catch(() => {});
});
