/**
 * How much memory a shared pool has: any isolate may grow, shrink or trim it, one at a time.
 *
 * The one that does holds a word in the control block; if it dies there, whoever reclaims it counts
 * the slots anew. Slots are given memory before they become free, and taken before they lose it.
 */
import type { Events } from "../pool/events.ts";
import { type FilledOptions, shareOf } from "../pool/options.ts";
import type { Region } from "../pool/region.ts";
import { type Control, HEADER, kindOf, UNCOMMITTED } from "./control.ts";
import type { SharedSlots } from "./shared_slots.ts";

/** Looks at the resizer's word before giving up: growing takes microseconds. */
const SPINS = 2000;

/** The size of one shared pool, as one isolate sees and changes it. */
export class SharedSizer {
  readonly #options: FilledOptions;
  readonly #control: Control;
  readonly #slots: SharedSlots;
  readonly #region: Region;
  readonly #events: Events;
  readonly #worker: number;
  readonly #floor: number;
  /** Committed blocks that the two lines below belong to. */
  #seen = -1;
  #growAt = Infinity;
  #busyAt = Infinity;

  /** Acts for one worker id. */
  constructor(
    options: FilledOptions,
    control: Control,
    slots: SharedSlots,
    region: Region,
    events: Events,
    worker: number,
  ) {
    this.#options = options;
    this.#control = control;
    this.#slots = slots;
    this.#region = region;
    this.#events = events;
    this.#worker = worker;
    const { slabSlots } = region;
    const slabs = Math.ceil(options.initialBlocks / slabSlots);
    this.#floor = Math.min(options.maxBlocks, slabs * slabSlots);
  }

