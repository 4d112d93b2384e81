// What a pool should do, in the plainest words: arrays, loops and whole percents. Knows which slot
// each lease gets, so the pool can be held to it, also after slots were given up and replaced. Time
// enters only where the pool shrinks.

import { assert } from "@std/assert";
import { SlabStacks } from "../support/slab_stacks.ts";

/** The options that decide about counts; shares in percent. */
export interface ModelOptions {
  readonly maxBlocks: number;
  readonly initialBlocks: number;
  readonly reservedBlocks: number;
  readonly growThreshold: number;
  readonly growStep: number;
  readonly shrinkThreshold: number;
  readonly shrinkStep: number;
  readonly shrinkIntervalMs: number;
  readonly maxWaiting: number;
  readonly strict: boolean;
  readonly slabSlots: number;
  /** Bytes from one slot to the next. */
  readonly stride: number;
  /** Bytes kept for others before a slot given up costs capacity. */
  readonly maxAbandonedBytes: number;
  /** Whether a slot that was given up goes on in another place; else a fresh one replaces it. */
  readonly moves: boolean;
}

/** A caller that asks for blocks. */
export interface Asker {
  readonly count: number;
  readonly reserved: boolean;
}

/** What an asker comes to. */
export type Answer<A extends Asker> =
  | { readonly asker: A; readonly slots: number[] }
  | { readonly asker: A; readonly error: "exhausted" | "timeout" };

export class Model<A extends Asker> {
  abandoned = 0;
  acquires = 0;
  releases = 0;
  peak = 0;
  waits = 0;
  timeouts = 0;
  exhaustions = 0;
  grows = 0;
  shrinks = 0;
  /** Askers that were answered since the last look. */
  readonly answers: Answer<A>[] = [];
  readonly #options: ModelOptions;
  readonly #stacks: SlabStacks;
  readonly #held = new Set<number>();
  readonly #quarantine: number[] = [];
  /** Bytes that stay behind for slots given up, and those of them that others may read. */
  #left = 0;
  #kept = 0;
  /** Places of slots that have moved, and how many there have been. */
  readonly #places = new Map<number, number>();
  #moved = 0;
  /** Slabs with a slot that was given up while others might read it. */
  readonly #readable = new Set<number>();
  readonly #urgent: A[] = [];
  readonly #normal: A[] = [];
  /** When the pool was last seen to be not idle. */
  #busyAt: number;
  /** Since when the pool has had to shrink, without a break. */
  #dueSince: number;
  /** Whether, since the last look, the pool was not idle, and had not to shrink. */
  #wasBusy = false;
  #wasUndue = false;

  constructor(options: ModelOptions, now: number) {
    this.#busyAt = this.#dueSince = now;
    this.#options = options;
    const { maxBlocks, slabSlots, initialBlocks } = options;
    this.#stacks = new SlabStacks(maxBlocks, slabSlots);
    this.#commit(initialBlocks);
  }

  /** The most blocks that can be committed. */
  get capacity(): number {
    return this.#stacks.capacity;
  }

  get free(): number {
    return this.#stacks.free;
  }

  get committed(): number {
    return this.#stacks.committed;
  }

