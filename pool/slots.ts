/**
 * The state of every slot, in integers: which are free, which is next, how many of each.
 *
 * The lowest slab with a free slot serves first, and inside it the most recently released slot:
 * caches stay hot, few slots are ever touched, and high slabs empty so that they can go back.
 * Owns no memory, no time, no events; never looks at a byte of a block.
 */
import { Bitmap } from "./bitmap.ts";

/** No memory behind it. */
export const UNCOMMITTED = 0;
/** Ready to be lent. */
export const FREE = 1;
/** Held by a lease. */
export const ACQUIRED = 2;
/** Released, not yet reusable (`safety: "strict"`). */
export const QUARANTINED = 3;
/** Out of the pool for good. */
export const ABANDONED = 4;

/** A run of neighbouring slabs. */
export interface SlabRun {
  /** Index of the lowest slab. */
  readonly first: number;
  /** How many, from 1. */
  readonly count: number;
}

/** States, free lists and counts of the slots of one pool. */
export class Slots {
  /** Blocks with memory behind them: free + acquired + quarantined + abandoned. */
  committed = 0;
  /** Blocks ready to be lent. */
  free = 0;
  /** Blocks held by leases. */
  acquired = 0;
  /** Blocks released but not yet reusable. */
  quarantined = 0;
  /** Blocks out of the pool for good. */
  abandoned = 0;

  readonly #max: number;
  readonly #slabSlots: number;
  readonly #slabs: number;
  readonly #state: Uint8Array;
  /** Free slots of each slab. */
  readonly #freeIn: Int32Array;
  /** Slabs with a free slot. */
  readonly #open: Bitmap;
  /** Slabs below `#top` that were given back. */
  readonly #holes: Bitmap;
  /** One past the highest slab ever committed. */
  #top = 0;
  /**
   * A free list for each slab, as distances so that all zeroes mean "the slots in order":
   * `#head` is the first free slot's place in its slab, `#next` how far the next one lies beyond
   * this slot's neighbour. Unused where a slab is one slot.
   */
  readonly #head: Int32Array;
  readonly #next: Int32Array;

  /** All slots uncommitted. */
  constructor(maxBlocks: number, slabSlots: number) {
    this.#max = maxBlocks;
    this.#slabSlots = slabSlots;
    this.#slabs = Math.ceil(maxBlocks / slabSlots);
    this.#state = new Uint8Array(maxBlocks);
    this.#freeIn = new Int32Array(this.#slabs);
    this.#open = new Bitmap(this.#slabs);
    this.#holes = new Bitmap(this.#slabs);
    const listed = slabSlots > 1;
    this.#head = new Int32Array(listed ? this.#slabs : 0);
    this.#next = new Int32Array(listed ? maxBlocks : 0);
  }

