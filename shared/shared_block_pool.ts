/**
 * `SharedBlockPool`: one pool for all isolates of a process; what users hold.
 *
 * Checks arguments and calls the parts. A slot's owner is decided by compare-and-swap in
 * `shared_slots.ts`, what a release does to memory in `shared_leases.ts` and `pool/leases.ts`.
 */
import type { Block } from "../pool/block.ts";
import { callable, integer, show } from "../pool/checks.ts";
import { complain } from "../pool/console.ts";
import type { Dispatcher } from "../pool/dispatcher.ts";
import { SmritiError } from "../pool/errors.ts";
import { enter } from "../pool/finalization.ts";
import { headroom } from "../pool/headroom.ts";
import type {
  PoolEventListener,
  PoolEventType,
  PoolListenerOptions,
} from "../pool/events.ts";
import {
  type AcquireOptions,
  type CloseOptions,
  closeTimeout,
  type TryAcquireOptions,
} from "../pool/options.ts";
import { showAs } from "../pool/console.ts";
import { madeHere } from "../pool/leaks.ts";
import type { BlockArray, Pool } from "../pool/pool.ts";
import { isWorker } from "../pool/runtime.ts";
import type { BlockTicket } from "../pool/slot.ts";
import { MOST_WORKERS } from "./control.ts";
import type { SharedPoolHandle } from "./handle.ts";
import { joinByName } from "./join/join.ts";
import type { SharedPoolOptions } from "./options.ts";
import type { SharedParts } from "./assembly.ts";
import { attach, begin, detachUnreachable, handleOf } from "./attach.ts";
import type { SharedSlotAcquirer } from "./shared_slot_acquirer.ts";
import { type SharedPoolStats, sharedStats } from "./shared_stats.ts";
import {
  type AdoptOptions,
  readTag,
  readTicket,
  readTickets,
} from "./tickets.ts";

const NO_OPTIONS: AcquireOptions = Object.freeze({});
/** How a pool ends with its isolate. */
const leave = (pool: SharedBlockPool): void => pool.leave();
/** The argument without which the constructor throws; this file alone has it. */
const INSIDE = Symbol("inside");

/**
 * One pool of blocks for all Workers of a process: no copy and no message per block, and plain
 * ArrayBuffers, which every Web and Deno API accepts.
 *
 * @example Hand a block to a Worker
 * ```ts
 * import { SharedBlockPool } from "@smriti/pool/shared";
 *
 * await using pool = SharedBlockPool.create({ blockSize: 65536, maxBlocks: 64 });
 * const block = await pool.acquire();
 * block.bytes[0] = 7;
 * const ticket = block.detach(); // send this, and once `pool.handle`, by postMessage
 * using same = pool.adopt(ticket); // in the Worker: SharedBlockPool.attach(handle).adopt(ticket)
 * console.log(same.bytes[0]); // 7
 * ```
 */
