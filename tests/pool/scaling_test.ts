// When to grow and when to shrink, from counts and a clock that is just a number.

import {
  assert,
  assertEquals,
  assertGreater,
  assertLessOrEqual,
} from "@std/assert";
import fc from "fast-check";
import { fillOptions, type PoolOptions } from "../../pool/options.ts";
import { SmritiError } from "../../pool/errors.ts";
import { REFUSAL_MS, Refusals, ScalingController } from "../../pool/scaling.ts";
import { COUNTLESS } from "../../pool/slots.ts";

const MINUTE = 60_000;

interface Setting extends Partial<PoolOptions> {
  slabSlots?: number;
}

/** A controller of a pool of 100 blocks, one a slab, 10 of them initial. */
function made({ slabSlots = 1, ...options }: Setting = {}): ScalingController {
  const filled = fillOptions({
    blockSize: 4096,
    maxBlocks: 100,
    initialBlocks: 10,
    ...options,
  });
  return new ScalingController(filled, slabSlots);
}

/** The fewest blocks in use at which a pool of that many wants to grow. */
function growsAt(scaling: ScalingController, committed: number): number {
  for (let used = 0; used <= committed; used++) {
    scaling.resized(committed, committed - used, 0, 0);
    if (scaling.fell(committed - used)) return used;
  }
  return Infinity;
}

Deno.test("fell() says grow at the threshold and not one block earlier", () => {
  const cases: [Setting, number, number][] = [
    [{}, 10, 8],
    [{}, 11, 9], // 8.8
    [{}, 15, 12], // 12, which floating point makes 12.000000000000002
    [{}, 99, 80], // 79.2
    [{ growThreshold: 1 }, 10, 10],
    [{ growThreshold: 0.7, shrinkThreshold: 0.6 }, 10, 7],
    [{ reservedBlocks: 2 }, 12, 8], // 0.8 × (12 − 2)
    [{ reservedBlocks: 9 }, 11, 2], // 0.8 × (11 − 9) is 1.6
    [{ reservedBlocks: 9 }, 10, 1],
  ];
  for (const [setting, committed, used] of cases) {
    const told = `${committed} committed, ${JSON.stringify(setting)}`;
    assertEquals(growsAt(made(setting), committed), used, told);
  }
});

Deno.test("fell() never says grow at maxBlocks", () => {
  assertEquals(growsAt(made(), 100), Infinity);
  assertEquals(made({ maxBlocks: 1, initialBlocks: 1 }).growBy(), 1);
});

Deno.test("lowMark tells exactly when fell() has something to say", () => {
  const scaling = made();
  scaling.resized(20, 20, 20, 0);
  // The threshold: 16 of 20 in use, 4 free.
  assertEquals(scaling.lowMark, 5);
  assert(!scaling.fell(5));
  assert(scaling.fell(4));
  assertEquals(scaling.lowMark, 5);
});

Deno.test("highMark is where idleness begins, and then nothing until the next look", () => {
  const scaling = made();
  scaling.resized(20, 5, 5, 0);
  assertEquals(scaling.highMark, 10);
  scaling.look(11, 5, 0);
  assertEquals(scaling.highMark, COUNTLESS);
  scaling.look(10, 3, MINUTE);
  assertEquals(scaling.highMark, 10);
});

Deno.test("growBy() is a share of maxBlocks, and what is left at the end", () => {
  const scaling = made();
  const by = (committed: number) => {
    scaling.resized(committed, 0, 0, 0);
    return scaling.growBy();
  };
  assertEquals([10, 89, 90, 95, 99, 100].map(by), [10, 10, 10, 5, 1, 0]);
  const small = made({ maxBlocks: 15, initialBlocks: 1 });
  small.resized(1, 0, 0, 0);
  assertEquals(small.growBy(), 2, "10 % of 15 is 1.5");
});

Deno.test("a refusal counts until its time is over, also where the clock runs over", () => {
  const error = new SmritiError("out-of-memory", "refused");
  for (const now of [0, 1e12, 2 ** 31 - 10]) {
    const refusals = new Refusals();
    assert(!refusals.isRecent(now));
    refusals.note(error, now);
    assertEquals(refusals.last, error);
    assert(refusals.isRecent(now + REFUSAL_MS - 1));
    assert(!refusals.isRecent(now + REFUSAL_MS | 0));
    refusals.note(undefined, now);
    assertEquals(refusals.last, undefined);
  }
});

Deno.test("shrinkBy() is 0 until more than half was free for a whole interval", () => {
  const scaling = made();
  scaling.resized(50, 25, 25, 0);
  scaling.look(25, 25, 5 * MINUTE);
  assertEquals(scaling.shrinkBy(25, 5 * MINUTE), 0, "half is not more");
  scaling.look(26, 25, 5 * MINUTE);
  assertEquals(scaling.shrinkBy(26, 6 * MINUTE - 2), 0, "2 ms early");
  assertEquals(scaling.shrinkBy(26, 6 * MINUTE), 5);
});

Deno.test("shrinkBy() allows for a timer that fires a millisecond early", () => {
  const scaling = made();
  scaling.resized(50, 50, 50, 0);
  assertEquals(scaling.shrinkBy(50, MINUTE - 1), 5);
});

Deno.test("shrinkBy() starts a new interval when the pool was busy in between", () => {
  const scaling = made();
  scaling.resized(50, 40, 40, 0);
  scaling.look(40, 25, MINUTE);
  assertEquals(scaling.shrinkBy(40, MINUTE), 0);
  scaling.look(40, 40, 2 * MINUTE);
  assertEquals(scaling.shrinkBy(40, 2 * MINUTE), 5);
});

