/**
 * Who gets the next block of a shared pool in this isolate: the caller, a waiter of this isolate, or
 * nobody yet.
 *
 * Waiters queue within their isolate; isolates wait for each other on one word of the control block.
 * A timer holds the process open only while somebody waits, and asks again now and then in case a
 * wake-up went to an isolate that died.
 */
import type { Block } from "../pool/block.ts";
import { Channel, type Waiter, type Wish } from "../pool/channel.ts";
import { show } from "../pool/checks.ts";
import { SmritiError } from "../pool/errors.ts";
import type { Events } from "../pool/events.ts";
import type { Leases } from "../pool/leases.ts";
import {
  type AcquireOptions,
  checkAcquire,
  checkTryAcquire,
  type FilledOptions,
  type TryAcquireOptions,
} from "../pool/options.ts";
import type { BlockArray } from "../pool/pool.ts";
import { type Control, HEADER, WORKER } from "./control.ts";
import type { SharedSizer } from "./shared_sizer.ts";
import type { SharedSlots } from "./shared_slots.ts";

/** One block, or several taken together. */
export type Grant = Block | BlockArray;

/** How often somebody who waits asks again unasked, in ms. */
const RETRY_MS = 100;
/** Tries before an asker is told that nothing is free, when others take what it grows. */
const ATTEMPTS = 16;

/** Hands blocks out in one isolate. */
export class SharedDispatcher {
  readonly #options: FilledOptions;
  readonly #control: Control;
  readonly #slots: SharedSlots;
  readonly #leases: Leases;
  readonly #sizer: SharedSizer;
  readonly #events: Events;
  readonly #worker: number;
  readonly #channel: Channel<Grant>;
  #closed = false;
  #keepAlive: ReturnType<typeof setInterval> | undefined;
  #listening = false;

