/**
 * `BlockPool`: connects the parts of a pool, and is what users hold.
 *
 * Checks arguments and owns `close()`; what becomes of a request, how much memory there is and what a
 * release does are decided in the parts.
 */
import type { Abandoned, GivenUp } from "./abandoned.ts";
import type { Block } from "./block.ts";
import { inspectSlots, type SlotInfo, table } from "./inspect.ts";
import { callable, show } from "./checks.ts";
import { Shutdown } from "./shutdown.ts";
import { complain } from "./console.ts";
import { Dispatcher } from "./dispatcher.ts";
import { SlotAcquirer } from "./slot_acquirer.ts";
import {
  enter,
  type PoolMemory,
  releaseMemory,
  unregisterPool,
} from "./finalization.ts";
import {
  Events,
  type PoolEventListener,
  type PoolEventType,
  type PoolListenerOptions,
} from "./events.ts";
import { quarantineFor } from "./quarantine.ts";
import { headroom } from "./headroom.ts";
import { showAs } from "./console.ts";
import { type Footprint, Layout } from "./layout.ts";
import { madeHere } from "./leaks.ts";
import { checkSize } from "./memory_limit.ts";
import { Leases } from "./leases.ts";
import { Ledger, sweep } from "./ledger.ts";
import {
  type AcquireOptions,
  type CloseOptions,
  closeTimeout,
  type FilledOptions,
  fillOptions,
  type PoolOptions,
  type TryAcquireOptions,
} from "./options.ts";
import { OverdueWatch } from "./overdue.ts";
import type { BlockArray, Pool } from "./pool.ts";
import { chooseBackend, Region } from "./region.ts";
import { Sizer } from "./sizer.ts";
import type { Slots } from "./slots.ts";
import { Counters, type PoolStats, poolStats } from "./stats.ts";
import { slotsFor, Supply } from "./supply.ts";
import type { Timer } from "./timers.ts";

