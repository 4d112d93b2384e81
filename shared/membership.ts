/**
 * One isolate's membership in a shared pool: begins with an id, keeps house while it lasts, and ends
 * when the isolate leaves or the pool does. The last one out unmaps.
 *
 * Nothing here keeps a process alive but a `close()` that somebody awaits.
 */
import { show } from "../pool/checks.ts";
import { NOTICE_MS, type WaitsToClose, warnOfWait } from "../pool/closing.ts";
import { SmritiError } from "../pool/errors.ts";
import { outstandingBlocks } from "../pool/refusal.ts";
import type { Region } from "../pool/region.ts";
import { Timer } from "../pool/timers.ts";
import type { Bell } from "./bell.ts";
import {
  CLOSING,
  type Control,
  ENDING,
  GONE,
  HEADER,
  OPEN,
} from "./control.ts";
import type { SharedFilledOptions } from "./handle.ts";
import { Janitor, type JanitorParts } from "./janitor.ts";
import type { Roster } from "./roster.ts";
import { SharedSlots } from "./shared_slots.ts";

// V8 folds a constant of this module into the code, but reads an imported one anew each time.
const { STATE } = HEADER;
const HOT_OPEN = OPEN;

/** How often an isolate looks after the pool, in ms. */
const HOUSEKEEPING_MS = 250;
/** How often while somebody awaits the end. */
const CLOSING_MS = 20;

/** What a membership works with. */
export interface MembershipParts extends JanitorParts {
  readonly options: SharedFilledOptions;
  readonly region: Region;
  readonly bell: Bell;
  readonly onEnd: () => void;
}

/** The membership of one isolate. */
export class Membership implements WaitsToClose {
  readonly #parts: MembershipParts;
  readonly #words: Int32Array;
  readonly #janitor: Janitor;
  readonly #timer: Timer;
  readonly #done: PromiseWithResolvers<void> = Promise.withResolvers<void>();
  #left = false;
  /** The janitor is at work. */
  #cleaning = false;
  /** The pool is closing and nothing of it is left here. */
  #resting = false;
  #ended = false;
  #asked = false;
  #keepAlive: ReturnType<typeof setInterval> | undefined;
  #deadline: ReturnType<typeof setTimeout> | undefined;

  /** Begins with an id that the roster gave. */
  constructor(parts: MembershipParts) {
    this.#parts = parts;
    this.#words = parts.control.words;
    this.#janitor = new Janitor(parts);
    const ms = Math.min(HOUSEKEEPING_MS, parts.options.shrinkIntervalMs);
    this.#timer = Timer.every(ms, this as Membership, (own) => own.keepHouse());
  }

  /** Hears of the pool's end without a timer; the pending wait keeps nothing alive. */
  async watch(): Promise<void> {
    while (!this.#ended) {
      const state = this.#state;
      const { async, value } = Atomics.waitAsync(
        this.#words,
        HEADER.STATE,
        state,
      );
      if (async) await value;
      this.#look();
    }
  }

  /** Of the pool. */
  get name(): string {
    return this.#parts.options.name;
  }

  /** Whether this isolate is out, or the pool is closing. */
  get isOver(): boolean {
    return this.#left || this.#state !== OPEN;
  }

