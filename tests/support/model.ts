// What a pool should do, in the plainest words: arrays, loops and whole percents. Knows which slot
// each lease gets, so the pool can be held to it. Time enters only where the pool shrinks.

import { assert } from "@std/assert";
import { SlabStacks } from "./slab_stacks.ts";

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
}

/** Somebody who asks for blocks. */
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
  /** Askers that were answered since somebody looked last. */
  readonly answers: Answer<A>[] = [];
  readonly #options: ModelOptions;
  readonly #stacks: SlabStacks;
  readonly #held = new Set<number>();
  readonly #quarantine: number[] = [];
  readonly #urgent: A[] = [];
  readonly #normal: A[] = [];
  /** When the pool was last seen to be not idle. */
  #busyAt: number;
  /** Since when the pool has had to shrink, without a break. */
  #dueSince: number;

  constructor(options: ModelOptions, now: number) {
    this.#busyAt = this.#dueSince = now;
    this.#options = options;
    const { maxBlocks, slabSlots, initialBlocks } = options;
    this.#stacks = new SlabStacks(maxBlocks, slabSlots);
    const count = Math.ceil(initialBlocks / slabSlots);
    this.#stacks.commit({ first: 0, count });
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
    const { free, committed, abandoned, acquires, releases } = this;
    return {
      committedBlocks: committed,
      freeBlocks: free,
      acquiredBlocks: this.#held.size,
      reservedBlocks: Math.min(free, this.#options.reservedBlocks),
      quarantinedBlocks: this.#quarantine.length,
      abandonedBlocks: abandoned,
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

  abandon(slot: number): void {
    assert(this.#held.delete(slot), "it was held");
    this.abandoned++;
    let refused = 0;
    for (const queue of [this.#urgent, this.#normal]) {
      for (const asker of [...queue]) {
        if (!this.#isHopeless(asker)) continue;
        queue.splice(queue.indexOf(asker), 1);
        this.answers.push({ asker, error: "exhausted" });
        this.exhaustions++;
        refused++;
      }
    }
    if (refused > 0) this.#pump();
  }

  /** How many blocks a trim gives back. */
  trim(): number {
    const given = this.#giveBack(this.#spare);
    if (given > 0) this.shrinks++;
    return given;
  }

  /**
   * The state has been the same since the last look; whether the pool was idle is noted. It may not be
   * so for longer than two intervals: that it looks once in each is what may come on top of one.
   */
  look(now: number): void {
    if (!this.#isIdle) this.#busyAt = now;
    if (!this.#mustShrink) this.#dueSince = now;
    assert(
      now - this.#dueSince <= 2 * this.#options.shrinkIntervalMs,
      `it had to shrink since ${this.#dueSince}, and it is ${now}`,
    );
  }

  /** The pool says it has shrunk to so many blocks: checks that it may have. */
  shrunk(committed: number, now: number): void {
    const before = this.committed;
    const { shrinkIntervalMs } = this.#options;
    assert(committed < before, "it is smaller now");
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
    const after = committed - Math.min(step, this.#spare);
    const enough = 100 * used < growThreshold * (after - reservedBlocks);
    return enough && this.#stacks.slotsIn(highest) <= committed - after;
  }

  get #spare(): number {
    const { initialBlocks, slabSlots, maxBlocks } = this.#options;
    const floor = Math.ceil(initialBlocks / slabSlots) * slabSlots;
    return this.committed - Math.min(maxBlocks, floor);
  }

  get #isIdle(): boolean {
    return 100 * this.free > this.#options.shrinkThreshold * this.committed;
  }

  get #isGrowDue(): boolean {
    const { growThreshold, reservedBlocks, maxBlocks } = this.#options;
    const { committed } = this;
    const used = committed - this.free;
    return committed < maxBlocks &&
      100 * used >= growThreshold * (committed - reservedBlocks);
  }

  #kept(reserved: boolean): number {
    return reserved ? 0 : this.#options.reservedBlocks;
  }

  #isHopeless({ count, reserved }: Asker): boolean {
    return count >
      this.#options.maxBlocks - this.abandoned - this.#kept(reserved);
  }

  #isAhead(reserved: boolean): boolean {
    return this.#urgent.length > 0 || !reserved && this.#normal.length > 0;
  }

  #hasFree({ count, reserved }: Asker): boolean {
    const needed = this.#kept(reserved) + count;
    const { maxBlocks } = this.#options;
    if (needed > maxBlocks - this.#held.size - this.abandoned) return false;
    while (this.free < needed && this.#grow());
    while (this.free < needed && this.#quarantine.length > 0) this.#letGo();
    return this.free >= needed;
  }

  #letGo(): void {
    this.#stacks.push(this.#quarantine.shift()!);
  }

  #grow(): boolean {
    const { maxBlocks, growStep, slabSlots } = this.#options;
    const step = Math.ceil(growStep * maxBlocks / 100);
    const wanted = Math.min(step, maxBlocks - this.committed);
    for (let slabs = Math.ceil(wanted / slabSlots); slabs > 0; slabs--) {
      const first = this.#stacks.nextSlab();
      if (first < 0) break;
      this.#stacks.commit({ first, count: 1 });
    }
    if (wanted > 0) this.grows++;
    return wanted > 0;
  }

  #grant({ count }: Asker): number[] {
    const slots = Array.from({ length: count }, () => this.#stacks.pop());
    for (const slot of slots) this.#held.add(slot);
    this.acquires += count;
    this.peak = Math.max(this.peak, this.#held.size);
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
