// Which slot is next, and how many there are of each kind, against lists kept the slow way.

import { assert, assertEquals } from "@std/assert";
import { Slots } from "../pool/slots.ts";
import { Rng, seedOfRun } from "./support/rng.ts";
import { SlabStacks } from "./support/slab_stacks.ts";

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
  return [committed, free, acquired, quarantined, abandoned];
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
  assertEquals([slots.slotsIn(0), slots.slotsIn(2)], [4, 2]);
  assertEquals(slots.bounds({ first: 1, count: 2 }), { start: 4, end: 10 });
  assertEquals([slots.committed, slots.top], [10, 10]);
  assertEquals(pops(slots, 10).at(-1), 9);
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
  slots.abandon(0);
  assertEquals(counts(slots), [6, 1, 2, 2, 1]);
  slots.restore(1);
  slots.abandonQuarantined();
  assertEquals(counts(slots), [6, 2, 2, 0, 2]);
  assertEquals(pops(slots, 2), [1, 5]);
});

Deno.test("abandonFree() takes a slot out of any place in its list", () => {
  for (let gone = 0; gone < 5; gone++) {
    const slots = made(10, 5, 2);
    const order = [4, 2, 0, 3, 1];
    pops(slots, 5);
    for (const slot of order.toReversed()) slots.push(slot);
    slots.abandonFree(gone);
    assertEquals(counts(slots), [10, 9, 0, 0, 1]);
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

Deno.test("retire() leaves only the abandoned slots", () => {
  const slots = made(4, 2, 2);
  pops(slots, 3);
  slots.abandon(0);
  slots.retire(true);
  assertEquals(counts(slots), [1, 0, 0, 0, 1]);
  assertEquals(slots.freeRun(Infinity, 9), undefined);
});

Deno.test("retire() counts what was not given back as abandoned", () => {
  const slots = made(4, 2, 2);
  pops(slots, 3);
  slots.retire(false);
  assertEquals(counts(slots), [4, 0, 0, 0, 4]);
  assertEquals(slots.freeRun(Infinity, 9), undefined);
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
    const release = () => {
      const [slot] = held.splice(rng.below(held.length), 1);
      slots.push(slot);
      naive.push(slot);
    };
    for (let step = 0; step < 3000; step++) {
      const where =
        `step ${step} of ${max} by ${slabSlots}, SMRITI_SEED=${seed}`;
      const what = rng.below(20);
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
        const most = 1 + rng.below(4);
        const run = slots.nextRun(most);
        assertEquals(run === undefined, naive.committed === max, where);
        if (run === undefined) continue;
        assertEquals(run.first, naive.nextSlab(), where);
        assert(run.count <= most, where);
        naive.commit(run);
        slots.commit(run);
      } else {
        const below = rng.chance(0.5) ? Infinity : 1 + rng.below(9);
        const run = slots.freeRun(below, 1 + rng.below(3));
        if (run === undefined) continue;
        naive.decommit(run);
        slots.decommit(run);
      }
      const { free, committed } = naive;
      assertEquals(counts(slots), [committed, free, held.length, 0, 0], where);
      assertEquals(slots.taken, taken, where);
    }
    while (held.length > 0) release();
    assertEquals(slots.free, slots.committed);
    const whole = slots.freeRun(Infinity, max);
    assertEquals(whole === undefined, slots.committed === 0, "all are free");
  }
});

Deno.test("next() serves a slab committed below the slot released last", () => {
  const slots = made(3, 1, 3);
  slots.decommit({ first: 0, count: 1 });
  slots.push(pop(slots)); // Slot 1, kept at hand.
  slots.commit({ first: 0, count: 1 });
  assertEquals(pops(slots, 3), [0, 1, 2]);
});