  /** One past the highest slot ever committed. */
  get top(): number {
    return Math.min(this.#max, this.#top * this.#slabSlots);
  }

  /** State of a slot. */
  stateOf(slot: number): number {
    return this.#state[slot];
  }

  /** How many slots a slab has: the last one may have fewer. */
  slotsIn(slab: number): number {
    return Math.min(this.#slabSlots, this.#max - slab * this.#slabSlots);
  }

  /** The slots of a run of slabs, from `start` to `end - 1`. */
  bounds({ first, count }: SlabRun): { start: number; end: number } {
    const start = first * this.#slabSlots;
    return { start, end: Math.min(this.#max, start + count * this.#slabSlots) };
  }

  /** Takes the next free slot. The caller has checked that `free` is above 0. */
  pop(): number {
    const slab = this.#open.lowest();
    let slot = slab;
    if (this.#slabSlots === 1) {
      this.#freeIn[slab] = 0;
      this.#open.remove(slab);
    } else {
      const place = this.#head[slab];
      slot = slab * this.#slabSlots + place;
      this.#head[slab] = place + 1 + this.#next[slot];
      if (--this.#freeIn[slab] === 0) this.#open.remove(slab);
    }
    this.#state[slot] = ACQUIRED;
    this.free--;
    this.acquired++;
    return slot;
  }

  /** Puts an acquired slot back. */
  push(slot: number): void {
    this.#leave(slot, ACQUIRED);
    this.acquired--;
    this.#list(slot);
  }

  /** Takes an acquired slot out of use until `restore`. */
  quarantine(slot: number): void {
    this.#leave(slot, ACQUIRED);
    this.acquired--;
    this.quarantined++;
    this.#state[slot] = QUARANTINED;
  }

  /** Puts a quarantined slot back. */
  restore(slot: number): void {
    this.#leave(slot, QUARANTINED);
    this.quarantined--;
    this.#list(slot);
  }

  /** Takes an acquired, quarantined or free slot out of the pool for good. */
  abandon(slot: number): void {
    switch (this.#state[slot]) {
      case ACQUIRED:
        this.acquired--;
        break;
      case QUARANTINED:
        this.quarantined--;
        break;
      case FREE:
        this.#unlist(slot);
        break;
      default:
        this.#leave(slot, ACQUIRED);
    }
    this.abandoned++;
    this.#state[slot] = ABANDONED;
  }

  /** The lowest run of at most `most` slabs without memory, or `undefined` when all have. */
  nextRun(most: number): SlabRun | undefined {
    const hole = this.#holes.lowest();
    if (hole < 0) {
      const count = Math.min(most, this.#slabs - this.#top);
      return count > 0 ? { first: this.#top, count } : undefined;
    }
    let count = 1;
    while (count < most && this.#isHole(hole + count)) count++;
    return { first: hole, count };
  }

  /** Makes the slots of slabs free; their memory has just been committed. */
  commit({ first, count }: SlabRun): void {
    for (let slab = first; slab < first + count; slab++) {
      if (slab < this.#top) this.#holes.remove(slab);
      const slots = this.slotsIn(slab);
      this.#freeIn[slab] = slots;
      this.committed += slots;
      this.free += slots;
    }
    this.#open.addRange(first, first + count);
    this.#top = Math.max(this.#top, first + count);
    const { start, end } = this.bounds({ first, count });
    this.#state.fill(FREE, start, end);
    if (this.#slabSlots > 1) {
      this.#head.fill(0, first, first + count);
      this.#next.fill(0, start, end);
    }
  }

  /**
   * The highest run of at most `most` slabs below slab `below` that have memory and only free
   * slots, or `undefined`.
   */
  freeRun(below: number, most: number): SlabRun | undefined {
    let slab = Math.min(below, this.#top) - 1;
    while (slab >= 0 && !this.#isFree(slab)) slab--;
    if (slab < 0) return undefined;
    let first = slab;
    while (slab - first + 1 < most && first > 0 && this.#isFree(first - 1)) {
      first--;
    }
    return { first, count: slab - first + 1 };
  }

  /** Takes the slots of wholly free slabs out; their memory is about to be given back. */
  decommit({ first, count }: SlabRun): void {
    for (let slab = first; slab < first + count; slab++) {
      const slots = this.slotsIn(slab);
      this.#freeIn[slab] = 0;
      this.#open.remove(slab);
      this.#holes.add(slab);
      this.committed -= slots;
      this.free -= slots;
    }
    const { start, end } = this.bounds({ first, count });
    this.#state.fill(UNCOMMITTED, start, end);
  }

  /** The pool has ended: what is left are the blocks that somebody may still write to. */
  retire(): void {
    this.committed = this.abandoned;
    this.free = this.acquired = this.quarantined = 0;
  }

  #isFree(slab: number): boolean {
    return this.#freeIn[slab] === this.slotsIn(slab);
  }

  #isHole(slab: number): boolean {
    return slab < this.#top && this.#holes.has(slab);
  }

  /** A slot that is not in the expected state would be lent twice: stop before that. */
  #leave(slot: number, state: number): void {
    if (this.#state[slot] !== state) {
      throw new Error(
        `slot ${slot} is in state ${this.#state[slot]}, expected ${state}`,
      );
    }
  }

  #list(slot: number): void {
    let slab = slot;
    if (this.#slabSlots === 1) {
      this.#freeIn[slab] = 1;
      this.#open.add(slab);
    } else {
      slab = (slot / this.#slabSlots) | 0;
      const place = slot - slab * this.#slabSlots;
      this.#next[slot] = this.#head[slab] - place - 1;
      this.#head[slab] = place;
      if (this.#freeIn[slab]++ === 0) this.#open.add(slab);
    }
    this.#state[slot] = FREE;
    this.free++;
  }

  /** Takes one free slot out of its slab's list: rare, so it may walk the list. */
  #unlist(slot: number): void {
    const slab = (slot / this.#slabSlots) | 0;
    if (this.#slabSlots > 1) {
      const first = slab * this.#slabSlots;
      const place = slot - first;
      let before = this.#head[slab];
      if (before === place) {
        this.#head[slab] = place + 1 + this.#next[slot];
      } else {
        for (;;) {
          const after = before + 1 + this.#next[first + before];
          if (after === place) break;
          before = after;
        }
        this.#next[first + before] = place + this.#next[slot] - before;
      }
    }
    if (--this.#freeIn[slab] === 0) this.#open.remove(slab);
    this.free--;
  }
}
