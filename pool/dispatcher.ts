/**
 * Who gets the next block: the caller, somebody who waits, or nobody.
 *
 * Joins leases, waiters and the pool's size, and keeps the hot path to one comparison each way.
 * Knows nothing of memory. Each step leaves the state consistent before other code is called; a hand-off
 * that the end of the stack cuts short is completed once the stack is empty.
 */
import type { Block } from "./block.ts";
import { integer, show } from "./checks.ts";
import { Channel, refuseAborted, type Waiter, type Wish } from "./channel.ts";
import { askForCollection } from "./collection.ts";
import { SmritiError } from "./errors.ts";
import { headroom } from "./headroom.ts";
import type { Events } from "./events.ts";
import type { Leases } from "./leases.ts";
import {
  type AcquireOptions,
  checkAcquire,
  checkTryAcquire,
  type FilledOptions,
  type TryAcquireOptions,
} from "./options.ts";
import type { Parts } from "./parts.ts";
import type { BlockArray } from "./pool.ts";
import { REFUSAL_MS } from "./scaling.ts";
import type { Sizer } from "./sizer.ts";
import { StallWatch } from "./stalls.ts";
import { COUNTLESS, type Slots } from "./slots.ts";
import type { Counters } from "./stats.ts";
import { Timer } from "./timers.ts";

/** One block for `acquire`, several for `acquireMany`. */
export type Grant = Block | BlockArray;

/** How long nothing is released while somebody waits before the collector is asked, in ms. */
const COLLECT_MS = 100;

/** What was taken for a waiter, until it has it. */
interface Hand {
  readonly waiter: Waiter<Grant>;
  readonly grant: Grant;
}

/** Hands the blocks of one pool out. */
export class Dispatcher {
  readonly #options: FilledOptions;
  readonly #slots: Slots;
  readonly #leases: Leases;
  readonly #sizer: Sizer;
  readonly #counters: Counters;
  readonly #events: Events;
  readonly #channel: Channel<Grant>;
  readonly #stalls: StallWatch;
  #closed = false;
  /** A hand-off that has begun. */
  #inHand: Hand | undefined;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #collectTimer: Timer | undefined;

