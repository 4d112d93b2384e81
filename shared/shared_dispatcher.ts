/**
 * Who gets the next block of a shared pool in this isolate: the caller, a waiter of this isolate, or
 * nobody yet.
 *
 * Waiters queue within their isolate; isolates wake each other by the bell. A timer holds the process
 * open only while acquires wait, and tries again in case a wake-up went to an isolate that died.
 */
import type { Block } from "../pool/block.ts";
import {
  Channel,
  refuseAborted,
  type Waiter,
  type Wish,
} from "../pool/channel.ts";
import { integer, show } from "../pool/checks.ts";
import { askForCollection } from "../pool/collection.ts";
import type { Grant } from "../pool/dispatcher.ts";
import { SmritiError } from "../pool/errors.ts";
import type { Events } from "../pool/events.ts";
import { headroom } from "../pool/headroom.ts";
import type { Durations } from "../pool/histogram.ts";
import { StallWatch, type WaitingLine } from "../pool/stalls.ts";
import {
  type AcquireOptions,
  checkAcquire,
  checkTryAcquire,
  type TryAcquireOptions,
} from "../pool/options.ts";
import type { BlockArray } from "../pool/pool.ts";
import type { Counters } from "../pool/stats.ts";
import { isAwaited, RETRY_MS } from "./bell.ts";
import { COUNT, HEADER, OPEN, WORKER } from "./control.ts";
import { Taker, type TakerParts } from "./taker.ts";

// V8 folds a constant of this module into the code, but reads an imported one anew each time.
const { STATE } = HEADER;
const { ACQUIRES } = COUNT;
const HOT_OPEN = OPEN;

/** Tries of one who stops the thread between two looks after the pool: a quarter of a second. */
const TRIES_A_LOOK = 10;
/** How long one wait for the bell lasts at most: then it is known whether an acquire still waits. */
const LISTEN_MS = 1000;

/** What a dispatcher works with. */
export interface DispatcherParts extends TakerParts {
  readonly events: Events;
  readonly counters: Counters;
  readonly worker: number;
  /** Looks after the pool, as is done now and then. */
  readonly keepHouse: () => void;
}

/** A waiter and what was taken for it. */
interface Hand {
  readonly waiter: Waiter<Grant>;
  readonly grant: Grant;
}

/** Hands blocks out in one isolate. */
export class SharedDispatcher implements WaitingLine {
  readonly #parts: DispatcherParts;
  readonly #words: Int32Array;
  readonly #counts: Float64Array;
  /** Index of this worker's count of acquires. */
  readonly #acquiresAt: number;
  readonly #waitingAt: number;
  readonly #taker: Taker;
  readonly #channel: Channel<Grant>;
  readonly #stalls: StallWatch;
  readonly #waits: Durations;
  /** The waiter that is being served: while the pool grows for it, listeners may change the queue. */
  #serving: Waiter<Grant> | undefined;
  /** A hand-over that has begun. */
  #hand: Hand | undefined;
  /** What a caller has who has no promise of it yet. */
  #promised: Grant | Block[] | undefined;
  /** This thread stands still: waiters here could do nothing with a block. */
  #standing = false;
  /** Since when it does, once it has to wait. */
  #blocked: { readonly number: 0; readonly since: number } | undefined;
  #keepAlive: ReturnType<typeof setInterval> | undefined;
  #listening = false;
  /** Blocks freed by all isolates, at the last look for dropped ones. */
  #freed = 0;
  /** Who was at the head at the last retry. */
  #patient: Waiter<Grant> | undefined;

