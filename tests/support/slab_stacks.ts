// The rules of the free slots, the slow and obvious way: a stack for each slab that has memory. The
// lowest slab with a free slot serves first, and in it the slot released last. Slots that have memory
// but are above the capacity are spare, and wait in their slab.

import { assert, assertEquals } from "@std/assert";
import type { SlabRun } from "../../pool/slots.ts";

/** One slab that has memory. */
interface Slab {
  /** Free slots, next one last. */
  readonly free: number[];
  /** Slots above the capacity, next one first. */
  readonly spare: number[];
  /** Slots given up. */
  gone: number;
}

/** Free slots of a pool, by slab. */
export class SlabStacks {
  /** The most slots that can have memory and be lent. */
  capacity: number;
  /** `undefined` where there is no memory. */
  readonly #slabs: (Slab | undefined)[];
  readonly #slabSlots: number;

  constructor(maxBlocks: number, slabSlots: number) {
    this.capacity = maxBlocks;
    this.#slabSlots = slabSlots;
    this.#slabs = Array(Math.ceil(maxBlocks / slabSlots)).fill(undefined);
  }

  get free(): number {
    return this.#sum(({ free }) => free.length);
  }

  /** Slots that can be lent or are: neither spare nor given up. */
  get committed(): number {
    return this.#sum(({ spare, gone }) =>
      this.#slabSlots - spare.length - gone
    );
  }

  /** Slabs that have an address. */
  get slabs(): number {
    return this.#slabs.length;
  }

  /** Slots of a slab with memory that are not spare. */
  slotsIn(slab: number): number {
    return this.#slabSlots - this.#at(slab).spare.length;
  }

  /** The lowest slab without memory, or -1. */
  nextSlab(): number {
    return this.#slabs.indexOf(undefined);
  }

  /** The highest slab, below this one, whose slots are all free, or -1. */
  freeSlab(below = Infinity): number {
    return this.#slabs.findLastIndex((slab, index) =>
      index < below && slab !== undefined && slab.free.length > 0 &&
      slab.free.length === this.#slabSlots - slab.spare.length
    );
  }

  /** Addresses for slabs up to `slabs - 1`. */
  extend(slabs: number): void {
    while (this.#slabs.length < slabs) this.#slabs.push(undefined);
  }

  commit({ first, count }: SlabRun): void {
    for (let slab = first; slab < first + count; slab++) {
      assertEquals(this.#slabs[slab], undefined, "a slab is committed once");
      const start = slab * this.#slabSlots;
      const slots = Array.from(
        { length: this.#slabSlots },
        (_, place) => start + place,
      );
      const lendable = this.capacity - this.committed;
      assert(lendable > 0, "no slab is committed in vain");
      const spare = slots.splice(lendable);
      this.#slabs[slab] = { free: slots.reverse(), spare, gone: 0 };
    }
  }

  /** Frees spare slots, at most so many; returns how many. */
  addSpare(most: number): number {
    let added = 0;
    for (const slab of this.#slabs) {
      while (slab !== undefined && slab.spare.length > 0) {
        if (added === most || this.committed === this.capacity) return added;
        slab.free.push(slab.spare.shift()!);
        added++;
      }
    }
    return added;
  }

  decommit({ first, count }: SlabRun): void {
    for (let slab = first; slab < first + count; slab++) {
      const { length } = this.#at(slab).free;
      assertEquals(length, this.slotsIn(slab), "all slots are free");
      this.#slabs[slab] = undefined;
    }
  }

  pop(): number {
    const lowest = this.#slabs.find((slab) => slab && slab.free.length > 0);
    assert(lowest !== undefined, "a slot is free");
    return lowest.free.pop()!;
  }

  push(slot: number): void {
    this.#of(slot).free.push(slot);
  }

  /** Gives up a slot, free or not. Whether its slab is wholly given up now. */
  abandon(slot: number): boolean {
    const slab = this.#of(slot);
    const at = slab.free.indexOf(slot);
    if (at >= 0) slab.free.splice(at, 1);
    return ++slab.gone === this.#slabSlots;
  }

  #of(slot: number): Slab {
    return this.#at(Math.floor(slot / this.#slabSlots));
  }

  #at(slab: number): Slab {
    const found = this.#slabs[slab];
    assert(found !== undefined, "the slab has memory");
    return found;
  }

  #sum(of: (slab: Slab) => number): number {
    return this.#slabs.reduce(
      (sum, slab) => sum + (slab === undefined ? 0 : of(slab)),
      0,
    );
  }
}