const NO_OPTIONS: AcquireOptions = Object.freeze({});
/** The fast path of a pool, for `SizeClassPool`. */
export let takeFast: (pool: BlockPool) => Block | undefined;
let endWithIsolate: (pool: BlockPool) => void;

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
  static {
    takeFast = (pool) => pool.#takeFast();
    // Not a closure of the constructor, which would hold the pool.
    endWithIsolate = (pool) => pool.#endWithIsolate();
    showAs(BlockPool.prototype, (pool) => pool.#line());
  }

  /**
   * What a pool of these options would take of the OS; makes nothing.
   *
   * @throws {TypeError | RangeError | SmritiError} what the constructor would throw for these options,
   * without `--allow-ffi` too (`permission`)
   */
  static footprint(options: PoolOptions): Footprint {
    const filled = fillOptions(options);
    const { abilities } = chooseBackend(filled.backend);
    return new Layout(filled, abilities).footprint(filled);
  }

  readonly #options: FilledOptions;
  readonly #region: Region;
  readonly #slots: Slots;
  readonly #leases: Leases;
  readonly #sizer: Sizer;
  readonly #dispatcher: Dispatcher;
  readonly #shutdown: Shutdown;
  readonly #abandoned: Abandoned;
  readonly #counters = new Counters();
  readonly #events = new Events();
  readonly #ledger: Ledger;
  readonly #overdue: OverdueWatch;
  /** Announces that the pool can exceed the memory limit. */
  readonly #notice: Timer | undefined;

  /**
   * Maps the pool's address space and commits its first blocks.
   *
   * @throws {TypeError | RangeError} for a wrong option, naming it, the value and the rule
   * @throws {SmritiError} `permission` without `--allow-ffi`, `unsupported` on a system without a
   * backend, `out-of-memory` if the OS refuses; nothing is left mapped then
   */
  constructor(options: PoolOptions) {
    headroom();
    const filled = this.#options = fillOptions(options);
    const events = this.#events;
    const { abilities } = chooseBackend(filled.backend);
    const announce = checkSize(filled, new Layout(filled, abilities), events);
    const region = this.#region = new Region(filled);
    const counters = this.#counters;
    sweep();
    const slots = this.#slots = slotsFor(region, filled.maxBlocks);
    const place = madeHere();
    const ledger = this.#ledger = ledgerOf(region, filled.name, place);
    const { used } = ledger;
    const givenUp: GivenUp[] = [];
    const leases = this.#leases = new Leases(
      filled,
      region,
      slots,
      counters,
      {
        ended: () => {
          if (this.#shutdown.begun) headroom();
          this.#dispatcher.freed();
          this.#shutdown.check();
        },
        abandoned: () => {
          if (this.#shutdown.begun) headroom();
          this.#sizer.heal();
          this.#dispatcher.abandoned();
          this.#shutdown.check();
        },
        leaked: ({ isNew, tag, stack }) => {
          if (!isNew) return;
          events.emit("leak", () => ({ pool: filled.name, tag, stack }));
        },
      },
      givenUp,
      used,
      quarantineFor(filled, region, slots, givenUp, used),
    );
    const supply = new Supply(region, slots, leases, filled, givenUp, ledger);
    this.#abandoned = supply.abandoned;
    const parts = {
      options: filled,
      region,
      slots,
      leases,
      supply,
      counters,
      events,
    };
    this.#sizer = new Sizer(parts, () => acquirer.mark());
    const acquirer: SlotAcquirer = new SlotAcquirer(
      parts,
      this.#sizer,
      () => this.#dispatcher.pump(true),
    );
    const { records } = leases;
    this.#dispatcher = new Dispatcher({ ...parts, acquirer, records });
    this.#shutdown = new Shutdown(parts, () => this.#ended());
    try {
      this.#sizer.start();
    } catch (error) {
      supply.stop();
      region.unmap();
      ledger.close();
      throw error;
    }
    this.#overdue = new OverdueWatch(filled, leases.records, events);
    this.#notice = announce?.();
    const { views } = leases;
    const hasStaleViews = filled.safety === "trust";
    const giveBack = dropped({ region, ledger, views, hasStaleViews });
    enter(this, { name: filled.name, place, giveBack }, endWithIsolate);
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
    return this.#region.backend;
  }

  /** Label in messages, stats and events. */
  get name(): string {
    return this.#options.name;
  }

  /** Whether `close` was called or the pool disposed. */
  get closed(): boolean {
    return this.#shutdown.begun;
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
      const block = this.#takeFast();
      if (block !== undefined) return Promise.resolve(block);
      options = NO_OPTIONS;
    }
    return this.#dispatcher.obtain(options);
  }

  /**
   * A block, or `undefined` if there is none for this caller now. Never waits and never overtakes a
   * waiter (a reserved caller yields only to reserved waiters). Costs tens of nanoseconds.
   *
   * @throws {SmritiError} `closed`
   */
  tryAcquire(options?: TryAcquireOptions): Block | undefined {
    if (options === undefined) {
      const block = this.#takeFast();
      if (block !== undefined) return block;
      options = NO_OPTIONS;
    }
    return this.#dispatcher.take(options);
  }

  /**
   * A block, or an error if there is none for this caller now.
   *
   * @throws {SmritiError} `exhausted`, `closed`
   */
  acquireSync(options?: TryAcquireOptions): Block {
    const block = this.tryAcquire(options);
    if (block === undefined) {
      throw this.#dispatcher.exhausted("no block is free for this caller");
    }
    return block;
  }

  /**
   * Several blocks at once, or none: two tasks that each need two cannot starve each other. At the
   * head of the queue it holds back all behind it.
   *
   * @param count How many, an integer from 1
   * @returns A promise of an array that releases what is left of it when disposed
   */
  acquireMany(
    count: number,
    options: AcquireOptions = NO_OPTIONS,
  ): Promise<BlockArray> {
    return this.#dispatcher.obtainMany(count, options);
  }

  /** Acquires a block, runs `fn` with it, and releases it whatever happens. */
  async use<T>(
    fn: (block: Block) => T | PromiseLike<T>,
    options?: AcquireOptions,
  ): Promise<T> {
    callable("fn", fn);
    using block = await this.acquire(options);
    return await fn(block);
  }

  /**
   * Same as `block.release()`.
   *
   * @throws {TypeError} if it is no block
   * @throws {SmritiError} `foreign-block` if it is another pool's, `released` if its lease has ended
   */
  release(block: Block): void {
    this.#leases.checkOwn(block);
    block.release();
  }

  /** The pool's numbers now, frozen. */
  stats(): PoolStats {
    return poolStats(
      this.#options,
      this.#region,
      this.#slots,
      this.#counters,
      {
        abandonedBytes: this.#abandoned.bytes,
        waiting: this.#dispatcher.waiting,
        listenerErrors: this.#events.errors,
      },
    );
  }

  /** Every slot up to the highest ever committed, for dashboards; about 0.1 µs each. */
  slots(): SlotInfo[] {
    return [...inspectSlots(this.#leases.records, this.#slots, Date.now())];
  }

  /** The slots as a table: state, tag, age and place of acquire, as far as these were noted. */
  dump(): string {
    return `${this.#line()}\n${table(this.slots())}`;
  }

  /**
   * Gives the memory of free blocks above `initialBlocks` back to the OS now. Takes about 0.4 µs
   * per block that was ever lent, and the time to drop its pages.
   *
   * @returns Bytes given back
   */
  trim(): number {
    headroom();
    return this.#sizer.trim();
  }

  /**
   * Makes all that the pool needs the FFI permission for, so that the program may take it back:
   * `Deno.permissions.revoke({ name: "ffi" })`. The pool goes on as before, growing and shrinking too,
   * but heals no more: a block given up costs a block of capacity, and a view of a block that lost its
   * own cannot be made anew. About 4 µs for each of `maxBlocks`; their views count as external memory.
   *
   * @throws {SmritiError} `permission` if it has been taken back already; `closed`
   */
  seal(): void {
    headroom();
    this.#dispatcher.refuseIfClosed();
    const { slabs, slabSlots, hasAddresses } = this.#region;
    if (hasAddresses) this.#leases.seal(slabs * slabSlots);
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
    let timeoutMs: number;
    try {
      headroom();
      timeoutMs = closeTimeout(options);
    } catch (error) {
      return Promise.reject(error);
    }
    this.#beginClose();
    return this.#shutdown.wait(timeoutMs);
  }

  /** Closes without waiting; the memory is unmapped when the last block comes back. */
  [Symbol.dispose](): void {
    this.#beginClose();
  }

  /**
   * Closes, and never rejects: what `close()` would reject with is printed by `console.error`, so that
   * an error of the program that left a block out is the one that is seen.
   */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close().catch(complain);
  }

  /**
   * Listens to what the pool does. An error thrown by the listener is counted and shown by
   * `console.error`. A listener may use the pool; if that causes the event that it is handling, the
   * event is not sent again, but `stats()` counts it.
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

  #line(): string {
    const { acquired, committed } = this.#slots;
    const state = this.closed ? ", closed" : "";
    return `BlockPool(${
      show(this.name)
    }, ${acquired} of ${committed} blocks acquired, ` +
      `at most ${this.maxBlocks} × ${this.blockSize} bytes, ${this.backend}${state})`;
  }

  /**
   * The fast path: a block if more are free than the low watermark. Then no waiter, reserve, growth or
   * close has to be considered.
   */
  #takeFast(): Block | undefined {
    const slots = this.#slots;
    return slots.free > slots.lowWatermark
      ? this.#leases.beginAt(slots.next(), undefined)
      : undefined;
  }

  #beginClose(): void {
    if (this.closed) return;
    headroom();
    this.#overdue.stop();
    this.#notice?.stop();
    try {
      this.#dispatcher.close();
      this.#sizer.stop();
    } finally {
      this.#shutdown.begin();
    }
  }

  /**
   * The isolate ends, and every lease with it. Memory goes back, but for what native code may still
   * write to.
   */
  #endWithIsolate(): void {
    this.#beginClose();
    this.#leases.abandonAll();
  }

  #ended(): void {
    unregisterPool(this);
    this.#ledger.close();
    this.#events.emit("close", () => ({
      pool: this.name,
      abandonedBlocks: this.#slots.abandoned,
      mappedBytes: this.#region.mappedBytes,
    }));
  }
}

/**
 * Gives the memory of a dropped pool back. Not a closure of the constructor, which would hold the pool.
 */
function dropped(belongings: PoolMemory): () => boolean {
  return () => {
    releaseMemory(belongings);
    return true;
  };
}

/** The ledger of a pool: listed for other isolates, but for the heap. */
function ledgerOf(region: Region, name: string, place: string): Ledger {
  const { slabBytes, slabSlots, slabs, lastPart } = region;
  return region.hasAddresses
    ? Ledger.open(lastPart, { slabBytes, slabSlots, name, place })
    : Ledger.alone(slabs * slabSlots);
}
