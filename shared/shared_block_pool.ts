/**
 * The pool that many isolates of one process see: connects the parts and is what users hold.
 *
 * Checks arguments; who owns a slot is decided by compare-and-swap in `shared_slots.ts`, what a
 * release does to memory in `pool/leases.ts`.
 */
import type { Block } from "../pool/block.ts";
import { callable, integer, record, show } from "../pool/checks.ts";
import { SmritiError } from "../pool/errors.ts";
import {
  Events,
  type PoolEventListener,
  type PoolEventType,
  type PoolListenerOptions,
} from "../pool/events.ts";
import { Leases } from "../pool/leases.ts";
import {
  type AcquireOptions,
  type CloseOptions,
  closeTimeout,
  type TryAcquireOptions,
} from "../pool/options.ts";
import type { BlockArray, Pool } from "../pool/pool.ts";
import { Region } from "../pool/region.ts";
import type { BlockTicket } from "../pool/slot.ts";
import { Counters } from "../pool/stats.ts";
import {
  Control,
  HEADER,
  MAGIC,
  MOST_WORKERS,
  OPEN,
  VERSION,
  WORKER,
} from "./control.ts";
import {
  checkHandle,
  type SharedFilledOptions,
  type SharedPoolHandle,
} from "./handle.ts";
import { joinByName } from "./join.ts";
import { Membership } from "./membership.ts";
import { fillSharedOptions, type SharedPoolOptions } from "./options.ts";
import { Roster } from "./roster.ts";
import { SharedDispatcher } from "./shared_dispatcher.ts";
import { SharedSizer } from "./shared_sizer.ts";
import { SharedSlots } from "./shared_slots.ts";
import { type SharedPoolStats, sharedStats } from "./shared_stats.ts";
import { checkTicket, packTickets, unpackTickets } from "./ticket.ts";

