/**
 * What becomes of a request, in every kind of pool: it is served, queued or refused.
 *
 * One state machine: refused if the pool is closed, the signal aborted, or the request hopeless; queued
 * behind waiters; else served, by growing if that helps; else queued, or refused if the queue is full.
 * The acquirer takes the blocks. Each step leaves the state consistent before other code is called;
 * what the end of the stack cuts short is completed by the next call.
 */
import type { Block } from "./block.ts";
import {
  type AcquireRequest,
  Channel,
  refuseAborted,
  type Waiter,
} from "./channel.ts";
import { integer, show } from "./checks.ts";
import { SmritiError } from "./errors.ts";
import type { Events } from "./events.ts";
import { headroom } from "./headroom.ts";
import {
  type AcquireOptions,
  checkAcquire,
  checkTryAcquire,
  type FilledOptions,
  type TryAcquireOptions,
} from "./options.ts";
import type { BlockArray } from "./pool.ts";
import type { Slot } from "./slot.ts";
import { StallWatch, type WaitingLine } from "./stalls.ts";
import type { Counters } from "./stats.ts";

/** One block for `acquire`, several for `acquireMany`. */
export type Grant = Block | BlockArray;

/** How many blocks, and whether those kept back are among them. */
export type Need = Pick<AcquireRequest, "count" | "reserved">;

/** Where a dispatcher gets blocks: the slots of one isolate, or those that many share. */
export interface Acquirer {
  /** Whether the pool is closed, by whichever isolate. */
  readonly isClosed: boolean;
  /** Blocks held, and the most that can be, for messages. */
  readonly usage: { readonly acquired: number; readonly capacity: number };
  /** The OS's last refusal of memory. */
  readonly refusal: SmritiError | undefined;
  /** The fast path: a block if no waiter, reserve, growth or close has to be considered. */
  fast(reserved: boolean, tag: string | undefined): Block | undefined;
  /**
   * What a request asks for, by growing if that helps. `isAsked`: also if the OS has just refused
   * memory. `isOff` is asked after growing, which calls listeners: whether the request is not to be
   * served any more.
   */
  acquire(
    request: AcquireRequest,
    isAsked: boolean,
    isOff: () => boolean,
  ): Grant | undefined;
  /** Blocks were acquired, by a request that had waited or not: growing ahead may be due. */
  acquired(hadWaited: boolean): void;
  /** A block became free, and waiters of this isolate were served before. */
  freed(): void;
  /**
   * Puts blocks back that no promise delivers. Takes each out of the array once it is back, so that a
   * call that was cut short can be repeated.
   */
  putBack(blocks: Block[]): void;
  /** Whether it can never be met: too much of the pool is kept back or was given up. */
  isHopeless(need: Need): boolean;
  /** Throws an error that is due to the next caller, such as `corrupted`, once. */
  report(): void;
  /** Completes what the end of the stack has cut short. */
  tidy(): void;
  /** From now on nothing is acquired. */
  close(): void;
  /** So many acquires wait here now. */
  queueChanged(waiting: number): void;
}

/** What a dispatcher works with. */
export interface DispatcherParts {
  readonly options: FilledOptions;
  readonly acquirer: Acquirer;
  readonly counters: Counters;
  readonly events: Events;
  /** The slots whose leases this isolate knows. */
  readonly records: readonly Slot[];
  /** How many acquires wait elsewhere. */
  readonly waitingElsewhere?: () => number;
}

/** What was acquired for a waiter, until its promise is resolved. */
interface Hand {
  readonly waiter: Waiter<Grant>;
  readonly grant: Grant;
}

/** Serves the requests of one isolate to one pool. */
export class Dispatcher implements WaitingLine {
  /**
   * Set while `acquireBlocking` stops this thread: its waiters could not use a block, so none is
   * served.
   */
  standing: { readonly number: 0; readonly since: number } | undefined;

  readonly #options: FilledOptions;
  readonly #acquirer: Acquirer;
  readonly #counters: Counters;
  readonly #events: Events;
  readonly #channel: Channel<Grant>;
  readonly #stalls: StallWatch;
  #closed = false;
  /** The waiter that is being served: while the pool grows for it, listeners may change the queue. */
  #serving: Waiter<Grant> | undefined;
  /** A hand-over that has begun. */
  #hand: Hand | undefined;
  /** What was acquired for a caller, until the promise that delivers it is made. */
  #promised: Grant | Block[] | undefined;

