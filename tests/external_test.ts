// V8 counts the bytes of every view as external memory, and far above the heap limit it collects without
// a pause. A pool that was in use once and lies idle must not bring that about.

import {
  assertEquals,
  assertGreaterOrEqual,
  assertLessOrEqual,
} from "@std/assert";
import { BlockPool } from "@smriti/pool";
import { inChild, type Library } from "./support/child.ts";
import { canRunDeno, hasNative } from "./support/platform.ts";
import { addressOf } from "./support/misuse.ts";

/** Ordinary work beside some live objects and a pool of 96 blocks of so many MiB that was once in use. */
async function work(
  { BlockPool }: Library,
  safety: string,
  megabytes: string,
): Promise<void> {
  const { gc } = globalThis as unknown as { gc: () => void };
  const live = Array.from({ length: 100_000 }, (_, i) => ({ i, own: [i] }));
  const maxBlocks = 96;
  if (Number(megabytes) > 0) {
    const pool = new BlockPool({
      blockSize: 2 ** 20 * Number(megabytes),
      maxBlocks,
      initialBlocks: maxBlocks,
      zero: false,
      safety: safety as "trust",
    });
    const blocks = await pool.acquireMany(maxBlocks);
    for (const block of blocks) block.bytes[0] = 1;
    for (const block of blocks) block.release();
  }
  gc();
  for (let turn = 0; turn < 1500; turn++) {
    const bytes = new Uint8Array(50_000);
    bytes[0] = live.length + turn;
    if (turn % 50 === 0) await new Promise((go) => setTimeout(go, 0));
  }
}

/** Mark-compacts after the one that was asked for. */
async function markCompacts(limit: number, safety: string, megabytes: number) {
  const flags = `--expose-gc,--trace-gc,--max-old-space-size=${limit}`;
  const { code, stdout, stderr } = await inChild(
    work,
    [`--v8-flags=${flags}`],
    [safety, `${megabytes}`],
  );
  assertEquals(code, 0, stderr);
  const lines = stdout.split("\n").filter((line) =>
    line.includes("Mark-Compact")
  );
  // The one that was asked for begins at once; its line may be cut short by what the child prints.
  const asked = lines.findIndex((line) => line.includes("ms: Mark-Compact"));
  assertGreaterOrEqual(asked, 0, stdout);
  return lines.length - 1 - asked;
}

for (const limit of [128, 512, 4096]) {
  Deno.test({
    name: `an idle pool adds no mark-compact at a heap limit of ${limit} MB`,
    // On Windows what V8 still has in its buffer when the child ends is lost.
    ignore: !canRunDeno || !hasNative || Deno.build.os === "windows",
  }, async () => {
    const without = await markCompacts(limit, "revoke", 0);
    for (const safety of ["trust", "revoke"]) {
      const beside = await markCompacts(limit, safety, limit / 32);
      assertLessOrEqual(beside, without + 1, safety);
    }
  });
}

Deno.test({
  name: "a block whose view was shed has its place and its zeroes again",
  ignore: !hasNative,
}, async () => {
  const { getHeapStatistics } = await import("node:v8");
  const blockSize = 2 ** 24;
  const maxBlocks = Math.ceil(getHeapStatistics().heap_size_limit / blockSize);
  await using pool = new BlockPool({ blockSize, maxBlocks });
  const blocks = await pool.acquireMany(maxBlocks);
  const places = blocks.map(({ bytes }) => {
    bytes[7] = 1;
    return addressOf(bytes);
  });
  // Only so much was written: clearing it all would touch every page.
  for (const block of blocks) block.release(8);
  const again = await pool.acquireMany(maxBlocks);
  assertEquals(
    new Set(again.map(({ bytes }) => addressOf(bytes))),
    new Set(places),
  );
  assertEquals(again.every(({ bytes }) => bytes[7] === 0), true);
  for (const block of again) block.release(0);
});
