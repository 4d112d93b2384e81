/**
 * The reaper of a shared pool: deals with what dead workers have left, with tickets that were not
 * adopted, with hints that a dead worker did not set, and with slots that a call which was cut short
 * here has left without a lease.
 *
 * Nothing is taken from a thread that may still run, nor is memory lent again that a view may reach.
 */
import type { Dispatcher } from "../pool/dispatcher.ts";
import type { SharedLeases } from "./shared_leases.ts";
import type { Notifier } from "./notifier.ts";
import { between, type Clock } from "./clock.ts";
import {
  ABANDONED,
  CLAIMED,
  type Control,
  HEADER,
  isHeldBy,
  isOpen,
  isUnreplaced,
  kindOf,
  SOILED,
  TRANSIT,
  USED,
  workerOf,
} from "./control.ts";
import type { SharedShutdown } from "./shutdown.ts";
import type { SharedFilledOptions } from "./handle.ts";
import type { WorkerRegistry } from "./worker_registry.ts";
import type { SharedSizer } from "./shared_sizer.ts";
import type { SharedSlots } from "./shared_slots.ts";

/** Slots looked at by one round: tens of microseconds. */
const ROUND = 16_384;

/** What a reaper works with. */
export interface ReaperParts {
  readonly options: SharedFilledOptions;
  readonly control: Control;
  readonly slots: SharedSlots;
  readonly leases: SharedLeases;
  readonly sizer: SharedSizer;
  readonly dispatcher: Dispatcher;
  readonly notifier: Notifier;
  readonly clock: Clock;
  readonly registry: WorkerRegistry;
  readonly shutdown: SharedShutdown;
  readonly worker: number;
}

/** The reaper of one worker. */
export class Reaper {
  readonly #parts: ReaperParts;
  /** The slot at which the next round begins. */
  #next = 0;

  /** Does nothing by itself. */
  constructor(parts: ReaperParts) {
    this.#parts = parts;
  }

  /** Reclaims from every worker whose thread is proven to have ended. */
  reclaimDead(): number {
    const { registry, worker } = this.#parts;
    let back = 0;
    for (const dead of registry.dead(worker)) back += this.reclaim(dead);
    return back;
  }

  /**
   * Deals with what a stopped worker has left; returns how many blocks came back. Each step can be
   * done again: should this worker die in between, another one begins anew.
   */
  reclaim(dead: number): number {
    const {
      registry,
      worker,
      control,
      slots,
      sizer,
      notifier,
      shutdown,
      dispatcher,
    } = this.#parts;
    if (dead === worker || !registry.beginReclaim(dead, worker)) return 0;
    slots.tally.settle(dead);
    let back = 0;
    for (let slot = 0; slot < control.owner.length; slot++) {
      if (this.#take(slot, dead)) back++;
    }
    slots.cache.forget(dead);
    sizer.repair(dead);
    notifier.forget(dead);
    shutdown.forget(dead);
    dispatcher.abandoned();
    dispatcher.freed();
    registry.endReclaim(dead);
    return back;
  }

  /** Looks after the next slots: one round after the other comes to all of them. */
  inspect(): void {
    const { control, slots, dispatcher, worker, leases, sizer } = this.#parts;
    const { owner, words } = control;
    const top = Atomics.load(words, HEADER.TOP);
    let found = false;
    for (let left = Math.min(ROUND, top); left > 0; left--) {
      if (this.#next >= top) this.#next = 0;
      const slot = this.#next++;
      const word = Atomics.load(owner, slot);
      const kind = kindOf(word);
      if (isOpen(word)) found = slots.hints.confirm(slot) || found;
      else if (slots.cache.isStray(slot)) {
        found = slots.cache.openOne(slot, worker) || found;
      } else if (kind === TRANSIT) found = this.#expire(slot, word) || found;
      else if (kind === ABANDONED && !isUnreplaced(word)) {
        // Its worker died, or was cut short.
        Atomics.store(words, HEADER.UNHEALED, 1);
      } else if (isHeldBy(word, worker) && !leases.isLeased(slot)) {
        found = this.#clear(slot, word) || found;
      }
    }
    if (sizer.heal() === "grown" || found) dispatcher.freed();
  }

  /** Takes a slot over if it was the dead worker's; true if it is free again. */
  #take(slot: number, dead: number): boolean {
    const { control, slots } = this.#parts;
    const word = Atomics.load(control.owner, slot);
    // It may have died between freeing the slot and setting its hint.
    if (isOpen(word)) slots.hints.confirm(slot);
    if (workerOf(word) !== dead) return false;
    // What it had cached was counted as free already.
    if (slots.cache.openOne(slot, dead)) return false;
    // Half of its slab may have lost its memory. It is given some when it is needed.
    if (kindOf(word) === CLAIMED) slots.drop(slot);
    // A block in transit bears the sender's id, but belongs to its ticket until its time is over.
    if (!isHeldBy(word, dead)) return false;
    return slots.seize(slot, word) &&
      this.#clear(slot, Atomics.load(control.owner, slot));
  }

  /** A ticket that was not adopted in time comes back; true if its slot is free now. */
  #expire(slot: number, word: number): boolean {
    const { control, slots, leases, options, clock } = this.#parts;
    const { deadline } = control;
    const { ticketTimeoutMs } = options;
    const end = Atomics.load(deadline, slot);
    // Read after `end`: with a timeout near 2^31 ms the 32-bit difference to an earlier time would
    // wrap, and the ticket look out of time.
    const now = clock.now();
    if (end === 0) {
      // Its time begins when a housekeeping first sees it: to read a clock would be a tenth of sending
      // it. Never 0, which stands for not seen.
      const then = now + ticketTimeoutMs | 1;
      Atomics.compareExchange(deadline, slot, 0, then);
      return false;
    }
    const late = between(end, now);
    if (late < 0) return false;
    // Another isolate may be able to.
    if (late < ticketTimeoutMs && !leases.canWash(slot)) return false;
    return slots.recall(slot, word, end) &&
      this.#clear(slot, Atomics.load(control.owner, slot));
  }

  /** A slot of this worker that no lease has: it is free, or out of the pool; true if it is free. */
  #clear(slot: number, word: number): boolean {
    const { slots, leases } = this.#parts;
    // A view may have been posted to another isolate, or a read of the runtime's own threads may be
    // under way: neither ends with the lease, or with a thread.
    const mayBeRead = kindOf(word) === USED;
    const isClean = !mayBeRead &&
      (kindOf(word) !== SOILED || leases.wash(slot));
    if (isClean) slots.pushOpen(slot);
    else {
      slots.abandon(slot, mayBeRead);
      slots.givenUp.push({ index: slot, mayBeRead });
    }
    return isClean;
  }
}
