// Which slot is next, and how many there are of each kind, against lists kept the slow way.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Bitmap } from "../../pool/bitmap.ts";
import { Slots } from "../../pool/slots.ts";
import { Rng, seedOfRun } from "../support/rng.ts";
import { SlabStacks } from "../support/slab_stacks.ts";

/** Slots with the first `slabs` slabs committed. */
function made(maxBlocks: number, slabSlots: number, slabs: number): Slots {
  const slots = new Slots(maxBlocks, slabSlots);
  if (slabs > 0) slots.commit({ first: 0, count: slabs });
  return slots;
}

function pop(slots: Slots): number {
  const slot = slots.next();
  slots.take();
  return slot;
}

function pops(slots: Slots, count: number): number[] {
  return Array.from({ length: count }, () => pop(slots));
}

function counts(slots: Slots): number[] {
  const { committed, free, acquired, quarantined, abandoned } = slots;
  assertEquals(committed, free + acquired + quarantined);
  return [committed, free, acquired, quarantined, abandoned];
}

/** Gives up the slot that is next. */
function abandonNext(slots: Slots): number {
  const slot = pop(slots);
  slots.abandon();
  return slot;
}

Deno.test("next() gives the slots in order when none was used before", () => {
  for (const slabSlots of [1, 2, 7, 64]) {
    const slots = made(100, slabSlots, Math.ceil(100 / slabSlots));
    const expected = Array.from({ length: 100 }, (_, i) => i);
    assertEquals(pops(slots, 100), expected, `${slabSlots} a slab`);
    assertEquals(counts(slots), [100, 0, 100, 0, 0]);
    assertEquals([slots.taken, slots.peak], [100, 100]);
  }
});

Deno.test("next() gives the most recently released slot of a slab", () => {
  const slots = made(8, 8, 1);
  pops(slots, 8);
  for (const slot of [3, 5, 1]) slots.push(slot);
  assertEquals(pops(slots, 3), [1, 5, 3]);
});

Deno.test("next() serves the lowest slab first, whatever was released last", () => {
  const slots = made(12, 4, 3);
  pops(slots, 12);
  for (const slot of [2, 9, 0, 7, 11]) slots.push(slot);
  assertEquals(pops(slots, 5), [0, 2, 7, 11, 9]);
});

Deno.test("next() of slabs with one slot gives the lowest slot", () => {
  const slots = made(5000, 1, 5000);
  pops(slots, 5000);
  for (const slot of [4999, 17, 1056, 16, 3000]) slots.push(slot);
  assertEquals(pops(slots, 5), [16, 17, 1056, 3000, 4999]);
});

Deno.test("commit() of a last slab that is not full counts its slots only", () => {
  const slots = made(10, 4, 3);
  assertEquals([slots.blocksIn(0), slots.blocksIn(2)], [4, 2]);
  // The slab has memory for all four, and two of them are spare.
  assertEquals(slots.bounds({ first: 1, count: 2 }), { start: 4, end: 12 });
  assertEquals([slots.committed, slots.top], [10, 10]);
  assertEquals([9, 10, 11].map((slot) => slots.isCommitted(slot)), [
    true,
    false,
    false,
  ]);
  assertEquals(pops(slots, 10).at(-1), 9);
  assertEquals(slots.free, 0);
});

Deno.test("addSpare() frees spare slots as far as the capacity allows", () => {
  const slots = made(10, 4, 3);
  assertEquals(slots.addSpare(9), 0, "none was given up");
  pops(slots, 10);
  slots.abandon();
  assertEquals(slots.addSpare(0), 0);
  assertEquals(slots.addSpare(9), 1);
  assertEquals([slots.blocksIn(2), slots.top], [3, 11]);
  assertEquals(counts(slots), [10, 1, 9, 0, 1]);
  slots.abandon();
  slots.abandon();
  assertEquals(slots.addSpare(9), 1, "no more spare slots than there are");
  assertEquals([slots.blocksIn(2), slots.top], [4, 12]);
  assertEquals(slots.isCommitted(11), true);
  assertEquals(slots.addSpare(9), 0);
  assertEquals(counts(slots), [9, 2, 7, 0, 3]);
  assertEquals(pops(slots, 2), [11, 10]);
});