  /** Serves no request before it is made. */
  constructor(parts: DispatcherParts) {
    const { options, acquirer, counters, events, records } = parts;
    this.#options = options;
    this.#acquirer = acquirer;
    this.#counters = counters;
    this.#events = events;
    this.#channel = new Channel(
      options.maxWaiting,
      (timedOut) => {
        if (timedOut) counters.timeouts++;
        this.pump();
      },
      counters.waitMs,
      () => acquirer.refusal,
    );
    const { waitingElsewhere = () => 0 } = parts;
    this.#stalls = new StallWatch({
      options,
      line: this,
      records,
      counts: () => ({
        waiting: this.waiting + (this.standing ? 1 : 0) + waitingElsewhere(),
        held: acquirer.usage.acquired,
      }),
      events,
    });
  }

  /** Acquires waiting now. */
  get waiting(): number {
    return this.#channel.waiting;
  }

  /** Acquires that ever waited in the queue. */
  get came(): number {
    return this.#channel.came;
  }

  /** What has waited for the longest time. */
  get oldest(): WaitingLine["oldest"] {
    return this.standing ?? this.#channel.oldest;
  }

  /** The waiter to be served next. */
  get head(): object | undefined {
    return this.#channel.head;
  }

  /** A block now, or `undefined`. */
  take(options: TryAcquireOptions): Block | undefined {
    const { reserved = false, tag } = checkTryAcquire(options);
    const fast = this.#acquirer.fast(reserved, tag);
    if (fast !== undefined) return fast;
    this.refuseIfClosed();
    this.#acquirer.report();
    const block = this.#now(oneNow(reserved, tag));
    if (block === undefined) {
      // Growing calls listeners, and one of them may have closed the pool.
      this.refuseIfClosed();
      this.#countExhaustion();
    }
    return block as Block | undefined;
  }

  /** A block, now or later. */
  obtain(options: AcquireOptions): Promise<Block> {
    return this.#obtain(undefined, options) as Promise<Block>;
  }

  /** Several blocks, now or later. */
  obtainMany(count: number, options: AcquireOptions): Promise<BlockArray> {
    try {
      integer("count", count, 1);
    } catch (error) {
      return Promise.reject(error);
    }
    return this.#obtain(count, options) as Promise<BlockArray>;
  }

  #obtain(
    count: number | undefined,
    options: AcquireOptions,
  ): Promise<Grant> {
    try {
      const { signal, timeoutMs, tag, reserved = false } = checkAcquire(
        options,
      );
      const request = { count, reserved, tag, signal, timeoutMs };
      this.#refuse(request);
      const fast = count === undefined
        ? this.#acquirer.fast(reserved, tag)
        : undefined;
      if (fast === undefined) this.refuseHopeless(request);
      const grant = fast ?? this.#now(request);
      if (grant === undefined) return this.#later(request);
      // Making a promise may fail at the end of the stack: `tidy` puts the blocks back then.
      this.#promised = grant;
      const promise = Promise.resolve(grant);
      this.#promised = undefined;
      return promise;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** What is asked for, if it can be had at once and no waiter comes first. */
  #now(request: AcquireRequest): Grant | undefined {
    this.tidy();
    if (this.#channel.isAhead(request.reserved)) return undefined;
    const grant = this.#acquirer.acquire(request, true, isNever);
    if (grant !== undefined) this.acquired(false);
    return grant;
  }

  /** The same, as soon as it can be had. */
  #later(request: AcquireRequest): Promise<Grant> {
    // Growing calls listeners, and one of them may have closed the pool, or aborted the signal.
    this.#refuse(request);
    if (request.timeoutMs === 0) {
      throw this.timedOut("no block was free and timeoutMs is 0");
    }
    const { waiting, came, full } = this.#channel;
    if (full) {
      this.#countExhaustion();
      throw this.exhausted(`${waiting} are waiting, the most that may`);
    }
    headroom();
    const promise = this.#channel.wait(request);
    // Not in the queue, it has been rejected: the runtime gave no timer, say.
    if (this.#channel.came === came) return promise;
    this.#counters.waits++;
    try {
      this.#stalls.watch();
    } catch {
      // No room on the stack: the next one that waits is watched, and this one then, too.
    }
    try {
      this.#acquirer.queueChanged(waiting + 1);
    } catch (error) {
      // What has to run while it waits does not: it would be served late, or never.
      this.#channel.reject(() => error, (each) => each === request);
      this.#acquirer.queueChanged(this.#channel.waiting);
    }
    return promise;
  }

  /** A lease has ended: the block goes to a waiter before any other caller can ask. */
  freed(): void {
    if (this.#channel.waiting !== 0 || this.#hand !== undefined) this.pump();
    this.#acquirer.freed();
  }

  /** A block left the pool for good: waiters may have become hopeless. */
  abandoned(): void {
    const refused = this.#channel.reject(
      () => this.exhausted("too many blocks were abandoned"),
      (request) => this.#acquirer.isHopeless(request),
    );
    for (let i = 0; i < refused; i++) this.#countExhaustion();
    // A fresh slot may have taken the place of the one that was given up.
    this.pump();
  }

  /**
   * Serves waiters in their order as long as there is enough for the one at the head. `isAsked`: the OS
   * is asked for memory that it has just refused.
   */
  pump(isAsked = false): void {
    for (;;) {
      this.tidy();
      const waiter = this.#channel.head;
      if (waiter === undefined || this.standing !== undefined) break;
      const grant = this.#acquireFor(waiter, isAsked);
      if (grant !== undefined) {
        const hand = { waiter, grant };
        waiter.taken = true;
        this.#hand = hand;
        this.#handOver();
        this.acquired(true);
      } else if (!this.#isPassed(waiter)) break;
      // Else a listener has changed the queue while the pool grew.
    }
    this.#acquirer.queueChanged(this.#channel.waiting);
  }

  /** Completes what was cut short by the end of the stack. */
  tidy(): void {
    this.#acquirer.tidy();
    if (this.#hand !== undefined) this.#handOver();
    if (this.#promised === undefined) return;
    const blocks = this.#promised = [this.#promised].flat();
    this.#acquirer.putBack(blocks);
    this.#promised = undefined;
  }

  /** Refuses every request from now on, waiters included. */
  close(): void {
    this.tidy();
    if (this.#closed) return;
    this.#closed = true;
    this.#acquirer.close();
    this.#channel.reject(() => this.#closedError(), () => true);
    this.#acquirer.queueChanged(0);
  }

  /** Throws once the pool is closed. */
  refuseIfClosed(): void {
    if (this.#acquirer.isClosed) throw this.#closedError();
  }

  /** Throws for a request that can never be met. */
  refuseHopeless(need: Need): void {
    if (!this.#acquirer.isHopeless(need)) return;
    this.#countExhaustion();
    const { count = 1 } = need;
    throw this.exhausted(`${count} blocks can never be free for this caller`);
  }

  /** The error for an acquire that is refused. */
  exhausted(why: string): SmritiError {
    const { acquired, capacity } = this.#acquirer.usage;
    return new SmritiError(
      "exhausted",
      `pool ${show(this.#options.name)} is exhausted: ${why} ` +
        `(${acquired} of at most ${capacity} blocks acquired)`,
      { cause: this.#acquirer.refusal },
    );
  }

  /** The error for an acquire that ran out of time, counted. */
  timedOut(message: string): SmritiError {
    this.#counters.timeouts++;
    const { refusal } = this.#acquirer;
    return new SmritiError("timeout", message, { cause: refusal });
  }

  /** `acquireBlocking` has waited for `stallMs`. */
  lookForStall(): void {
    this.#stalls.look(0);
  }

  #refuse({ signal }: AcquireRequest): void {
    this.refuseIfClosed();
    this.#acquirer.report();
    refuseAborted(signal);
  }

  #acquireFor(waiter: Waiter<Grant>, isAsked: boolean): Grant | undefined {
    const outer = this.#serving;
    this.#serving = waiter;
    try {
      return this.#acquirer.acquire(waiter.request, isAsked, this.#isOff);
    } finally {
      this.#serving = outer;
    }
  }

  readonly #isOff = (): boolean => this.#isPassed(this.#serving!);

  /** Whether another waiter is first now, or a hand-over of a nested call was cut short. */
  #isPassed(waiter: Waiter<Grant>): boolean {
    return this.#channel.head !== waiter || this.#hand !== undefined;
  }

  #handOver(): void {
    const { waiter, grant } = this.#hand!;
    this.#channel.serve(waiter, grant);
    this.#hand = undefined;
  }

  /** Blocks were acquired, by a request that had waited or not. */
  acquired(hadWaited: boolean): void {
    try {
      this.#acquirer.acquired(hadWaited);
    } catch {
      // No room on the stack to grow ahead: it is due again with the next acquire.
    }
  }

  #countExhaustion(): void {
    this.#counters.exhaustions++;
    this.#events.emit("exhausted", () => ({
      pool: this.#options.name,
      acquiredBlocks: this.#acquirer.usage.acquired,
      waiting: this.#channel.waiting,
    }));
  }

  #closedError(): SmritiError {
    const name = show(this.#options.name);
    return new SmritiError("closed", `pool ${name} is closed`);
  }
}

/** The request for one block of a caller that does not queue. */
export function oneNow(
  reserved: boolean,
  tag: string | undefined,
): AcquireRequest {
  const timeoutMs = undefined;
  return { count: undefined, reserved, tag, signal: undefined, timeoutMs };
}

/** The `isOff` of a request that is not in the queue. */
export function isNever(): boolean {
  return false;
}