  /** Blocks with memory. */
  get committed(): number {
    return Atomics.load(this.#control.words, HEADER.COMMITTED);
  }

  /** Notes how full the pool is after a take; grows at the threshold. */
  taken(): void {
    const { words } = this.#control;
    const committed = words[HEADER.COMMITTED];
    if (committed !== this.#seen) this.#draw(committed);
    const used = this.#slots.used;
    if (used > words[HEADER.PEAK]) words[HEADER.PEAK] = used;
    if (used >= this.#busyAt) words[HEADER.BUSY] = 1;
    if (used >= this.#growAt) this.grow();
  }

  /** Commits one step more; whether there may be more free blocks now. */
  grow(): boolean {
    const { growStep, maxBlocks } = this.#options;
    const step = shareOf(growStep, maxBlocks);
    const committed = this.committed;
    if (committed >= maxBlocks) return false;
    if (!this.#begin()) return true; // somebody else was growing just now
    let error: Error | undefined;
    const before = this.committed;
    try {
      if (before === committed) {
        error = this.#commit(Math.min(step, maxBlocks - before));
      }
    } finally {
      this.#end();
    }
    const blocks = this.committed - before;
    this.#tellGrow(blocks, error);
    return blocks > 0 || before > committed;
  }

  /** Commits the first blocks of a new pool; throws the OS's refusal. */
  start(): void {
    const error = this.#commit(this.#options.initialBlocks);
    if (error !== undefined) throw error;
  }

  /** Gives free slabs back, the highest first, at most so many blocks; returns the bytes. */
  giveBack(most: number): number {
    if (most <= 0 || !this.#begin()) return 0;
    let blocks = 0;
    let bytes = 0;
    try {
      const { words } = this.#control;
      for (let slab = words[HEADER.TOP] - 1; slab >= 0; slab--) {
        const size = this.#slotsIn(slab);
        if (blocks + size > most || this.committed - size < this.#floor) break;
        if (!this.#claim(slab)) continue;
        if (this.#region.decommit({ first: slab, count: 1 }) !== 0) {
          this.#each(slab, (slot) => this.#slots.unclaim(slot));
          Atomics.add(words, HEADER.GROW_FAILURES, 1);
          break;
        }
        this.#each(slab, (slot) => this.#slots.drop(slot));
        Atomics.sub(words, HEADER.COMMITTED, size);
        blocks += size;
        bytes += this.#region.slabBytes;
      }
    } finally {
      this.#end();
    }
    if (blocks > 0) this.#tellShrink(blocks, bytes);
    return bytes;
  }

  /** All that may be given back now. */
  trim(): number {
    return this.giveBack(this.committed - this.#floor);
  }

  /** Every interval, by whichever isolate comes first: gives a step back if nobody was busy. */
  look(): void {
    const { shrinkIntervalMs, shrinkStep, growThreshold, reservedBlocks } =
      this.#options;
    const { words } = this.#control;
    const now = Date.now() | 0;
    const last = Atomics.load(words, HEADER.LOOKED);
    if ((now - last | 0) < shrinkIntervalMs - 1) return;
    if (Atomics.compareExchange(words, HEADER.LOOKED, last, now) !== last) {
      return;
    }
    const used = this.#slots.used;
    const committed = this.committed;
    if (committed !== this.#seen) this.#draw(committed);
    const busy = Atomics.exchange(
      words,
      HEADER.BUSY,
      used >= this.#busyAt ? 1 : 0,
    );
    if (busy !== 0) return;
    const step = Math.max(
      shareOf(shrinkStep, committed),
      this.#region.slabSlots,
    );
    const needed = used / growThreshold + reservedBlocks;
    this.giveBack(Math.min(step, Math.ceil(committed - needed) - 1));
  }

  /** The resizer has died: counts what it left, and lets others resize. */
  repair(dead: number): void {
    const { words, owner } = this.#control;
    if (Atomics.load(words, HEADER.RESIZER) !== dead) return;
    let committed = 0;
    let top = 0;
    for (let slot = 0; slot < owner.length; slot++) {
      if (kindOf(Atomics.load(owner, slot)) === UNCOMMITTED) continue;
      committed++;
      top = Math.floor(slot / this.#region.slabSlots) + 1;
    }
    Atomics.store(words, HEADER.COMMITTED, committed);
    Atomics.store(words, HEADER.TOP, Math.max(top, words[HEADER.TOP]));
    Atomics.compareExchange(words, HEADER.RESIZER, dead, 0);
  }

  /** Where growing is due and where the pool counts as busy, in used blocks. */
  #draw(committed: number): void {
    const { growThreshold, reservedBlocks, maxBlocks, shrinkThreshold } =
      this.#options;
    this.#seen = committed;
    this.#growAt = committed < maxBlocks
      ? shareOf(growThreshold, committed - reservedBlocks)
      : Infinity;
    this.#busyAt = committed - Math.floor(shrinkThreshold * committed + 1e-9);
  }

  #begin(): boolean {
    const { words } = this.#control;
    for (let spin = 0; spin < SPINS; spin++) {
      const holder = Atomics.compareExchange(
        words,
        HEADER.RESIZER,
        0,
        this.#worker,
      );
      if (holder === 0) return true;
    }
    return false;
  }

  #end(): void {
    Atomics.compareExchange(
      this.#control.words,
      HEADER.RESIZER,
      this.#worker,
      0,
    );
  }

  /** Commits slabs for at least so many blocks; the resizer only, or the creator. */
  #commit(blocks: number): Error | undefined {
    const { words } = this.#control;
    const { slabSlots } = this.#region;
    const slabs = Math.ceil(this.#options.maxBlocks / slabSlots);
    let left = Math.ceil(blocks / slabSlots);
    let error: Error | undefined;
    for (let slab = 0; slab < slabs && left > 0; slab++) {
      // Nothing lies open above the top: skip the search when there are no holes below it.
      if (
        slab === 0 && this.committed === this.#slotsBelow(words[HEADER.TOP])
      ) {
        slab = words[HEADER.TOP];
        if (slab >= slabs) break;
      }
      if (!this.#isClosed(slab)) continue;
      let count = 1;
      while (
        count < left && slab + count < slabs && this.#isClosed(slab + count)
      ) {
        count++;
      }
      const refusal = this.#region.commit({ first: slab, count });
      if (refusal !== undefined) {
        error = refusal;
        left = count >> 1;
        slab--;
        continue;
      }
      for (let each = slab; each < slab + count; each++) this.#open(each);
      left -= count;
      slab += count - 1;
      if (error !== undefined) break;
    }
    return error;
  }

  #open(slab: number): void {
    const { words } = this.#control;
    // Where giving back does not zero, what comes back may be old.
    const wipe = !this.#region.zeroesOnRecommit && slab < words[HEADER.TOP];
    let opened = 0;
    this.#each(slab, (slot) => {
      const word = Atomics.load(this.#control.owner, slot);
      if (kindOf(word) !== UNCOMMITTED) return;
      if (wipe) this.#region.wipe(slot);
      this.#slots.open(slot);
      opened++;
    });
    Atomics.add(words, HEADER.COMMITTED, opened);
    if (slab >= words[HEADER.TOP]) Atomics.store(words, HEADER.TOP, slab + 1);
  }

  /** Whether a slab has a slot without memory. */
  #isClosed(slab: number): boolean {
    const first = slab * this.#region.slabSlots;
    const last = first + this.#slotsIn(slab) - 1;
    const { owner } = this.#control;
    return kindOf(Atomics.load(owner, first)) === UNCOMMITTED ||
      kindOf(Atomics.load(owner, last)) === UNCOMMITTED;
  }

  /** Takes every slot of a slab, or none. */
  #claim(slab: number): boolean {
    const first = slab * this.#region.slabSlots;
    const end = first + this.#slotsIn(slab);
    for (let slot = first; slot < end; slot++) {
      if (this.#slots.claim(slot)) continue;
      while (--slot >= first) this.#slots.unclaim(slot);
      return false;
    }
    return true;
  }

  #each(slab: number, act: (slot: number) => void): void {
    const first = slab * this.#region.slabSlots;
    const end = first + this.#slotsIn(slab);
    for (let slot = first; slot < end; slot++) act(slot);
  }

  #slotsIn(slab: number): number {
    const { slabSlots } = this.#region;
    return Math.min(slabSlots, this.#options.maxBlocks - slab * slabSlots);
  }

  #slotsBelow(slab: number): number {
    return Math.min(this.#options.maxBlocks, slab * this.#region.slabSlots);
  }

  #tellGrow(blocks: number, error: Error | undefined): void {
    const { words } = this.#control;
    if (blocks > 0) Atomics.add(words, HEADER.GROWS, 1);
    if (error !== undefined) Atomics.add(words, HEADER.GROW_FAILURES, 1);
    if (blocks === 0 && error === undefined) return;
    this.#events.emit("grow", () => ({
      pool: this.#options.name,
      blocks,
      committedBlocks: this.committed,
      ...(error && { error: error as never }),
    }));
  }

  #tellShrink(blocks: number, bytes: number): void {
    Atomics.add(this.#control.words, HEADER.SHRINKS, 1);
    this.#events.emit("shrink", () => ({
      pool: this.#options.name,
      blocks,
      committedBlocks: this.committed,
      bytes,
    }));
  }
}
