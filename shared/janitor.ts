/**
 * Keeps house in a shared pool: deals with what the dead have left, with tickets that nobody
 * adopted, and with hints that a death has swallowed.
 *
 * Nothing is taken from a thread that may still run, nor memory that it may still have native code
 * writing to.
 */
import type { SharedLeases } from "./shared_leases.ts";
import type { Bell } from "./bell.ts";
import {
  ABANDONED,
  CLAIMED,
  type Control,
  FREE,
  HEADER,
  HELD,
  kindOf,
  OPEN,
  TRANSIT,
  WORKER,
  workerOf,
} from "./control.ts";
import type { Roster } from "./roster.ts";
import type { SharedDispatcher } from "./shared_dispatcher.ts";
import type { SharedSizer } from "./shared_sizer.ts";
import type { SharedSlots } from "./shared_slots.ts";

/** Slots looked at by one round: tens of microseconds. */
const ROUND = 16_384;

/** What a janitor works with. */
export interface JanitorParts {
  readonly control: Control;
  readonly slots: SharedSlots;
  readonly leases: SharedLeases;
  readonly sizer: SharedSizer;
  readonly dispatcher: SharedDispatcher;
  readonly bell: Bell;
  readonly roster: Roster;
  readonly worker: number;
}

/** Walks in a row that must agree before a count is set right. */
const WALKS = 4;

/**
 * Compares a count of slots with the slots. A worker that dies between the two leaves them apart for
 * good, one that is alive for a moment: so a count is set right when it has been wrong in the same way
 * for several walks, and should it have been right after all, it is so again after some more.
 */
class Audit {
  /** Slots of the kind, so far in this walk. */
  slots = 0;
  readonly #at: number;
  #last = "";
  #times = 0;

  /** Of the count at this word. */
  constructor(at: number) {
    this.#at = at;
  }

  /** The walk is over; true if the count was wrong and is set right. */
  end(words: Int32Array): boolean {
    const count = Atomics.load(words, this.#at);
    const { slots } = this;
    this.slots = 0;
    const now = `${count} ${slots}`;
    this.#times = now === this.#last ? this.#times + 1 : 1;
    this.#last = now;
    if (count === slots || this.#times < WALKS) return false;
    return Atomics.compareExchange(words, this.#at, count, slots) === count;
  }
}

/** Keeps house for one isolate. */
export class Janitor {
  readonly #parts: JanitorParts;
  /** The slot at which the next round begins. */
  #next = 0;
  readonly #transit = new Audit(HEADER.TICKETS);
  readonly #abandoned = new Audit(HEADER.ABANDONED);

  /** Does nothing by itself. */
  constructor(parts: JanitorParts) {
    this.#parts = parts;
  }

  /** Reclaims from every worker whose thread is proven to have ended. */
  reclaimDead(): number {
    const { roster, worker } = this.#parts;
    let back = 0;
    for (const other of roster.others(worker)) {
      if (roster.isDead(other)) back += this.reclaim(other);
    }
    return back;
  }

  /** Deals with what a stopped worker has left; returns how many blocks came back. */
  reclaim(dead: number): number {
    const { roster, worker, control, sizer, bell, dispatcher } = this.#parts;
    if (dead === worker || !roster.beginReclaim(dead, worker)) return 0;
    const { words } = control;
    // From here on its slots are counted one by one as this worker's.
    Atomics.store(words, control.at(dead, WORKER.HELD), 0);
    let back = 0;
    for (let slot = 0; slot < control.owner.length; slot++) {
      if (this.#take(slot, dead)) back++;
    }
    sizer.repair(dead);
    bell.forget(dead);
    Atomics.store(words, control.at(dead, WORKER.WAITING), 0);
    roster.exit(dead);
    dispatcher.lost();
    dispatcher.freed();
    return back;
  }

  /** Looks after the next slots: one round after the other comes to all of them. */
  inspect(): void {
    const { control, slots, dispatcher } = this.#parts;
    const { owner, words } = control;
    const top = Atomics.load(words, HEADER.TOP);
    let found = false;
    for (let left = Math.min(ROUND, top); left > 0; left--) {
      if (this.#next >= top) found = this.#endWalk() || found;
      const slot = this.#next++;
      const word = Atomics.load(owner, slot);
      const kind = kindOf(word);
      if (kind === FREE) found = slots.rehint(slot) || found;
      else if (kind === ABANDONED) this.#abandoned.slots++;
      else if (kind === TRANSIT) {
        this.#transit.slots++;
        this.#expire(slot, word);
      }
    }
    if (found) dispatcher.freed();
  }

  /** All slots have been looked at: compares, and begins anew. True if a count was set right. */
  #endWalk(): boolean {
    const { words } = this.#parts.control;
    this.#next = 0;
    const tickets = this.#transit.end(words);
    return this.#abandoned.end(words) || tickets;
  }

  /** Takes a slot over if it was the dead worker's; true if it is free again. */
  #take(slot: number, dead: number): boolean {
    const { control, slots } = this.#parts;
    const word = Atomics.load(control.owner, slot);
    const kind = kindOf(word);
    // It may have died between freeing a slot and saying so.
    if (kind === FREE) slots.rehint(slot);
    if (workerOf(word) !== dead) return false;
    if (kind === CLAIMED) slots.unclaim(slot);
    // A block in transit bears the sender's id, but it is nobody's until its time is over.
    if (kind !== HELD || !slots.seize(slot, word)) return false;
    if (Atomics.load(control.lends, slot) !== 0) {
      // The end of the thread does not end a read on the runtime's blocking pool.
      slots.abandon(slot);
      return false;
    }
    this.#free(slot);
    return true;
  }

  /** A ticket that nobody adopted in time comes back. */
  #expire(slot: number, word: number): void {
    const { control, slots } = this.#parts;
    const late = Date.now() - Atomics.load(control.deadline, slot) | 0;
    if (late >= 0 && slots.recall(slot, word)) this.#free(slot);
  }

  /** A slot of this worker that somebody else has written to is free. */
  #free(slot: number): void {
    const { control, slots, leases } = this.#parts;
    if (control.state === OPEN) leases.wash(slot);
    // Nobody gets it any more; and the memory may go as soon as nobody is left.
    else slots.push(slot);
  }
}
