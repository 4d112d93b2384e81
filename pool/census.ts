/**
 * Who holds what, for how long: looks over the records of slots for reports to people.
 *
 * Reads only. Its cost grows with the number of slots ever lent, so nothing here is on a hot path.
 */
import type { Events } from "./events.ts";
import { stackOf } from "./leaks.ts";
import type { FilledOptions } from "./options.ts";
import { ENDING, HELD, LOST, QUARANTINED, type Slot } from "./slot.ts";
import { unref } from "./sizer.ts";
import type { Slots } from "./slots.ts";

/** What a slot is doing. */
export type SlotState =
  | "uncommitted"
  | "free"
  | "acquired"
  | "lent"
  | "quarantined"
  | "abandoned";

/** One slot, as people want to see it. */
export interface SlotInfo {
  /** Place in the pool, from 0. */
  readonly index: number;
  /** What it is doing. */
  readonly state: SlotState;
  /** The label of its lease. */
  readonly tag: string | undefined;
  /** For how long the lease has been held, in ms, where it is known. */
  readonly ageMs: number | undefined;
  /** Where it was acquired, where it is known. */
  readonly stack: string | undefined;
}

/** Rows that one dump shows at most. */
const MOST_ROWS = 1000;

/** Whether a lease of the slot has not ended. */
export function isOut({ state }: Slot): boolean {
  return state === HELD || state === ENDING;
}

/** Age of a lease in ms, if somebody noted when it began. */
export function ageOf({ since, watch }: Slot, now: number): number | undefined {
  const began = watch?.since ?? since;
  return began > 0 ? Math.max(0, now - began) : undefined;
}

/** Every slot below the highest ever committed, in order. */
export function* census(
  records: readonly Slot[],
  slots: Slots,
  now: number,
): Generator<SlotInfo> {
  for (let index = 0; index < slots.top; index++) {
    const slot = records[index];
    const state = stateOf(slot, slots.isCommitted(index));
    const told = state !== "free" && state !== "uncommitted";
    yield {
      index,
      state,
      tag: told ? slot.tag : undefined,
      ageMs: told && isOut(slot) ? ageOf(slot, now) : undefined,
      stack: told ? stackOf(slot.watch?.site ?? slot.trace) : undefined,
    };
  }
}

/** A table of the slots: neighbours of which nothing is to be told share a row. */
export function table(slots: Iterable<SlotInfo>): string {
  const rows: string[] = [];
  let run: { first: SlotInfo; last: number } | undefined;
  const flush = () => {
    if (run !== undefined) rows.push(rowOf(run.first, run.last));
  };
  for (const slot of slots) {
    const first = run?.first;
    const alike = first?.state === slot.state && isPlain(first) &&
      isPlain(slot);
    if (run !== undefined && alike) {
      run.last = slot.index;
      continue;
    }
    flush();
    run = { first: slot, last: slot.index };
    if (rows.length >= MOST_ROWS) {
      return `${rows.join("\n")}\n… and so on from slot ${slot.index}`;
    }
  }
  flush();
  return rows.join("\n");
}

/** Tells listeners of leases held too long, each once. */
export function watchOverdue(
  { overdueMs, name }: FilledOptions,
  records: readonly Slot[],
  events: Events,
): ReturnType<typeof setInterval> | undefined {
  if (overdueMs === undefined) return undefined;
  return unref(setInterval(() => {
    const now = Date.now();
    for (const slot of records) {
      if (slot.state !== HELD || slot.overdue || now - slot.since < overdueMs) {
        continue;
      }
      slot.overdue = true;
      events.emit("overdue", () => ({
        pool: name,
        tag: slot.tag,
        heldMs: now - slot.since,
        stack: stackOf(slot.watch?.site),
      }));
    }
  }, Math.ceil(overdueMs / 2)));
}

function stateOf(slot: Slot | undefined, isCommitted: boolean): SlotState {
  switch (slot?.state) {
    case HELD:
    case ENDING:
      return slot.lends > 0 ? "lent" : "acquired";
    case LOST:
      return "abandoned";
    case QUARANTINED:
      return "quarantined";
    default:
      return isCommitted ? "free" : "uncommitted";
  }
}

function isPlain({ tag, ageMs, stack }: SlotInfo): boolean {
  return tag === undefined && ageMs === undefined && stack === undefined;
}

function rowOf(
  { index, state, tag, ageMs, stack }: SlotInfo,
  last: number,
): string {
  const where = last === index ? `${index}` : `${index}–${last}`;
  const columns = [where.padStart(11), state.padEnd(11)];
  if (tag !== undefined) columns.push(JSON.stringify(tag));
  if (ageMs !== undefined) columns.push(`${ageMs} ms`);
  if (stack !== undefined) columns.push(stack.split("\n")[0].trim());
  return columns.join("  ").trimEnd();
}