  /** Call `mark` once the pool has its first blocks. */
  constructor(parts: Parts, sizer: Sizer) {
    const { options, counters } = parts;
    this.#options = options;
    this.#slots = parts.slots;
    this.#leases = parts.leases;
    this.#sizer = sizer;
    this.#counters = counters;
    this.#events = parts.events;
    this.#channel = new Channel(
      options.maxWaiting,
      (timedOut) => {
        if (timedOut) counters.timeouts++;
        this.#pump();
      },
      counters.waitMs,
      () => this.#sizer.refusal,
    );
    this.#stalls = new StallWatch({
      options,
      line: this.#channel,
      records: parts.leases.records,
      counts: () => ({
        waiting: this.#channel.waiting,
        held: parts.slots.acquired,
      }),
      events: parts.events,
    });
  }

  /** Acquires waiting now. */
  get waiting(): number {
    return this.#channel.waiting;
  }

  /** Acquires that ever waited. */
  get waits(): number {
    return this.#channel.came;
  }

  /** A block now, or `undefined`. */
  take(options: TryAcquireOptions): Block | undefined {
    const { reserved = false, tag } = checkTryAcquire(options);
    const slots = this.#slots;
    if (slots.free > slots.calmAbove) return this.#begin(tag);
    this.refuseIfClosed();
    this.#leases.report();
    if (!this.#mayHave(reserved, 1)) {
      this.#countExhaustion();
      return undefined;
    }
    const block = this.#begin(tag);
    try {
      this.#fell();
    } catch {
      // No room on the stack to grow: it is due again with the next acquire.
    }
    return block;
  }

  /** A block, now or later. */
  obtain(options: AcquireOptions): Promise<Block> {
    return settle(() => this.#obtain(undefined, options)) as Promise<Block>;
  }

  /** Several blocks, now or later. */
  obtainMany(count: number, options: AcquireOptions): Promise<BlockArray> {
    return settle(() => {
      integer("count", count, 1);
      return this.#obtain(count, options);
    }) as Promise<BlockArray>;
  }

  #obtain(
    count: number | undefined,
    options: AcquireOptions,
  ): Grant | Promise<Grant> {
    const { signal, timeoutMs, tag, reserved = false } = checkAcquire(options);
    const slots = this.#slots;
    if (count === undefined && slots.free > slots.calmAbove) {
      refuseAborted(signal);
      return this.#begin(tag);
    }
    this.refuseIfClosed();
    this.#leases.report();
    refuseAborted(signal);
    const wish: Wish = { count, reserved, tag, signal, timeoutMs };
    if (this.#isHopeless(wish)) {
      this.#countExhaustion();
      throw this.exhausted(
        `${count ?? 1} blocks can never be free for this caller`,
      );
    }
    if (this.#mayHave(reserved, count ?? 1)) {
      const grant = this.#grant(wish);
      try {
        this.#fell();
      } catch {
        // As in `take`.
      }
      return grant;
    }
    // Quarantine may have found that a block is lost, and listeners may have aborted.
    this.#leases.report();
    refuseAborted(signal);
    if (timeoutMs === 0) {
      this.#counters.timeouts++;
      throw new SmritiError("timeout", "no block was free and timeoutMs is 0", {
        cause: this.#sizer.refusal,
      });
    }
    if (this.#channel.full) {
      this.#countExhaustion();
      const { waiting } = this.#channel;
      throw this.exhausted(`${waiting} are waiting, the most that may`);
    }
    this.#retryLater();
    this.#collectLater();
    slots.calmAbove = COUNTLESS;
    slots.calmUpTo = -1;
    const promise = this.#channel.wait(wish);
    try {
      this.#stalls.watch();
    } catch {
      // No room on the stack: the next one that waits is watched, and this one then, too.
    }
    return promise;
  }

  /** A lease has ended: the block goes to whoever waits, before anybody else can ask. */
  ended(): void {
    if (this.#channel.waiting !== 0 || this.#inHand !== undefined) this.#pump();
    else if (this.#slots.calmUpTo < 0) this.mark();
    if (this.#slots.free > this.#sizer.highMark) this.#sizer.rose();
  }

  /** A block left the pool for good: some may now wait for what can never come. */
  lost(): void {
    const refused = this.#channel.reject(
      () => this.exhausted("too many blocks were abandoned"),
      (wish) => this.#isHopeless(wish),
    );
    for (let i = 0; i < refused; i++) this.#countExhaustion();
    // A fresh slot may have taken the place of the one that was given up.
    this.#pump();
  }

  /** Refuses everybody from now on, those who wait too. */
  close(): void {
    this.#closed = true;
    this.#stopRetrying();
    this.#collectTimer?.stop();
    this.#handOver();
    this.#channel.reject(() => this.#closedError(), () => true);
    this.mark();
  }

  /** Sets the marks that keep the hot path short. */
  mark(): void {
    const alert = this.#closed || this.#channel.waiting > 0;
    const { lowMark, highMark } = this.#sizer;
    const kept = this.#kept(false);
    const slots = this.#slots;
    slots.calmAbove = alert ? COUNTLESS : Math.max(kept, lowMark);
    slots.calmUpTo = alert ? -1 : highMark;
  }

  /** The error for an acquire that is refused. */
  exhausted(why: string): SmritiError {
    const { acquired, capacity } = this.#slots;
    return new SmritiError(
      "exhausted",
      `pool ${show(this.#options.name)} is exhausted: ${why} ` +
        `(${acquired} of at most ${capacity} blocks acquired)`,
      { cause: this.#sizer.refusal },
    );
  }

  /** Free blocks that this kind of caller may not take. */
  #kept(reserved: boolean): number {
    return reserved ? 0 : this.#options.reservedBlocks;
  }

  /**
   * Whether an asker that comes now can be given so many blocks.
   *
   * @throws {SmritiError} `closed`
   */
  #mayHave(reserved: boolean, count: number): boolean {
    const may = !this.#channel.isAhead(reserved) &&
      this.#hasFree(reserved, count);
    // Growing tells listeners, and one of them may have closed the pool.
    this.refuseIfClosed();
    return may;
  }

  /** Whether so many blocks can be taken, after growing if that helps. */
  #hasFree(reserved: boolean, count: number): boolean {
    const needed = this.#kept(reserved) + count;
    if (this.#isInVain(needed)) return false;
    return this.#sizer.growTo(needed) || this.#leases.freeUp(needed);
  }

  /** Whether others hold so much that so many cannot be free, however far the pool grows. */
  #isInVain(needed: number): boolean {
    return needed > this.#slots.capacity - this.#slots.acquired;
  }

  #isHopeless({ count = 1, reserved }: Wish): boolean {
    return count > this.#slots.capacity - this.#kept(reserved);
  }

  #begin(tag: string | undefined): Block {
    return this.#leases.beginAt(this.#slots.next(), tag);
  }

  /** Several, or none. */
  #beginMany(count: number, tag: string | undefined): BlockArray {
    headroom();
    const blocks = blockArray([]);
    try {
      while (blocks.length < count) blocks[blocks.length] = this.#begin(tag);
    } catch (error) {
      blocks[Symbol.dispose]();
      throw error;
    }
    return blocks;
  }

  /** What is asked for; enough is free. */
  #grant({ count, tag }: Wish): Grant {
    return count === undefined ? this.#begin(tag) : this.#beginMany(count, tag);
  }

  /** Gives a waiter what it waits for. */
  #serve(waiter: Waiter<Grant>): void {
    const hand = { waiter, grant: this.#grant(waiter.wish) };
    waiter.taken = true;
    this.#inHand = hand;
    this.#handOver();
  }

  /** Completes a hand-off, also one that was cut short. */
  #handOver(): void {
    if (this.#inHand === undefined) return;
    this.#channel.serve(this.#inHand.waiter, this.#inHand.grant);
    this.#inHand = undefined;
  }

  /** Blocks were taken. */
  #fell(): void {
    if (this.#slots.free < this.#sizer.lowMark) this.#sizer.fell();
  }

  /** Serves waiters in their order as long as there is enough for the one at the head. */
  #pump(): void {
    for (;;) {
      // Also what a listener's call has left, which was told of a grow.
      this.#handOver();
      const waiter = this.#channel.head;
      if (waiter === undefined) break;
      const { reserved, count = 1 } = waiter.wish;
      if (this.#slots.free < this.#kept(reserved) + count) {
        if (this.#isInVain(this.#kept(reserved) + count)) break;
        // It may have shrunk since they began to wait. Listeners are told, so look again.
        if (!this.#sizer.isRefused && this.#hasFree(reserved, count)) continue;
        this.#retryLater();
        if (!this.#leases.freeUp(this.#kept(reserved) + count)) break;
        // Those for whom too few are left were refused meanwhile, and others served.
        continue;
      }
      this.#serve(waiter);
      this.#fell();
    }
    if (this.#channel.waiting === 0) this.#stopRetrying();
    this.mark();
  }

  /**
   * While there are waiters for memory that the OS refused, or refused to make accessible again, asks
   * again from time to time.
   */
  #retryLater(): void {
    if (this.#retryTimer !== undefined) return;
    if (!this.#sizer.canGrow && this.#slots.quarantined === 0) return;
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = undefined;
      const wish = this.#channel.head?.wish;
      if (wish === undefined) return;
      this.#hasFree(wish.reserved, wish.count ?? 1);
      this.#pump();
      if (this.#channel.waiting > 0) this.#retryLater();
    }, REFUSAL_MS);
  }

  /** The queue is empty: the retry timer ends with it. */
  #stopRetrying(): void {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
  }

  /**
   * While there are waiters and nothing is released, some of the blocks may have been dropped: asks for a
   * collection from time to time, which finds them.
   */
  #collectLater(): void {
    if (this.#collectTimer !== undefined || !this.#leases.findsLeaks) return;
    const before = this.#released;
    this.#collectTimer = Timer.once(COLLECT_MS, this as Dispatcher, (own) => {
      own.#collectTimer = undefined;
      if (own.#channel.waiting === 0) return;
      if (own.#released === before) askForCollection();
      own.#collectLater();
    });
  }

  /** Leases that have ended, ever. */
  get #released(): number {
    return this.#slots.taken - this.#slots.acquired;
  }

  #countExhaustion(): void {
    this.#counters.exhaustions++;
    this.#events.emit("exhausted", () => ({
      pool: this.#options.name,
      acquiredBlocks: this.#slots.acquired,
      waiting: this.#channel.waiting,
    }));
  }

  /** Throws once the pool is closed. */
  refuseIfClosed(): void {
    if (this.#closed) throw this.#closedError();
  }

  #closedError(): SmritiError {
    return new SmritiError(
      "closed",
      `pool ${show(this.#options.name)} is closed`,
    );
  }
}

/** The outcome as a promise; unlike `Promise.try`, without another one around a promise. */
export function settle(act: () => Grant | Promise<Grant>): Promise<Grant> {
  try {
    const grant = act();
    return grant instanceof Promise ? grant : Promise.resolve(grant);
  } catch (error) {
    return Promise.reject(error);
  }
}

/** An array that releases its blocks when disposed. */
export function blockArray(blocks: Block[]): BlockArray {
  const dispose = () => {
    let failed: { error: unknown } | undefined;
    for (const block of blocks) {
      try {
        block[Symbol.dispose]();
      } catch (error) {
        // Strict mode's bad news about another block; the rest must go back all the same.
        failed ??= { error };
      }
    }
    if (failed !== undefined) throw failed.error;
  };
  return Object.defineProperty(blocks, Symbol.dispose, {
    value: dispose,
  }) as BlockArray;
}
