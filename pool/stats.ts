/**
 * The numbers a pool shows and the shape they are shown in. Counts only; nothing is decided here.
 */

import { type Durations, type Histogram, OwnDurations } from "./histogram.ts";
import type { FilledOptions } from "./options.ts";
import type { Region } from "./region.ts";
import type { Slots } from "./slots.ts";

/** A frozen snapshot of a pool. `committed = free + acquired + quarantined`, always. */
export interface PoolStats {
  /** The pool's label. */
  readonly name: string;
  /** Bytes in one block. */
  readonly blockSize: number;
  /** The most blocks there can be. */
  readonly maxBlocks: number;
  /** Blocks with memory behind them. */
  readonly committedBlocks: number;
  /** Blocks held by leases, lent ones included. */
  readonly acquiredBlocks: number;
  /** Blocks ready to be lent, those kept back included. */
  readonly freeBlocks: number;
  /** Free blocks kept back for `{ reserved: true }`. */
  readonly reservedBlocks: number;
  /** Blocks released and not yet reusable (`safety: "strict"`). */
  readonly quarantinedBlocks: number;
  /** Blocks given up because their memory may still be written to or read; fresh ones replaced them. */
  readonly abandonedBlocks: number;
  /**
   * The most blocks that can be committed now: `maxBlocks`, unless more were given up than may be
   * replaced.
   */
  readonly capacityBlocks: number;
  /** Bytes that stay behind for blocks given up, beside those of the pool. */
  readonly abandonedBytes: number;
  /** Acquired blocks that a running operation holds. */
  readonly lentBlocks: number;
  /** Acquires waiting now. */
  readonly waiting: number;
  /** The most blocks ever acquired at once. */
  readonly peakAcquired: number;
  /** Leases begun. */
  readonly acquires: number;
  /** Leases ended by release. */
  readonly releases: number;
  /** Acquires that had to wait. */
  readonly waits: number;
  /** Acquires that ran out of time. */
  readonly timeouts: number;
  /** Acquires refused because of the limit or because too many were waiting. */
  readonly exhaustions: number;
  /** Times the pool grew. */
  readonly grows: number;
  /** Times the pool gave memory back, `trim()` included. */
  readonly shrinks: number;
  /** Times the OS refused memory for growing, or refused to take memory back. */
  readonly growFailures: number;
  /** Blocks that became unreachable unreleased, as far as leak detection watched. */
  readonly leaks: number;
  /** Second releases of one lease, refused. */
  readonly doubleReleases: number;
  /** Errors thrown by event listeners. */
  readonly listenerErrors: number;
  /** How long acquires waited that had to, and wait no more: served or not. */
  readonly waitMs: Histogram;
  /** How long leases were held that have ended, of those that leak detection watched. */
  readonly heldMs: Histogram;
  /** Bytes of memory behind the blocks, whether the OS has made them resident or not. */
  readonly committedBytes: number;
  /** Bytes of address space held. */
  readonly mappedBytes: number;
}

/** Counters of what cannot be derived from slots and region. */
export class Counters {
  /** How long acquires waited. */
  readonly waitMs: Durations;
  /** How long leases were held that leak detection watched. */
  readonly heldMs: Durations;
  waits = 0;
  timeouts = 0;
  exhaustions = 0;
  grows = 0;
  shrinks = 0;
  growFailures = 0;
  leaks = 0;
  doubleReleases = 0;
  lentBlocks = 0;
  /** Leases that ended by leaving the pool instead of by release. */
  abandons = 0;

  /** Nothing counted yet, but for durations that are given. */
  constructor(
    waitMs: Durations = new OwnDurations(),
    heldMs: Durations = new OwnDurations(),
  ) {
    this.waitMs = waitMs;
    this.heldMs = heldMs;
  }
}

/** The numbers of a pool now. */
export function poolStats(
  { name, blockSize, maxBlocks, reservedBlocks }: FilledOptions,
  region: Region,
  slots: Slots,
  { abandons, waitMs, heldMs, ...counters }: Counters,
  told: Pick<
    PoolStats,
    "abandonedBytes" | "waiting" | "listenerErrors"
  >,
): PoolStats {
  return Object.freeze({
    name,
    blockSize,
    maxBlocks,
    committedBlocks: slots.committed,
    acquiredBlocks: slots.acquired,
    freeBlocks: slots.free,
    reservedBlocks: Math.min(reservedBlocks, slots.free),
    quarantinedBlocks: slots.quarantined,
    abandonedBlocks: slots.abandoned,
    capacityBlocks: slots.capacity,
    peakAcquired: slots.peak,
    acquires: slots.taken,
    releases: slots.taken - slots.acquired - abandons,
    ...counters,
    ...told,
    waitMs: waitMs.snapshot(),
    heldMs: heldMs.snapshot(),
    committedBytes: committedBytes(slots, region),
    mappedBytes: region.mappedBytes,
  });
}

/** What the OS was asked for, but for abandoned slots: that is `abandonedBytes`, or was given back. */
function committedBytes(slots: Slots, { slabBytes, stride }: Region): number {
  if (slots.committed === 0) return 0;
  return slots.committedSlabs * slabBytes - slots.abandoned * stride;
}
