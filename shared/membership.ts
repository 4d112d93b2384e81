/**
 * One isolate's membership in a shared pool: keeps house while it lasts, deals with those who died,
 * and ends it cleanly. The last one out unmaps.
 *
 * Nothing here keeps a process alive, and nothing is taken from a thread that may still run.
 */
import { SmritiError } from "../pool/errors.ts";
import { show } from "../pool/checks.ts";
import type { Leases } from "../pool/leases.ts";
import type { Region } from "../pool/region.ts";
import { unref } from "../pool/sizer.ts";
import {
  CLOSING,
  type Control,
  GONE,
  HEADER,
  HELD,
  kindOf,
  OPEN,
  TRANSIT,
  WORKER,
  workerOf,
} from "./control.ts";
import type { SharedFilledOptions } from "./handle.ts";
import type { Roster } from "./roster.ts";
import type { SharedDispatcher } from "./shared_dispatcher.ts";
import type { SharedSizer } from "./shared_sizer.ts";
import type { SharedSlots } from "./shared_slots.ts";

/** How often an isolate looks after the pool, in ms. */
const HOUSEKEEPING_MS = 250;

/** What a membership works with. */
export interface Parts {
  readonly options: SharedFilledOptions;
  readonly control: Control;
  readonly region: Region;
  readonly slots: SharedSlots;
  readonly leases: Leases;
  readonly sizer: SharedSizer;
  readonly dispatcher: SharedDispatcher;
  readonly roster: Roster;
  readonly worker: number;
  readonly onEnd: () => void;
}

/** The membership of one isolate. */
export class Membership {
  readonly #parts: Parts;
  readonly #words: Int32Array;
  readonly #timer: ReturnType<typeof setInterval>;
  #left = false;
  #closing: Promise<void> | undefined;

  /** Begins with `attached` already counted. */
  constructor(parts: Parts) {
    this.#parts = parts;
    this.#words = parts.control.words;
    const { shrinkIntervalMs } = parts.options;
    const ms = Math.min(HOUSEKEEPING_MS, shrinkIntervalMs);
    this.#timer = unref(setInterval(() => this.#keepHouse(), ms));
    this.#watchState();
  }

  /** Whether this isolate is out, or the pool is closing. */
  get isOver(): boolean {
    return this.#left || this.#state !== OPEN;
  }

  /** Closes the pool for everybody; resolves when its memory is unmapped. */
  close(timeoutMs: number): Promise<void> {
    return this.#closing ??= this.#close(timeoutMs);
  }

  /** Begins to close without waiting. */
  beginClose(): void {
    const { words } = this.#parts.control;
    if (Atomics.compareExchange(words, HEADER.STATE, OPEN, CLOSING) === OPEN) {
      Atomics.notify(words, HEADER.STATE);
      Atomics.add(words, HEADER.EPOCH, 1);
      Atomics.notify(words, HEADER.EPOCH);
    }
    this.#onState();
  }

