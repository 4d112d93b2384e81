/**
 * The numbers of a shared pool, gathered from the control block.
 */
import type { PoolStats } from "../pool/stats.ts";
import {
  ABANDONED,
  CLAIMED,
  type Control,
  COUNT,
  ENDING,
  FREE,
  HEADER,
  HELD,
  isUnreplaced,
  kindOf,
  LEFT_UNIT,
  SOILED,
  TRANSIT,
  UNMAPPED,
  USED,
  WORKER,
} from "./control.ts";
import type { SharedFilledOptions } from "./handle.ts";
import type { SharedRegion } from "./shared_region.ts";

/** The numbers of a shared pool, of all isolates together; exact while nothing is running. */
export interface SharedPoolStats extends PoolStats {
  /** Isolates attached, those that have died and are not reclaimed yet included. */
  readonly attachedWorkers: number;
  /** Acquired blocks on their way between isolates. */
  readonly transitBlocks: number;
}

/** Bytes of address space that the pool has now. */
export function mappedNow(control: Control, region: SharedRegion): number {
  const { words } = control;
  const left = words[HEADER.MAPPING]! - UNMAPPED;
  if (left >= 0) return left * LEFT_UNIT;
  region.catchUp();
  return region.mappedBytes;
}

/** Blocks of each kind, by the owner words. */
function take(control: Control) {
  const seen = { free: 0, held: 0, transit: 0, unhealed: 0, lent: 0 };
  const top = Atomics.load(control.words, HEADER.TOP);
  for (let slot = 0; slot < top; slot++) {
    const word = Atomics.load(control.owner, slot);
    switch (kindOf(word)) {
      case FREE:
      case CLAIMED:
        seen.free++;
        break;
      case HELD:
      case SOILED:
      case USED:
        seen.held++;
        if (Atomics.load(control.lends, slot) > 0) seen.lent++;
        break;
      case TRANSIT:
        seen.transit++;
        break;
      case ABANDONED:
        if (!isUnreplaced(word)) seen.unhealed++;
    }
  }
  // What is left of a pool that has ended are the blocks that a view may still reach.
  if (control.state >= ENDING) {
    seen.free =
      seen.held =
      seen.transit =
      seen.lent =
        0;
  }
  return seen;
}

/** Looks at every slot. */
export function sharedStats(
  { name, blockSize, maxBlocks, reservedBlocks }: SharedFilledOptions,
  control: Control,
  region: SharedRegion,
  attachedWorkers: number,
  listenerErrors: number,
): SharedPoolStats {
  const { words } = control;
  const { free, held, transit, unhealed, lent } = take(control);
  const acquired = held + transit;
  const committed = free + acquired;
  const abandoned = words[HEADER.GIVEN_UP]! + unhealed;
  const left = words[HEADER.KEPT]! + words[HEADER.UNREAD]! + unhealed;
  // Isolates count what they have taken a moment later.
  const acquires = Math.max(control.sum(COUNT.ACQUIRES), acquired);
  return Object.freeze({
    name,
    blockSize,
    maxBlocks,
    committedBlocks: committed,
    acquiredBlocks: acquired,
    freeBlocks: free,
    reservedBlocks: Math.min(reservedBlocks, free),
    quarantinedBlocks: 0,
    abandonedBlocks: abandoned,
    capacityBlocks: maxBlocks - words[HEADER.UNREPLACED]!,
    abandonedBytes: left * region.stride,
    lentBlocks: lent,
    transitBlocks: transit,
    attachedWorkers,
    waiting: control.total(WORKER.WAITING),
    // Isolates that take and hand over at once miss each other's blocks, or count them twice.
    peakAcquired: Math.min(acquires, Math.max(words[HEADER.PEAK]!, acquired)),
    acquires,
    releases: Math.max(0, acquires - acquired - abandoned),
    waits: control.sum(COUNT.WAITS),
    timeouts: control.sum(COUNT.TIMEOUTS),
    exhaustions: control.sum(COUNT.EXHAUSTIONS),
    grows: words[HEADER.GROWS]!,
    shrinks: words[HEADER.SHRINKS]!,
    growFailures: words[HEADER.GROW_FAILURES]!,
    leaks: control.sum(COUNT.LEAKS),
    doubleReleases: control.sum(COUNT.DOUBLE_RELEASES),
    listenerErrors,
    waitMs: control.waitMs.snapshot(),
    heldMs: control.heldMs.snapshot(),
    committedBytes: region.layout.bytesOf(committed),
    mappedBytes: mappedNow(control, region),
  });
}