const NO_OPTIONS: AcquireOptions = Object.freeze({});

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
  /** What other isolates need to attach; structured-cloneable. */
  readonly handle: SharedPoolHandle;
  /** This isolate's id in the pool, from 1 to 254. */
  readonly workerId: number;

  readonly #options: SharedFilledOptions;
  readonly #control: Control;
  readonly #region: Region;
  readonly #slots: SharedSlots;
  readonly #leases: Leases;
  readonly #sizer: SharedSizer;
  readonly #dispatcher: SharedDispatcher;
  readonly #membership: Membership;
  readonly #counters = new Counters();
  readonly #events = new Events();

  private constructor(
    options: SharedFilledOptions,
    region: Region,
    control: Control,
    roster: Roster,
    worker: number,
    creates: boolean,
  ) {
    this.#options = options;
    this.#region = region;
    this.#control = control;
    this.workerId = worker;
    this.handle = Object.freeze({
      control: control.buffer,
      range: { ...region.range },
      options: { ...options },
      pid: Deno.pid,
    });
    const events = this.#events;
    const slots = this.#slots = new SharedSlots(control, worker);
    const count = (word: number, by: number) => {
      control.words[control.at(worker, word)] += by;
    };
    const leases = this.#leases = new Leases(
      options,
      region,
      slots,
      this.#counters,
      {
        ended: () => {
          count(WORKER.RELEASES, 1);
          this.#dispatcher.wake();
          this.#membership.check();
        },
        lost: () => {
          this.#dispatcher.wake();
          this.#membership.check();
        },
        leaked: ({ isNew, tag, stack }) => {
          count(WORKER.LEAKS, 1);
          if (isNew) {
            events.emit(
              "leak",
              () => ({ pool: options.name, tag, stack }),
            );
          }
        },
        lending: (slot, change) => {
          const before = Atomics.add(control.lends, slot, change);
          if (before === (change > 0 ? 0 : 1)) count(WORKER.LENT, change);
        },
        detach: (slot) => this.#send(slot),
      },
    );
    this.#sizer = new SharedSizer(
      options,
      control,
      slots,
      region,
      events,
      worker,
    );
    this.#dispatcher = new SharedDispatcher(
      options,
      control,
      slots,
      leases,
      this.#sizer,
      events,
      worker,
    );
    if (creates) this.#sizer.start();
    this.#membership = new Membership({
      options,
      control,
      region,
      slots,
      leases,
      sizer: this.#sizer,
      dispatcher: this.#dispatcher,
      roster,
      worker,
      onEnd: () =>
        events.emit("close", () => ({
          pool: options.name,
          abandonedBlocks: Atomics.load(control.words, HEADER.ABANDONED),
          mappedBytes: region.mappedBytes,
        })),
    });
  }

  /**
   * Makes a pool; this isolate is the first to be attached.
   *
   * @throws {TypeError | RangeError} for wrong options, and for those of `BlockPool` that are not for
   * a shared pool
   * @throws {SmritiError} `permission`, `unsupported`, `out-of-memory`
   */
  static create(options: SharedPoolOptions): SharedBlockPool {
    const filled = fillSharedOptions(options);
    const region = new Region(filled);
    try {
      const control = new Control(filled.maxBlocks);
      const { words } = control;
      words[HEADER.MAGIC] = MAGIC;
      words[HEADER.VERSION] = VERSION;
      words[HEADER.POOL] = crypto.getRandomValues(new Int32Array(1))[0];
      words[HEADER.ATTACHED] = 1;
      words[HEADER.LOOKED] = Date.now() | 0;
      Atomics.store(words, HEADER.STATE, OPEN);
      const roster = new Roster(control);
      const worker = roster.enter();
      return new SharedBlockPool(filled, region, control, roster, worker, true);
    } catch (error) {
      region.unmap();
      throw error;
    }
  }

  /**
   * Joins a pool by its handle, in any isolate of the process that made it.
   *
   * @throws {TypeError} if it is no handle
   * @throws {SmritiError} `closed`; `exhausted` if 254 isolates are attached; `permission`;
   * `unsupported` for another process or version
   */
  static attach(handle: SharedPoolHandle): SharedBlockPool {
    checkHandle(handle);
    const { options, control: buffer, range } = handle;
    const control = new Control(options.maxBlocks, buffer);
    const { words } = control;
    for (;;) {
      const attached = Atomics.load(words, HEADER.ATTACHED);
      if (attached === 0 || Atomics.load(words, HEADER.STATE) !== OPEN) {
        throw new SmritiError("closed", `pool ${show(options.name)} is closed`);
      }
      const seen = Atomics.compareExchange(
        words,
        HEADER.ATTACHED,
        attached,
        attached + 1,
      );
      if (seen === attached) break;
    }
    const roster = new Roster(control);
    const worker = roster.enter();
    try {
      if (worker === 0) {
        throw new SmritiError(
          "exhausted",
          `pool ${
            show(options.name)
          } has ${MOST_WORKERS} isolates attached, the most there may be`,
        );
      }
      const region = new Region(options, range);
      return new SharedBlockPool(
        options,
        region,
        control,
        roster,
        worker,
        false,
      );
    } catch (error) {
      if (worker !== 0) roster.exit(worker);
      Atomics.sub(words, HEADER.ATTACHED, 1);
      throw error;
    }
  }

  /**
   * Finds the pool of this name in the process, or makes it: for `deno serve --parallel`, where
   * nobody can send a handle. Exactly one of those who call at once makes it.
   *
   * @throws {TypeError | RangeError} for wrong options
   * @throws {SmritiError} as `create` and `attach` do
   */
  static join(
    name: string,
    options: SharedPoolOptions,
  ): Promise<SharedBlockPool> {
    return joinByName(
      name,
      { ...options, name: options?.name ?? name },
      SharedBlockPool,
    );
  }

  /** Bytes in one block. */
  get blockSize(): number {
    return this.#options.blockSize;
  }

  /** The most blocks there can be. */
  get maxBlocks(): number {
    return this.#options.maxBlocks;
  }

  /** Where the memory comes from. */
  get backend(): "native" | "heap" {
    return this.#region.backend;
  }

  /** Label in messages, stats and events. */
  get name(): string {
    return this.#options.name;
  }

  /** Whether the pool is closed, or this isolate has left it. */
  get closed(): boolean {
    return this.#membership.isOver;
  }

  /** A block, as soon as there is one; those who wait in one isolate are served in their order. */
  acquire(options?: AcquireOptions): Promise<Block> {
    return Promise.try(() =>
      this.#dispatcher.obtain(undefined, options ?? NO_OPTIONS)
    ) as Promise<Block>;
  }

  /** A block, or `undefined` if there is none for this caller now. */
  tryAcquire(options?: TryAcquireOptions): Block | undefined {
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

  /** Several blocks at once, or none. */
  acquireMany(count: number, options?: AcquireOptions): Promise<BlockArray> {
    return Promise.try(() =>
      this.#dispatcher.obtain(integer("count", count, 1), options ?? NO_OPTIONS)
    ) as Promise<BlockArray>;
  }

  /**
   * A block, stopping this thread until there is one. Only in Workers: a server's main thread must
   * not stop. A Worker that waits here can be terminated within 100 ms.
   *
   * @throws {SmritiError} `timeout`, `closed`; `unsupported` outside a Worker
   */
  acquireBlocking(options?: AcquireOptions): Block {
    if (!("WorkerGlobalScope" in globalThis)) {
      throw new SmritiError(
        "unsupported",
        "acquireBlocking() stops the thread and is for Workers only; await acquire() here",
      );
    }
    return this.#dispatcher.block(options ?? NO_OPTIONS);
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

  /** Same as `block.release()`. */
  release(block: Block): void {
    this.#leases.checkOwn(block);
    block.release();
  }

  /**
   * Goes on with a block that another isolate, or this one, has detached.
   *
   * @throws {TypeError} if it is no ticket
   * @throws {SmritiError} `foreign-block` for a ticket used before, out of time, or of another pool;
   * `closed`
   */
  adopt(ticket: BlockTicket, options?: { tag?: string }): Block {
    checkTicket(ticket);
    const { tag } = record("options", options ?? {}, new Set(["tag"])) as {
      tag?: string;
    };
    this.#refuseIfLeft();
    const { words } = this.#control;
    if (
      ticket.pool !== words[HEADER.POOL] || ticket.slot >= this.maxBlocks ||
      !this.#slots.receive(ticket.slot, ticket.serial)
    ) {
      throw new SmritiError(
        "foreign-block",
        `ticket ${ticket.slot}/${ticket.serial} of pool ${
          show(this.name)
        } was used, is out of time ` +
          "or is another pool's",
      );
    }
    Atomics.sub(words, HEADER.TICKETS, 1);
    return this.#leases.adoptAt(ticket.slot, tag);
  }

  /** Detaches several blocks into one array of numbers, the cheapest message there is. */
  detachMany(blocks: readonly Block[]): Int32Array<ArrayBuffer> {
    for (const block of blocks) this.#leases.checkOwn(block);
    return packTickets(blocks.map((block) => block.detach()));
  }

  /** Adopts what `detachMany` made. A ticket that cannot be adopted ends it; those before it stay. */
  adoptMany(tickets: Int32Array): Block[] {
    return unpackTickets(tickets).map((ticket) => this.adopt(ticket));
  }

  /**
   * Takes the blocks of a stopped Worker back: free again, or out of the pool if an operation may
   * still write to them. Done automatically, four times a second, where the OS can prove that a
   * thread has ended.
   *
   * @param worker The Worker, or its `workerId`: the number is your word that it has stopped
   * @returns How many blocks came back
   */
  reclaim(worker: Worker | number): number {
    this.#refuseIfLeft();
    if (typeof worker !== "number") return this.#membership.reclaimDead();
    return this.#membership.reclaim(integer("worker", worker, 1, MOST_WORKERS));
  }

  /** The numbers of the whole pool, from all isolates. Looks at every slot. */
  stats(): SharedPoolStats {
    const { doubleReleases } = this.#counters;
    return sharedStats(
      this.#options,
      this.#control,
      this.#region,
      doubleReleases,
      this.#dispatcher.waiting,
      this.#events.errors,
    );
  }

  /** Gives the memory of free blocks above `initialBlocks` back now; returns the bytes. */
  trim(): number {
    return this.closed ? 0 : this.#sizer.trim();
  }

  /**
   * Closes the pool for all isolates: each leaves when its last block has come back, the last one
   * unmaps.
   *
   * @returns A promise that rejects with a `timeout` error if that takes longer than `timeoutMs`
   */
  close(options?: CloseOptions): Promise<void> {
    return Promise.try(() => this.#membership.close(closeTimeout(options)));
  }

  /**
   * Drops the pool in this isolate: its blocks go back, lent ones leave the pool, every view of it
   * here ends. The last isolate to leave unmaps.
   */
  leave(): void {
    this.#membership.leave();
  }

  /** Closes without waiting. */
  [Symbol.dispose](): void {
    this.#membership.beginClose();
  }

  /** Same as `close()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Listens to what happens in this isolate. */
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
    const state = this.closed ? ", closed" : "";
    return `SharedBlockPool(${
      show(this.name)
    }, ${this.#slots.used} of ${this.#sizer.committed} ` +
      `blocks in use, at most ${this.maxBlocks} × ${this.blockSize} bytes, ` +
      `worker ${this.workerId}${state})`;
  }

  #send(slot: number): BlockTicket {
    const { words } = this.#control;
    const deadline = Date.now() + this.#options.ticketTimeoutMs;
    Atomics.add(words, HEADER.TICKETS, 1);
    const serial = this.#slots.send(slot, deadline);
    this.#membership.check();
    return { pool: words[HEADER.POOL], slot, serial };
  }

  #refuseIfLeft(): void {
    if (this.closed) {
      throw new SmritiError("closed", `pool ${show(this.name)} is closed`);
    }
  }
}
