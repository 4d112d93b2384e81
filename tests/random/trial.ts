// Runs a list of numbers as operations on a pool and on its model, and compares the two after each.
// The same numbers give the same run, so a failure can be had again, and made smaller.

import { Buffer } from "node:buffer";
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import type { FakeTime } from "@std/testing/time";
import {
  type Block,
  BlockPool,
  type Pool,
  type PoolEvent,
  type PoolOptions,
} from "../../mod.ts";
import { gone, lawful } from "../support/invariants.ts";
import { addressOf } from "../support/misuse.ts";
import { type Asker, Model } from "./model.ts";

/** A pool to try. Shares are given in percent. */
export type Setting =
  & Omit<
    Required<PoolOptions>,
    | "overdueMs"
    | "stallMs"
    | "prefault"
    | "hugePages"
    | "name"
    | "maxAbandonedBytes"
  >
  & Pick<PoolOptions, "maxAbandonedBytes">;

/** The pool of a trial. */
export interface Kind {
  readonly make: (options: PoolOptions) => Pool;
  /** Whether a slot that was given up goes on in another place; else a fresh one replaces it. */
  readonly moves: boolean;
}

export const BLOCK_POOL: Kind = {
  make: (options) => new BlockPool(options),
  moves: false,
};

interface Lease {
  readonly block: Block;
  readonly slot: number;
  readonly stamp: number;
  readonly view: Uint8Array<ArrayBuffer> | undefined;
}

class Waiter implements Asker {
  outcome: Block[] | string | undefined;
  readonly controller = new AbortController();

  constructor(readonly count: number, readonly reserved: boolean) {}
}

/** The pool grew or shrank to so many blocks. */
interface Resize {
  readonly type: string;
  readonly committed: number;
  readonly at: number;
}

/** One pool and its model. */
export class Trial {
  readonly #setting: Setting;
  readonly #pool: Pool;
  readonly #model: Model<Waiter>;
  readonly #time: FakeTime;
  readonly #leases: Lease[] = [];
  /** Their slots. */
  readonly #held = new Set<number>();
  readonly #waiting: Waiter[] = [];
  /** Views of leases that have ended. */
  readonly #stale: Uint8Array[] = [];
  /** What the pool's events told. */
  readonly #resizes: Resize[] = [];
  readonly #moves: boolean;
  readonly #stride: bigint;
  readonly #slabSlots: number;
  /** Where the mappings begin, by their first slab. */
  readonly #bases = new Map<number, bigint>();
  #stamp = 0;

