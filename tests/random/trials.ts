// Trials of named settings with numbers of one seed, each a test.

import { FakeTime } from "@std/testing/time";
import { monotonic } from "../support/monotonic.ts";
import { hasNative, isEmulated } from "../support/platform.ts";
import { Rng, seedOfRun } from "../support/rng.ts";
import { type Kind, type Setting, Trial } from "./trial.ts";

/** Steps of one trial. */
const STEPS = isEmulated ? 100 : 500;
/** Where the numbers of all trials begin. */
export const seed: number = seedOfRun();

/** What a setting says only its differences from. */
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
  // The model knows no container, and this one's may be short of memory.
  pressureTrim: false,
  backend: "native",
};

/** Settings for a pool of either kind. */
export const BOTH: Record<string, Partial<Setting>> = {
  "blocks of a page": {},
  "blocks of several pages": { blockSize: 50_000, maxBlocks: 9 },
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

/** A test for each setting: the pool agrees with its model at every step. */
export function trials(
  title: string,
  settings: Record<string, Partial<Setting>>,
  kind?: Kind,
): void {
  for (const [name, difference] of Object.entries(settings)) {
    Deno.test({
      name: `${title}: ${name}`,
      ignore: !hasNative,
      fn: async () => {
        const rng = new Rng(seed);
        const numbers = Array.from({ length: STEPS }, () => rng.next());
        using time = new FakeTime();
        // A shared pool's clock is monotonic: it stands still with the other one.
        using _ = monotonic(time);
        try {
          const setting = { ...PLAIN, ...difference };
          await new Trial(setting, time, kind).run(numbers);
        } catch (error) {
          console.error(`SMRITI_SEED=${seed} runs this again`);
          throw error;
        }
      },
    });
  }
}
