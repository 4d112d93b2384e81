/**
 * Which slots are free and which is next, and how many there are of each kind, in integers.
 *
 * The lowest slab with a free slot serves first, and inside it the most recently released slot:
 * caches stay hot, few slots are ever touched, and high slabs empty so that they can go back.
 * Owns no memory, no time, no events; never looks at a byte of a block. `next`, `take`, `push` and `abandon` can be
 * cut short at any call by the end of the stack: they change the state in stores without a call among
 * them. What looks at whole slabs is called where there is room.
 */
import { Bitmap } from "./bitmap.ts";

/** A run of neighbouring slabs. */
export interface SlabRun {
  /** Index of the lowest slab. */
  readonly first: number;
  /** How many, from 1. */
  readonly count: number;
}

/** No slot. */
const NONE = -1;
/**
 * More blocks than any pool has. Not Infinity: the counts and marks of the hot path are small
 * integers, which V8 compares without a load and a conversion.
 */
export const COUNTLESS: number = 2 ** 31 - 1;

/** Free lists and counts of the slots of one pool. */
export class Slots {
  /** Blocks with memory behind them: free + acquired + quarantined + abandoned. */
  committed = 0;
  /** Blocks ready to be lent. */
  free = 0;
  /** Blocks released but not yet reusable. */
  quarantined = 0;
  /** Blocks out of the pool for good. */
  abandoned = 0;
  /** Slots ever taken. */
  taken = 0;
  /** Taking a block needs no second thought while more than this are free. */
  calmAbove: number = COUNTLESS;
  /** Putting one back needs none while at most this are free. */
  calmUpTo: number = NONE;
  /** The fewest free since what is not free last changed its meaning. */
  #leastFree = 0;
  #peak = 0;

  readonly #max: number;
  readonly #slabSlots: number;
  readonly #slabs: number;
  /** Free slots of each slab. */
  readonly #freeIn: Int32Array;
  /** Slabs with a free slot, not counting `#hot`. */
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
  /**
   * The free slot to be taken next, kept out of the lists: a steady load moves one slot back and
   * forth and touches nothing else.
   */
  #hot = NONE;
  /** Slots below this lie in the lowest slab with a free slot, or in a lower one. */
  #lowEnd: number;

  /** All slots uncommitted. */
  constructor(maxBlocks: number, slabSlots: number) {
    this.#max = maxBlocks;
    this.#slabSlots = slabSlots;
    this.#slabs = Math.ceil(maxBlocks / slabSlots);
    this.#freeIn = new Int32Array(this.#slabs);
    this.#open = new Bitmap(this.#slabs);
    this.#holes = new Bitmap(this.#slabs);
    const listed = slabSlots > 1;
    this.#head = new Int32Array(listed ? this.#slabs : 0);
    this.#next = new Int32Array(listed ? maxBlocks : 0);
    this.#lowEnd = slabSlots;
  }

  /** Blocks held by leases. */
  get acquired(): number {
    return this.#lendable - this.free;
  }

