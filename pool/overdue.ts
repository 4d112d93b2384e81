/**
 * Sends the event `overdue` for leases that are held too long, each once.
 *
 * Reads the records of slots from time to time; a pool without `overdueMs` has none of this.
 */
import type { Events } from "./events.ts";
import { stackOf } from "./leaks.ts";
import type { FilledOptions } from "./options.ts";
import { LEASE_HELD, type Slot } from "./slot.ts";
import { Timer } from "./timers.ts";

/** Looks for overdue leases of one pool. */
export class OverdueWatch {
  readonly #name: string;
  readonly #overdueMs: number;
  readonly #records: readonly Slot[];
  readonly #events: Events;
  readonly #timer: Timer | undefined;

  /** Looks twice in `overdueMs`, if it is set. */
  constructor(
    { name, overdueMs }: FilledOptions,
    records: readonly Slot[],
    events: Events,
  ) {
    this.#name = name;
    this.#overdueMs = overdueMs ?? Infinity;
    this.#records = records;
    this.#events = events;
    if (overdueMs === undefined) return;
    this.#timer = Timer.every(
      Math.ceil(overdueMs / 2),
      this as OverdueWatch,
      (watch) => watch.#look(),
    );
  }

  /** The pool has ended. */
  stop(): void {
    this.#timer?.stop();
  }

  #look(): void {
    const now = Date.now();
    for (const slot of this.#records) {
      if (slot.state !== LEASE_HELD || slot.overdue) continue;
      const heldMs = now - slot.since;
      if (heldMs < this.#overdueMs) continue;
      slot.overdue = true;
      this.#events.emit("overdue", () => ({
        pool: this.#name,
        tag: slot.tag,
        heldMs,
        stack: stackOf(slot.note?.site),
      }));
    }
  }
}