Deno.test("addSpare() frees none that the capacity no longer has", () => {
  const slots = made(10, 4, 3);
  pops(slots, 10);
  slots.abandon();
  slots.capacity--;
  assertEquals(slots.addSpare(9), 0);
  assertEquals(counts(slots), [9, 0, 9, 0, 1]);
});

Deno.test("addSpare() frees a slot below the one that is kept at hand", () => {
  const slots = made(10, 4, 3);
  slots.decommit({ first: 1, count: 1 });
  pops(slots, 6);
  slots.abandon();
  // Of slab 2 two are spare; with them in use, two of slab 1 become so.
  assertEquals(slots.addSpare(2), 2);
  slots.commit({ first: 1, count: 1 });
  assertEquals(counts(slots), [10, 5, 5, 0, 1]);
  assertEquals([slots.blocksIn(1), slots.blocksIn(2)], [3, 4]);
  pops(slots, 5);
  slots.push(9);
  assertEquals(pop(slots), 9);
  slots.push(9);
  slots.abandon();
  assertEquals(slots.addSpare(1), 1);
  assertEquals(pops(slots, 2), [7, 9]);
});

Deno.test("decommit() takes the spare slots of its slabs out, too", () => {
  const slots = made(10, 4, 3);
  slots.decommit({ first: 2, count: 1 });
  assertEquals(counts(slots), [8, 8, 0, 0, 0]);
  assertEquals(slots.addSpare(9), 0);
  assertEquals(slots.isCommitted(8), false);
  slots.commit({ first: 2, count: 1 });
  assertEquals(counts(slots), [10, 10, 0, 0, 0]);
});

Deno.test("extend() adds slabs behind those there are, which stay as they were", () => {
  for (const slabSlots of [1, 3, 64]) {
    const slabs = 5;
    const slots = made(slabs * slabSlots, slabSlots, slabs);
    const given = Array.from(
      { length: slabs * slabSlots },
      () => abandonNext(slots),
    );
    assertEquals(given, Array.from(given, (_, slot) => slot));
    assertEquals(slots.nextRun(1), undefined);
    slots.extend(slabs + 40);
    assertEquals(slots.nextRun(99), { first: slabs, count: 40 });
    const most = slabs * slabSlots;
    slots.commit({ first: slabs, count: slabs });
    assertEquals(counts(slots), [most, most, 0, 0, most]);
    const fresh = pops(slots, most);
    assertEquals(fresh, Array.from(fresh, (_, at) => most + at));
    slots.push(most);
    assertEquals(pop(slots), most);
  }
});

Deno.test("extend() keeps holes and free slots where they are", () => {
  const slots = made(20, 2, 8);
  slots.decommit({ first: 5, count: 1 });
  pops(slots, 4);
  slots.push(3);
  slots.extend(100);
  assertEquals(slots.nextRun(9), { first: 5, count: 1 });
  assertEquals(pops(slots, 3), [3, 4, 5]);
  assertEquals(slots.freeRun(Infinity, 9), { first: 6, count: 2 });
});

Deno.test("a slab with a slot given up is never found free", () => {
  const slots = made(8, 4, 2);
  pops(slots, 4);
  for (const slot of [1, 2, 3]) slots.push(slot);
  slots.abandon();
  assertEquals(slots.freeRun(Infinity, 9), { first: 1, count: 1 });
  assertEquals(slots.freeRun(1, 9), undefined);
});

Deno.test("nextRun() follows the committed slabs and ends with the last one", () => {
  const slots = new Slots(10, 4);
  assertEquals(slots.nextRun(1), { first: 0, count: 1 });
  assertEquals(slots.nextRun(99), { first: 0, count: 3 });
  slots.commit({ first: 0, count: 2 });
  assertEquals(slots.nextRun(99), { first: 2, count: 1 });
  slots.commit({ first: 2, count: 1 });
  assertEquals(slots.nextRun(1), undefined);
});

Deno.test("nextRun() fills the lowest hole first and never runs into memory", () => {
  const slots = made(20, 2, 8);
  slots.decommit({ first: 5, count: 1 });
  slots.decommit({ first: 1, count: 2 });
  assertEquals(slots.nextRun(9), { first: 1, count: 2 });
  assertEquals(slots.nextRun(1), { first: 1, count: 1 });
  slots.commit({ first: 1, count: 2 });
  assertEquals(slots.nextRun(9), { first: 5, count: 1 });
  slots.commit({ first: 5, count: 1 });
  assertEquals(slots.nextRun(9), { first: 8, count: 2 });
});

