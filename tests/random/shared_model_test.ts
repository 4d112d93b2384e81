// The random operations and the model of model_test.ts, on a SharedBlockPool in one isolate. Only which of
// a slab's slots comes next is its own affair, so here a slab is one slot.

import { assertEquals, assertLess } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { SharedBlockPool } from "../../shared/mod.ts";
import "../shared/pools.ts";
import type { Setting } from "./trial.ts";
import { hasNative } from "../support/platform.ts";
import { trials } from "./trials.ts";

const SETTINGS: Record<string, Partial<Setting>> = {
  "blocks of a page": {},
  "blocks of several pages": { blockSize: 50_000, maxBlocks: 9 },
  "more than one word of hints": { maxBlocks: 150, initialBlocks: 20 },
  "one block": { maxBlocks: 1, initialBlocks: 1 },
  "two blocks": { maxBlocks: 2, initialBlocks: 1 },
  "a reserve": { reservedBlocks: 6, initialBlocks: 8 },
  "the largest reserve": { maxBlocks: 9, reservedBlocks: 4, initialBlocks: 5 },
  "no zeroing": { zero: false },
  "every lease watched": { leakDetection: "all" },
  "no growing ahead": { growThreshold: 100, growStep: 100 },
  "steps of a block": { growStep: 1, shrinkStep: 1, initialBlocks: 1 },
  "shrinking in one go": {
    initialBlocks: 1,
    shrinkThreshold: 95,
    shrinkStep: 90,
  },
  "all committed at once": { initialBlocks: 24 },
  "nobody may wait": { maxWaiting: 0 },
  "all that is given up is kept": { maxAbandonedBytes: Infinity },
  "nothing is kept for others": { maxAbandonedBytes: 0 },
  "a block and a half is kept": { maxAbandonedBytes: 24_576 },
  "one block that heals": {
    maxBlocks: 1,
    initialBlocks: 1,
    maxAbandonedBytes: Infinity,
  },
};

trials(
  "a shared pool agrees with the model of BlockPool",
  SETTINGS,
  { make: (options) => SharedBlockPool.create(options), moves: true },
);

Deno.test(
  "a shared pool shrinks once it was idle for an interval, at most half of one later",
  {
    ignore: !hasNative,
  },
  async () => {
    using time = new FakeTime();
    await using pool = SharedBlockPool.create({
      blockSize: 4096,
      maxBlocks: 100,
      initialBlocks: 1,
      growThreshold: 1,
      shrinkIntervalMs: 1000,
      pressureTrim: false,
    });
    for (const phase of [1, 120, 249]) {
      const blocks = await pool.acquireMany(60);
      time.tick(1000 + phase);
      const { committedBlocks } = pool.stats();
      for (const block of blocks) block.release();
      time.tick(990);
      assertEquals(pool.stats().committedBlocks, committedBlocks, `${phase}`);
      time.tick(510);
      assertLess(pool.stats().committedBlocks, committedBlocks, `${phase}`);
    }
  },
);

Deno.test(
  "a shared pool gives a large step back in pieces of 4 MiB",
  {
    ignore: !hasNative,
  },
  async () => {
    using time = new FakeTime();
    await using pool = SharedBlockPool.create({
      blockSize: 2 ** 20,
      maxBlocks: 100,
      initialBlocks: 1,
      growStep: 1,
      shrinkThreshold: 0.6,
      shrinkStep: 0.3,
      shrinkIntervalMs: 1000,
      pressureTrim: false,
    });
    const pieces: number[] = [];
    pool.addEventListener("shrink", ({ detail }) => pieces.push(detail.blocks));
    const blocks = await pool.acquireMany(50);
    for (const block of blocks) block.release();
    for (let ms = 0; pieces.length === 0; ms += 50) {
      assertLess(ms, 2000);
      time.tick(50);
    }
    time.tick(1);
    assertLess(4, pieces.reduce((sum, piece) => sum + piece));
    assertEquals(Math.max(...pieces), 4, "4 MiB");
  },
);
