// The random operations and the model of model_test.ts, on a SharedBlockPool in one isolate. Only which of
// a slab's slots comes next is its own affair, so here a slab is one slot.

import { SharedBlockPool } from "../../shared/mod.ts";
import "../shared/pools.ts";
import type { Setting } from "./trial.ts";
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
};

trials(
  "a shared pool agrees with the model of BlockPool",
  SETTINGS,
  { make: (options) => SharedBlockPool.create(options), heals: false },
);
