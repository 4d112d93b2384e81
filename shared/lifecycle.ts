/**
 * One worker of a shared pool from attach to leave: does the housekeeping while it is attached, follows
 * the pool's state, and ends when it leaves or the pool is closed. The last worker to leave unmaps.
 *
 * Nothing here keeps a process alive but a `close()` that is awaited.
 */
import { show } from "../pool/checks.ts";
import { NOTICE_MS, type WaitsToClose, warnOfWait } from "../pool/shutdown.ts";
import { SmritiError } from "../pool/errors.ts";
import { headroom } from "../pool/headroom.ts";
import { unregisterPool } from "../pool/finalization.ts";
import { sweep } from "../pool/ledger.ts";
import { outstandingBlocks } from "../pool/lease_errors.ts";
import { Timer } from "../pool/timers.ts";
import { CLOSING, GONE, HEADER, OPEN } from "./control.ts";
import { Reaper, type ReaperParts } from "./reaper.ts";
import { housekeepingMs } from "./shared_sizer.ts";
import type { WaitLoop } from "./wait_loop.ts";

// Hot constants: see ARCHITECTURE.md.
const { STATE } = HEADER;
const HOT_OPEN = OPEN;

/** How often while a `close()` is awaited. */
const CLOSING_MS = 20;

/** What a lifecycle works with. */
export interface LifecycleParts extends ReaperParts {
  readonly waitLoop: WaitLoop;
  readonly onEnd: () => void;
}

/** The lifecycle of one isolate. */
export class Lifecycle implements WaitsToClose {
  readonly #parts: LifecycleParts;
  readonly #words: Int32Array;
  readonly #reaper: Reaper;
  #timer: Timer | undefined;
  readonly #done: PromiseWithResolvers<void> = Promise.withResolvers<void>();
  #left = false;
  /** Whether the id was given back. */
  #isOut = false;
  /** Whether the reaper is working. */
  #cleaning = false;
  /** Whether the pool is closing and nothing of it is left here. */
  #resting = false;
  #ended = false;
  #asked = false;
  #keepAlive: ReturnType<typeof setInterval> | undefined;
  #deadline: ReturnType<typeof setTimeout> | undefined;
  /** The user's pool object: kept alive as long as a block of this worker. */
  #holder: object | undefined;

  /** With an id that the registry gave. */
  constructor(parts: LifecycleParts) {
    this.#parts = parts;
    this.#words = parts.control.words;
    this.#reaper = new Reaper(parts);
  }