Deno.test("shrinkBy() counts from the moment the pool became idle, also between two looks", () => {
  const scaling = made();
  scaling.resized(50, 0, 0, 0);
  scaling.look(26, 0, 30_000);
  scaling.look(40, 26, MINUTE);
  assertEquals(scaling.shrinkBy(40, MINUTE), 0);
  assertEquals(scaling.shrinkBy(40, 90_000), 5);
});

Deno.test("shrinkBy() is not put off by releases and acquires of an idle pool", () => {
  const scaling = made();
  scaling.resized(50, 40, 40, 0);
  scaling.look(40, 26, MINUTE);
  assertEquals(scaling.shrinkBy(40, MINUTE), 5);
});

Deno.test("a pool that grows while it is idle has been idle all the while", () => {
  const scaling = made();
  scaling.resized(20, 12, 12, 0);
  // By a block given up, say, whose place a whole slab takes. 12 would be busy in a pool of 40.
  scaling.resized(40, 32, 12, MINUTE / 2);
  assertEquals(scaling.shrinkBy(32, MINUTE), 4);
});

Deno.test("a load about the line does not keep the pool from shrinking when it has gone", () => {
  const scaling = made();
  scaling.resized(50, 40, 40, 0);
  for (let minute = 1; minute < 10; minute++) {
    scaling.look(30, 20, minute * MINUTE);
    assertEquals(scaling.shrinkBy(30, minute * MINUTE), 0);
  }
  scaling.look(30, 26, 10 * MINUTE);
  assertEquals(scaling.shrinkBy(30, 10 * MINUTE), 5);
});

Deno.test("shrinkBy() goes on after a shrink without waiting to be idle anew", () => {
  const scaling = made();
  scaling.resized(50, 50, 50, 0);
  let committed = 50;
  const sizes: number[] = [];
  for (let now = MINUTE; scaling.spare > 0; now += MINUTE) {
    committed -= scaling.shrinkBy(committed, now);
    scaling.resized(committed, committed, committed, now);
    sizes.push(committed);
  }
  // 10 % of what is committed, rounded up, down to the 10 initial ones.
  assertEquals(sizes.slice(0, 5), [45, 40, 36, 32, 28]);
  assertEquals(sizes.at(-1), 10);
});

Deno.test("shrinkBy() gives at least one slab, and never goes below the initial ones", () => {
  const scaling = made({ slabSlots: 8 }); // The 10 initial blocks fill 2 slabs.
  scaling.resized(24, 24, 24, 0);
  assertEquals(scaling.spare, 8);
  assertEquals(scaling.shrinkBy(24, MINUTE), 8);
  scaling.resized(16, 16, 16, MINUTE);
  assertEquals(scaling.spare, 0);
  assertEquals(scaling.shrinkBy(16, 9 * MINUTE), 0);
});

Deno.test("shrinkBy() keeps a slab that the pool would have to take back at once", () => {
  const give = (used: number) => {
    const scaling = made({ maxBlocks: 128, initialBlocks: 1, slabSlots: 64 });
    scaling.resized(128, 128 - used, 128 - used, 0);
    return scaling.shrinkBy(128 - used, MINUTE);
  };
  // 80 % of the 64 that would be left are 51.2: less than a slab is no slab.
  assertEquals([51, 52, 60, 63].map((used) => give(used) >= 64), [
    true,
    false,
    false,
    false,
  ]);
});

Deno.test("spare counts the initial slabs of a pool smaller than a slab as all it has", () => {
  const scaling = made({ maxBlocks: 5, initialBlocks: 1, slabSlots: 64 });
  scaling.resized(5, 5, 5, 0);
  assertEquals(scaling.spare, 0);
});

/** Options that the rule against oscillation lets through, and a state of such a pool. */
const state = fc.record({
  maxBlocks: fc.integer({ min: 1, max: 2000 }),
  reservedShare: fc.double({ min: 0, max: 0.49, noNaN: true }),
  growThreshold: fc.integer({ min: 1, max: 100 }).map((n) => n / 100),
  shrinkThreshold: fc.integer({ min: 0, max: 99 }).map((n) => n / 100),
  shrinkStep: fc.integer({ min: 1, max: 100 }).map((n) => n / 100),
  slabSlots: fc.constantFrom(1, 2, 3, 8, 64),
  committedShare: fc.double({ min: 0, max: 1, noNaN: true }),
  usedShare: fc.double({ min: 0, max: 1, noNaN: true }),
}).filter(({ growThreshold, shrinkThreshold, shrinkStep }) =>
  (1 - shrinkThreshold) / (1 - shrinkStep) < growThreshold
);

Deno.test("shrinkBy() never leaves a pool that would have to grow at once", () => {
  let shrunk = 0;
  fc.assert(
    fc.property(state, (drawn) => {
      const { maxBlocks, slabSlots, growThreshold } = drawn;
      const { shrinkThreshold, shrinkStep } = drawn;
      const reservedBlocks = Math.floor(drawn.reservedShare * maxBlocks);
      const initialBlocks = reservedBlocks + 1;
      const scaling = made({
        maxBlocks,
        initialBlocks,
        reservedBlocks,
        growThreshold,
        shrinkThreshold,
        shrinkStep,
        slabSlots,
      });
      const committed = initialBlocks +
        Math.floor(drawn.committedShare * (maxBlocks - initialBlocks));
      const used = Math.floor(drawn.usedShare * committed);
      const free = committed - used;
      scaling.resized(committed, free, free, 0);
      const by = scaling.shrinkBy(free, MINUTE);
      if (by <= 0) return;
      shrunk++;
      assertLessOrEqual(by, scaling.spare);
      scaling.resized(committed - by, free - by, free - by, MINUTE);
      assert(!scaling.fell(free - by));
    }),
    { numRuns: 3000 },
  );
  assertGreater(shrunk, 100, "the property was tried");
});
