/**
 * The numbers a pool shows and the shape they are shown in. Counts only; nothing is decided here.
 */

import type { FilledOptions } from "./options.ts";
import type { Region } from "./region.ts";
import type { Slots } from "./slots.ts";

/** A frozen snapshot of a pool. `committed = free + acquired + quarantined + abandoned`, always. */
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
  /** Blocks out of the pool for good. */
  readonly abandonedBlocks: number;
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
  /** Bytes of memory behind the blocks, whether the OS has made them resident or not. */
  readonly committedBytes: number;
  /** Bytes of address space held. */
  readonly mappedBytes: number;
}

/** What is counted because nothing else tells it. */
export class Counters {
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
}

/** The numbers of a pool now. */
export function snapshot(
  { name, blockSize, maxBlocks, reservedBlocks }: FilledOptions,
  region: Region,
  slots: Slots,
  { abandons, ...counters }: Counters,
  waiting: number,
  listenerErrors: number,
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
    waiting,
    peakAcquired: slots.peak,
    acquires: slots.taken,
    releases: slots.taken - slots.acquired - abandons,
    ...counters,
    listenerErrors,
    committedBytes: region.layout.bytesOf(slots.committed),
    mappedBytes: region.mappedBytes,
  });
}