  /** The most blocks ever acquired at once. */
  get peak(): number {
    return Math.max(this.#peak, this.#lendable - this.#leastFree);
  }

  /** One past the highest slot ever committed. */
  get top(): number {
    return Math.min(this.#max, this.#top * this.#slabSlots);
  }

  /** Whether the slot has memory behind it. */
  isCommitted(slot: number): boolean {
    const slab = this.#slabOf(slot);
    return slab < this.#top && !this.#holes.has(slab);
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

  /** The free slot to be taken next. The caller has checked that `free` is above 0. */
  next(): number {
    return this.#hot === NONE ? this.#unlistNext() : this.#hot;
  }

  /** Takes the slot that `next` has given. */
  take(): void {
    this.#hot = NONE;
    this.taken++;
    if (--this.free < this.#leastFree) this.#leastFree = this.free;
  }

  /** Puts an acquired slot back; whether the pool must hear of it. */
  push(slot: number): boolean {
    if (this.#hot === NONE && slot < this.#lowEnd) this.#hot = slot;
    else this.#heat(slot);
    return ++this.free > this.calmUpTo;
  }

  /** Takes an acquired slot out of use until `restore`. */
  quarantine(): void {
    this.#change(() => this.quarantined++);
  }

  /** Puts a quarantined slot back. */
  restore(slot: number): void {
    this.#heat(slot);
    this.#change(() => {
      this.quarantined--;
      this.free++;
    });
  }

  /** Takes an acquired slot out of the pool for good. */
  abandon(_slot: number): void {
    const peak = this.peak;
    this.#peak = peak;
    this.abandoned++;
    this.#leastFree = this.free;
  }

  /** Takes a quarantined slot out of the pool for good. */
  abandonQuarantined(): void {
    this.#change(() => {
      this.quarantined--;
      this.abandoned++;
    });
  }

  /** Takes a free slot out of the pool for good. */
  abandonFree(slot: number): void {
    this.#cool();
    this.#unlist(slot);
    this.#change(() => {
      this.free--;
      this.abandoned++;
    });
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
    // A lower slab may be among them, and would then come before the hot slot.
    this.#cool();
    for (let slab = first; slab < first + count; slab++) {
      if (slab < this.#top) this.#holes.remove(slab);
      this.#freeIn[slab] = this.slotsIn(slab);
    }
    const { start, end } = this.bounds({ first, count });
    this.#change(() => {
      this.committed += end - start;
      this.free += end - start;
    });
    this.#open.addRange(first, first + count);
    this.#top = Math.max(this.#top, first + count);
    if (this.#slabSlots > 1) {
      this.#head.fill(0, first, first + count);
      this.#next.fill(0, start, end);
    }
    this.#lowered();
  }

  /**
   * The highest run of at most `most` slabs below slab `below` that have memory and only free
   * slots, or `undefined`.
   */
  freeRun(below: number, most: number): SlabRun | undefined {
    this.#cool();
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
      this.#freeIn[slab] = 0;
      this.#open.remove(slab);
      this.#holes.add(slab);
    }
    const { start, end } = this.bounds({ first, count });
    this.#change(() => {
      this.committed -= end - start;
      this.free -= end - start;
    });
  }

  /**
   * The pool has ended: what is left are the blocks that somebody may still write to, or all of
   * them if the OS has not taken their memory back.
   */
  retire(isGivenBack: boolean): void {
    this.#change(() => {
      if (isGivenBack) this.committed = this.abandoned;
      else this.abandoned = this.committed;
      this.free = this.quarantined = 0;
    });
    // Nothing is free to give back, whoever may still be in the middle of looking.
    this.#freeIn.fill(0);
    this.#holes.addRange(0, this.#top);
  }

  /** Blocks that are free or acquired. */
  get #lendable(): number {
    return this.committed - this.quarantined - this.abandoned;
  }

  /** Changes how many are lendable: what was least free says no more how many were acquired. */
  #change(change: () => void): void {
    this.#peak = this.peak;
    change();
    this.#leastFree = this.free;
  }

  #isFree(slab: number): boolean {
    return this.#freeIn[slab] === this.slotsIn(slab);
  }

  #isHole(slab: number): boolean {
    return slab < this.#top && this.#holes.has(slab);
  }

  /** Puts a free slot in its place: next to be taken, or in its slab's list. */
  #heat(slot: number): void {
    const hot = this.#hot;
    const slots = this.#slabSlots;
    if (hot === NONE && slot < this.#lowEnd) {
      this.#hot = slot;
    } else if (hot !== NONE && ((slot / slots) | 0) <= ((hot / slots) | 0)) {
      this.#list(hot);
      this.#hot = slot;
    } else {
      this.#list(slot);
    }
  }

  /** Puts the hot slot into its list, for what looks at whole slabs. */
  #cool(): void {
    if (this.#hot !== NONE) this.#list(this.#hot);
    this.#hot = NONE;
  }

  #slabOf(slot: number): number {
    return (slot / this.#slabSlots) | 0;
  }

  /** The set of slabs with a free slot may have a lower or a higher first one now. */
  #lowered(): void {
    this.#lowEnd = (this.#open.floor + 1) * this.#slabSlots;
  }

  /** Puts a slot into its slab's list. A slab is said to be open before it is, so never too late. */
  #list(slot: number): void {
    const slots = this.#slabSlots;
    const slab = (slot / slots) | 0;
    if (this.#freeIn[slab] === 0) this.#open.add(slab);
    this.#freeIn[slab]++;
    if (slots > 1) {
      const place = slot - slab * slots;
      this.#next[slot] = this.#head[slab] - place - 1;
      this.#head[slab] = place;
    }
    this.#lowEnd = (this.#open.floor + 1) * slots;
  }

  /** Makes the first slot of the lowest slab that has one the hot slot. */
  #unlistNext(): number {
    const open = this.#open;
    let slab = open.lowest();
    // One that was emptied, or was to be opened, when the stack ended.
    while (this.#freeIn[slab] === 0) {
      open.remove(slab);
      slab = open.lowest();
    }
    if (this.#freeIn[slab] === 1) open.remove(slab);
    const slots = this.#slabSlots;
    let slot = slab;
    if (slots > 1) {
      const place = this.#head[slab];
      slot = slab * slots + place;
      this.#head[slab] = place + 1 + this.#next[slot];
    }
    this.#freeIn[slab]--;
    this.#lowEnd = (open.floor + 1) * slots;
    return this.#hot = slot;
  }

  /** Takes one slot out of its slab's list: rare, so it may walk the list. */
  #unlist(slot: number): void {
    const slab = this.#slabOf(slot);
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
  }
}
