// The random operations and the model of tests/model_test.ts, on a SharedBlockPool in one isolate. Only
// which of a slab's slots comes next is its own affair, so here a slab is one slot.

import { FakeTime } from "@std/testing/time";
import type { PoolOptions } from "@smriti/pool";
import { SharedBlockPool } from "../shared/mod.ts";
import "./shared/pools.ts";
import { hasNative } from "./support/platform.ts";
import { Rng, seedOfRun } from "./support/rng.ts";
import { type Setting, Trial } from "./support/trial.ts";

const PLAIN: Setting = {
  blockSize: 16_384,
  maxBlocks: 24,
  initialBlocks: 5,
  reservedBlocks: 0,
  growThreshold: 80,
  growStep: 10,
  shrinkThreshold: 50,
  shrinkStep: 10,
  shrinkIntervalMs: 100,
  safety: "revoke",
  zero: true,
  maxWaiting: 4,
  leakDetection: "sampled",
  backend: "native",
};

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
};

const STEPS = 500;
const seed = seedOfRun();
const make = (options: PoolOptions) => SharedBlockPool.create(options);

for (const [name, difference] of Object.entries(SETTINGS)) {
  Deno.test({
    name: `a shared pool agrees with the model of BlockPool: ${name}`,
    ignore: !hasNative,
    fn: async () => {
      const rng = new Rng(seed);
      const numbers = Array.from({ length: STEPS }, () => rng.next());
      using time = new FakeTime();
      try {
        const setting = { ...PLAIN, ...difference };
        await new Trial(setting, time, make).run(numbers);
      } catch (error) {
        console.error(`SMRITI_SEED=${seed} runs this again`);
        throw error;
      }
    },
  });
}