  constructor(
    setting: Setting,
    time: FakeTime,
    { make, moves }: Kind = BLOCK_POOL,
  ) {
    const { growThreshold, growStep, shrinkThreshold, shrinkStep } = setting;
    this.#setting = setting;
    this.#time = time;
    this.#moves = moves;
    const pool = this.#pool = make({
      ...setting,
      growThreshold: growThreshold / 100,
      growStep: growStep / 100,
      shrinkThreshold: shrinkThreshold / 100,
      shrinkStep: shrinkStep / 100,
    });
    const note = ({ type, detail }: PoolEvent<"grow" | "shrink">) => {
      const { committedBlocks: committed } = detail;
      this.#resizes.push({ type, committed, at: time.now });
    };
    pool.addEventListener("grow", note);
    pool.addEventListener("shrink", note);
    lawful(pool);
    const { blockSize, maxBlocks, backend } = setting;
    const { strideBytes: stride } = BlockPool.footprint({
      blockSize,
      maxBlocks,
      backend,
    });
    this.#stride = BigInt(stride);
    const slabSlots = this.#slabSlots = slabOf(blockSize);
    this.#model = new Model({
      ...setting,
      strict: setting.safety === "strict",
      slabSlots,
      stride,
      maxAbandonedBytes: setting.maxAbandonedBytes ??
        Math.max(stride, maxBlocks * stride / 4),
      moves,
    }, time.now);
  }

  /** Runs every number, then releases and closes. */
  async run(numbers: Iterable<number>): Promise<void> {
    for (const number of numbers) {
      await this.#step(number % 16, Math.floor(number / 16));
      this.#compare();
      this.#model.look(this.#time.now);
      this.#resizes.length = 0;
    }
    await this.#end();
  }

  async #step(what: number, choice: number): Promise<void> {
    const lease = this.#leases[choice % this.#leases.length];
    const reserved = choice % 5 === 0;
    if (what < 4) this.#take(reserved, choice);
    else if (what < 9) this.#releaseSome(choice);
    else if (what === 9) this.#ask(1, reserved, choice);
    else if (what === 10) this.#ask(1 + choice % this.#batch, reserved, choice);
    else if (what === 11) this.#abort(choice);
    else if (what === 12) this.#trim();
    else if (what === 13) lease && choice % 2 === 0 && this.#abandon(lease);
    else if (what === 14) lease && choice % 2 === 0 && this.#interrupt(lease);
    else this.#wait(choice % (5 * this.#setting.shrinkIntervalMs));
    await this.#settle();
  }

  #take(reserved: boolean, choice: number): void {
    const slots = this.#model.take({ count: 1, reserved });
    // Without options it is another path, the short one.
    const block = reserved
      ? this.#pool.tryAcquire({ reserved })
      : this.#pool.tryAcquire();
    assertEquals(block !== undefined, slots !== undefined);
    if (block !== undefined) this.#begin(block, slots![0], choice);
  }

  /** Asks for blocks and waits for them, each with a signal of its own, or asks just once. */
  #ask(count: number, reserved: boolean, choice: number): void {
    const timeoutMs = choice % 4 === 0 ? 0 : undefined;
    const waiter = new Waiter(count, reserved);
    const answer = this.#model.ask(waiter, timeoutMs === undefined);
    const { signal } = waiter.controller;
    const options = { reserved, signal, timeoutMs };
    const promise = count === 1
      ? this.#pool.acquire(options).then((block) => [block])
      : this.#pool.acquireMany(count, options);
    promise.then(
      (blocks) => waiter.outcome = blocks,
      (error) => waiter.outcome = error.code ?? error,
    );
    this.#waiting.push(waiter);
    if (answer === "waits") return;
    this.#model.answers.push(
      typeof answer === "string"
        ? { asker: waiter, error: answer }
        : { asker: waiter, slots: answer },
    );
  }

  /** How many are asked for at once, at most: enough to fill a large pool in a few steps. */
  get #batch(): number {
    return Math.max(7, this.#setting.maxBlocks >> 3);
  }

  #begin(block: Block, slot: number, choice: number): void {
    assert(!this.#held.has(slot), "lent twice");
    this.#held.add(slot);
    assertEquals(block.size, this.#setting.blockSize);
    const stamp = this.#stamp = this.#stamp % 255 + 1;
    // A lease that was not written to takes another way back.
    const view = choice % 8 === 0 ? undefined : block.bytes;
    if (view !== undefined) {
      assertEquals(BigInt(addressOf(view)), this.#addressOf(slot, view));
      assertEquals(view.length, this.#setting.blockSize);
      if (this.#setting.zero) assert(isFull(view, 0), "zero");
      view.fill(stamp);
    }
    this.#leases.push({ block, slot, stamp, view });
  }

  /** Where a slot must be: each mapping is told by the first of its slots that is seen. */
  #addressOf(slot: number, view: Uint8Array<ArrayBuffer>): bigint {
    const place = this.#model.placeOf(slot);
    const slab = Math.floor(place / this.#slabSlots);
    // Room for all blocks, then one slab, and then as many as were added before; unless slots move, up to
    // the same again.
    const first = Math.ceil(this.#setting.maxBlocks / this.#slabSlots);
    let start = 0;
    for (let end = first; slab >= end;) {
      start = end;
      const added = this.#moves ? end - first : Math.min(end - first, first);
      end += Math.max(1, added);
    }
    const offset = this.#stride * BigInt(place - start * this.#slabSlots);
    let base = this.#bases.get(start);
    if (base === undefined) {
      this.#bases.set(start, base = BigInt(addressOf(view)) - offset);
    }
    return base + offset;
  }

  /** One lease, or a share of those of a large pool. */
  #releaseSome(choice: number): void {
    const most = Math.max(1, this.#setting.maxBlocks >> 6);
    for (let count = 1 + choice % most; count > 0; count--) {
      const lease = this.#leases[choice % this.#leases.length];
      if (lease !== undefined) this.#release(lease, choice);
    }
  }

  #release(lease: Lease, choice: number): void {
    const { block, slot, stamp, view } = this.#drop(lease);
    assert(view === undefined || isFull(view, stamp), "own bytes");
    this.#model.release(slot, view !== undefined);
    if (choice % 2 === 0) block.release();
    else block[Symbol.dispose]();
    assert(block.released);
    if (view !== undefined) this.#stale.push(view);
    if (this.#stale.length > 20) this.#stale.shift();
  }

  #abandon(lease: Lease): void {
    if (!this.#mayLose) return;
    this.#drop(lease);
    this.#model.abandon(lease.slot, true);
    lease.block.abandon();
  }

  /** A read that was interrupted: it may go on writing, and what it wrote must reach no lease. */
  #interrupt(lease: Lease): void {
    if (!this.#mayLose) return;
    const { slot, block, view } = this.#drop(lease);
    this.#model.abandon(slot, false);
    block.lend(Promise.reject(new Deno.errors.Interrupted())).catch(() => {});
    if (view !== undefined) this.#stale.push(view);
  }

  /** A pool with hardly any capacity left has no more to show. */
  get #mayLose(): boolean {
    const { maxBlocks, reservedBlocks } = this.#setting;
    const lost = maxBlocks - this.#model.capacity + 1;
    return 2 * lost <= maxBlocks - reservedBlocks;
  }

  #drop(lease: Lease): Lease {
    this.#leases.splice(this.#leases.indexOf(lease), 1);
    this.#held.delete(lease.slot);
    return lease;
  }

  #abort(choice: number): void {
    const waiter = this.#waiting[choice % this.#waiting.length];
    if (waiter === undefined) return;
    this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
    this.#model.leave(waiter);
    waiter.controller.abort("aborted");
  }

  #trim(): void {
    const { committedBlocks } = this.#pool.stats();
    const given = this.#model.trim();
    assertEquals(this.#pool.trim() > 0, given > 0);
    assertEquals(this.#pool.stats().committedBlocks, committedBlocks - given);
  }

  /** Lets time pass: the pool may shrink, and grow for those who wait after it has shrunk. */
  #wait(ms: number): void {
    this.#time.tick(ms);
    let told = this.#model.grows;
    for (const { type, committed, at } of this.#resizes) {
      this.#model.look(at);
      if (type === "shrink") {
        this.#model.shrunk(committed, at);
      } else if (told++ === this.#model.grows) {
        this.#model.retry();
      }
    }
    assertEquals(told, this.#model.grows, "each grow was told");
    this.#model.look(this.#time.now);
  }

  /** Lets promises settle, and compares with the model who was answered with what. */
  async #settle(): Promise<void> {
    for (let turn = 0; turn < 6; turn++) await null;
    for (const answer of this.#model.answers.splice(0)) {
      const { asker } = answer;
      this.#waiting.splice(this.#waiting.indexOf(asker), 1);
      if ("error" in answer) {
        assertEquals(asker.outcome, answer.error);
        continue;
      }
      assert(Array.isArray(asker.outcome), Deno.inspect(asker.outcome));
      assertEquals(asker.outcome.length, answer.slots.length);
      asker.outcome.forEach((block, i) =>
        this.#begin(block, answer.slots[i], i + 1)
      );
    }
    for (const waiter of this.#waiting) {
      assertStrictEquals(waiter.outcome, undefined, "it still waits");
    }
  }

  #compare(): void {
    const expected = this.#model.stats();
    const stats: Record<string, unknown> = { ...lawful(this.#pool) };
    for (const [name, value] of Object.entries(expected)) {
      if (stats[name] !== value) assertEquals({ ...stats, ...expected }, stats);
    }
    if (this.#setting.safety === "trust") return;
    for (const view of this.#stale) {
      assertEquals(view.length, 0, "a view of a lease that has ended");
    }
  }

  async #end(): Promise<void> {
    for (const { block, view, stamp } of this.#leases.splice(0)) {
      assert(view === undefined || isFull(view, stamp), "own bytes");
      // Waiters get them, until the pool closes.
      block.release();
    }
    const closing = this.#pool.close();
    for (let turn = 0; turn < 6; turn++) await null;
    for (const { outcome } of this.#waiting) {
      if (Array.isArray(outcome)) {
        for (const block of outcome) block.release();
      } else assertEquals(outcome, "closed");
    }
    await closing;
    if (this.#model.abandoned === 0) gone(this.#pool);
    else assertEquals(lawful(this.#pool).acquiredBlocks, 0);
  }
}

function isFull(view: Uint8Array<ArrayBuffer>, byte: number): boolean {
  return Buffer.compare(view, Buffer.alloc(view.length, byte)) === 0;
}

const slabs = new Map<number, number>();

/** How many blocks of this size make a slab here. */
function slabOf(blockSize: number): number {
  let slab = slabs.get(blockSize);
  if (slab === undefined) {
    using pool = new BlockPool({
      blockSize,
      maxBlocks: 2 ** 16,
      initialBlocks: 1,
    });
    slabs.set(blockSize, slab = lawful(pool).committedBlocks);
  }
  return slab;
}
