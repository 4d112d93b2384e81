/**
 * Who gets the next block of a shared pool in this isolate: the caller, a waiter of this isolate, or
 * nobody yet.
 *
 * Waiters queue within their isolate; isolates wake each other by the bell. A timer holds the process
 * open only while somebody waits, and asks again in case a wake-up went to an isolate that died.
 */
import type { Block } from "../pool/block.ts";
import {
  Channel,
  refuseAborted,
  type Waiter,
  type Wish,
} from "../pool/channel.ts";
import { integer, show } from "../pool/checks.ts";
import { blockArray, type Grant, settle } from "../pool/dispatcher.ts";
import { SmritiError } from "../pool/errors.ts";
import type { Events } from "../pool/events.ts";
import type { SharedLeases } from "./shared_leases.ts";
import {
  type AcquireOptions,
  checkAcquire,
  checkTryAcquire,
  type TryAcquireOptions,
} from "../pool/options.ts";
import type { BlockArray } from "../pool/pool.ts";
import { type Bell, RETRY_MS } from "./bell.ts";
import { type Control, COUNT, HEADER, OPEN, WORKER } from "./control.ts";
import type { SharedFilledOptions } from "./handle.ts";
import type { SharedSizer } from "./shared_sizer.ts";
import type { SharedSlots } from "./shared_slots.ts";
import { Taker } from "./taker.ts";

// V8 folds a constant of this module into the code, but reads an imported one anew each time.
const { STATE } = HEADER;
const { ACQUIRES } = COUNT;
const HOT_OPEN = OPEN;

/** Tries of one who stops the thread between two looks after the pool: a quarter of a second. */
const TRIES_A_LOOK = 10;
/** How long one wait for the bell lasts at most: then it is known whether anybody still waits. */
const LISTEN_MS = 1000;

/** What a dispatcher works with. */
export interface DispatcherParts {
  readonly options: SharedFilledOptions;
  readonly control: Control;
  readonly slots: SharedSlots;
  readonly leases: SharedLeases;
  readonly sizer: SharedSizer;
  readonly bell: Bell;
  readonly events: Events;
  readonly worker: number;
  /** Looks after the pool, as is done now and then. */
  readonly keepHouse: () => void;
}

/** Hands blocks out in one isolate. */
export class SharedDispatcher {
  readonly #options: SharedFilledOptions;
  readonly #words: Int32Array;
  readonly #counts: Float64Array;
  readonly #slots: SharedSlots;
  readonly #leases: SharedLeases;
  readonly #sizer: SharedSizer;
  readonly #bell: Bell;
  readonly #events: Events;
  /** Index of this worker's first count. */
  readonly #countsAt: number;
  readonly #waitingAt: number;
  readonly #taker: Taker;
  readonly #keepHouse: () => void;
  readonly #channel: Channel<Grant>;
  /** This thread stands still: waiters here could do nothing with a block. */
  #standing = false;
  #keepAlive: ReturnType<typeof setInterval> | undefined;
  #listening = false;
  /** Who was at the head at the last retry. */
  #patient: Waiter<Grant> | undefined;

