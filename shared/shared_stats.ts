/**
 * The numbers of a shared pool, gathered from the control block.
 */
import type { Region } from "../pool/region.ts";
import type { PoolStats } from "../pool/stats.ts";
import {
  ABANDONED,
  type Control,
  FREE,
  GONE,
  HEADER,
  HELD,
  kindOf,
  TRANSIT,
  WORKER,
} from "./control.ts";
import type { SharedFilledOptions } from "./handle.ts";

/** The numbers of a shared pool; exact while nothing is running. */
export interface SharedPoolStats extends PoolStats {
  /** Isolates attached, those that may have died included. */
  readonly attachedWorkers: number;
  /** Acquired blocks on their way between isolates. */
  readonly transitBlocks: number;
}

/** Looks at every slot. */
export function sharedStats(
  { name, blockSize, maxBlocks, reservedBlocks }: SharedFilledOptions,
  control: Control,
  region: Region,
  doubleReleases: number,
  waiting: number,
  listenerErrors: number,
): SharedPoolStats {
  let free = 0;
  let held = 0;
  let transit = 0;
  let abandoned = 0;
  for (let slot = 0; slot < maxBlocks; slot++) {
    const kind = kindOf(Atomics.load(control.owner, slot));
    if (kind === FREE) free++;
    else if (kind === HELD) held++;
    else if (kind === TRANSIT) transit++;
    else if (kind === ABANDONED) abandoned++;
  }
  const { words } = control;
  const over = Atomics.load(words, HEADER.STATE) === GONE && abandoned === 0;
  const mapped = over ? 0 : region.mappedBytes;
  const committed = over ? 0 : free + held + transit + abandoned;
  return Object.freeze({
    name,
    blockSize,
    maxBlocks,
    committedBlocks: committed,
    acquiredBlocks: over ? 0 : held + transit,
    freeBlocks: over ? 0 : free,
    reservedBlocks: over ? 0 : Math.min(reservedBlocks, free),
    quarantinedBlocks: 0,
    abandonedBlocks: over ? 0 : abandoned,
    lentBlocks: control.sum(WORKER.LENT),
    transitBlocks: over ? 0 : transit,
    attachedWorkers: Atomics.load(words, HEADER.ATTACHED),
    waiting,
    peakAcquired: words[HEADER.PEAK],
    acquires: control.sum(WORKER.TAKEN),
    releases: control.sum(WORKER.RELEASES),
    waits: control.sum(WORKER.WAITS),
    timeouts: control.sum(WORKER.TIMEOUTS),
    exhaustions: control.sum(WORKER.EXHAUSTIONS),
    grows: words[HEADER.GROWS],
    shrinks: words[HEADER.SHRINKS],
    growFailures: words[HEADER.GROW_FAILURES],
    leaks: control.sum(WORKER.LEAKS),
    doubleReleases,
    listenerErrors,
    committedBytes: committed * region.stride,
    mappedBytes: mapped,
  });
}