  /** Closes the pool for everybody; resolves when its memory is unmapped. The first call decides. */
  close(timeoutMs: number): Promise<void> {
    if (!this.#asked) {
      this.#asked = true;
      this.beginClose();
      if (!this.#ended) {
        let turns = timeoutMs > NOTICE_MS ? NOTICE_MS / CLOSING_MS : Infinity;
        this.#keepAlive = setInterval(() => {
          this.keepHouse();
          if (--turns === 0) warnOfWait(this);
        }, CLOSING_MS);
        this.#deadline = setTimeout(() => this.#giveUp(timeoutMs), timeoutMs);
      }
    }
    return this.#done.promise;
  }

  /** Begins to close without waiting. */
  beginClose(): void {
    if (this.#left) return;
    const words = this.#words;
    if (Atomics.compareExchange(words, HEADER.STATE, OPEN, CLOSING) === OPEN) {
      Atomics.notify(words, HEADER.STATE);
      Atomics.add(words, HEADER.EPOCH, 1);
      Atomics.notify(words, HEADER.EPOCH);
    }
    this.#look();
  }

  /** Drops the pool here: blocks held are given back, lent ones abandoned, every view ends. */
  leave(): void {
    if (this.#left || this.#ended) return;
    this.#left = true;
    this.#parts.dispatcher.close();
    // Called by a listener, from within the housekeeping: it ends first.
    if (!this.#cleaning) this.#go();
  }

  #go(): void {
    const { roster, worker, leases, bell, options, control, region } =
      this.#parts;
    if (!this.#resting) {
      // Those who died meanwhile would keep the memory mapped for ever.
      this.#janitor.reclaimDead();
      leases.giveUpAll();
      leases.dropViews(0, options.maxBlocks, true);
      bell.forget(worker);
    }
    roster.exit(worker);
    endIfLast(control, region, roster);
    this.#end();
  }

  /** A lease has ended here: it may be the last thing the closing pool waits for. */
  check(): void {
    // A plain read: the housekeeping sees what it misses.
    if (this.#words[STATE] !== HOT_OPEN) this.#restIfIdle();
  }

  #restIfIdle(): void {
    if (this.#resting || this.#left || this.#cleaning) return;
    if (this.#parts.slots.held === 0) this.#rest();
  }

  /** Deals with what a stopped worker has left, or all that are proven to have stopped. */
  reclaim(worker: number | undefined): number {
    // A listener that asks for it in the midst of it has it already.
    if (this.#left || this.#ended || this.#cleaning) return 0;
    return this.#clean((janitor) =>
      worker === undefined ? janitor.reclaimDead() : janitor.reclaim(worker)
    );
  }

  /** Looks after the pool: what has to be done now and then. */
  keepHouse(): void {
    if (this.#cleaning) return;
    this.#look();
    if (this.#ended) return;
    this.#clean((janitor) => janitor.reclaimDead());
    if (this.#left || this.#ended) return;
    if (this.#state !== OPEN) return this.#endIfLast();
    this.#clean((janitor) => janitor.inspect());
    if (!this.#left && this.#state === OPEN) this.#parts.sizer.look();
  }

  /**
   * Lets the janitor work. What it frees may go to a waiter, growing the pool may tell a listener,
   * and that one may leave or close the pool: both wait until the janitor is done.
   */
  #clean<T>(work: (janitor: Janitor) => T): T {
    this.#cleaning = true;
    try {
      return work(this.#janitor);
    } finally {
      this.#cleaning = false;
      if (!this.#ended) {
        if (this.#left) this.#go();
        else this.check();
      }
    }
  }

  get #state(): number {
    return this.#parts.control.state;
  }

  /** Goes along with what others have done to the pool. */
  #look(): void {
    if (this.#left || this.#ended || this.#state === OPEN) return;
    this.#parts.dispatcher.close();
    this.check();
    if (this.#state === GONE) this.#end();
  }

  /** The pool is closing and this isolate holds nothing: ends its views. */
  #rest(): void {
    const { leases, options, roster, worker, bell } = this.#parts;
    this.#resting = true;
    leases.dropViews(0, options.maxBlocks, true);
    bell.forget(worker);
    roster.rest(worker);
    this.#endIfLast();
  }

  #endIfLast(): void {
    const { control, region, roster } = this.#parts;
    endIfLast(control, region, roster);
    this.#look();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#timer.stop();
    clearInterval(this.#keepAlive);
    clearTimeout(this.#deadline);
    this.#done.resolve();
    this.#parts.onEnd();
    // Lets this isolate's own watch end.
    Atomics.notify(this.#words, HEADER.STATE);
  }

  /** What is still out, in words; nothing once the pool has ended. */
  get out(): string | undefined {
    if (this.#ended) return undefined;
    const { leases, roster, worker } = this.#parts;
    const others = roster.attached().filter((other) => other !== worker);
    return `${outstandingBlocks(leases.outstanding())}; other isolates that ` +
      `hold blocks or have not answered: ${others.length}`;
  }

  /** The time is over: says whose blocks are still out, and revokes those of this isolate. */
  #giveUp(timeoutMs: number): void {
    const { leases, options } = this.#parts;
    clearInterval(this.#keepAlive);
    this.#done.reject(
      new SmritiError(
        "timeout",
        `close() of pool ${show(options.name)} waited ${timeoutMs} ms; ` +
          `still out here and now revoked: ${this.out}`,
      ),
    );
    leases.loseAll();
    this.check();
  }
}

/** Ends the pool if nobody is attached any more, the dead not yet dealt with included. */
export function endIfLast(
  control: Control,
  region: Region,
  roster: Roster,
): void {
  const { words } = control;
  if (roster.attached().length > 0) return;
  // From here on nobody can come; whoever came just before is seen now, and will end it.
  Atomics.compareExchange(words, HEADER.STATE, OPEN, CLOSING);
  if (roster.attached().length > 0) return;
  const before = Atomics.compareExchange(words, HEADER.STATE, CLOSING, ENDING);
  if (before !== CLOSING) return;
  // By the slots: with a count too low, memory could be unmapped that is still written to.
  if (SharedSlots.hasAbandoned(control)) {
    const slabs = Math.ceil(Atomics.load(words, HEADER.TOP) / region.slabSlots);
    if (slabs > 0) region.decommit({ first: 0, count: slabs });
  } else region.unmap();
  Atomics.store(words, HEADER.STATE, GONE);
  Atomics.notify(words, HEADER.STATE);
}