  get waiting(): A[] {
    return [...this.#urgent, ...this.#normal];
  }

  /** The numbers that `stats()` must show. */
  stats() {
    const { free, committed, capacity, abandoned, acquires, releases } = this;
    return {
      committedBlocks: committed,
      freeBlocks: free,
      acquiredBlocks: this.#held.size,
      reservedBlocks: Math.min(free, this.#options.reservedBlocks),
      quarantinedBlocks: this.#quarantine.length,
      abandonedBlocks: abandoned,
      capacityBlocks: capacity,
      abandonedBytes: this.#left,
      waiting: this.waiting.length,
      peakAcquired: this.peak,
      acquires,
      releases,
      waits: this.waits,
      timeouts: this.timeouts,
      exhaustions: this.exhaustions,
      grows: this.grows,
      shrinks: this.shrinks,
    };
  }

  /** Slots for an asker that does not wait. */
  take(asker: Asker): number[] | undefined {
    if (!this.#isAhead(asker.reserved) && this.#hasFree(asker)) {
      return this.#grant(asker);
    }
    this.exhaustions++;
    return undefined;
  }

  /** Slots for an asker that waits if `patient`, an error, or nothing yet. */
  ask(
    asker: A,
    patient: boolean,
  ): number[] | "exhausted" | "timeout" | "waits" {
    if (this.#isHopeless(asker)) {
      this.exhaustions++;
      return "exhausted";
    }
    if (!this.#isAhead(asker.reserved) && this.#hasFree(asker)) {
      return this.#grant(asker);
    }
    if (!patient) {
      this.timeouts++;
      return "timeout";
    }
    if (this.waiting.length >= this.#options.maxWaiting) {
      this.exhaustions++;
      return "exhausted";
    }
    this.waits++;
    (asker.reserved ? this.#urgent : this.#normal).push(asker);
    return "waits";
  }

  /** An asker leaves the queue unserved. */
  leave(asker: A): void {
    const queue = asker.reserved ? this.#urgent : this.#normal;
    const at = queue.indexOf(asker);
    assert(at >= 0, "it was waiting");
    queue.splice(at, 1);
    this.#pump();
  }

  /** The pool tries again to grow for those who wait. */
  retry(): void {
    const [first] = this.waiting;
    assert(first !== undefined, "it grows by itself only if somebody waits");
    this.#hasFree(first);
    this.#pump();
  }

  release(slot: number, touched: boolean): void {
    assert(this.#held.delete(slot), "it was held");
    this.releases++;
    if (this.#options.strict && touched) {
      this.#quarantine.push(slot);
      const most = Math.max(1, Math.floor(this.#options.maxBlocks / 8));
      if (this.#quarantine.length > most) this.#letGo();
    } else {
      this.#stacks.push(slot);
    }
    this.#pump();
  }

  /** A lease ends by giving its slot up; `mayBeRead`: a buffer of it may be out. */
  abandon(slot: number, mayBeRead: boolean): void {
    assert(this.#held.delete(slot), "it was held");
    this.abandoned++;
    const { moves, maxAbandonedBytes } = this.#options;
    if (moves) this.#move(slot, mayBeRead);
    else {
      const isSlabGone = this.#stacks.abandon(slot);
      if (this.#keep(slot, mayBeRead, isSlabGone) > maxAbandonedBytes) {
        this.#stacks.capacity--;
      }
      if (this.committed < this.capacity) this.#commit(1);
    }
    for (const queue of [this.#urgent, this.#normal]) {
      for (const asker of [...queue]) {
        if (!this.#isHopeless(asker)) continue;
        queue.splice(queue.indexOf(asker), 1);
        this.answers.push({ asker, error: "exhausted" });
        this.exhaustions++;
      }
    }
    this.#pump();
  }

  /** Gives a slot, a slab of its own, the next place that none has had, if its bytes may be kept. */
  #move(slot: number, mayBeRead: boolean): void {
    const { maxBlocks, stride, maxAbandonedBytes } = this.#options;
    if (mayBeRead) this.#left = this.#kept += stride;
    if (mayBeRead && this.#kept > maxAbandonedBytes) {
      this.#stacks.abandon(slot);
      this.#stacks.capacity--;
    } else {
      this.#places.set(slot, maxBlocks + this.#moved++);
      this.#stacks.push(slot);
    }
  }

  /** Where a slot is, in slots from the first one. */
  placeOf(slot: number): number {
    return this.#places.get(slot) ?? slot;
  }

  /** Counts what stays behind for a slot; returns the bytes that count, or 0 where they do not. */
  #keep(slot: number, mayBeRead: boolean, isSlabGone: boolean): number {
    const { slabSlots, stride } = this.#options;
    const slab = Math.floor(slot / slabSlots);
    if (mayBeRead) {
      this.#readable.add(slab);
      this.#left += stride;
      return this.#kept += stride;
    }
    // Pages of several slots go back when the last of these is given up.
    this.#left += stride;
    if (isSlabGone && !this.#readable.has(slab)) {
      this.#left -= slabSlots * stride;
    }
    return 0;
  }

  /** How many blocks a trim gives back. */
  trim(): number {
    const given = this.#giveBack(this.#surplus);
    if (given > 0) this.shrinks++;
    return given;
  }

  /**
   * The state has been the same since the last look; whether the pool was idle is noted. It may not be
   * so for longer than one and a half intervals: it looks four times in each, and notices a break at one.
   */
  look(now: number): void {
    this.#note();
    if (this.#wasBusy) this.#busyAt = now;
    if (this.#wasUndue) this.#dueSince = now;
    this.#wasBusy = this.#wasUndue = false;
    assert(
      now - this.#dueSince <= 1.5 * this.#options.shrinkIntervalMs,
      `it had to shrink since ${this.#dueSince}, and it is ${now}`,
    );
  }

  /** A pool that grows is busy only until it has grown, all within one step. */
  #note(): void {
    this.#wasBusy ||= !this.#isIdle;
    this.#wasUndue ||= !this.#mustShrink;
  }

  /** The pool says it has shrunk to so many blocks: checks that it may have. */
  shrunk(committed: number, now: number): void {
    const before = this.committed;
    const { shrinkIntervalMs } = this.#options;
    assert(committed < before, `${committed} are fewer than ${before}`);
    assert(this.#isIdle, "more than its share was free");
    assert(
      now - this.#busyAt + 1 >= shrinkIntervalMs,
      `idle since ${this.#busyAt} only, and it is ${now}`,
    );
    this.#giveBack(before - committed);
    this.shrinks++;
    this.#dueSince = now;
    assert(this.committed === committed, "whole free slabs, the highest first");
    assert(!this.#isGrowDue, "it need not grow again at once");
  }

  /** Whether a pool that has been like this for an interval has to shrink. */
  get #mustShrink(): boolean {
    const { slabSlots, growThreshold, shrinkStep, reservedBlocks } =
      this.#options;
    const { committed } = this;
    if (!this.#isIdle || this.waiting.length > 0) return false;
    const highest = this.#stacks.freeSlab();
    if (highest < 0) return false;
    const used = committed - this.free;
    const step = Math.max(Math.ceil(shrinkStep * committed / 100), slabSlots);
    const after = committed - Math.min(step, this.#surplus);
    const enough = 100 * used < growThreshold * (after - reservedBlocks);
    return enough && this.#stacks.slotsIn(highest) <= committed - after;
  }

  /** Blocks above those that are never given back. */
  get #surplus(): number {
    const { initialBlocks, slabSlots, maxBlocks } = this.#options;
    const floor = Math.ceil(initialBlocks / slabSlots) * slabSlots;
    return this.committed - Math.min(maxBlocks, floor);
  }

  get #isIdle(): boolean {
    return 100 * this.free > this.#options.shrinkThreshold * this.committed;
  }

  get #isGrowDue(): boolean {
    const { growThreshold, reservedBlocks } = this.#options;
    const { committed } = this;
    const used = committed - this.free;
    return this.committed < this.capacity &&
      100 * used >= growThreshold * (committed - reservedBlocks);
  }

  #keptBack(reserved: boolean): number {
    return reserved ? 0 : this.#options.reservedBlocks;
  }

  #isHopeless({ count, reserved }: Asker): boolean {
    return count > this.capacity - this.#keptBack(reserved);
  }

  #isAhead(reserved: boolean): boolean {
    return this.#urgent.length > 0 || !reserved && this.#normal.length > 0;
  }

  #hasFree({ count, reserved }: Asker): boolean {
    const needed = this.#keptBack(reserved) + count;
    if (needed > this.capacity - this.#held.size) return false;
    while (this.free < needed && this.#grow());
    while (this.free < needed && this.#quarantine.length > 0) this.#letGo();
    return this.free >= needed;
  }

  #letGo(): void {
    this.#stacks.push(this.#quarantine.shift()!);
  }

  #grow(): boolean {
    const { maxBlocks, growStep } = this.#options;
    const step = Math.ceil(growStep * maxBlocks / 100);
    const wanted = Math.min(step, this.capacity - this.committed);
    if (wanted === 0) return false;
    this.#commit(wanted);
    this.grows++;
    return true;
  }

  /** So many more, in whole slabs but for spare slots: those first, then holes, then new addresses. */
  #commit(blocks: number): void {
    const { slabSlots } = this.#options;
    const rest = blocks - this.#stacks.addSpare(blocks);
    for (let slabs = Math.ceil(rest / slabSlots); slabs > 0; slabs--) {
      let first = this.#stacks.nextSlab();
      if (first < 0) {
        first = this.#stacks.slabs;
        this.#stacks.extend(first + 1);
      }
      this.#stacks.commit({ first, count: 1 });
    }
  }

  #grant({ count }: Asker): number[] {
    const slots = Array.from({ length: count }, () => this.#stacks.pop());
    for (const slot of slots) this.#held.add(slot);
    this.acquires += count;
    this.peak = Math.max(this.peak, this.#held.size);
    this.#note();
    if (this.#isGrowDue) this.#grow();
    return slots;
  }

  #pump(): void {
    for (
      let asker;
      (asker = this.#urgent[0] ?? this.#normal[0]) !== undefined;
    ) {
      if (!this.#hasFree(asker)) break;
      (asker.reserved ? this.#urgent : this.#normal).shift();
      this.answers.push({ asker, slots: this.#grant(asker) });
    }
  }

  #giveBack(most: number): number {
    let given = 0;
    for (let slab; (slab = this.#stacks.freeSlab()) >= 0;) {
      const slots = this.#stacks.slotsIn(slab);
      if (given + slots > most) break;
      this.#stacks.decommit({ first: slab, count: 1 });
      given += slots;
    }
    return given;
  }
}
