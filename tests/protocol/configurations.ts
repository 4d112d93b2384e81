// What workers of small pools do together: take and give back, tickets, growing and trimming, waiting,
// closing and leaving, attaching, the reserve.

import type { Block } from "../../pool/block.ts";
import { SmritiError } from "../../pool/errors.ts";
import { HELD_BIT } from "../../shared/control.ts";
import type { SharedPoolOptions } from "../../shared/options.ts";
import type { Configuration } from "./machine.ts";
import { PAGE } from "./system.ts";
import { keyOf } from "./words.ts";
import type { Hand, Program } from "./worker.ts";

function options(
  maxBlocks: number,
  more: Partial<SharedPoolOptions> = {},
): SharedPoolOptions {
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

/** Does something in a pool that may be closed meanwhile. */
function unlessClosed(act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof SmritiError) || error.code !== "closed") throw error;
  }
}

/** A worker that is attached when the exploration begins. */
function attached(then: (hand: Hand) => void): Program {
  return { first: (hand) => hand.attach(), then };
}

/** One that comes meanwhile. */
function comes(then: (hand: Hand) => void): Program {
  return { first: () => {}, then };
}

/** One that has a block then. */
function holding(
  prepare: (hand: Hand, block: Block) => void,
  then: (hand: Hand, block: Block) => void,
): Program {
  const blocks = new WeakMap<Hand, Block>();
  return {
    first: (hand) => {
      hand.attach();
      const block = hand.take()!;
      blocks.set(hand, block);
      prepare(hand, block);
    },
    then: (hand) => then(hand, blocks.get(hand)!),
  };
}

const nothing = () => {};

function cycle(hand: Hand): void {
  const block = hand.take();
  if (block !== undefined) hand.give(block);
}

function touched(hand: Hand): void {
  const block = hand.take();
  if (block === undefined) return;
  hand.touch(block);
  hand.give(block);
}

function adoptAndGive(box: number): (hand: Hand) => void {
  return (hand) => {
    const block = hand.adopt(box);
    if (block !== undefined) hand.give(block);
  };
}

/** So many blocks that workers may cache one of them. */
const CACHING = 8;
/** So many that one may cache two. */
const CACHING_TWO = 64;

/** A worker that has one block in its cache. */
function caching(then: (hand: Hand) => void): Program {
  return {
    first: (hand) => {
      hand.attach();
      cycle(hand);
      cycle(hand);
    },
    then,
  };
}

/** One that has taken so many blocks. */
function greedy(count: number, then: (hand: Hand) => void): Program {
  return {
    first: (hand) => {
      hand.attach();
      for (let i = 0; i < count; i++) hand.take();
    },
    then,
  };
}

/** A step: the owner word of a slot, as it is now. */
function lookAt(hand: Hand, slot: number): number {
  const { owner } = hand.parts.control;
  return hand.access("peek", keyOf(owner, slot), 0, 0);
}

/** Takes a slot without a block, if one is found at once, and gives it back. */
function cycleSlot(hand: Hand): void {
  const { slots } = hand.parts;
  const slot = slots.find();
  if (slot < 0 || !slots.take(slot)) return;
  const { holds } = hand;
  hand.holds = [...holds, slot];
  lookAt(hand, slot);
  hand.holds = holds;
  slots.push(slot);
}

/** The same with one of those that others have cached. */
function stealAndGive(hand: Hand): void {
  hand.parts.slots.cache.steal();
  cycleSlot(hand);
}

/** Takes a block; no more than `most` may be held then, with this one. */
function takeAbove(hand: Hand, most: number): void {
  if (hand.take() === undefined) return;
  const { owner } = hand.parts.control;
  let held = 0;
  for (let slot = 0; slot < owner.length; slot++) {
    if ((lookAt(hand, slot) & HELD_BIT) !== 0) held++;
  }
  if (held > most) throw new Error("the reserve is touched");
}

const sent = { ticketTimeoutMs: 1000 };

