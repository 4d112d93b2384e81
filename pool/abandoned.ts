/**
 * The slots that a pool has given up: which, what becomes of their pages, and what that costs.
 *
 * An address given up is never lent again, because native code may still write there, and never unmapped.
 * Where nothing may still be read its pages go back at once; where a buffer is out they stay with their
 * bytes, beside what the pool may have, up to a bound. Knows no leases and no waiters.
 */
import type { FilledOptions } from "./options.ts";
import type { Region } from "./region.ts";

/** A slot that is being given up. */
export interface GivenUp {
  /** Place in the pool. */
  readonly index: number;
  /** Whether JavaScript may have a buffer of it: then its bytes must stay. */
  readonly mayBeRead: boolean;
}

/** What is given up in one slab. */
interface Slab {
  slots: number;
  /** Those of them whose bytes may still be read. */
  kept: number;
}

/** The most bytes that may be kept for others, of a pool whose slots are `stride` apart. */
export function mostKept(
  { maxBlocks, maxAbandonedBytes }: FilledOptions,
  stride: number,
): number {
  return maxAbandonedBytes ?? Math.max(stride, maxBlocks * stride / 4);
}

/** The slots given up by one pool. */
export class Abandoned {
  /** Bytes that stay resident for slots given up. */
  bytes = 0;
  /** Those of them that may still be read, which count against the bound. */
  #kept = 0;
  readonly #most: number;
  readonly #region: Region;
  readonly #slabs = new Map<number, Slab>();

  /** None yet. */
  constructor(options: FilledOptions, region: Region) {
    this.#most = mostKept(options, region.stride);
    this.#region = region;
  }

  /** Slabs whose addresses have to stay. */
  get slabs(): ReadonlySet<number> {
    return new Set(this.#slabs.keys());
  }

  /** Whether all slots of a slab were given up, and their pages. */
  isDead(slab: number): boolean {
    const { slots, kept } = this.#slabs.get(slab) ?? { slots: 0, kept: 0 };
    return slots === this.#region.slabSlots && kept === 0;
  }

  /** The pool has ended, and the OS refused to take the memory of so many other blocks back. */
  stay(blocks: number): void {
    this.bytes += blocks * this.#region.stride;
  }

  /**
   * Gives a slot up. Returns whether a fresh one may replace it: not once the bytes that have to stay
   * exceed the bound.
   */
  add({ index: slot, mayBeRead }: GivenUp): boolean {
    const region = this.#region;
    // On the heap the memory is the buffer's, and lasts as long.
    if (!region.hasAddresses) return true;
    const { stride, slabSlots } = region;
    const index = Math.floor(slot / slabSlots);
    const slab = this.#slabs.get(index) ?? { slots: 0, kept: 0 };
    this.#slabs.set(index, slab);
    slab.slots++;
    if (mayBeRead) {
      slab.kept++;
      this.bytes += stride;
      this.#kept += stride;
      return this.#kept <= this.#most;
    }
    if (region.hasOwnPages) {
      if (region.dropSlot(slot) !== 0) this.bytes += stride;
      return true;
    }
    this.bytes += stride;
    const run = { first: index, count: 1 };
    if (this.isDead(index) && region.decommit(run) === 0) {
      this.bytes -= slabSlots * stride;
    }
    return true;
  }
}