  /** Begins the housekeeping. If this fails it leaves nothing behind. */
  start(): void {
    const { clock, options } = this.#parts;
    const ms = housekeepingMs(options);
    this.#timer = Timer.every(ms, this as Lifecycle, (own) => {
      clock.tick(ms);
      own.keepHouse();
    });
    watch(this.#words, new WeakRef(this));
  }

  /** The pool's state may have changed; whether another change may come. */
  hear(): boolean {
    if (!this.#ended) this.#look();
    return !this.#ended;
  }

  /**
   * From now on this lifecycle keeps `holder` alive; when it ends, `holder` needs no finalization any
   * more.
   */
  heldBy(holder: object): void {
    this.#holder = holder;
  }

  /** Of the pool. */
  get name(): string {
    return this.#parts.options.name;
  }

  /** Whether this worker has left, or the pool is closing. */
  get isOver(): boolean {
    return this.#left || this.#state !== OPEN;
  }

  /** Closes the pool for all isolates; resolves when its memory is unmapped. The first call decides. */
  close(timeoutMs: number): Promise<void> {
    if (!this.#asked) {
      this.beginClose();
      if (!this.#ended) {
        let turns = timeoutMs > NOTICE_MS ? NOTICE_MS / CLOSING_MS : Infinity;
        this.#keepAlive ??= setInterval(() => {
          this.keepHouse();
          if (--turns === 0) warnOfWait(this);
        }, CLOSING_MS);
        this.#deadline ??= setTimeout(() => this.#giveUp(timeoutMs), timeoutMs);
      }
      this.#asked = true;
    }
    return this.#done.promise;
  }

  /** Begins to close without waiting. */
  beginClose(): void {
    if (this.#left) return;
    headroom();
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
    if (this.#ended) return;
    headroom();
    this.#left = true;
    // No listener is called from here on but of the end: one could leave from within the leaving.
    this.#parts.sizer.stop();
    this.#parts.dispatcher.close();
    // Called by a listener, from within the housekeeping: it ends first.
    if (!this.#cleaning) this.#go();
  }

  #go(): void {
    const { registry, worker, leases, shutdown } = this.#parts;
    if (!this.#resting) {
      // Workers that died meanwhile would keep the memory mapped for ever.
      this.#reaper.reclaimDead();
      leases.giveUpAll();
      this.#rest();
    }
    if (!this.#isOut) {
      shutdown.tryEnd();
      registry.exit(worker);
      this.#isOut = true;
    }
    this.#end();
  }

  /** A lease has ended here: a closing pool may have waited for it alone. */
  check(): void {
    // Plain reads: the housekeeping sees what they miss.
    if (this.#words[STATE] === HOT_OPEN) return;
    if (this.#parts.slots.tally.held <= 0) this.#restIfIdle();
  }

  #restIfIdle(): void {
    if (this.#resting || this.#left || this.#cleaning) return;
    const { slots, worker } = this.#parts;
    // By the slots: with a count too low, memory would be unmapped under a block that is held here.
    if (slots.tally.countHeld(worker) > 0) return;
    this.#rest();
    this.#endIfLast();
  }

  /** Reclaims what a stopped worker has left, or all workers that are proven to have stopped. */
  reclaim(worker: number | undefined): number {
    headroom();
    // Called by a listener from within a reclaim: that one completes it.
    if (this.#left || this.#ended || this.#cleaning) return 0;
    return this.#clean((reaper) =>
      worker === undefined ? reaper.reclaimDead() : reaper.reclaim(worker)
    );
  }

  /** The housekeeping: once in `housekeepingMs`, and while a call stops the thread. */
  keepHouse(): void {
    if (this.#cleaning || this.#ended) return;
    // Leaving was cut short.
    if (this.#left) return this.#go();
    sweep();
    this.#parts.dispatcher.tidy();
    this.#look();
    if (this.#ended) return;
    this.#clean((reaper) => reaper.reclaimDead());
    if (this.#left || this.#ended) return;
    // A worker at rest holds no slots to inspect.
    if (!this.#resting) this.#clean((reaper) => reaper.inspect());
    if (this.#left || this.#ended) return;
    if (this.#state !== OPEN) return this.#endIfLast();
    this.#parts.leases.shedViews();
    this.#parts.slots.cache.giveBack();
    this.#parts.waitLoop.lookForDropped();
    this.#parts.sizer.look();
  }

  /**
   * Runs the reaper. What it frees may go to a waiter, which may grow the pool, and a listener of that
   * may leave or close the pool: both are carried out after the reaper has returned.
   */
  #clean<T>(work: (reaper: Reaper) => T): T {
    this.#cleaning = true;
    try {
      return work(this.#reaper);
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

  /** Follows a change of the pool's state by another worker. */
  #look(): void {
    if (this.#left || this.#ended || this.#state === OPEN) return;
    this.#parts.dispatcher.close();
    this.#restIfIdle();
    if (this.#state === GONE) this.#end();
  }

  /** This isolate holds nothing and will take nothing any more: ends its views. */
  #rest(): void {
    const { leases, registry, worker, notifier, slots } = this.#parts;
    this.#resting = true;
    slots.cache.close();
    leases.endViews();
    notifier.forget(worker);
    registry.rest(worker);
  }

  #endIfLast(): void {
    // The reaper may have made views here, to zero what a dead worker left.
    if (this.#resting) this.#parts.leases.endViews();
    this.#parts.shutdown.tryEnd();
    this.#look();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#parts.leases.views.forget();
    this.#timer?.stop();
    clearInterval(this.#keepAlive);
    clearTimeout(this.#deadline);
    this.#done.resolve();
    if (this.#holder !== undefined) unregisterPool(this.#holder);
    this.#parts.onEnd();
    // Lets this isolate's own watch end.
    Atomics.notify(this.#words, HEADER.STATE);
  }

  /** What is still out, in words; nothing once the pool has ended. */
  get out(): string | undefined {
    if (this.#ended) return undefined;
    const { leases, registry, worker } = this.#parts;
    const others = registry.attached().filter((other) => other !== worker);
    return `${outstandingBlocks(leases.outstanding())}; other isolates that ` +
      `hold blocks or have not answered: ${others.length}`;
  }

  /** The time is over: rejects, naming what is still out, and revokes the blocks of this isolate. */
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
    leases.abandonAll();
    this.check();
  }
}

/**
 * Waits for changes of the pool's state by `Atomics.waitAsync`. Neither the pending wait nor this
 * function keeps the process or the lifecycle alive.
 */
async function watch(
  words: Int32Array,
  ref: WeakRef<Lifecycle>,
): Promise<void> {
  try {
    do {
      const state = Atomics.load(words, STATE);
      const { async, value } = Atomics.waitAsync(words, STATE, state);
      if (async) await value;
    } while (ref.deref()?.hear() === true);
  } catch {
    // Without `waitAsync` the housekeeping notices the change.
  }
}