export const CONFIGURATIONS: Record<string, Configuration> = {
  // Taking and giving back.
  "one block, two workers": {
    options: options(1),
    programs: [attached(cycle), attached(cycle)],
  },
  "one block, two workers, one dies": {
    options: options(1),
    programs: [
      attached(touched),
      attached((hand) => {
        cycle(hand);
        hand.reclaim();
      }),
    ],
    deaths: 1,
  },
  "two blocks, two workers, twice": {
    options: options(2),
    programs: [attached(cycle), attached(cycle)].map(({ first, then }) => ({
      first,
      then: (hand) => {
        then(hand);
        then(hand);
      },
    })),
  },
  "one block, three workers": {
    options: options(1),
    programs: [attached(cycle), attached(cycle), attached(cycle)],
  },
  "several at once": {
    options: options(2),
    programs: [
      attached((hand) => {
        for (const block of hand.takeMany(2)) hand.give(block);
      }),
      attached(cycle),
    ],
  },
  "a dead worker is reclaimed twice at once": {
    options: options(2),
    programs: [
      attached(touched),
      attached((hand) => hand.reclaim()),
      attached((hand) => hand.reclaim()),
    ],
    deaths: 2,
  },
  "a dead worker is reclaimed as its id goes to another": {
    options: options(1),
    programs: [
      attached((hand) => hand.tell(0)),
      attached((hand) => hand.reclaim()),
      attached((hand) => {
        hand.reclaim();
        hand.attach();
        hand.take();
      }),
    ],
    deaths: 1,
  },
  // Tickets.
  "one ticket, two that adopt": {
    options: options(1, sent),
    programs: [
      holding(nothing, (hand, block) => hand.send(block, 0, 1)),
      attached(adoptAndGive(0)),
      attached(adoptAndGive(1)),
    ],
  },
  "a ticket is adopted as its time ends": {
    options: options(1, sent),
    programs: [
      holding((hand, block) => {
        hand.touch(block);
        hand.send(block, 0);
      }, (hand) => hand.keepHouse()),
      attached(adoptAndGive(0)),
      {
        first: (hand) => {
          hand.attach();
          hand.keepHouse(10);
        },
        then: (hand) => hand.keepHouse(2000),
      },
    ],
  },
  "a ticket is used, and the block sent again": {
    options: options(1, sent),
    programs: [
      holding((hand, block) => hand.send(block, 0, 1), nothing),
      attached((hand) => {
        const block = hand.adopt(0);
        if (block !== undefined) hand.send(block, 2);
      }),
      attached((hand) => {
        for (const box of [1, 2]) {
          const block = hand.adopt(box);
          if (block !== undefined) {
            hand.give(block);
            return;
          }
        }
      }),
    ],
  },
  "a ticket, and deaths": {
    options: options(1, sent),
    programs: [
      holding(nothing, (hand, block) => hand.send(block, 0)),
      attached(adoptAndGive(0)),
    ],
    deaths: 2,
  },
  // Growing and trimming.
  "growing at once": {
    options: options(3, { initialBlocks: 1 }),
    programs: [
      attached((hand) => {
        hand.take();
        hand.take();
      }),
      attached(cycle),
    ],
    isPatient: true,
  },
  "growing at once, impatiently": {
    options: options(2, { initialBlocks: 1 }),
    programs: [
      attached((hand) => {
        hand.take();
        hand.take();
      }),
      attached(cycle),
    ],
  },
  "trimming and taking": {
    isPatient: true,
    options: options(2, { initialBlocks: 1 }),
    programs: [
      {
        first: (hand) => {
          hand.attach();
          const blocks = [hand.take()!, hand.take()!];
          for (const block of blocks) hand.give(block);
        },
        then: (hand) => hand.trim(),
      },
      attached(touched),
    ],
  },
  "trimming and growing, and a death": {
    options: options(2, { initialBlocks: 1 }),
    programs: [
      {
        first: (hand) => {
          hand.attach();
          const blocks = [hand.take()!, hand.take()!];
          for (const block of blocks) hand.give(block);
        },
        then: (hand) => hand.trim(),
      },
      attached((hand) => {
        const blocks = [hand.take(), hand.take()];
        for (const block of blocks) if (block !== undefined) hand.give(block);
        hand.reclaim();
      }),
    ],
    deaths: 1,
  },
  // Blocks given up.
  "a block is given up": {
    options: options(2),
    programs: [
      holding(
        (hand, block) => hand.touch(block),
        (hand, block) => hand.abandon(block),
      ),
      attached(touched),
    ],
  },
  "a block is given up, and a death": {
    options: options(2),
    programs: [
      holding(
        (hand, block) => hand.touch(block),
        (hand, block) => hand.abandon(block),
      ),
      attached((hand) => hand.reclaim()),
    ],
    deaths: 2,
  },
  // The reserve.
  "the reserve": {
    options: options(2, { reservedBlocks: 0, initialBlocks: 2 }),
    programs: [attached(cycle), attached(cycle)],
  },
  "the reserve is kept": {
    options: options(3, { reservedBlocks: 1, initialBlocks: 3 }),
    programs: [
      holding(nothing, nothing),
      attached((hand) => void hand.take()),
      attached((hand) => void hand.take()),
    ],
    mostHeld: 2,
  },
  "the reserve, and a ticket": {
    options: options(3, { reservedBlocks: 1, ...sent }),
    programs: [
      holding(
        (hand) => void hand.take(),
        (hand) => hand.send(hand.take({ reserved: true })!, 0),
      ),
      attached(adoptAndGive(0)),
      attached((hand) => takeAbove(hand, 0)),
    ],
  },
  "the reserve, and a release": {
    options: options(3, { reservedBlocks: 1 }),
    programs: [
      holding(
        (hand) => void hand.take(),
        (hand, block) => hand.give(block),
      ),
      attached((hand) => takeAbove(hand, 2)),
    ],
  },
  "the reserve, and a block given up": {
    options: options(3, { reservedBlocks: 1, maxAbandonedBytes: 0 }),
    programs: [
      holding(
        (hand) => void hand.take(),
        (hand, block) => hand.abandon(block),
      ),
      attached((hand) => takeAbove(hand, 0)),
    ],
  },
  // Waiting.
  "a thread waits": {
    options: options(1),
    programs: [
      holding(nothing, (hand, block) => hand.give(block)),
      attached((hand) => hand.give(hand.takeBlocking())),
    ],
  },
  "a thread that has looked before waits": {
    options: options(1),
    programs: [
      holding(nothing, (hand, block) => hand.give(block)),
      // The hint has gone: the look before the sleep has no atomic operation.
      greedy(1, (hand) => hand.give(hand.takeBlocking())),
    ],
  },
  "two threads wait": {
    options: options(1),
    programs: [
      holding(nothing, (hand, block) => hand.give(block)),
      attached((hand) => hand.give(hand.takeBlocking())),
      attached((hand) => hand.give(hand.takeBlocking())),
    ],
  },
  "an acquire waits": {
    options: options(1),
    programs: [
      holding(nothing, (hand, block) => hand.give(block)),
      attached((hand) => hand.give(hand.takeLater())),
    ],
  },
  "an acquire and a thread wait": {
    options: options(1),
    programs: [
      holding(nothing, (hand, block) => hand.give(block)),
      attached((hand) => hand.give(hand.takeLater())),
      attached((hand) => hand.give(hand.takeBlocking())),
    ],
  },
  "an acquire waits for what is trimmed": {
    options: options(2, { initialBlocks: 1 }),
    programs: [
      {
        first: (hand) => {
          hand.attach();
          hand.take();
          hand.give(hand.take()!);
        },
        then: (hand) => hand.trim(),
      },
      attached((hand) => hand.give(hand.takeBlocking())),
    ],
  },
  // Closing, leaving, attaching.
  "closing and taking": {
    options: options(1),
    programs: [
      attached((hand) => hand.close()),
      attached((hand) => unlessClosed(() => touched(hand))),
    ],
  },
  "both leave": {
    options: options(1),
    programs: [
      attached((hand) => hand.leave()),
      attached((hand) => hand.leave()),
    ],
  },
  "closing, and a death": {
    options: options(1),
    programs: [
      attached((hand) => hand.close()),
      holding(
        (hand, block) => hand.touch(block),
        (hand, block) => hand.give(block),
      ),
    ],
    deaths: 1,
  },
  "the last one leaves as another comes": {
    options: options(1),
    programs: [
      attached((hand) => hand.leave()),
      comes((hand) =>
        unlessClosed(() => {
          hand.attach();
          touched(hand);
        })
      ),
    ],
  },
  "two come at once": {
    options: options(1),
    programs: [
      attached(nothing),
      comes((hand) => {
        hand.attach();
        cycle(hand);
      }),
      comes((hand) => {
        hand.attach();
        cycle(hand);
      }),
    ],
  },
  "one comes in a dead one's place": {
    options: options(1),
    programs: [
      attached(cycle),
      attached((hand) => hand.reclaim()),
      comes((hand) => {
        hand.attach();
        cycle(hand);
      }),
    ],
    deaths: 1,
  },
  // Caches: slots alone, so that all interleavings are few enough.
  "the owner takes and puts back what is stolen": {
    options: options(CACHING),
    programs: [
      caching(cycleSlot),
      greedy(CACHING - 1, stealAndGive),
    ],
  },
  "the owner puts back, twice, and is stolen from": {
    options: options(CACHING),
    programs: [
      caching((hand) => {
        cycleSlot(hand);
        cycleSlot(hand);
      }),
      greedy(CACHING - 1, stealAndGive),
    ],
  },
  "a second slot is put back as the first is stolen": {
    options: options(CACHING_TWO),
    programs: [
      {
        first: (hand) => {
          hand.attach();
          const { slots } = hand.parts;
          for (const slot of [0, 1]) slots.take(slot);
          // Drops the hints of both.
          slots.find();
          slots.push(0);
        },
        then: (hand) => {
          hand.parts.slots.push(1);
          // Not the end yet, at which all that it has stored would be seen.
          lookAt(hand, 1);
        },
      },
      attached(({ parts: { slots } }) => void slots.cache.steal()),
    ],
  },
  "two ask for room at once": {
    options: options(CACHING),
    programs: [attached(cycleSlot), attached(cycleSlot)],
  },
  "two steal": {
    options: options(CACHING),
    programs: [
      caching(cycleSlot),
      greedy(CACHING - 1, stealAndGive),
      attached(stealAndGive),
    ],
  },
  "one steals from two, or dies": {
    options: options(2 * CACHING),
    programs: [
      caching(cycleSlot),
      caching(cycleSlot),
      greedy(2 * CACHING - 2, stealAndGive),
    ],
    deaths: 1,
  },
  "two steal from each other": {
    options: options(2 * CACHING),
    programs: [
      caching(stealAndGive),
      caching(stealAndGive),
      greedy(2 * CACHING - 2, nothing),
    ],
  },
  "the owner gives its cache back": {
    options: options(CACHING),
    programs: [
      caching((hand) => {
        hand.parts.slots.cache.giveBack();
        cycleSlot(hand);
      }),
      greedy(CACHING - 1, stealAndGive),
    ],
  },
  "the owner or the thief dies": {
    options: options(CACHING),
    programs: [
      caching(cycleSlot),
      greedy(CACHING - 1, stealAndGive),
    ],
    deaths: 1,
  },
  "both die": {
    options: options(CACHING),
    programs: [
      caching(cycleSlot),
      greedy(CACHING - 1, stealAndGive),
    ],
    deaths: 2,
  },
  "one steals from what another reclaims": {
    options: options(CACHING),
    programs: [
      caching(cycleSlot),
      greedy(CACHING - 1, stealAndGive),
      attached((hand) => hand.reclaim()),
    ],
    deaths: 1,
  },
  // And whole calls.
  "a theft, and a take of the owner": {
    options: options(CACHING),
    programs: [caching(cycle), greedy(CACHING - 1, touched)],
  },
  "two thefts, and a take of the owner": {
    options: options(CACHING),
    programs: [
      caching(cycle),
      greedy(CACHING - 1, touched),
      attached(touched),
    ],
  },
  "a theft, and a release into the cache": {
    options: options(CACHING),
    programs: [
      caching((hand) => {
        const block = hand.take();
        if (block === undefined) return;
        hand.touch(block);
        hand.give(block);
        cycle(hand);
      }),
      greedy(CACHING - 1, (hand) => hand.give(hand.takeBlocking())),
    ],
  },
  "a theft, and deaths": {
    options: options(CACHING),
    programs: [
      caching(touched),
      greedy(CACHING - 1, (hand) => {
        touched(hand);
        hand.reclaim();
      }),
    ],
    deaths: 1,
  },
  "a theft as the owner leaves": {
    options: options(CACHING),
    programs: [
      caching((hand) => hand.leave()),
      greedy(CACHING - 1, touched),
    ],
  },
  "trimming what is cached": {
    options: options(CACHING + 1, { initialBlocks: CACHING }),
    programs: [
      caching(cycle),
      attached((hand) => hand.trim()),
    ],
  },
};