export class SharedBlockPool implements Pool {
  static {
    showAs(SharedBlockPool.prototype, (pool) => pool.#line());
  }

  /** What other isolates need to attach; structured-cloneable. */
  readonly handle: SharedPoolHandle;
  /** This isolate's id in the pool, from 1 to 254. */
  readonly workerId: number;

  readonly #parts: SharedParts;
  readonly #acquirer: SharedSlotAcquirer;
  readonly #dispatcher: Dispatcher;

  /** For `create`, `attach` and `join` only. */
  private constructor(inside: symbol, parts: SharedParts) {
    if (inside !== INSIDE) {
      throw new TypeError(
        "a SharedBlockPool is made by create(), attach() or join(), not by new",
      );
    }
    this.#parts = parts;
    this.#acquirer = parts.acquirer;
    this.#dispatcher = parts.dispatcher;
    this.workerId = parts.worker;
    this.handle = handleOf(parts);
    const { lifecycle, leases, options, made } = parts;
    lifecycle.heldBy(this);
    const giveBack = detachUnreachable(parts, leases.views);
    const registration = { name: options.name, place: made, giveBack };
    enter<SharedBlockPool>(this, registration, leave);
  }

  /**
   * Makes a pool; this isolate is the first to be attached.
   *
   * @throws {TypeError | RangeError} for wrong options, and for those of `BlockPool` that are not for
   * a shared pool
   * @throws {SmritiError} `permission`, `unsupported`, `out-of-memory`
   */
  static create(options: SharedPoolOptions): SharedBlockPool {
    return new SharedBlockPool(INSIDE, begin(options, madeHere()));
  }

  /**
   * Joins a pool by its handle, in any isolate of the process that made it.
   *
   * @throws {TypeError} if it is no handle
   * @throws {SmritiError} `closed`; `exhausted` if 254 isolates are attached; `permission`;
   * `unsupported` for another process or version
   */
  static attach(handle: SharedPoolHandle): SharedBlockPool {
    return new SharedBlockPool(INSIDE, attach(handle, madeHere()));
  }

  /**
   * Finds the pool of this name in the process, or makes it: for `deno serve --parallel`, where no
   * handle can be sent. Of several threads that call at once exactly one makes it. **Experimental**:
   * rests on Web Locks and broadcast channels.
   *
   * It can be found as long as it is open and a thread that has joined it by name is attached; the
   * thread that made it may end. Attached threads answer later ones between two turns of their event
   * loops: a join while all of them compute waits until one pauses, for 10 s at most, and keeps the
   * process alive as long. Costs some ms, and once a process 64 KiB of address space.
   *
   * @throws {TypeError | RangeError} for wrong options, and for others than those it was made with
   * @throws {SmritiError} as `create` and `attach` do; `timeout` if no attached thread answers within
   * 10 s: where the OS does not prove the end of threads (macOS), those that were terminated count as
   * attached
   */
  static join(
    name: string,
    options: SharedPoolOptions,
  ): Promise<SharedBlockPool> {
    const made = madeHere();
    return joinByName(name, options, {
      create: (options) => new SharedBlockPool(INSIDE, begin(options, made)),
      attach: (handle) => new SharedBlockPool(INSIDE, attach(handle, made)),
    });
  }

  /** Bytes in one block. */
  get blockSize(): number {
    return this.#parts.options.blockSize;
  }

  /** The most blocks there can be. */
  get maxBlocks(): number {
    return this.#parts.options.maxBlocks;
  }

  /** Where the memory comes from. */
  get backend(): "native" | "heap" {
    return this.#parts.region.backend;
  }

  /** Label in messages, stats and events. */
  get name(): string {
    return this.#parts.options.name;
  }

  /** Whether the pool is closed, or this isolate has left it. */
  get closed(): boolean {
    return this.#parts.lifecycle.isOver;
  }

  /** A block, as soon as there is one; acquires that wait in one isolate are served in their order. */
  acquire(options: AcquireOptions = NO_OPTIONS): Promise<Block> {
    return this.#dispatcher.obtain(options);
  }

  /** A block, or `undefined` if there is none for this caller now. */
  tryAcquire(options?: TryAcquireOptions): Block | undefined {
    if (options === undefined) {
      const block = this.#acquirer.fast(false, undefined);
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
    if (block !== undefined) return block;
    throw this.#dispatcher.exhausted("no block is free for this caller");
  }

  /** Several blocks at once, or none. What others take meanwhile may keep it waiting. */
  acquireMany(
    count: number,
    options: AcquireOptions = NO_OPTIONS,
  ): Promise<BlockArray> {
    return this.#dispatcher.obtainMany(count, options);
  }

  /**
   * A block, stopping this thread until there is one. Only in Workers: a server's main thread must
   * not stop. `worker.terminate()` does not end the wait, and `signal` is only looked at before it:
   * give `timeoutMs`.
   *
   * @throws {SmritiError} `timeout`, `closed`; `unsupported` outside a Worker
   */
  acquireBlocking(options: AcquireOptions = NO_OPTIONS): Block {
    if (!isWorker()) {
      throw new SmritiError(
        "unsupported",
        "acquireBlocking() stops the thread and is for Workers only; await acquire() here",
      );
    }
    return this.#parts.waitLoop.acquireBlocking(options);
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

  /** Same as `block.release()`. */
  release(block: Block): void {
    this.#parts.leases.checkOwn(block);
    block.release();
  }

  /**
   * Goes on with a block that another isolate, or this one, has detached.
   *
   * @throws {TypeError} if it is no ticket
   * @throws {SmritiError} `foreign-block` for a ticket used before, out of time, or of another pool;
   * `closed`
   */
  adopt(ticket: BlockTicket, options: AdoptOptions = {}): Block {
    this.#dispatcher.refuseIfClosed();
    const own = readTicket(ticket);
    const tag = readTag(options);
    // Reading may have run the caller's code.
    this.#dispatcher.refuseIfClosed();
    return this.#parts.tickets.adopt(own, tag);
  }

  /**
   * Detaches several blocks, all or none, into one array of numbers: the cheapest message there is.
   *
   * @throws {TypeError | RangeError} unless they are different blocks
   * @throws {SmritiError} `foreign-block`, `released`, `lent`; all leases go on then, though `bytes`
   * may have to be asked for anew
   */
  detachMany(blocks: readonly Block[]): Int32Array<ArrayBuffer> {
    const tickets = this.#parts.tickets.sendMany(blocks);
    this.#parts.lifecycle.check();
    return tickets;
  }

  /**
   * Adopts what `detachMany` made, all or none.
   *
   * @throws {TypeError | RangeError} if it is no such array
   * @throws {SmritiError} `foreign-block` if one of them cannot be adopted; `closed`
   */
  adoptMany(tickets: Int32Array, options: AdoptOptions = {}): Block[] {
    this.#dispatcher.refuseIfClosed();
    const own = readTickets(tickets);
    const tag = readTag(options);
    this.#dispatcher.refuseIfClosed();
    return this.#parts.tickets.adoptMany(own, tag);
  }

  /**
   * Takes the blocks of stopped Workers back. A block is free again unless its `bytes` or `pointer`
   * were used in the lease that the death cut short: a view may have been posted to another isolate,
   * or a native read be under way, so it is abandoned, and a fresh one takes its place. Done automatically, four
   * times a second, where the OS can prove that a thread has ended (Linux, Windows): there, nothing
   * is taken before, whatever is asked for.
   *
   * @param worker The Worker, which has all be looked at that are proven to have stopped; or its
   * `workerId`: where there is no proof, the number is your word that it has stopped
   * @returns How many blocks came back
   */
  reclaim(worker: object | number): number {
    const { lifecycle } = this.#parts;
    if (typeof worker === "object" && worker !== null) {
      return lifecycle.reclaim(undefined);
    }
    return lifecycle.reclaim(integer("worker", worker, 1, MOST_WORKERS));
  }

  /** The numbers of the whole pool, from all isolates. Looks at every slot. */
  stats(): SharedPoolStats {
    const { options, control, region, registry, events, dispatcher } =
      this.#parts;
    dispatcher.tidy();
    const attached = registry.attached().length;
    return sharedStats(options, control, region, attached, events.errors);
  }

  /** Gives the memory of free blocks above `initialBlocks` back now; returns the bytes. */
  trim(): number {
    return this.closed ? 0 : this.#parts.sizer.trim();
  }

  /**
   * Makes all that this isolate needs the FFI permission for in this pool, so that the program may take
   * it back: `Deno.permissions.revoke({ name: "ffi" })`. The pool goes on as before in this isolate, but
   * a block that lost its view leaves the pool when its lease ends, and what is given up in any isolate
   * costs capacity from then on. A Worker has its maker's permission,
   * also after that was taken back, so each isolate seals its own pool object before. About 4 µs for each of `maxBlocks`; the views count as external memory.
   *
   * @throws {SmritiError} `permission` if it has been taken back already; `closed`
   */
  seal(): void {
    headroom();
    this.#dispatcher.refuseIfClosed();
    this.#parts.sizer.seal();
    this.#parts.leases.seal(this.maxBlocks);
  }

  /**
   * Closes the pool for all isolates: each ends its views when its last block has come back, the
   * last one unmaps. Tickets not yet adopted are void. Does nothing after `leave()`.
   *
   * @returns A promise that rejects with a `timeout` error if that takes longer than `timeoutMs`;
   * the blocks of this isolate are revoked then
   */
  close(options?: CloseOptions): Promise<void> {
    return Promise.try(() =>
      this.#parts.lifecycle.close(closeTimeout(options))
    );
  }

  /**
   * Drops the pool in this isolate: its blocks go back, lent ones leave the pool, every view of it
   * here ends. The last isolate to leave unmaps.
   */
  leave(): void {
    this.#parts.lifecycle.leave();
  }

  /** Closes, for all isolates, without waiting. A Worker that is only done with it calls `leave()`. */
  [Symbol.dispose](): void {
    this.#parts.lifecycle.beginClose();
  }

  /** Closes, and never rejects: what `close()` would reject with is printed by `console.error`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close().catch(complain);
  }

  /** Listens to what happens in this isolate. */
  addEventListener<K extends PoolEventType>(
    type: K,
    listener: PoolEventListener<K>,
    options?: PoolListenerOptions,
  ): void {
    this.#parts.events.add(type, listener, options);
  }

  /** Stops listening. */
  removeEventListener<K extends PoolEventType>(
    type: K,
    listener: PoolEventListener<K>,
  ): void {
    this.#parts.events.remove(type, listener);
  }

  #line(): string {
    const state = this.closed ? ", closed" : "";
    return `SharedBlockPool(${
      show(this.name)
    }, ${this.#parts.slots.tally.recount()} of ${this.#parts.sizer.committed} ` +
      `blocks in use, at most ${this.maxBlocks} × ${this.blockSize} bytes, ` +
      `worker ${this.workerId}${state})`;
  }
}