  /** Acts for one worker id. */
  constructor(
    options: FilledOptions,
    control: Control,
    slots: SharedSlots,
    leases: Leases,
    sizer: SharedSizer,
    events: Events,
    worker: number,
  ) {
    this.#options = options;
    this.#control = control;
    this.#slots = slots;
    this.#leases = leases;
    this.#sizer = sizer;
    this.#events = events;
    this.#worker = worker;
    this.#channel = new Channel(options.maxWaiting, (timedOut) => {
      if (timedOut) this.#count(WORKER.TIMEOUTS);
      this.pump();
    });
  }

  /** Acquires of this isolate that wait now. */
  get waiting(): number {
    return this.#channel.waiting;
  }

  /** A block now, or `undefined`. */
  take(options: TryAcquireOptions | undefined): Block | undefined {
    if (options !== undefined) checkTryAcquire(options);
    this.refuseIfClosed();
    const reserved = options?.reserved ?? false;
    const block = this.#channel.isAhead(reserved)
      ? undefined
      : this.#one(reserved, options?.tag);
    if (block === undefined) this.#countExhaustion();
    return block;
  }

  /** Blocks for `acquire` (no count) or `acquireMany`, now or later. */
  obtain(
    count: number | undefined,
    options: AcquireOptions,
  ): Grant | Promise<Grant> {
    checkAcquire(options);
    this.refuseIfClosed();
    const { signal, timeoutMs, tag, reserved = false } = options;
    signal?.throwIfAborted();
    const wish: Wish = { count, reserved, tag, signal, timeoutMs };
    if (this.#isHopeless(wish)) {
      this.#countExhaustion();
      throw this.exhausted(
        `${count ?? 1} blocks can never be free for this caller`,
      );
    }
    if (!this.#channel.isAhead(reserved)) {
      const grant = this.#grant(wish);
      if (grant !== undefined) return grant;
    }
    this.refuseIfClosed();
    if (timeoutMs === 0) {
      this.#count(WORKER.TIMEOUTS);
      throw new SmritiError("timeout", "no block was free and timeoutMs is 0");
    }
    if (this.#channel.full) {
      this.#countExhaustion();
      throw this.exhausted(`${this.waiting} are waiting, the most that may`);
    }
    this.#count(WORKER.WAITS);
    const promise = this.#channel.wait(wish);
    this.#settle();
    return promise;
  }

  /** A block, stopping the thread until there is one. Workers only. */
  block(options: AcquireOptions): Block {
    checkAcquire(options);
    this.refuseIfClosed();
    options.signal?.throwIfAborted();
    const { words } = this.#control;
    const { timeoutMs = Infinity, reserved = false, tag } = options;
    const end = performance.now() + timeoutMs;
    Atomics.add(words, HEADER.WAITERS, 1);
    try {
      for (;;) {
        const epoch = Atomics.load(words, HEADER.EPOCH);
        const block = this.#one(reserved, tag);
        if (block !== undefined) return block;
        this.refuseIfClosed();
        const left = end - performance.now();
        if (left <= 0) break;
        // Never without a limit: a thread that waits here can not be terminated.
        Atomics.wait(words, HEADER.EPOCH, epoch, Math.min(left, RETRY_MS));
      }
    } finally {
      Atomics.sub(words, HEADER.WAITERS, 1);
    }
    this.#count(WORKER.TIMEOUTS);
    throw new SmritiError(
      "timeout",
      `no block became free within ${timeoutMs} ms`,
    );
  }

  /** Serves the waiters of this isolate as far as there are blocks. */
  pump(): void {
    let waiter: Waiter<Grant> | undefined;
    while ((waiter = this.#channel.head) !== undefined) {
      if (this.#isHopeless(waiter.wish)) {
        this.#refuseHopeless();
        continue;
      }
      const grant = this.#grant(waiter.wish);
      if (grant === undefined) break;
      this.#channel.serve(waiter, () => grant);
    }
    this.#settle();
  }

  /** Something became free: wakes one isolate in which somebody waits. */
  wake(): void {
    const { words } = this.#control;
    if (this.#channel.waiting > 0) this.pump();
    // The read-modify-write that freed the slot orders this plain read after itself.
    if (words[HEADER.WAITERS] === 0) return;
    Atomics.add(words, HEADER.EPOCH, 1);
    Atomics.notify(words, HEADER.EPOCH, 1);
  }

  /** Refuses everybody in this isolate from now on. */
  close(): void {
    this.#closed = true;
    this.#channel.reject(() => this.#closedError(), () => true);
    this.#settle();
  }

  /** Throws once the pool is closed. */
  refuseIfClosed(): void {
    if (this.#closed) throw this.#closedError();
  }

  /** The error for an acquire that is refused. */
  exhausted(why: string): SmritiError {
    const { name, maxBlocks } = this.#options;
    return new SmritiError(
      "exhausted",
      `pool ${show(name)} is exhausted: ${why} ` +
        `(${this.#slots.used} of at most ${maxBlocks} blocks in use)`,
    );
  }

  /** One block, growing if none is free, or `undefined`. */
  #one(reserved: boolean, tag: string | undefined): Block | undefined {
    const slot = this.#slot(reserved);
    return slot < 0 ? undefined : this.#leases.beginAt(slot, tag);
  }

  #slot(reserved: boolean): number {
    const kept = reserved ? 0 : this.#options.reservedBlocks;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const slot = kept > 0 && this.#spare <= kept ? -1 : this.#slots.pop();
      if (slot >= 0) {
        // Two isolates may both have seen the last block above the reserve: one gives it back.
        if (kept === 0 || this.#spare >= kept) {
          this.#sizer.taken();
          return slot;
        }
        this.#slots.push(slot);
      }
      if (!this.#sizer.grow()) break;
    }
    return -1;
  }

  /** Free blocks, by the workers' own counts. */
  get #spare(): number {
    return this.#sizer.committed - this.#slots.used;
  }

  /** What a wish asks for, or `undefined` if there is not enough. */
  #grant({ count, tag, reserved }: Wish): Grant | undefined {
    if (count === undefined) return this.#one(reserved, tag);
    const slots: number[] = [];
    while (slots.length < count) {
      const slot = this.#slot(reserved);
      if (slot < 0) {
        for (const each of slots) this.#slots.push(each);
        return undefined;
      }
      slots.push(slot);
    }
    const blocks = slots.map((slot) => this.#leases.beginAt(slot, tag));
    return Object.defineProperty(blocks, Symbol.dispose, {
      value: () => blocks.forEach((block) => block[Symbol.dispose]()),
    }) as BlockArray;
  }

  #isHopeless({ count = 1, reserved }: Wish): boolean {
    const kept = reserved ? 0 : this.#options.reservedBlocks;
    const lost = Atomics.load(this.#control.words, HEADER.ABANDONED);
    return count > this.#options.maxBlocks - lost - kept;
  }

  #refuseHopeless(): void {
    const refused = this.#channel.reject(
      () => this.exhausted("too many blocks were abandoned"),
      (wish) => this.#isHopeless(wish),
    );
    for (let i = 0; i < refused; i++) this.#countExhaustion();
  }

  /** Keeps the process, the control block and the wake-ups in step with who waits here. */
  #settle(): void {
    const { words } = this.#control;
    const at = this.#control.at(this.#worker, WORKER.WAITING);
    const waits = this.#channel.waiting > 0;
    if (waits === (this.#keepAlive !== undefined)) return;
    if (waits) {
      Atomics.add(words, HEADER.WAITERS, 1);
      Atomics.store(words, at, 1);
      this.#keepAlive = setInterval(() => this.pump(), RETRY_MS);
      if (!this.#listening) this.#listen();
    } else {
      clearInterval(this.#keepAlive);
      this.#keepAlive = undefined;
      Atomics.store(words, at, 0);
      Atomics.sub(words, HEADER.WAITERS, 1);
    }
  }

  /** Waits for the next wake-up, one at a time, as long as somebody waits here. */
  async #listen(): Promise<void> {
    const { words } = this.#control;
    this.#listening = true;
    while (this.#keepAlive !== undefined) {
      const epoch = Atomics.load(words, HEADER.EPOCH);
      this.pump();
      if (this.#keepAlive === undefined) break;
      const { async, value } = Atomics.waitAsync(
        words,
        HEADER.EPOCH,
        epoch,
        10 * RETRY_MS,
      );
      if (async) await value;
      else await Promise.resolve();
    }
    this.#listening = false;
    // The wake-up that ended this may have been meant for one more.
    if (Atomics.load(words, HEADER.WAITERS) > 0) {
      Atomics.notify(words, HEADER.EPOCH, 1);
    }
  }

  #countExhaustion(): void {
    this.#count(WORKER.EXHAUSTIONS);
    this.#events.emit("exhausted", () => ({
      pool: this.#options.name,
      acquiredBlocks: this.#slots.used,
      waiting: this.waiting,
    }));
  }

  #count(word: number): void {
    this.#control.words[this.#control.at(this.#worker, word)]++;
  }

  #closedError(): SmritiError {
    return new SmritiError(
      "closed",
      `pool ${show(this.#options.name)} is closed`,
    );
  }
}
