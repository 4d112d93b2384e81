// Trials of named settings with numbers of one seed, each a test.

import { FakeTime } from "@std/testing/time";
import { hasNative } from "../support/platform.ts";
import { Rng, seedOfRun } from "../support/rng.ts";
import { type Kind, type Setting, Trial } from "./trial.ts";

/** Steps of one trial. */
const STEPS = 500;
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
        const { now } = performance;
        using _ = { [Symbol.dispose]: () => void (performance.now = now) };
        performance.now = () => time.now - time.start;
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
