/**
 * The conductor: brings memory, slots, leases, waiters and scaling together.
 *
 * The only file with control flow across the parts; owns the timers and `close()`. Everything it
 * tells others happens after its own state is consistent again, because they may call back.
 */
import type { Backend } from "../ffi/backend.ts";
import { openNative } from "../ffi/open.ts";
import { Block } from "./block.ts";
import { Channel, type Waiter, type Wish } from "./channel.ts";
import { SmritiError } from "./errors.ts";
import {
  Events,
  type PoolEventListener,
  type PoolEventType,
  type PoolListenerOptions,
} from "./events.ts";
import { type LeaseHooks, Leases } from "./leases.ts";
import {
  type AcquireOptions,
  callable,
  checkAcquire,
  checkTryAcquire,
  duration,
  type FilledOptions,
  fillOptions,
  integer,
  type PoolOptions,
  record,
  show,
  type TryAcquireOptions,
} from "./options.ts";
import type { BlockArray, CloseOptions, Pool } from "./pool.ts";
import { Region } from "./region.ts";
import { ScalingController } from "./scaling.ts";
import { Slots } from "./slots.ts";
import { Counters, type PoolStats } from "./stats.ts";
import { Supply } from "./supply.ts";

/** Bytes given back by one piece of a shrink: the event loop runs in between. */
const SHRINK_PIECE = 4 * 1024 * 1024;
/** How long to leave the OS in peace after it refused memory. */
const RETRY_MS = 100;
const NO_OPTIONS: AcquireOptions = Object.freeze({});
const CLOSE_NAMES: ReadonlySet<string> = new Set<keyof CloseOptions>([
  "timeoutMs",
]);
const CLOSE_TIMEOUT_MS = 10_000;

/** One block for `acquire`, several for `acquireMany`. */
type Grant = Block | BlockArray;

interface Closing {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (reason: SmritiError) => void;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/**
 * A pool of memory blocks of one size, outside the garbage collector's heap.
 *
 * Making one maps address space for `maxBlocks` and commits the first blocks; it costs under a
 * millisecond and no resident memory until blocks are written to. The pool grows when 80 % is in
 * use, gives memory back when idle, and must be closed.
 *
 * @example Lend a block to a request
 * ```ts
 * import { BlockPool } from "@smriti/pool";
 *
 * await using pool = new BlockPool({ blockSize: 64 * 1024, maxBlocks: 1024 });
 * using block = await pool.acquire({ timeoutMs: 500 });
 * block.bytes.set(new TextEncoder().encode("hello"));
 * ```
 */
export class BlockPool implements Pool {
  readonly #options: FilledOptions;
  readonly #backend: Backend;
  readonly #region: Region;
  readonly #slots: Slots;
  readonly #leases: Leases;
  readonly #supply: Supply;
  readonly #scaling: ScalingController;
  readonly #channel: Channel<Grant>;
  readonly #counters = new Counters();
  readonly #events = new Events();
  /** Free blocks that only reserved acquires may take. */
  readonly #kept: number;
  #closed = false;
  #ended = false;
  #closing: Closing | undefined;
  #shrinkTimer: ReturnType<typeof setInterval> | undefined;
  #pieceTimer: ReturnType<typeof setTimeout> | undefined;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #overdueTimer: ReturnType<typeof setInterval> | undefined;

