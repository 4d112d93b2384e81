// The rules of the free slots, the slow and obvious way: a stack for each slab that has memory. The
// lowest slab with a free slot serves first, and in it the slot released last.

import { assert, assertEquals } from "@std/assert";
import type { SlabRun } from "../../pool/slots.ts";

/** Free slots of a pool, by slab. */
export class SlabStacks {
  /** Next slot last; `undefined` where there is no memory. */
  readonly #stacks: (number[] | undefined)[];
  readonly #max: number;
  readonly #slabSlots: number;

  constructor(maxBlocks: number, slabSlots: number) {
    this.#max = maxBlocks;
    this.#slabSlots = slabSlots;
    this.#stacks = Array(Math.ceil(maxBlocks / slabSlots)).fill(undefined);
  }

  get free(): number {
    return this.#stacks.reduce((sum, stack) => sum + (stack?.length ?? 0), 0);
  }

  get committed(): number {
    return this.#stacks.reduce(
      (sum, stack, slab) =>
        sum + (stack === undefined ? 0 : this.slotsIn(slab)),
      0,
    );
  }

  slotsIn(slab: number): number {
    return Math.min(this.#slabSlots, this.#max - slab * this.#slabSlots);
  }

  /** The lowest slab without memory, or -1. */
  nextSlab(): number {
    return this.#stacks.indexOf(undefined);
  }

  /** The highest slab whose slots are all free, or -1. */
  freeSlab(): number {
    return this.#stacks.findLastIndex((stack, slab) =>
      stack?.length === this.slotsIn(slab)
    );
  }

  commit({ first, count }: SlabRun): void {
    for (let slab = first; slab < first + count; slab++) {
      assertEquals(this.#stacks[slab], undefined, "a slab is committed once");
      const start = slab * this.#slabSlots;
      this.#stacks[slab] = Array.from(
        { length: this.slotsIn(slab) },
        (_, place) => start + place,
      ).reverse();
    }
  }

  decommit({ first, count }: SlabRun): void {
    for (let slab = first; slab < first + count; slab++) {
      const { length } = this.#stacks[slab] ?? [];
      assertEquals(length, this.slotsIn(slab), "all slots are free");
      this.#stacks[slab] = undefined;
    }
  }

  pop(): number {
    const lowest = this.#stacks.find((stack) => stack && stack.length > 0);
    assert(lowest !== undefined, "a slot is free");
    return lowest.pop()!;
  }

  push(slot: number): void {
    const stack = this.#stacks[Math.floor(slot / this.#slabSlots)];
    assert(stack !== undefined, "the slot has memory");
    stack.push(slot);
  }
}