  /** Drops the pool here: blocks held are given back, lent ones abandoned, every view ends. */
  leave(): void {
    if (this.#left) return;
    this.#left = true;
    const { control, region, leases, roster, worker, dispatcher } = this.#parts;
    clearInterval(this.#timer);
    dispatcher.close();
    leases.giveUpAll();
    leases.dropViews(0, this.#parts.options.maxBlocks);
    roster.exit(worker);
    const { words } = control;
    if (Atomics.sub(words, HEADER.ATTACHED, 1) === 1) {
      if (Atomics.load(words, HEADER.ABANDONED) === 0) region.unmap();
      else {region.drop(
          Math.min(
            this.#parts.options.maxBlocks,
            words[HEADER.TOP] * region.slabSlots,
          ),
        );}
      Atomics.store(words, HEADER.STATE, GONE);
      Atomics.notify(words, HEADER.STATE);
    }
    this.#parts.onEnd();
  }

  /** This isolate's lease has ended: it may be the last thing the closing pool waits for. */
  check(): void {
    // A plain read: the housekeeping sees what it misses.
    if (this.#words[HEADER.STATE] !== CLOSING || this.#left) return;
    if (this.#parts.leases.outstanding().length === 0) {
      this.leave();
    }
  }

  /** Deals with what a stopped worker has left; returns how many blocks came back. */
  reclaim(dead: number): number {
    const { roster, worker, control, sizer, leases, slots, dispatcher } =
      this.#parts;
    if (dead === worker || !roster.beginReclaim(dead, worker)) return 0;
    const { words, owner } = control;
    let back = 0;
    for (let slot = 0; slot < owner.length; slot++) {
      const word = Atomics.load(owner, slot);
      if (kindOf(word) !== HELD || workerOf(word) !== dead) continue;
      if (!slots.seize(slot, word)) continue;
      if (Atomics.load(control.lends, slot) !== 0) {
        // The end of the thread does not end a read on the runtime's blocking pool.
        slots.abandon(slot);
        continue;
      }
      leases.wash(slot);
      back++;
    }
    sizer.repair(dead);
    const waits = control.at(dead, WORKER.WAITING);
    if (Atomics.exchange(words, waits, 0) !== 0) {
      Atomics.sub(words, HEADER.WAITERS, 1);
    }
    words[control.at(dead, WORKER.LENT)] = 0;
    roster.exit(dead);
    Atomics.sub(words, HEADER.ATTACHED, 1);
    dispatcher.wake();
    return back;
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

  get #state(): number {
    return Atomics.load(this.#parts.control.words, HEADER.STATE);
  }

  #keepHouse(): void {
    this.#onState();
    if (this.#left) return;
    this.reclaimDead();
    this.#expireTickets();
    if (!this.isOver) this.#parts.sizer.look();
  }

  /** Tickets that nobody adopted in time come back. */
  #expireTickets(): void {
    const { control, slots, leases } = this.#parts;
    if (Atomics.load(control.words, HEADER.TICKETS) <= 0) return;
    const now = Date.now() | 0;
    for (let slot = 0; slot < control.owner.length; slot++) {
      const word = Atomics.load(control.owner, slot);
      if (kindOf(word) !== TRANSIT) continue;
      if ((now - Atomics.load(control.deadline, slot) | 0) < 0) continue;
      if (!slots.seize(slot, word)) continue;
      Atomics.sub(control.words, HEADER.TICKETS, 1);
      leases.wash(slot);
    }
  }

  /** Hears of the pool's end without a timer; the pending wait keeps nothing alive. */
  async #watchState(): Promise<void> {
    const { words } = this.#parts.control;
    const { async, value } = Atomics.waitAsync(words, HEADER.STATE, OPEN);
    if (async) await value;
    this.#onState();
  }

  #onState(): void {
    if (this.#left || this.#state === OPEN) return;
    this.#parts.dispatcher.close();
    this.check();
  }

  async #close(timeoutMs: number): Promise<void> {
    const { control: { words }, options: { name }, leases, roster, worker } =
      this.#parts;
    this.beginClose();
    const end = Date.now() + timeoutMs;
    // A pending waitAsync keeps nothing alive; whoever awaits close() expects to come back.
    const keepAlive = setInterval(() => this.#keepHouse(), HOUSEKEEPING_MS);
    try {
      while (this.#state !== GONE) {
        const left = end - Date.now();
        if (left <= 0) break;
        const { async, value } = Atomics.waitAsync(
          words,
          HEADER.STATE,
          CLOSING,
          Math.min(left, HOUSEKEEPING_MS),
        );
        if (async) await value;
      }
    } finally {
      clearInterval(keepAlive);
    }
    if (this.#state === GONE) return;
    const tags = this.#left ? [] : leases.outstanding();
    const others = roster.others(worker).length;
    const names = new Set(
      tags.map((tag) => tag === undefined ? "no tag" : show(tag)),
    );
    if (!this.#left) {
      leases.loseAll();
      this.leave();
    }
    throw new SmritiError(
      "timeout",
      `close() of pool ${
        show(name)
      } waited ${timeoutMs} ms; still out here: ${tags.length} blocks ` +
        `(${
          [...names].slice(0, 20).join(", ")
        }); other isolates attached: ${others}`,
    );
  }
}
