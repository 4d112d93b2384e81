/**
 * When to grow, when to shrink, and by how much: counts and a given time in, counts out.
 *
 * Owns no memory and no timer, and never asks for the time itself. The hot path only compares the
 * number of free blocks with two marks; everything else happens when one of them is passed.
 */
import { type FilledOptions, shareOf } from "./options.ts";
import { COUNTLESS } from "./slots.ts";

/**
 * Decides the size of one pool.
 *
 * That it was idle is told by the fewest blocks that were free since the last look, which others count;
 * the clock is read when a pool that was busy at the last look becomes idle, and then at looks only.
 */
export class ScalingController {
  /** Call {@linkcode fell} when fewer blocks than this are free. */
  lowMark = 0;
  /** Call {@linkcode look} when more blocks than this are free. */
  highMark: number = COUNTLESS;

  /** The most blocks that can be committed now. */
  capacity: number;

  readonly #options: FilledOptions;
  readonly #slabSlots: number;
  /** Blocks of the slabs that `initialBlocks` fill. */
  readonly #floor: number;
  #committed = 0;
  /** Free blocks at or below which growing is due; -1 when it never is. */
  #growAt = -1;
  /** Free blocks above which the pool counts as idle. */
  #idleAbove: number = COUNTLESS;
  /** Since when it has been idle, as far as is known: a break is noticed by the next look. */
  #idleSince = Infinity;
  /** No grow by threshold before this time: the OS has just refused one. */
  #retryAt = -Infinity;

  /** Sizes a pool by its options, in slabs of `slabSlots` blocks. */
  constructor(options: FilledOptions, slabSlots: number) {
    this.#options = options;
    this.capacity = options.maxBlocks;
    this.#slabSlots = slabSlots;
    const slabs = Math.ceil(options.initialBlocks / slabSlots);
    this.#floor = Math.min(options.maxBlocks, slabs * slabSlots);
  }

  /** Blocks with memory are now this many. The rest is as for `look`. */
  resized(committed: number, free: number, least: number, now: number): void {
    const { reservedBlocks, growThreshold, shrinkThreshold } = this.#options;
    this.#committed = committed;
    const full = shareOf(growThreshold, committed - reservedBlocks);
    this.#growAt = committed < this.capacity ? committed - full : -1;
    this.lowMark = this.#growAt + 1;
    this.#idleAbove = Math.floor(shrinkThreshold * committed + 1e-9);
    this.look(free, least, now);
  }

  /** Fewer than `lowMark` are free. Whether to grow now. */
  fell(free: number, now: number): boolean {
    return free <= this.#growAt && !this.isRefused(now);
  }

  /** So many blocks are free now, and `least` is the fewest there were since the last look. */
  look(free: number, least: number, now: number): void {
    const idle = free > this.#idleAbove;
    if (!idle) this.#idleSince = Infinity;
    else if (this.#idleSince === Infinity || least <= this.#idleAbove) {
      this.#idleSince = now;
    }
    // A load about the line passes it at each lease: once until the next look is enough.
    this.highMark = idle ? COUNTLESS : this.#idleAbove;
  }

  /** The OS refused to grow: leave it in peace until `retryAt`, unless no block is free. */
  refused(retryAt: number): void {
    this.#retryAt = retryAt;
  }

  /** Whether the OS has refused so recently that asking again is in vain. */
  isRefused(now: number): boolean {
    return now < this.#retryAt;
  }

  /** How many grows lead from nothing to the limit. */
  get steps(): number {
    const { growStep, maxBlocks } = this.#options;
    return Math.ceil(maxBlocks / shareOf(growStep, maxBlocks));
  }

  /** How many blocks one grow adds at most. */
  growBy(): number {
    const { growStep, maxBlocks } = this.#options;
    return Math.min(
      shareOf(growStep, maxBlocks),
      this.capacity - this.#committed,
    );
  }

  /**
   * How many blocks to give back after a look, at most: 0 unless the pool was idle for a whole interval.
   * At least one slab, but never so many that the pool would have to grow again.
   */
  shrinkBy(free: number, now: number): number {
    const { shrinkIntervalMs, shrinkStep, growThreshold, reservedBlocks } =
      this.#options;
    // Timers fire up to a millisecond early against a clock that counts whole ones.
    const idleMs = now - this.#idleSince + 1;
    if (idleMs < shrinkIntervalMs) return 0;
    const step = shareOf(shrinkStep, this.#committed);
    const used = this.#committed - free;
    const busy = used / growThreshold + reservedBlocks;
    return Math.min(
      Math.max(step, this.#slabSlots),
      this.spare,
      Math.ceil(this.#committed - busy) - 1,
    );
  }

  /** Blocks committed beyond the initial ones. */
  get spare(): number {
    return this.#committed - this.#floor;
  }
}