  /** Acts for one worker id. */
  constructor(parts: DispatcherParts) {
    const { options, control, worker } = parts;
    this.#parts = parts;
    this.#words = control.words;
    this.#counts = control.counts;
    this.#taker = new Taker(parts);
    this.#acquiresAt = control.countAt(worker, ACQUIRES);
    this.#waitingAt = control.at(worker, WORKER.WAITING);
    this.#waits = parts.counters.waitMs;
    this.#channel = new Channel(
      options.maxWaiting,
      (timedOut) => {
        if (timedOut) this.#count(COUNT.TIMEOUTS);
        this.pump();
      },
      this.#waits,
      () => parts.sizer.refusal,
    );
    const { tally } = parts.slots;
    this.#stalls = new StallWatch({
      options,
      line: this,
      records: parts.leases.records,
      counts: () => ({
        waiting: control.total(WORKER.WAITING) + (this.#blocked ? 1 : 0),
        held: tally.countUsed() - tally.countAbandoned(),
      }),
      events: parts.events,
    });
  }

  /** Acquires of this isolate that ever waited. */
  get came(): number {
    return this.#channel.came;
  }

  /** What has waited here for the longest time. */
  get oldest(): WaitingLine["oldest"] {
    return this.#blocked ?? this.#channel.oldest;
  }

  /** Acquires of this isolate that wait now. */
  get waiting(): number {
    return this.#channel.waiting;
  }

  /** A block now, or `undefined`. */
  take(options: TryAcquireOptions | undefined): Block | undefined {
    if (options === undefined) {
      return this.#takeFast(false, undefined) ??
        this.#takeSlowly(false, undefined);
    }
    const { reserved = false, tag } = checkTryAcquire(options);
    return this.#takeFast(reserved, tag) ?? this.#takeSlowly(reserved, tag);
  }

  /** A block, if nothing speaks against it; after the swap that takes it there are stores only. */
  #takeFast(reserved: boolean, tag: string | undefined): Block | undefined {
    if (this.#channel.waiting !== 0) return undefined;
    const block = this.#taker.fast(reserved, tag);
    if (block !== undefined) this.#counts[this.#acquiresAt]!++;
    return block;
  }

  #takeSlowly(reserved: boolean, tag: string | undefined): Block | undefined {
    this.refuseIfClosed();
    const block = this.#channel.isAhead(reserved)
      ? undefined
      : this.#taker.one(reserved, tag, true, isNever);
    if (block !== undefined) {
      this.#counts[this.#acquiresAt]!++;
      this.#taken();
      return block;
    }
    // Growing tells listeners, and one of them may have closed the pool.
    this.refuseIfClosed();
    this.#countExhaustion();
    return undefined;
  }

  /** A block, now or later. */
  obtain(options: AcquireOptions): Promise<Block> {
    return this.#obtain(undefined, options) as Promise<Block>;
  }

  /** Several blocks, now or later. */
  obtainMany(count: number, options: AcquireOptions): Promise<BlockArray> {
    return this.#obtain(count, options) as Promise<BlockArray>;
  }

  #obtain(
    count: number | undefined,
    options: AcquireOptions,
  ): Promise<Grant> {
    try {
      if (count !== undefined) integer("count", count, 1);
      const given = checkAcquire(options);
      const { signal, timeoutMs, tag, reserved = false } = given;
      const wish: Wish = { count, reserved, tag, signal, timeoutMs };
      const grant = this.#now(wish);
      if (grant === undefined) return this.#later(wish);
      // A promise may fail to be made; then this is where the block is.
      this.#promised = grant;
      const promise = Promise.resolve(grant);
      this.#promised = undefined;
      return promise;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * A block, stopping the thread until there is one. Overtakes those who wait in this isolate: they
   * could do nothing with a block before the thread goes on.
   */
  block(options: AcquireOptions): Block {
    const given = checkAcquire(options);
    const { signal, timeoutMs = Infinity, reserved = false, tag } = given;
    headroom();
    this.refuseIfClosed();
    refuseAborted(signal);
    this.#refuseHopeless({ reserved });
    const now = performance.now();
    const end = now + timeoutMs;
    const { bell, options: { stallMs } } = this.#parts;
    let lookAt = now + stallMs;
    let block: Block | undefined;
    bell.listen(true);
    this.#standing = true;
    try {
      block = this.#taker.oneBlocking(reserved, tag, end, (tries) => {
        if (tries === 0) {
          this.#count(COUNT.WAITS);
          this.#blocked = { number: 0, since: Date.now() };
        } else if (performance.now() >= lookAt) {
          lookAt += stallMs;
          this.#stalls.look(0);
        }
        // No timer fires in a thread that stands still.
        if (tries % TRIES_A_LOOK === TRIES_A_LOOK - 1) this.#parts.keepHouse();
        this.refuseIfClosed();
        this.#refuseHopeless({ reserved });
      });
    } finally {
      this.#standing = false;
      if (this.#blocked !== undefined) {
        this.#waits.add(Date.now() - this.#blocked.since);
        this.#blocked = undefined;
      }
      bell.dropTurn();
      if (this.#channel.waiting === 0) bell.listen(false);
      else this.pump();
    }
    if (block !== undefined) {
      this.#count(ACQUIRES);
      this.#taken();
      return block;
    }
    this.refuseIfClosed();
    this.#count(COUNT.TIMEOUTS);
    const waited = `${timeoutMs} ms`;
    throw new SmritiError("timeout", `no block became free within ${waited}`, {
      cause: this.#parts.sizer.refusal,
    });
  }

  /** A lease has ended, or something else became free: for acquires that wait here, or elsewhere. */
  freed(): void {
    this.#parts.slots.hints.restore();
    if (this.#channel.waiting > 0) this.pump();
    this.#parts.bell.ring();
  }

  /** A block left the pool for good: some may now wait for what can never come. */
  lost(): void {
    if (this.#channel.waiting === 0) return;
    const refused = this.#channel.reject(
      () => this.exhausted("too many blocks were abandoned"),
      (wish) => this.#taker.isHopeless(wish),
    );
    for (let i = 0; i < refused; i++) this.#countExhaustion();
    if (refused > 0) this.pump();
  }

  /** Serves the waiters of this isolate as far as there are blocks. */
  pump(): void {
    this.tidy();
    if (this.#standing) return;
    for (let waiter; (waiter = this.#channel.head) !== undefined;) {
      const grant = this.#gatherFor(waiter);
      if (grant !== undefined) {
        const hand = { waiter, grant };
        waiter.taken = true;
        this.#hand = hand;
        this.#counts[this.#acquiresAt]! += waiter.wish.count ?? 1;
        this.#handOver();
        this.#parts.bell.dropTurn();
        this.#taken();
      } else if (this.#channel.head === waiter) break;
      // Growing tells listeners, and one of them has changed the queue.
    }
    this.#settle();
  }

  /** Makes good what was cut short by the end of the stack. */
  tidy(): void {
    this.#taker.tidy();
    if (this.#hand !== undefined) this.#handOver();
    if (this.#promised === undefined) return;
    this.#promised = [this.#promised].flat();
    this.#taker.putBack(this.#promised);
    this.#promised = undefined;
  }

  #handOver(): void {
    const { waiter, grant } = this.#hand!;
    this.#channel.serve(waiter, grant);
    this.#hand = undefined;
  }

  #gatherFor(waiter: Waiter<Grant>): Grant | undefined {
    const outer = this.#serving;
    this.#serving = waiter;
    try {
      return this.#gather(waiter.wish, false, this.#isGone);
    } finally {
      this.#serving = outer;
    }
  }

  /** Another waiter is first now, or a listener's call was cut short while it served one. */
  readonly #isGone = (): boolean =>
    this.#channel.head !== this.#serving || this.#hand !== undefined;

  /** What a wish asks for, if it is there. */
  #gather(
    wish: Wish,
    asked: boolean,
    isOff: () => boolean,
  ): Grant | undefined {
    return wish.count === undefined
      ? this.#taker.one(wish.reserved, wish.tag, asked, isOff)
      : this.#taker.many(wish, asked, isOff);
  }

  /** Refuses all acquires of this isolate from now on. */
  close(): void {
    this.tidy();
    if (this.#taker.closed) return;
    this.#taker.closed = true;
    this.#channel.reject(() => this.#closedError(), () => true);
    this.#settle();
  }

  /** Throws once the pool is closed, by whichever isolate. */
  refuseIfClosed(): void {
    // A plain read: a call just before the end is as good as before it.
    if (this.#taker.closed || this.#words[STATE] !== HOT_OPEN) {
      throw this.#closedError();
    }
  }

  /** The error for an acquire that is refused. */
  exhausted(why: string): SmritiError {
    const { name, maxBlocks } = this.#parts.options;
    return new SmritiError(
      "exhausted",
      `pool ${show(name)} is exhausted: ${why} ` +
        `(${this.#used} of at most ${maxBlocks} blocks in use)`,
      { cause: this.#parts.sizer.refusal },
    );
  }

  /** What is asked for, if it can be had at once. */
  #now(wish: Wish): Grant | undefined {
    const { count, reserved, signal, tag } = wish;
    this.refuseIfClosed();
    refuseAborted(signal);
    if (count === undefined) {
      const fast = this.#takeFast(reserved, tag);
      if (fast !== undefined) return fast;
    }
    this.#refuseHopeless(wish);
    if (this.#channel.isAhead(reserved)) return undefined;
    const grant = this.#gather(wish, true, isNever);
    if (grant === undefined) return undefined;
    this.#counts[this.#acquiresAt]! += count ?? 1;
    this.#taken();
    return grant;
  }

  /** The same, as soon as it can be had. */
  #later(wish: Wish): Promise<Grant> {
    // Growing tells listeners, and one of them may have closed the pool, or aborted.
    this.refuseIfClosed();
    refuseAborted(wish.signal);
    if (wish.timeoutMs === 0) {
      this.#count(COUNT.TIMEOUTS);
      throw new SmritiError("timeout", "no block was free and timeoutMs is 0", {
        cause: this.#parts.sizer.refusal,
      });
    }
    if (this.#channel.full) {
      this.#countExhaustion();
      throw this.exhausted(`${this.waiting} are waiting, the most that may`);
    }
    headroom();
    const promise = this.#channel.wait(wish);
    try {
      this.#stalls.watch();
    } catch {
      // No room on the stack: the next one that waits is watched, and this one then, too.
    }
    this.#count(COUNT.WAITS);
    this.#settle();
    return promise;
  }

  /** What a take may bring with it: growing ahead, above all. */
  #taken(): void {
    try {
      if (!this.#parts.sizer.isCalm) this.#parts.sizer.taken();
    } catch {
      // No room on the stack. It is due again with the next take.
    }
  }

  #refuseHopeless(wish: Partial<Wish>): void {
    if (!this.#taker.isHopeless(wish)) return;
    this.#countExhaustion();
    const { count = 1 } = wish;
    throw this.exhausted(`${count} blocks can never be free for this caller`);
  }

  /** Keeps the process, the bell and the control block in step with who waits here. */
  #settle(): void {
    const { waiting } = this.#channel;
    this.#words[this.#waitingAt] = waiting;
    const waits = waiting > 0;
    if (waits === (this.#keepAlive !== undefined)) return;
    const { bell } = this.#parts;
    if (waits) {
      bell.listen(true);
      this.#keepAlive = setInterval(() => this.#retry(), RETRY_MS);
      // What became free before that was not rung for here.
      if (this.#listening) this.pump();
      else this.#listen();
    } else {
      clearInterval(this.#keepAlive);
      this.#keepAlive = undefined;
      bell.listen(false);
      bell.dropTurn();
    }
  }

  /**
   * While acquires wait, here or elsewhere, and nothing is released, blocks held here may have been
   * dropped: asks for a collection, which finds them.
   */
  lookForDropped(): void {
    const { control, slots, leases } = this.#parts;
    const freed = control.total(WORKER.FREES);
    const isStill = freed === this.#freed;
    this.#freed = freed;
    if (
      isStill && leases.findsLeaks && slots.tally.held > 0 &&
      isAwaited(this.#words)
    ) askForCollection();
  }

  /** Asks again, and for a turn if the same one waits as last time. */
  #retry(): void {
    this.lost();
    this.pump();
    const { head } = this.#channel;
    if (head !== undefined && head === this.#patient) {
      this.#parts.bell.claimTurn();
    }
    this.#patient = head;
  }

  /** Waits for the bell, as long as acquires wait here. */
  async #listen(): Promise<void> {
    const { bell } = this.#parts;
    this.#listening = true;
    while (this.#keepAlive !== undefined) {
      const { epoch } = bell;
      this.pump();
      if (this.#keepAlive === undefined) break;
      await bell.heard(epoch, LISTEN_MS);
    }
    this.#listening = false;
    bell.handOn();
  }

  /** Blocks in use, as messages tell. */
  get #used(): number {
    return this.#parts.slots.tally.recount();
  }

  #countExhaustion(): void {
    this.#count(COUNT.EXHAUSTIONS);
    this.#parts.events.emit("exhausted", () => ({
      pool: this.#parts.options.name,
      acquiredBlocks: this.#used,
      waiting: this.waiting,
    }));
  }

  #count(count: number): void {
    this.#counts[this.#acquiresAt - ACQUIRES + count]!++;
  }

  #closedError(): SmritiError {
    const { name } = this.#parts.options;
    return new SmritiError("closed", `pool ${show(name)} is closed`);
  }
}

/** Of a caller who is there now: wanted whatever happens. */
function isNever(): boolean {
  return false;
}
