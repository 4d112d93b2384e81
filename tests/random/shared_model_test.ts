// The random operations and the model of model_test.ts, on a SharedBlockPool in one isolate. Only which of
// a slab's slots comes next is its own affair, so here a slab is one slot.

import { assertEquals, assertLess } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { SharedBlockPool } from "../../shared/mod.ts";
import "../shared/pools.ts";
import { lawful } from "../support/invariants.ts";
import { BLOCK_POOL, type Kind, type Setting } from "./trial.ts";
import { monotonic } from "../support/monotonic.ts";
import { hasNative } from "../support/platform.ts";
import { BOTH, trials } from "./trials.ts";

const SETTINGS: Record<string, Partial<Setting>> = {
  ...BOTH,
  "more than one word of hints": { maxBlocks: 150, initialBlocks: 20 },
};

const SHARED_POOL: Kind = {
  make: (options) => SharedBlockPool.create(options),
  moves: true,
};

trials(
  "a shared pool agrees with the model of BlockPool",
  SETTINGS,
  SHARED_POOL,
);

const KINDS = { BlockPool: BLOCK_POOL, SharedBlockPool: SHARED_POOL };

for (const [kind, { make }] of Object.entries(KINDS)) {
  Deno.test(
    `a ${kind} shrinks once it was idle for an interval, at most half of one later`,
    {
      ignore: !hasNative,
    },
    async () => {
      using time = new FakeTime();
      using _ = monotonic(time);
      await using pool = make({
        blockSize: 4096,
        maxBlocks: 100,
        initialBlocks: 1,
        growThreshold: 1,
        shrinkIntervalMs: 1000,
        pressureTrim: false,
      });
      for (const phase of [1, 120, 249, 251, 499, 880]) {
        const blocks = await pool.acquireMany(60);
        time.tick(1000 + phase);
        // A load that goes up and down ends; its last rise was noted before.
        for (const block of blocks) block.release();
        for (const block of await pool.acquireMany(60)) block.release();
        const { committedBlocks } = lawful(pool);
        time.tick(990);
        assertEquals(
          lawful(pool).committedBlocks,
          committedBlocks,
          `${phase}`,
        );
        time.tick(520);
        assertLess(lawful(pool).committedBlocks, committedBlocks, `${phase}`);
      }
    },
  );
}

Deno.test(
  "a shared pool gives a large step back in pieces of 4 MiB",
  {
    ignore: !hasNative,
  },
  async () => {
    using time = new FakeTime();
    using _ = monotonic(time);
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