  /**
   * Maps the pool's address space and commits its first blocks.
   *
   * @throws {TypeError | RangeError} for a wrong option, naming it, the value and the rule
   * @throws {SmritiError} `permission` without `--allow-ffi`, `unsupported` on a system without a
   * backend, `out-of-memory` if the OS refuses; nothing is left mapped then
   */
  constructor(options: PoolOptions) {
    const filled = this.#options = fillOptions(options);
    this.#kept = filled.reservedBlocks;
    this.#backend = chooseBackend(filled.backend);
    const region = this.#region = new Region(this.#backend, filled);
    const slots = this.#slots = new Slots(filled.maxBlocks, region.slabSlots);
    const hooks: LeaseHooks = {
      ended: () => this.#onEnded(),
      lost: () => this.#onLost(),
      leaked: ({ isNew, tag, stack }) => {
        if (!isNew) return;
        this.#events.emit("leak", () => ({ pool: this.name, tag, stack }));
      },
    };
    const leases = this.#leases = new Leases(
      filled,
      region,
      slots,
      this.#counters,
      hooks,
    );
    this.#supply = new Supply(region, slots, leases, filled.prefault);
    this.#scaling = new ScalingController(filled, region.slabSlots);
    this.#channel = new Channel(filled.maxWaiting, (timedOut) => {
      if (timedOut) this.#counters.timeouts++;
      this.#pump();
    });
    const { error } = this.#supply.grow(filled.initialBlocks);
    if (error !== undefined) {
      region.unmap();
      throw error;
    }
    this.#resized();
    this.#watchOverdue();
  }

  /** Bytes in one block. */
  get blockSize(): number {
    return this.#options.blockSize;
  }

  /** The most blocks there can be. */
  get maxBlocks(): number {
    return this.#options.maxBlocks;
  }

  /** `"native"` or `"heap"`: where the memory comes from. */
  get backend(): "native" | "heap" {
    return this.#backend.kind;
  }

  /** Label in messages, stats and events. */
  get name(): string {
    return this.#options.name;
  }

  /** Whether `close` was called or the pool disposed. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * A block, as soon as there is one: first come, first served, reserved before the others. With a
   * free block it costs about as much as awaiting a resolved promise.
   *
   * @returns A promise that rejects with `signal.reason`, or with a {@linkcode SmritiError}:
   * `timeout`, `exhausted` (more than `maxWaiting` wait, or no block can ever come), `closed`
   */
  acquire(options?: AcquireOptions): Promise<Block> {
    if (options === undefined) {
      if (!this.#closed && this.#channel.waiting === 0) {
        const block = this.#take(false, undefined);
        if (block !== undefined) return Promise.resolve(block);
      }
      options = NO_OPTIONS;
    }
    const given = options;
    return Promise.try(() => this.#obtain(undefined, given)) as Promise<Block>;
  }

  /**
   * A block, or `undefined` if there is none for this caller now. Never waits and never overtakes a
   * waiter (a reserved caller yields only to reserved waiters). Costs tens of nanoseconds.
   *
   * @throws {SmritiError} `closed`
   */
  tryAcquire(options?: TryAcquireOptions): Block | undefined {
    let reserved = false;
    let tag: string | undefined;
    if (options !== undefined) {
      checkTryAcquire(options);
      reserved = options.reserved ?? false;
      tag = options.tag;
    }
    if (this.#closed) throw this.#closedError();
    const block = this.#channel.waiting !== 0 && this.#channel.isAhead(reserved)
      ? undefined
      : this.#take(reserved, tag);
    if (block === undefined) this.#countExhaustion();
    return block;
  }

  /**
   * A block, or an error if there is none for this caller now.
   *
   * @throws {SmritiError} `exhausted`, `closed`
   */
  acquireSync(options?: TryAcquireOptions): Block {
    const block = this.tryAcquire(options);
    if (block === undefined) throw this.#exhausted("every block is in use");
    return block;
  }

  /**
   * Several blocks at once, or none: two tasks that each need two cannot starve each other. At the
   * head of the queue it holds back all behind it.
   *
   * @param count How many, an integer from 1
   * @returns A promise of an array that releases what is left of it when disposed
   */
  acquireMany(count: number, options?: AcquireOptions): Promise<BlockArray> {
    return Promise.try(() =>
      this.#obtain(integer("count", count, 1), options ?? NO_OPTIONS)
    ) as Promise<BlockArray>;
  }

  /** Acquires a block, runs `fn` with it, and releases it whatever happens. */
  async use<T>(
    fn: (block: Block) => T | PromiseLike<T>,
    options?: AcquireOptions,
  ): Promise<T> {
    callable("fn", fn);
    const block = await this.acquire(options);
    try {
      return await fn(block);
    } finally {
      block[Symbol.dispose]();
    }
  }

  /**
   * Same as `block.release()`.
   *
   * @throws {TypeError} if it is no block
   * @throws {SmritiError} `foreign-block` if it is another pool's, `released` if its lease has ended
   */
  release(block: Block): void {
    const slot = Block.slotOf(block);
    if (slot === undefined) {
      throw new TypeError(`block must be a Block, got ${show(block)}`);
    }
    if (slot.owner !== this.#leases) {
      throw new SmritiError(
        "foreign-block",
        `this block belongs to another pool than ${show(this.name)}`,
      );
    }
    block.release();
  }

  /** The pool's numbers now, frozen. */
  stats(): PoolStats {
    const slots = this.#slots;
    const { abandons, ...counters } = this.#counters;
    return Object.freeze({
      name: this.name,
      blockSize: this.blockSize,
      maxBlocks: this.maxBlocks,
      committedBlocks: slots.committed,
      acquiredBlocks: slots.acquired,
      freeBlocks: slots.free,
      reservedBlocks: Math.min(this.#kept, slots.free),
      quarantinedBlocks: slots.quarantined,
      abandonedBlocks: slots.abandoned,
      waiting: this.#channel.waiting,
      ...counters,
      releases: counters.acquires - slots.acquired - abandons,
      listenerErrors: this.#events.errors,
      committedBytes: slots.committed * this.#region.stride,
      mappedBytes: this.#region.mappedBytes,
    });
  }

  /**
   * Gives the memory of free blocks above `initialBlocks` back to the OS now. Takes about 0.4 µs
   * per block that was ever lent, and the time to drop its pages.
   *
   * @returns Bytes given back
   */
  trim(): number {
    return this.#closed ? 0 : this.#giveBack(this.#scaling.spare, Infinity);
  }

  /**
   * Ends the pool: refuses new acquires, rejects waiters with `closed`, gives the memory of free
   * blocks back, and unmaps everything when the last block has come back.
   *
   * Blocks still out after `timeoutMs` are revoked; their addresses then stay mapped for ever,
   * because native code may still write there. Later calls get the first one's promise.
   *
   * @returns A promise that rejects with a `timeout` error naming what was still out
   */
  close(options?: CloseOptions): Promise<void> {
    if (this.#closing !== undefined) return this.#closing.promise;
    let timeoutMs = CLOSE_TIMEOUT_MS;
    try {
      const given = record("options", options ?? {}, CLOSE_NAMES);
      if (given.timeoutMs !== undefined) {
        timeoutMs = duration("timeoutMs", given.timeoutMs);
      }
    } catch (error) {
      return Promise.reject(error);
    }
    const closing: Closing = {
      ...Promise.withResolvers<void>(),
      timer: undefined,
    };
    this.#closing = closing;
    this.#beginClose();
    if (this.#ended) {
      closing.resolve();
    } else {
      closing.timer = setTimeout(() => this.#giveUp(timeoutMs), timeoutMs);
    }
    return closing.promise;
  }

  /** Closes without waiting; the memory is unmapped when the last block comes back. */
  [Symbol.dispose](): void {
    this.#beginClose();
  }

  /** Same as `close()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Listens to what the pool does. An error thrown by the listener is counted and shown by
   * `console.error`.
   *
   * @throws {TypeError} for an unknown event or a listener that cannot be called
   */
  addEventListener<K extends PoolEventType>(
    type: K,
    listener: PoolEventListener<K>,
    options?: PoolListenerOptions,
  ): void {
    this.#events.add(type, listener, options);
  }

  /** Stops listening. */
  removeEventListener<K extends PoolEventType>(
    type: K,
    listener: PoolEventListener<K>,
  ): void {
    this.#events.remove(type, listener);
  }

  /** One line for `console.log`. */
  [Symbol.for("Deno.customInspect")](): string {
    const { acquired, committed } = this.#slots;
    const state = this.#closed ? ", closed" : "";
    return `BlockPool(${
      show(this.name)
    }, ${acquired} of ${committed} blocks acquired, ` +
      `at most ${this.maxBlocks} × ${this.blockSize} bytes, ${this.backend}${state})`;
  }

  /** A block now, growing if that helps. The caller has checked that nobody is overtaken. */
  #take(reserved: boolean, tag: string | undefined): Block | undefined {
    const kept = reserved ? 0 : this.#kept;
    if (this.#slots.free <= kept && !this.#growTo(kept + 1)) return undefined;
    const block = this.#leases.begin(tag);
    if (this.#slots.free < this.#scaling.lowMark) this.#onFell();
    return block;
  }

  /** Blocks for `acquire` (no count) or `acquireMany`, now or later. */
  #obtain(
    count: number | undefined,
    options: AcquireOptions,
  ): Grant | Promise<Grant> {
    checkAcquire(options);
    const many = count ?? 1;
    if (this.#closed) throw this.#closedError();
    const { signal, timeoutMs, tag, reserved = false } = options;
    signal?.throwIfAborted();
    const wish: Wish = {
      count,
      reserved,
      tag,
      signal,
      timeoutMs,
    };
    if (this.#isHopeless(wish)) {
      this.#countExhaustion();
      throw this.#exhausted(`${many} blocks can never be free at once`);
    }
    const kept = reserved ? 0 : this.#kept;
    if (!this.#channel.isAhead(reserved) && this.#growTo(kept + many)) {
      return this.#grant(wish);
    }
    if (timeoutMs === 0) {
      this.#counters.timeouts++;
      throw new SmritiError("timeout", "no block was free and timeoutMs is 0");
    }
    if (this.#channel.full) {
      this.#countExhaustion();
      throw this.#exhausted(
        `${this.#channel.waiting} acquires are waiting, the most that may (maxWaiting)`,
      );
    }
    this.#counters.waits++;
    this.#retryLater();
    return this.#channel.wait(wish);
  }

  /** What a wish asks for; the caller has seen that enough is free. */
  #grant({ count, tag }: Wish): Grant {
    const grant = count === undefined ? this.#leases.begin(tag) : blockArray(
      Array.from({ length: count }, () => this.#leases.begin(tag)),
    );
    if (this.#slots.free < this.#scaling.lowMark) this.#onFell();
    return grant;
  }

  /** Serves waiters in their order as long as there is enough for the one at the head. */
  #pump(): void {
    let waiter: Waiter<Grant> | undefined;
    while ((waiter = this.#channel.head) !== undefined) {
      const { wish } = waiter;
      const kept = wish.reserved ? 0 : this.#kept;
      if (this.#slots.free < kept + (wish.count ?? 1)) return;
      this.#channel.serve(waiter, (wish) => this.#grant(wish));
    }
  }

  #isHopeless({ count = 1, reserved }: Wish): boolean {
    const kept = reserved ? 0 : this.#kept;
    return count > this.maxBlocks - this.#slots.abandoned - kept;
  }

  /** A lease has ended: the block goes to whoever waits, before anybody else can ask. */
  #onEnded(): void {
    if (this.#channel.waiting !== 0) this.#pump();
    if (this.#slots.free > this.#scaling.highMark) {
      this.#scaling.rose(this.#slots.free, Date.now());
    }
    if (this.#closed) this.#endIfIdle();
  }

  /** A block left the pool for good: some may now wait for what can never come. */
  #onLost(): void {
    const refused = this.#channel.reject(
      () => this.#exhausted("too many blocks were abandoned"),
      (wish) => this.#isHopeless(wish),
    );
    for (let i = 0; i < refused; i++) this.#countExhaustion();
    if (refused > 0) this.#pump();
    if (this.#closed) this.#endIfIdle();
  }

  #onFell(): void {
    if (this.#scaling.fell(this.#slots.free, Date.now())) this.#grow();
  }

  /** Whether that many blocks are free, after growing as often as it takes. */
  #growTo(free: number): boolean {
    while (this.#slots.free < free) {
      if (!this.#grow()) return false;
    }
    return true;
  }

  #grow(): boolean {
    const wanted = this.#closed ? 0 : this.#scaling.growBy();
    if (wanted === 0) return false;
    const { blocks, error } = this.#supply.grow(wanted);
    if (blocks > 0) this.#counters.grows++;
    if (error !== undefined) {
      this.#counters.growFailures++;
      this.#scaling.refused(Date.now() + RETRY_MS);
    }
    this.#resized();
    this.#events.emit("grow", () => ({
      pool: this.name,
      blocks,
      committedBlocks: this.#slots.committed,
      ...(error && { error }),
    }));
    return blocks > 0;
  }

  /** While somebody waits for memory that the OS refused, ask again from time to time. */
  #retryLater(): void {
    if (this.#retryTimer !== undefined || this.#scaling.growBy() === 0) return;
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = undefined;
      const wish = this.#channel.head?.wish;
      if (wish === undefined) return;
      this.#growTo((wish.reserved ? 0 : this.#kept) + (wish.count ?? 1));
      this.#pump();
      if (this.#channel.waiting > 0) this.#retryLater();
    }, RETRY_MS);
  }

  /** The number of committed blocks has changed. */
  #resized(): void {
    this.#scaling.resized(this.#slots.committed, this.#slots.free, Date.now());
    if (this.#scaling.spare === 0 || this.#closed) {
      clearInterval(this.#shrinkTimer);
      this.#shrinkTimer = undefined;
    } else if (this.#shrinkTimer === undefined) {
      const ms = this.#options.shrinkIntervalMs;
      this.#shrinkTimer = unref(setInterval(() => this.#shrink(), ms));
    }
  }

  /** Looks whether the pool was idle long enough; gives back in pieces, to keep the loop running. */
  #shrink(): void {
    if (this.#pieceTimer !== undefined) return;
    const piece = (blocks: number) => {
      this.#pieceTimer = undefined;
      const before = this.#slots.committed;
      if (this.#giveBack(blocks, SHRINK_PIECE) === 0) return;
      const left = blocks - (before - this.#slots.committed);
      if (left > 0 && !this.#closed) {
        this.#pieceTimer = unref(setTimeout(() => piece(left), 0));
      }
    };
    const blocks = this.#scaling.shrinkBy(this.#slots.free, Date.now());
    if (blocks > 0) piece(blocks);
  }

  /** Gives back at most so many blocks, stopping after so many bytes. Returns the bytes. */
  #giveBack(blocks: number, bytes: number): number {
    const given = this.#supply.giveBack(blocks, bytes, Infinity);
    if (given.refused) this.#counters.growFailures++;
    if (given.blocks === 0) return 0;
    this.#counters.shrinks++;
    this.#resized();
    this.#events.emit("shrink", () => ({
      pool: this.name,
      blocks: given.blocks,
      committedBlocks: this.#slots.committed,
      bytes: given.bytes,
    }));
    return given.bytes;
  }

  #watchOverdue(): void {
    const { overdueMs } = this.#options;
    if (overdueMs === undefined) return;
    this.#overdueTimer = unref(setInterval(() => {
      for (const found of this.#leases.overdue(overdueMs, Date.now())) {
        this.#events.emit("overdue", () => ({ pool: this.name, ...found }));
      }
    }, Math.ceil(overdueMs / 2)));
  }

  #beginClose(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#pieceTimer);
    clearInterval(this.#overdueTimer);
    this.#channel.reject(() => this.#closedError(), () => true);
    this.#supply.giveBack(Infinity, Infinity, Infinity);
    this.#resized();
    this.#endIfIdle();
  }

  #endIfIdle(): void {
    if (this.#ended || this.#slots.acquired > 0) return;
    if (this.#supply.isFaulting) {
      this.#supply.settle().then(() => this.#endIfIdle());
      return;
    }
    this.#end();
  }

  /** No lease is left: unmap, unless somebody may still write to an abandoned block. */
  #end(): void {
    this.#ended = true;
    this.#leases.dropViews(0, this.#slots.top);
    if (this.#slots.abandoned === 0) this.#region.unmap();
    else this.#region.drop(this.#slots.top);
    this.#slots.retire();
    clearTimeout(this.#closing?.timer);
    this.#closing?.resolve();
    this.#events.emit("close", () => ({
      pool: this.name,
      abandonedBlocks: this.#slots.abandoned,
      mappedBytes: this.#region.mappedBytes,
    }));
  }

  /** The time for closing is over: revoke what is still out and say whose it was. */
  #giveUp(timeoutMs: number): void {
    const tags = this.#leases.loseAll();
    const names = [...new Set(tags.map((tag) => tag ?? "untagged"))].slice(
      0,
      20,
    );
    const error = new SmritiError(
      "timeout",
      `close() of pool ${show(this.name)} waited ${timeoutMs} ms; still out: ` +
        `${tags.length} blocks (${names.join(", ")})`,
    );
    this.#closing?.reject(error);
  }

  #countExhaustion(): void {
    this.#counters.exhaustions++;
    this.#events.emit("exhausted", () => ({
      pool: this.name,
      acquiredBlocks: this.#slots.acquired,
      waiting: this.#channel.waiting,
    }));
  }

  #exhausted(why: string): SmritiError {
    const limit =
      `${this.#slots.acquired} of at most ${this.maxBlocks} acquired`;
    return new SmritiError(
      "exhausted",
      `pool ${show(this.name)} is exhausted: ${why} (${limit})`,
    );
  }

  #closedError(): SmritiError {
    return new SmritiError("closed", `pool ${show(this.name)} is closed`);
  }
}

/** An array that releases its blocks when disposed. */
function blockArray(blocks: Block[]): BlockArray {
  const dispose = () => blocks.forEach((block) => block[Symbol.dispose]());
  return Object.defineProperty(blocks, Symbol.dispose, {
    value: dispose,
  }) as BlockArray;
}

/** Keeps a timer from keeping the process alive. */
function unref<T extends ReturnType<typeof setTimeout>>(timer: T): T {
  // deno-lint-ignore no-explicit-any
  Deno.unrefTimer(timer as any);
  return timer;
}

function chooseBackend(choice: FilledOptions["backend"]): Backend {
  const found = openNative();
  if (!("reason" in found)) return found;
  throw new SmritiError(
    found.reason,
    found.reason === "permission"
      ? `native memory needs the flag --allow-ffi, without a list of paths (${found.detail})`
      : `no native memory here: ${found.detail}`,
  );
}
