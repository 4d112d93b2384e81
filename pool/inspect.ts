/**
 * Reports on slots, for `slots()`, `dump()` and messages: what each is doing, for which tag, since
 * when.
 *
 * Reads only. Its cost grows with the number of slots ever lent, so nothing here is on a hot path.
 */
import { quote } from "./checks.ts";
import { stackOf } from "./leaks.ts";
import {
  LEASE_ABANDONED,
  LEASE_ENDING,
  LEASE_HELD,
  LEASE_QUARANTINED,
  type Slot,
} from "./slot.ts";
import type { Slots } from "./slots.ts";

/** What a slot is doing. */
export type SlotState =
  | "uncommitted"
  | "free"
  | "acquired"
  | "lent"
  | "quarantined"
  | "abandoned";

/** One slot in a report. */
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
/** Characters of a tag that one dump shows at most. */
const MOST_TAG = 40;

/** Whether a lease of the slot has not ended. */
export function isOut({ state }: Slot): boolean {
  return state === LEASE_HELD || state === LEASE_ENDING;
}

/** Age of a lease in ms, if its start was noted. */
export function ageOf({ since, note }: Slot, now: number): number | undefined {
  const began = note?.since ?? since;
  return began > 0 ? Math.max(0, now - began) : undefined;
}

/** Every slot below the highest ever committed, in order. */
export function* inspectSlots(
  records: readonly Slot[],
  slots: Slots,
  now: number,
): Generator<SlotInfo> {
  for (let index = 0; index < slots.top; index++) {
    const slot = records[index];
    const state = stateOf(slot, slots.isCommitted(index));
    const told = state === "free" || state === "uncommitted" ? undefined : slot;
    yield {
      index,
      state,
      tag: told?.tag,
      ageMs: told && isOut(told) ? ageOf(told, now) : undefined,
      stack: stackOf(told?.note?.site ?? told?.trace),
    };
  }
}

/** A table of the slots: neighbours in one state without tag, age or stack share a row. */
export function table(slots: Iterable<SlotInfo>): string {
  const rows: { first: SlotInfo; last: number }[] = [];
  let more = "";
  for (const slot of slots) {
    const row = rows.at(-1);
    if (
      row?.first.state === slot.state && isPlain(row.first) && isPlain(slot)
    ) {
      row.last = slot.index;
    } else if (rows.length === MOST_ROWS) {
      more = `\n… and so on from slot ${slot.index}`;
      break;
    } else {
      rows.push({ first: slot, last: slot.index });
    }
  }
  return aligned(rows.map(({ first, last }) => cellsOf(first, last))) + more;
}

function stateOf(slot: Slot | undefined, isCommitted: boolean): SlotState {
  switch (slot?.state) {
    case LEASE_HELD:
    case LEASE_ENDING:
      return slot.lends > 0 ? "lent" : "acquired";
    case LEASE_ABANDONED:
      return "abandoned";
    case LEASE_QUARANTINED:
      return "quarantined";
    default:
      return isCommitted ? "free" : "uncommitted";
  }
}

function isPlain({ tag, ageMs, stack }: SlotInfo): boolean {
  return tag === undefined && ageMs === undefined && stack === undefined;
}

function cellsOf(
  { index, state, tag, ageMs, stack }: SlotInfo,
  last: number,
): string[] {
  return [
    last === index ? `${index}` : `${index}–${last}`,
    state,
    tag === undefined ? "" : quote(tag, MOST_TAG),
    ageMs === undefined ? "" : `${ageMs} ms`,
    stack === undefined ? "" : stack.split("\n")[0]!.trim(),
  ];
}

/** Each cell as wide as the widest below and above it; numbers to the right. */
function aligned(rows: string[][]): string {
  const widths = [11, 11, 0, 0, 0].map((least, column) =>
    rows.reduce((width, row) => Math.max(width, row[column]!.length), least)
  );
  const pads = ["padStart", "padEnd", "padEnd", "padStart", "padEnd"] as const;
  return rows.map((row) =>
    row.map((cell, at) => cell[pads[at]!](widths[at]!))
      .filter((_, at) => widths[at]! > 0).join("  ").trimEnd()
  ).join("\n");
}
