// What workers of small pools do together: take and give back, tickets, growing and trimming, waiting,
// closing and leaving, attaching, the reserve.

import type { SharedPoolOptions } from "../../shared/options.ts";
import type { Configuration } from "./explorer.ts";
import { PAGE } from "./system.ts";
import type { Hand, Program } from "./worker.ts";

function options(more: Partial<SharedPoolOptions> = {}): SharedPoolOptions {
  const { maxBlocks = 2 } = more;
  return {
    blockSize: PAGE,
    maxBlocks,
    initialBlocks: maxBlocks,
    leakDetection: "off",
    stallMs: Infinity,
    pressureTrim: false,
    zero: false,
    name: "explored",
    ...more,
  };
}

function attached(then: (hand: Hand) => void): Program {
  return { first: (hand) => hand.attach(), then };
}

const takeAndGive = (hand: Hand) => {
  const block = hand.take();
  if (block !== undefined) hand.give(block);
};

const cycle = attached(takeAndGive);

export const CONFIGURATIONS: Record<string, Configuration> = {
  "one block, two workers": {
    options: options({ maxBlocks: 1 }),
    programs: [cycle, cycle],
  },
};
