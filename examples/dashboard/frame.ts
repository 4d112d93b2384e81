/**
 * One picture of a pool as the page gets it, several times a second. Takes it; sends nothing.
 */

import type { BlockPool, PoolStats, SlotState } from "@smriti/pool";
import type { Load } from "./load.ts";
import type { Waits, WaitSummary } from "./waits.ts";

/** A letter for each state, in the text that tells the slots. */
const LETTERS: Record<SlotState, string> = {
  uncommitted: "u",
  free: "f",
  acquired: "a",
  lent: "l",
  quarantined: "q",
  abandoned: "x",
};

/** What one message to the page says. */
export interface Frame {
  /** When, in ms since the process began. */
  readonly atMs: number;
  readonly stats: PoolStats;
  readonly backend: BlockPool["backend"];
  /** Every slot in order, runs put together: `a3f12u85` is three acquired, twelve free, … */
  readonly slots: string;
  /** Bytes of the whole process that are in memory. */
  readonly rssBytes: number;
  /** Bytes that V8's heap has taken: garbage of the process, no memory of the pool. */
  readonly heapBytes: number;
  /** Bytes outside its heap that V8 counts. */
  readonly externalBytes: number;
  readonly waits: WaitSummary;
  readonly load: { readonly bursting: boolean; readonly held: number };
}

/** The pool now. */
export function takeFrame(pool: BlockPool, waits: Waits, load: Load): Frame {
  const { rss, heapTotal, external } = Deno.memoryUsage();
  return {
    atMs: performance.now(),
    stats: pool.stats(),
    backend: pool.backend,
    slots: runs(pool),
    rssBytes: rss,
    heapBytes: heapTotal,
    externalBytes: external,
    waits: waits.summary(),
    load: { bursting: load.bursting, held: load.held },
  };
}

function runs(pool: BlockPool): string {
  let text = "", letter = "", count = 0, slots = 0;
  for (const { state } of pool.slots()) {
    slots++;
    if (LETTERS[state] === letter) {
      count++;
      continue;
    }
    if (count > 0) text += letter + count;
    letter = LETTERS[state];
    count = 1;
  }
  if (count > 0) text += letter + count;
  // slots() ends at the highest slot that was ever committed.
  const rest = pool.maxBlocks - slots;
  return rest > 0 ? `${text}${LETTERS.uncommitted}${rest}` : text;
}