Deno.test("freeRun() finds the highest slabs with only free slots", () => {
  const slots = made(20, 2, 10);
  pops(slots, 20);
  for (const slot of [2, 3, 4, 5, 9, 10, 11]) slots.push(slot);
  assertEquals(slots.freeRun(Infinity, 1), { first: 5, count: 1 });
  assertEquals(slots.freeRun(Infinity, 9), { first: 5, count: 1 });
  // Slab 4 has one free slot of two, so it ends the run and is in none.
  assertEquals(slots.freeRun(5, 9), { first: 1, count: 2 });
  assertEquals(slots.freeRun(2, 9), { first: 1, count: 1 });
  assertEquals(slots.freeRun(1, 9), undefined);
});

Deno.test("freeRun() counts the slot that is kept at hand as free", () => {
  const slots = made(2, 2, 1);
  slots.push(pop(slots));
  assertEquals(slots.freeRun(Infinity, 1), { first: 0, count: 1 });
});

Deno.test("decommit() takes slots out until commit() puts them back in order", () => {
  const slots = made(12, 4, 3);
  pops(slots, 6);
  slots.decommit({ first: 2, count: 1 });
  assertEquals(counts(slots), [8, 2, 6, 0, 0]);
  assertEquals(pops(slots, 2), [6, 7]);
  slots.commit({ first: 2, count: 1 });
  assertEquals(pops(slots, 4), [8, 9, 10, 11]);
  assertEquals(slots.top, 12);
});

Deno.test("quarantine(), restore() and the abandons keep the counts together", () => {
  const slots = made(6, 2, 3);
  pops(slots, 5);
  slots.quarantine();
  slots.quarantine();
  slots.abandon();
  assertEquals(counts(slots), [5, 1, 2, 2, 1]);
  slots.restore(1);
  slots.abandonQuarantined();
  assertEquals(counts(slots), [4, 2, 2, 0, 2]);
  assertEquals([slots.capacity, slots.peak], [6, 5]);
  assertEquals(pops(slots, 2), [1, 5]);
});

Deno.test("abandonFree() takes a slot out of any place in its list", () => {
  for (let gone = 0; gone < 5; gone++) {
    const slots = made(10, 5, 2);
    const order = [4, 2, 0, 3, 1];
    pops(slots, 5);
    for (const slot of order.toReversed()) slots.push(slot);
    slots.abandonFree(gone);
    assertEquals(counts(slots), [9, 9, 0, 0, 1]);
    assertEquals(pops(slots, 4), order.filter((slot) => slot !== gone));
    assertEquals(slots.freeRun(Infinity, 9), { first: 1, count: 1 });
  }
});

Deno.test("abandonFree() of a slab's only slot closes the slab", () => {
  const slots = made(3, 1, 3);
  slots.abandonFree(0);
  assertEquals(pops(slots, 2), [1, 2]);
  assertEquals(slots.free, 0);
});

Deno.test("retire() leaves nothing but the count of the abandoned slots", () => {
  const slots = made(4, 2, 2);
  pops(slots, 3);
  slots.abandon();
  assertEquals(slots.retire([]), 0);
  assertEquals(counts(slots), [0, 0, 0, 0, 1]);
  assertEquals(slots.freeRun(Infinity, 9), undefined);
});

Deno.test("retire() counts what was not given back as abandoned", () => {
  const cases: [first: number, count: number, blocks: number][] = [
    [0, 1, 2],
    [1, 1, 0], // a hole
    [2, 1, 2],
    [3, 1, 1], // with a spare slot
    [0, 4, 5],
    [3, 7, 1], // never committed
  ];
  for (const [first, count, blocks] of cases) {
    const slots = made(7, 2, 4);
    pops(slots, 2);
    slots.decommit({ first: 1, count: 1 });
    for (const slot of [0, 1]) slots.push(slot);
    assertEquals(slots.retire([{ first, count }]), blocks);
    assertEquals(counts(slots), [0, 0, 0, 0, blocks]);
    assertEquals(slots.freeRun(Infinity, 9), undefined);
  }
});