  /** Acts for one worker id. */
  constructor(parts: DispatcherParts) {
    const { options, control, worker } = parts;
    this.#options = options;
    this.#words = control.words;
    this.#counts = control.counts;
    this.#slots = parts.slots;
    this.#leases = parts.leases;
    this.#sizer = parts.sizer;
    this.#bell = parts.bell;
    this.#events = parts.events;
    this.#taker = new Taker(parts);
    this.#keepHouse = parts.keepHouse;
    this.#countsAt = control.countAt(worker, 0);
    this.#waitingAt = control.at(worker, WORKER.WAITING);
    this.#channel = new Channel(options.maxWaiting, (timedOut) => {
      if (timedOut) this.#count(COUNT.TIMEOUTS);
      this.pump();
    });
  }

  /** Acquires of this isolate that wait now. */
  get waiting(): number {
    return this.#channel.waiting;
  }

  /** A block now, or `undefined`. */
  take(options: TryAcquireOptions | undefined): Block | undefined {
    if (options === undefined) return this.#take(false, undefined);
    const { reserved = false, tag } = checkTryAcquire(options);
    return this.#take(reserved, tag);
  }

  #take(reserved: boolean, tag: string | undefined): Block | undefined {
    this.refuseIfClosed();
    const slot = this.#channel.isAhead(reserved)
      ? -1
      : this.#taker.slot(reserved, true);
    if (slot >= 0) return this.#begin(slot, tag);
    // Growing tells listeners, and one of them may have closed the pool.
    this.refuseIfClosed();
    this.#countExhaustion();
    return undefined;
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

  /**
   * A block, stopping the thread until there is one. Overtakes those who wait in this isolate: they
   * could do nothing with a block before the thread goes on.
   */
  block(options: AcquireOptions): Block {
    const given = checkAcquire(options);
    const { signal, timeoutMs = Infinity, reserved = false, tag } = given;
    this.refuseIfClosed();
    refuseAborted(signal);
    this.#refuseHopeless({ reserved });
    const end = performance.now() + timeoutMs;
    this.#bell.listen(true);
    this.#standing = true;
    try {
      const slot = this.#taker.slotBlocking(reserved, end, (tries) => {
        if (tries === 0) this.#count(COUNT.WAITS);
        // No timer fires in a thread that stands still.
        if (tries % TRIES_A_LOOK === TRIES_A_LOOK - 1) this.#keepHouse();
        this.refuseIfClosed();
        this.#refuseHopeless({ reserved });
      });
      if (slot >= 0) return this.#begin(slot, tag);
    } finally {
      this.#standing = false;
      this.#bell.dropTurn();
      if (this.#channel.waiting === 0) this.#bell.listen(false);
      else this.pump();
    }
    this.refuseIfClosed();
    this.#count(COUNT.TIMEOUTS);
    const waited = `${timeoutMs} ms`;
    throw new SmritiError("timeout", `no block became free within ${waited}`);
  }

  /** A lease has ended, or something else became free: to whoever waits here, or elsewhere. */
  freed(): void {
    if (this.#channel.waiting > 0) this.pump();
    this.#bell.ring();
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
    if (this.#standing) return;
    let waiter: Waiter<Grant> | undefined;
    while ((waiter = this.#channel.head) !== undefined) {
      const { wish } = waiter;
      const slots = this.#taker.gather(wish, false);
      if (slots === undefined) break;
      // Growing tells listeners, and one of them may have changed the queue, or closed the pool.
      if (this.#channel.head !== waiter) {
        this.#taker.putBack(slots);
        continue;
      }
      this.#channel.serve(waiter, this.#grant(slots, wish));
      this.#bell.dropTurn();
      this.#sizer.taken();
    }
    this.#settle();
  }

  /** Refuses everybody in this isolate from now on. */
  close(): void {
    if (this.#taker.closed) return;
    this.#taker.closed = true;
    this.#channel.reject(() => this.#closedError(), () => true);
    this.#settle();
  }

  /** Throws once the pool is closed, by whichever isolate. */
  refuseIfClosed(): void {
    // A plain read: whoever comes just before the end is as good as before it.
    if (this.#taker.closed || this.#words[STATE] !== HOT_OPEN) {
      throw this.#closedError();
    }
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

  #obtain(
    count: number | undefined,
    options: AcquireOptions,
  ): Grant | Promise<Grant> {
    const { signal, timeoutMs, tag, reserved = false } = checkAcquire(options);
    this.refuseIfClosed();
    refuseAborted(signal);
    const wish: Wish = { count, reserved, tag, signal, timeoutMs };
    this.#refuseHopeless(wish);
    if (!this.#channel.isAhead(reserved)) {
      const slots = this.#taker.gather(wish, true);
      if (slots !== undefined) {
        const grant = this.#grant(slots, wish);
        this.#sizer.taken();
        return grant;
      }
    }
    // Growing tells listeners, and one of them may have closed the pool, or aborted.
    this.refuseIfClosed();
    refuseAborted(signal);
    if (timeoutMs === 0) {
      this.#count(COUNT.TIMEOUTS);
      throw new SmritiError("timeout", "no block was free and timeoutMs is 0");
    }
    if (this.#channel.full) {
      this.#countExhaustion();
      throw this.exhausted(`${this.waiting} are waiting, the most that may`);
    }
    const promise = this.#channel.wait(wish);
    this.#count(COUNT.WAITS);
    this.#settle();
    return promise;
  }

  #begin(slot: number, tag: string | undefined): Block {
    this.#count(ACQUIRES);
    const block = this.#leases.beginAt(slot, tag);
    this.#sizer.taken();
    return block;
  }

  #grant(slots: number[], { count, tag }: Wish): Grant {
    this.#counts[this.#countsAt + ACQUIRES] += slots.length;
    const blocks = slots.map((slot) => this.#leases.beginAt(slot, tag));
    return count === undefined ? blocks[0] : blockArray(blocks);
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
    if (waits) {
      this.#bell.listen(true);
      this.#keepAlive = setInterval(() => this.#retry(), RETRY_MS);
      // What became free before that was not rung for here.
      if (this.#listening) this.pump();
      else this.#listen();
    } else {
      clearInterval(this.#keepAlive);
      this.#keepAlive = undefined;
      this.#bell.listen(false);
      this.#bell.dropTurn();
    }
  }

  /** Asks again, and for a turn if the same one waits as last time. */
  #retry(): void {
    this.lost();
    this.pump();
    const { head } = this.#channel;
    if (head !== undefined && head === this.#patient) this.#bell.claimTurn();
    this.#patient = head;
  }

  /** Waits for the bell, as long as somebody waits here. */
  async #listen(): Promise<void> {
    this.#listening = true;
    while (this.#keepAlive !== undefined) {
      const { epoch } = this.#bell;
      this.pump();
      if (this.#keepAlive === undefined) break;
      await this.#bell.heard(epoch, LISTEN_MS);
    }
    this.#listening = false;
    this.#bell.handOn();
  }

  #countExhaustion(): void {
    this.#count(COUNT.EXHAUSTIONS);
    this.#events.emit("exhausted", () => ({
      pool: this.#options.name,
      acquiredBlocks: this.#slots.used,
      waiting: this.waiting,
    }));
  }

  #count(count: number): void {
    this.#counts[this.#countsAt + count]++;
  }

  #closedError(): SmritiError {
    const { name } = this.#options;
    return new SmritiError("closed", `pool ${show(name)} is closed`);
  }
}
