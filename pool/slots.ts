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
  /** Blocks with memory behind them that can be lent: free + acquired + quarantined. */
  committed = 0;
  /** Slabs with memory behind them, those of abandoned slots included. */
  committedSlabs = 0;
  /** The most blocks that can be committed. */
  capacity: number;
  /** Blocks ready to be lent. */
  free = 0;
  /** Blocks released but not yet reusable. */
  quarantined = 0;
  /** Slots given up for good, outside of all other counts. */
  abandoned = 0;
  /** Slots ever taken. */
  taken = 0;
  /**
   * While more blocks than this are free, an acquire skips all other checks (waiters, reserve, growth,
   * close).
   */
  lowWatermark: number = COUNTLESS;
  /** While at most this many are free, a release does not tell the pool. */
  highWatermark: number = NONE;
  /**
   * Low-water mark of `free` since the number of lendable blocks last changed: their difference is the
   * most acquired since then.
   */
  #leastFree = 0;
  /** Low-water mark of `free` between the last `look` and that change. */
  #lowest = 0;
  #peak = 0;

  readonly #slabSlots: number;
  #slabs: number;
  /** Free slots of each slab. */
  #freeIn: Int32Array;
  /** Slabs with a free slot, not counting `#cached`. */
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
  #head: Int32Array;
  #next: Int32Array;
  /**
   * Slots of one slab that have memory and are above the capacity, until one is needed to replace an
   * abandoned slot: from the first up to the second, which is the slab's end.
   */
  #spare = 0;
  #spareEnd = 0;
  /**
   * The free slot to be taken next, kept out of the lists: a steady load moves one slot back and
   * forth and touches nothing else.
   */
  #cached = NONE;
  /** Slots below this lie in the lowest slab with a free slot, or in a lower one. */
  #lowEnd: number;

  /** All slots uncommitted. */
  constructor(maxBlocks: number, slabSlots: number) {
    this.capacity = maxBlocks;
    this.#slabSlots = slabSlots;
    this.#slabs = Math.ceil(maxBlocks / slabSlots);
    this.#freeIn = new Int32Array(this.#slabs);
    this.#open = new Bitmap(this.#slabs);
    this.#holes = new Bitmap(this.#slabs);
    const listed = slabSlots > 1;
    this.#head = new Int32Array(listed ? this.#slabs : 0);
    this.#next = new Int32Array(listed ? this.#slabs * slabSlots : 0);
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

  /** The fewest free since `look`. */
  get lowest(): number {
    return Math.min(this.#lowest, this.#leastFree);
  }

  /** Starts `lowest` anew. */
  look(): void {
    this.#peak = this.peak;
    this.#lowest = this.#leastFree = this.free;
  }

  /** One past the highest slot ever committed. */
  get top(): number {
    const top = this.#top * this.#slabSlots;
    return top === this.#spareEnd ? this.#spare : top;
  }

  /** Whether the slot has memory behind it and is not spare. */
  isCommitted(slot: number): boolean {
    const slab = this.#slabOf(slot);
    const isSpare = slot >= this.#spare && slot < this.#spareEnd;
    return slab < this.#top && !this.#holes.has(slab) && !isSpare;
  }

  /** How many blocks a slab has that can be lent, but for abandoned ones. */
  blocksIn(slab: number): number {
    const isSpare = this.#spareEnd === (slab + 1) * this.#slabSlots;
    return this.#slabSlots - (isSpare ? this.#spareEnd - this.#spare : 0);
  }

  /** The slots of a run of slabs, from `start` to `end - 1`. */
  bounds({ first, count }: SlabRun): { start: number; end: number } {
    const start = first * this.#slabSlots;
    return { start, end: start + count * this.#slabSlots };
  }

  /** Makes room for more slabs, all without memory. */
  extend(slabs: number): void {
    const grown = (from: Int32Array, length: number) => {
      const to = new Int32Array(from.length === 0 ? 0 : length);
      to.set(from);
      return to;
    };
    const freeIn = grown(this.#freeIn, slabs);
    const head = grown(this.#head, slabs);
    const next = grown(this.#next, slabs * this.#slabSlots);
    this.#open.extend(slabs);
    this.#holes.extend(slabs);
    this.#freeIn = freeIn;
    this.#head = head;
    this.#next = next;
    this.#slabs = slabs;
  }

  /** The free slot to be taken next. The caller has checked that `free` is above 0. */
  next(): number {
    return this.#cached === NONE ? this.#unlistNext() : this.#cached;
  }

  /** Takes the slot that `next` has given. */
  take(): void {
    this.#cached = NONE;
    this.taken++;
    if (--this.free < this.#leastFree) this.#leastFree = this.free;
  }

  /**
   * Puts an acquired slot back; whether the pool must be told: more are free than the high watermark.
   */
  push(slot: number): boolean {
    if (this.#cached === NONE && slot < this.#lowEnd) this.#cached = slot;
    else this.#stash(slot);
    return ++this.free > this.highWatermark;
  }

  /** Takes an acquired slot out of use until `restore`. */
  quarantine(): void {
    this.#change(() => this.quarantined++);
  }

  /** Puts a quarantined slot back. */
  restore(slot: number): void {
    this.#stash(slot);
    this.#change(() => {
      this.quarantined--;
      this.free++;
    });
  }

  /** Gives an acquired slot up for good. */
  abandon(): void {
    const { peak, lowest } = this;
    this.#peak = peak;
    this.#lowest = lowest;
    this.committed--;
    this.abandoned++;
    this.#leastFree = this.free;
  }

  /** Gives a quarantined slot up for good. */
  abandonQuarantined(): void {
    this.#change(() => {
      this.quarantined--;
      this.committed--;
      this.abandoned++;
    });
  }

  /** Gives a free slot up for good. */
  abandonFree(slot: number): void {
    this.#flush();
    this.#unlist(slot);
    this.#change(() => {
      this.free--;
      this.committed--;
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

  /**
   * Makes the slots of slabs free, up to the capacity; their memory has just been committed. What is
   * above it is spare: less than a slab, because the caller commits no slab in vain.
   */
  commit({ first, count }: SlabRun): void {
    // A lower slab may be among them, and would then come before the cached slot.
    this.#flush();
    const { start, end } = this.bounds({ first, count });
    const blocks = Math.min(end - start, this.capacity - this.committed);
    for (let slab = first; slab < first + count; slab++) {
      if (slab < this.#top) this.#holes.remove(slab);
      this.#freeIn[slab] = this.#slabSlots;
    }
    if (start + blocks < end) {
      this.#spare = start + blocks;
      this.#spareEnd = end;
      this.#freeIn[first + count - 1]! -= end - this.#spare;
    }
    this.#change(() => {
      this.committed += blocks;
      this.free += blocks;
      this.committedSlabs += count;
    });
    this.#open.addRange(first, first + count);
    this.#top = Math.max(this.#top, first + count);
    if (this.#slabSlots > 1) {
      this.#head.fill(0, first, first + count);
      this.#next.fill(0, start, end);
    }
    this.#lowered();
  }

  /** Makes at most so many spare slots free; returns how many. */
  addSpare(most: number): number {
    const room = Math.min(most, this.capacity - this.committed);
    const blocks = Math.min(room, this.#spareEnd - this.#spare);
    if (blocks <= 0) return 0;
    // They may lie in a lower slab, and would then come before the cached slot.
    this.#flush();
    for (let slot = this.#spare; slot < this.#spare + blocks; slot++) {
      this.#push(slot);
    }
    this.#spare += blocks;
    if (this.#spare === this.#spareEnd) this.#spare = this.#spareEnd = 0;
    this.#change(() => {
      this.committed += blocks;
      this.free += blocks;
    });
    return blocks;
  }

  /**
   * The highest run of at most `most` slabs below slab `below` that have memory and only free
   * slots, or `undefined`.
   */
  freeRun(below: number, most: number): SlabRun | undefined {
    this.#flush();
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
    let blocks = 0;
    for (let slab = first; slab < first + count; slab++) {
      blocks += this.#freeIn[slab]!;
      this.#freeIn[slab] = 0;
      this.#open.remove(slab);
      this.#holes.add(slab);
      if (this.#spareEnd === (slab + 1) * this.#slabSlots) {
        this.#spare = this.#spareEnd = 0;
      }
    }
    this.#change(() => {
      this.committed -= blocks;
      this.free -= blocks;
      this.committedSlabs -= count;
    });
  }

  /** The pool has ended; slots of slabs that the OS has not taken back are given up. Returns how many. */
  retire(refused: readonly SlabRun[]): number {
    let blocks = 0;
    for (const { first, count } of refused) {
      for (
        let slab = first;
        slab < Math.min(first + count, this.#top);
        slab++
      ) {
        if (!this.#holes.has(slab)) blocks += this.blocksIn(slab);
      }
    }
    this.#change(() => {
      this.abandoned += blocks;
      this.committed = this.free = this.quarantined = 0;
      this.committedSlabs = 0;
    });
    // Nothing is free to give back, also for a caller that is iterating over free runs.
    this.#freeIn.fill(0);
    this.#holes.addRange(0, this.#top);
    return blocks;
  }

  /** Blocks that are free or acquired. */
  get #lendable(): number {
    return this.committed - this.quarantined;
  }

  /** Changes how many are lendable. First saves what the low-water mark says, and starts a new one. */
  #change(change: () => void): void {
    this.#peak = this.peak;
    this.#lowest = this.lowest;
    change();
    this.#leastFree = this.free;
  }

  #isFree(slab: number): boolean {
    const free = this.#freeIn[slab]!;
    return free > 0 && free === this.blocksIn(slab);
  }

  #isHole(slab: number): boolean {
    return slab < this.#top && this.#holes.has(slab);
  }

  /** Puts a free slot in its place: next to be taken, or in its slab's list. */
  #stash(slot: number): void {
    const cached = this.#cached;
    const slots = this.#slabSlots;
    if (cached === NONE && slot < this.#lowEnd) {
      this.#cached = slot;
    } else if (
      cached !== NONE && ((slot / slots) | 0) <= ((cached / slots) | 0)
    ) {
      this.#push(cached);
      this.#cached = slot;
    } else {
      this.#push(slot);
    }
  }

  /** Puts the cached slot into its list, before whole slabs are looked at. */
  #flush(): void {
    if (this.#cached !== NONE) this.#push(this.#cached);
    this.#cached = NONE;
  }

  #slabOf(slot: number): number {
    return (slot / this.#slabSlots) | 0;
  }

  /** Follows a change of the lowest slab with a free slot. */
  #lowered(): void {
    this.#lowEnd = (this.#open.floor + 1) * this.#slabSlots;
  }

  /**
   * Puts a slot into its slab's list. The slab enters the set first: a call that is cut short may leave
   * it there without a free slot, but never out of it with one.
   */
  #push(slot: number): void {
    const slots = this.#slabSlots;
    const slab = (slot / slots) | 0;
    if (this.#freeIn[slab] === 0) this.#open.add(slab);
    this.#freeIn[slab]!++;
    if (slots > 1) {
      const place = slot - slab * slots;
      this.#next[slot] = this.#head[slab]! - place - 1;
      this.#head[slab] = place;
    }
    this.#lowEnd = (this.#open.floor + 1) * slots;
  }

  /** Makes the first slot of the lowest slab that has one the cached slot. */
  #unlistNext(): number {
    const open = this.#open;
    let slab = open.lowest();
    // Left in the set by a call that the end of the stack cut short.
    while (this.#freeIn[slab] === 0) {
      open.remove(slab);
      slab = open.lowest();
    }
    if (this.#freeIn[slab] === 1) open.remove(slab);
    const slots = this.#slabSlots;
    let slot = slab;
    if (slots > 1) {
      const place = this.#head[slab]!;
      slot = slab * slots + place;
      this.#head[slab] = place + 1 + this.#next[slot]!;
    }
    this.#freeIn[slab]!--;
    this.#lowEnd = (open.floor + 1) * slots;
    return this.#cached = slot;
  }

  /** Takes one slot out of its slab's list: rare, so it may walk the list. */
  #unlist(slot: number): void {
    const slab = this.#slabOf(slot);
    if (this.#slabSlots > 1) {
      const first = slab * this.#slabSlots;
      const place = slot - first;
      let before = this.#head[slab]!;
      if (before === place) {
        this.#head[slab] = place + 1 + this.#next[slot]!;
      } else {
        for (;;) {
          const after = before + 1 + this.#next[first + before]!;
          if (after === place) break;
          before = after;
        }
        this.#next[first + before] = place + this.#next[slot]! - before;
      }
    }
    if (--this.#freeIn[slab]! === 0) this.#open.remove(slab);
  }
}