Deno.test("Slots agrees with stacks kept per slab after any operations", () => {
  const seed = seedOfRun();
  const rng = new Rng(seed);
  for (
    const [max, slabSlots] of [[1, 1], [7, 3], [64, 1], [130, 16], [9, 64]]
  ) {
    const slots = new Slots(max, slabSlots);
    const naive = new SlabStacks(max, slabSlots);
    const held: number[] = [];
    let taken = 0;
    let abandoned = 0;
    const release = () => {
      const [slot] = held.splice(rng.below(held.length), 1);
      slots.push(slot);
      naive.push(slot);
    };
    for (let step = 0; step < 3000; step++) {
      const where =
        `step ${step} of ${max} by ${slabSlots}, SMRITI_SEED=${seed}`;
      const what = rng.below(22);
      if (what < 9) {
        if (slots.free === 0) continue;
        const slot = pop(slots);
        assertEquals(slot, naive.pop(), where);
        assert(!held.includes(slot), `slot ${slot} is out twice, ${where}`);
        held.push(slot);
        taken++;
      } else if (what < 17) {
        if (held.length > 0) release();
      } else if (what < 19) {
        const wanted = 1 + rng.below(4 * slabSlots);
        const missing = Math.min(wanted, slots.capacity - slots.committed);
        const added = slots.addSpare(missing);
        assertEquals(added, naive.addSpare(missing), where);
        const most = Math.ceil((missing - added) / slabSlots);
        if (most === 0) continue;
        const run = slots.nextRun(most);
        if (run === undefined) {
          assertEquals(naive.nextSlab(), -1, where);
          naive.extend(naive.slabs + most);
          slots.extend(naive.slabs);
          continue;
        }
        assertEquals(run.first, naive.nextSlab(), where);
        assert(run.count <= most, where);
        naive.commit(run);
        slots.commit(run);
      } else if (what === 19) {
        if (held.length === 0 || slots.capacity === 1) continue;
        const [slot] = held.splice(rng.below(held.length), 1);
        slots.abandon();
        naive.abandon(slot);
        abandoned++;
        if (rng.chance(0.1)) naive.capacity = --slots.capacity;
      } else if (what === 20) {
        // Any free slot: found by taking them all, put back in the order they had.
        if (slots.free === 0 || slots.capacity === 1) continue;
        const free = pops(slots, slots.free);
        taken += free.length;
        for (const slot of free.toReversed()) slots.push(slot);
        const gone = rng.pick(free);
        slots.abandonFree(gone);
        naive.abandon(gone);
        abandoned++;
      } else {
        const below = rng.chance(0.5) ? Infinity : 1 + rng.below(9);
        const run = slots.freeRun(below, 1 + rng.below(3));
        if (run === undefined) continue;
        naive.decommit(run);
        slots.decommit(run);
      }
      const { free, committed } = naive;
      assertEquals(
        counts(slots),
        [committed, free, held.length, 0, abandoned],
        where,
      );
      assertEquals(slots.taken, taken, where);
    }
    while (held.length > 0) release();
    assertEquals(slots.free, slots.committed);
    const whole = slots.freeRun(Infinity, naive.slabs);
    const last = naive.freeSlab();
    assertEquals(
      whole && whole.first + whole.count - 1,
      last < 0 ? undefined : last,
    );
  }
});

Deno.test("next() serves a slab committed below the slot released last", () => {
  const slots = made(3, 1, 3);
  slots.decommit({ first: 0, count: 1 });
  slots.push(pop(slots)); // Slot 1, kept at hand.
  slots.commit({ first: 0, count: 1 });
  assertEquals(pops(slots, 3), [0, 1, 2]);
});

Deno.test("a slot that is put back in vain, because a call throws, is put back by the next call", () => {
  const slots = made(4, 1, 4);
  const taken = pops(slots, 4);
  // The first is kept as the cached slot; the others are listed with their slabs.
  slots.push(taken[3]);
  const { add } = Bitmap.prototype;
  Bitmap.prototype.add = () => {
    throw new RangeError("the end of the stack");
  };
  try {
    assertThrows(() => slots.push(taken[2]), RangeError);
  } finally {
    Bitmap.prototype.add = add;
  }
  for (const slot of taken.slice(0, 3)) slots.push(slot);
  assertEquals(pops(slots, 4).sort(), taken.sort());
});
