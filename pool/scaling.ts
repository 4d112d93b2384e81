/**
 * When to grow, when to shrink, and by how much, for every kind of pool: counts and a given time in,
 * counts out.
 *
 * Owns no memory and no timer, and never asks for the time itself.
 */
import type { SmritiError } from "./errors.ts";
import { type FilledOptions, shareOf } from "./options.ts";
import { COUNTLESS } from "./slots.ts";

/** Bytes given back by one piece of a shrink: the event loop runs in between. */
export const SHRINK_PIECE: number = 4 * 1024 * 1024;
/** How long no memory is asked for ahead of need after the OS refused some, in ms. */
export const REFUSAL_MS = 100;

/** Looks at a pool in one `shrinkIntervalMs`. Idleness is noticed by one, and acted on by another. */
const LOOKS = 4;
/** The shortest time between two looks, unless the interval is shorter, in ms. */
const LEAST_LOOK_MS = 25;

/** How often a pool looks whether it was idle, in ms. */
export function lookMs({ shrinkIntervalMs }: FilledOptions): number {
  const often = Math.max(LEAST_LOOK_MS, Math.ceil(shrinkIntervalMs / LOOKS));
  return Math.min(shrinkIntervalMs, often);
}

/** The scaling policy of the options: functions of counts alone. */
export class ScalingPolicy {
  /** Blocks of the slabs that `initialBlocks` fill: what a pool never gives back. */
  readonly floor: number;

  readonly #options: FilledOptions;
  readonly #slabSlots: number;

  /** For a pool whose slabs have `slabSlots` blocks. */
  constructor(options: FilledOptions, slabSlots: number) {
    this.#options = options;
    this.#slabSlots = slabSlots;
    const slabs = Math.ceil(options.initialBlocks / slabSlots);
    this.floor = Math.min(options.maxBlocks, slabs * slabSlots);
  }

  /** Free blocks at or below which growing is due; -1 at the capacity, when it never is. */
  growAt(committed: number, capacity: number): number {
    if (committed >= capacity) return -1;
    const { reservedBlocks, growThreshold } = this.#options;
    return committed - shareOf(growThreshold, committed - reservedBlocks);
  }

  /** Free blocks above which a pool counts as idle. */
  idleAbove(committed: number): number {
    return Math.floor(this.#options.shrinkThreshold * committed + 1e-9);
  }

  /** How many blocks one grow adds at most. */
  growBy(committed: number, capacity: number): number {
    const { growStep, maxBlocks } = this.#options;
    return Math.min(shareOf(growStep, maxBlocks), capacity - committed);
  }

  /** How many grows lead from nothing to the limit. */
  get steps(): number {
    const { growStep, maxBlocks } = this.#options;
    return Math.ceil(maxBlocks / shareOf(growStep, maxBlocks));
  }

  /**
   * How many blocks to give back at most: 0 unless the pool was idle for a whole interval. At least
   * one slab, but never so many that the pool would have to grow again.
   */
  shrinkBy(committed: number, free: number, idleMs: number): number {
    const { shrinkIntervalMs, shrinkStep, growThreshold, reservedBlocks } =
      this.#options;
    // Timers fire up to a millisecond early against a clock that counts whole ones.
    if (idleMs + 1 < shrinkIntervalMs) return 0;
    const step = shareOf(shrinkStep, committed);
    const busy = (committed - free) / growThreshold + reservedBlocks;
    return Math.min(
      Math.max(step, this.#slabSlots),
      committed - this.floor,
      Math.ceil(committed - busy) - 1,
    );
  }
}

/**
 * What a refusal of the OS means: no growing ahead for a while. A caller that finds no block free asks
 * all the same.
 */
export class Refusals {
  /** The OS's last refusal of memory, unless it has given some since. */
  last: SmritiError | undefined;
  #until: number | undefined;

  /** What an attempt to grow came to at this time. The clock may run over at 32 bits. */
  note(error: SmritiError | undefined, now: number): void {
    this.last = error;
    if (error !== undefined) this.#until = now + REFUSAL_MS;
  }

  /** Whether the OS has refused so recently that asking again is in vain. */
  isRecent(now: number): boolean {
    if (this.#until === undefined) return false;
    if ((this.#until - now | 0) > 0) return true;
    this.#until = undefined;
    return false;
  }
}

/**
 * Decides the size of a pool of one isolate. The hot path only compares the number of free blocks with
 * two marks; everything else happens when one of them is passed.
 *
 * Whether it was idle follows from the low-water mark of free blocks since the last look, which `Slots`
 * keeps; the clock is read when a pool that was busy at the last look becomes idle, and then at looks
 * only.
 */
export class ScalingController {
  /** Call {@linkcode fell} when fewer blocks than this are free. */
  lowMark = 0;
  /** Call {@linkcode look} when more blocks than this are free. */
  highMark: number = COUNTLESS;

  /** The most blocks that can be committed now. */
  capacity: number;

  readonly #policy: ScalingPolicy;
  #committed = 0;
  /** Free blocks at or below which growing is due; -1 when it never is. */
  #growAt = -1;
  /** Free blocks above which the pool counts as idle. */
  #idleAbove: number = COUNTLESS;
  /** Since when it has been idle, as far as is known: a break is noticed by the next look. */
  #idleSince = Infinity;

  /** Sizes a pool by its options, in slabs of `slabSlots` blocks. */
  constructor(options: FilledOptions, slabSlots: number) {
    this.#policy = new ScalingPolicy(options, slabSlots);
    this.capacity = options.maxBlocks;
  }

  /** Blocks with memory are now this many. The rest is as for `look`. */
  resized(committed: number, free: number, least: number, now: number): void {
    // The fewest there were count against the size the pool had then.
    const wasBusy = least <= this.#idleAbove;
    this.#committed = committed;
    this.#growAt = this.#policy.growAt(committed, this.capacity);
    this.lowMark = this.#growAt + 1;
    this.#idleAbove = this.#policy.idleAbove(committed);
    this.#look(free, wasBusy, now);
  }

  /** Fewer than `lowMark` are free. Whether to grow now. */
  fell(free: number): boolean {
    return free <= this.#growAt;
  }

  /** So many blocks are free now, and `least` is the fewest there were since the last look. */
  look(free: number, least: number, now: number): void {
    this.#look(free, least <= this.#idleAbove, now);
  }

  #look(free: number, wasBusy: boolean, now: number): void {
    const idle = free > this.#idleAbove;
    if (!idle) this.#idleSince = Infinity;
    else if (this.#idleSince === Infinity || wasBusy) this.#idleSince = now;
    // A load that moves about the line passes it at each lease: that is noted once until the next look.
    this.highMark = idle ? COUNTLESS : this.#idleAbove;
  }

  /** How many grows lead from nothing to the limit. */
  get steps(): number {
    return this.#policy.steps;
  }

  /** How many blocks one grow adds at most. */
  growBy(): number {
    return this.#policy.growBy(this.#committed, this.capacity);
  }

  /** How many blocks to give back after a look, at most. If any, the next interval begins. */
  shrinkBy(free: number, now: number): number {
    const idleMs = now - this.#idleSince;
    const blocks = this.#policy.shrinkBy(this.#committed, free, idleMs);
    if (blocks > 0) this.#idleSince = now;
    return blocks;
  }

  /** Blocks committed beyond the initial ones. */
  get spare(): number {
    return this.#committed - this.#policy.floor;
  }
}
