// Random operations on a pool and on a model that does the same in the plainest way. After every one
// of them all numbers agree, every block is where the model says, and no byte is another lease's.

import { FakeTime } from "@std/testing/time";
import fc from "fast-check";
import { hasNative } from "../support/platform.ts";
import { type Setting, Trial } from "./trial.ts";
import { BOTH, seed, trials } from "./trials.ts";

const SETTINGS: Record<string, Partial<Setting>> = {
  ...BOTH,
  "blocks of one byte": { blockSize: 1, maxBlocks: 700, initialBlocks: 10 },
  "blocks of 1000 bytes": { blockSize: 1000, maxBlocks: 200 },
  "a pool smaller than a slab": { blockSize: 64, maxBlocks: 10 },
  "small blocks with a reserve": {
    blockSize: 100,
    maxBlocks: 150,
    reservedBlocks: 20,
    initialBlocks: 21,
  },
  "trust": { safety: "trust" },
  "trust without zeroing": { safety: "trust", zero: false, blockSize: 64 },
  "strict": { safety: "strict" },
  "strict, small blocks": { safety: "strict", blockSize: 500, maxBlocks: 90 },
  "strict with a reserve": { safety: "strict", reservedBlocks: 3 },
  "16 384 blocks": { blockSize: 1024, maxBlocks: 16_384, initialBlocks: 64 },
  "small blocks that heal": {
    blockSize: 1000,
    maxBlocks: 10,
    maxAbandonedBytes: Infinity,
  },
  "spare slots of a slab": {
    blockSize: 1300,
    maxBlocks: 17,
    initialBlocks: 17,
    maxAbandonedBytes: Infinity,
  },
};

trials("a pool agrees with its model", SETTINGS);

/** Any options that a pool takes. */
const setting: fc.Arbitrary<Setting> = fc.record({
  blockSize: fc.constantFrom(1, 65, 1000, 16_384, 20_000),
  maxBlocks: fc.integer({ min: 1, max: 40 }),
  reservedBlocks: fc.nat({ max: 19 }),
  initialBlocks: fc.integer({ min: 1, max: 40 }),
  growThreshold: fc.integer({ min: 1, max: 100 }),
  growStep: fc.integer({ min: 1, max: 100 }),
  shrinkThreshold: fc.integer({ min: 0, max: 99 }),
  shrinkStep: fc.integer({ min: 1, max: 100 }),
  shrinkIntervalMs: fc.constant(100),
  safety: fc.constantFrom("trust", "revoke", "strict"),
  zero: fc.boolean(),
  maxWaiting: fc.nat({ max: 5 }),
  leakDetection: fc.constantFrom("off", "sampled", "all"),
  maxAbandonedBytes: fc.constantFrom(undefined, 0, 100_000, Infinity),
  backend: fc.constant("native"),
}).map((drawn): Setting => {
  const reservedBlocks = drawn.reservedBlocks % Math.ceil(drawn.maxBlocks / 2);
  const spare = drawn.maxBlocks - reservedBlocks;
  const initialBlocks = reservedBlocks + 1 + drawn.initialBlocks % spare;
  return { ...drawn, reservedBlocks, initialBlocks } as Setting;
}).filter(({ growThreshold, shrinkThreshold, shrinkStep }) =>
  (100 - shrinkThreshold) / (100 - shrinkStep) < growThreshold / 100
);

Deno.test({
  name:
    "a pool of any options agrees with its model, or shows the shortest way to differ",
  ignore: !hasNative,
  fn: async () => {
    const numbers = fc.array(fc.nat({ max: 2 ** 31 - 1 }), { maxLength: 60 });
    const trial = async (setting: Setting, numbers: number[]) => {
      using time = new FakeTime();
      await new Trial(setting, time).run(numbers);
    };
    await fc.assert(fc.asyncProperty(setting, numbers, trial), {
      seed: seed | 0,
      numRuns: 150,
    });
  },
});
