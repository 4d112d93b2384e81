/**
 * The life of a lease: a slot leaves the free list, is used and lent, and comes back zeroed and
 * revoked as the options say, or leaves the pool for good.
 *
 * The owner of every block of a pool. Decides what a release does to memory; does not know who
 * waits, when to grow or how to close: it tells its hooks that something became free or was lost.
 */
import { Block } from "./block.ts";
import { isOut } from "./census.ts";
import { SmritiError } from "./errors.ts";
import { adopt, bringBack, broughtBy, isDetached, wholeOf } from "./escape.ts";
import type { Quarantine } from "./guard.ts";
import { type Leak, LeakWatch } from "./leaks.ts";
import type { LeaseHooks, LeaseSlots } from "./lease_parts.ts";
import { show } from "./checks.ts";
import type { FilledOptions } from "./options.ts";
import { bufferLent, otherMemory, refusal } from "./refusal.ts";
import type { Region } from "./region.ts";
import {
  type BlockTicket,
  ENDED,
  ENDING,
  HELD,
  LOST,
  NO_VIEW,
  type Owner,
  type Settled,
  Slot,
} from "./slot.ts";
import type { Counters } from "./stats.ts";

// V8 folds a constant of this module into the code, but reads an imported one anew each time; and
// `=== true` spares it asking what is truthy. Together a tenth of a lease.
const HOT_HELD = HELD;
const HOT_ENDED = ENDED;
const HotBlock = Block;

/** All leases of one pool. */
export class Leases implements Owner {
  readonly blockSize: number;
  readonly ended: Slot;

  protected readonly poolName: string;
  protected readonly zero: boolean;
  readonly #revoke: boolean;
  readonly #timed: boolean;
  protected readonly region: Region;
  readonly #slots: LeaseSlots;
  readonly #counters: Counters;
  protected readonly hooks: LeaseHooks;
  protected readonly leaks: LeakWatch;
  readonly #quarantine: Quarantine | undefined;
  /** The records of slots up to the highest ever lent, by index. */
  readonly records: Slot[] = [];
  /** When this many slots were taken, the next lease is observed. */
  #observeAt: number;

  /** No leases yet. */
  constructor(
    options: FilledOptions,
    region: Region,
    slots: LeaseSlots,
    counters: Counters,
    hooks: LeaseHooks,
    quarantine?: Quarantine,
  ) {
    this.blockSize = options.blockSize;
    this.ended = new Slot(this, -1);
    this.poolName = options.name;
    this.zero = options.zero;
    this.#revoke = options.safety !== "trust";
    this.#timed = options.overdueMs !== undefined;
    this.region = region;
    this.#slots = slots;
    this.#counters = counters;
    this.hooks = hooks;
    this.#quarantine = quarantine;
    this.leaks = new LeakWatch(
      options.leakDetection,
      (leak) => this.#leaked(leak),
    );
    this.#observeAt = this.#timed ? 1 : this.leaks.period;
  }

  /** Begins a lease. The caller has seen that a slot is free. */
  begin(tag: string | undefined): Block {
    return this.beginAt(this.#slots.pop(), tag);
  }

  /** Begins a lease of a slot that was taken for it. */
  beginAt(index: number, tag: string | undefined): Block {
    const slot = this.records[index] ?? this.#record(index);
    slot.state = HOT_HELD;
    slot.tag = tag;
    const block = new HotBlock(slot);
    if (this.#slots.taken >= this.#observeAt) return this.#observe(block, slot);
    return block;
  }

  view(slot: Slot): Uint8Array<ArrayBuffer> {
    if (slot.state !== HELD) this.refuse(slot, "use");
    if (slot.view === NO_VIEW) {
      // SAFETY: the slot is held, so its slab is committed.
      slot.view = this.region.view(slot.index);
      if (this.zero && this.region.mayBeStale(slot.index)) slot.view.fill(0);
    } else if (isDetached(slot)) {
      if (slot.lends !== 0) {
        throw bufferLent(this.poolName, slot);
      }
      slot.escaped++;
      slot.special = true;
      slot.owed = false;
      // SAFETY: the old buffer is detached, and the mark keeps the slot from being lent again.
      slot.view = this.region.view(slot.index);
    }
    slot.touched = true;
    return slot.view;
  }

  pointer(slot: Slot): Deno.PointerObject {
    this.view(slot);
    return this.region.pointer(slot.index);
  }

  release(slot: Slot, usedBytes: number | undefined): void {
    if (slot.special === true) return this.#releaseSpecial(slot, usedBytes);
    this.#end(slot, usedBytes);
    if (this.#quarantine !== undefined) this.report();
  }

  /** The closer look at a lease that was watched, lent or has escaped. */
  #releaseSpecial(slot: Slot, usedBytes: number | undefined): void {
    slot.trace = slot.watch?.site;
    this.leaks.forget(slot);
    slot.special = false;
    if (slot.lends !== 0) {
      slot.state = ENDING;
      slot.usedBytes = usedBytes;
    } else if (slot.escaped !== 0) this.lose(slot);
    else this.release(slot, usedBytes);
  }

  abandon(slot: Slot): void {
    if (slot.state === ENDED) this.refuse(slot, "use");
    if (slot.state !== LOST) this.lose(slot);
  }

  reattach(slot: Slot, view: ArrayBufferView): void {
    if (slot.state !== HELD) this.refuse(slot, "use");
    const buffer = wholeOf(this.region, this.records, slot, view);
    // Looking may have run code that ended the lease.
    if (slot.state !== HELD) this.refuse(slot, "use");
    if (buffer === undefined) throw otherMemory(this.poolName, slot);
    adopt(this.region, slot, buffer);
  }

  /**
   * Throws unless it is a block of this pool.
   *
   * @throws {TypeError} for anything but a block
   * @throws {SmritiError} `foreign-block`
   */
  checkOwn(block: Block): void {
    const slot = Block.slotOf(block);
    if (slot === undefined) {
      throw new TypeError(`block must be a Block, got ${show(block)}`);
    }
    if (slot.owner !== this) {
      throw new SmritiError(
        "foreign-block",
        `this block belongs to another pool than ${show(this.poolName)}`,
      );
    }
  }

  detach(slot: Slot): BlockTicket {
    if (slot.state !== HELD) this.refuse(slot, "use");
    throw new SmritiError(
      "unsupported",
      "tickets are for blocks of a SharedBlockPool",
    );
  }

  lendStarts(slot: Slot, block: Block): void {
    this.hooks.lending?.(slot.index, 1);
    if (slot.lends++ === 0) {
      this.#counters.lentBlocks++;
      slot.lentTo = block;
      slot.special = true;
    }
  }

  lendEnds(slot: Slot, how: Settled, result: unknown): void {
    // First what may run the user's code, as long as the lend still counts.
    const buffer = how === "fulfilled" && isDetached(slot)
      ? broughtBy(this.region, this.records, slot, result)
      : undefined;
    const isLast = --slot.lends === 0;
    this.hooks.lending?.(slot.index, -1);
    if (isLast) slot.lentTo = undefined;
    // What is lost was counted down when it was lost.
    if (slot.state === LOST) return;
    if (isLast) this.#counters.lentBlocks--;
    if (how === "running") return this.lose(slot);
    if (isDetached(slot)) bringBack(this.region, slot, how, buffer, isLast);
    if (!isLast || slot.state !== ENDING) return;
    if (slot.escaped !== 0) this.lose(slot);
    else this.#end(slot, slot.usedBytes);
  }

  refuse(slot: Slot, use: "use" | "release"): void {
    if (use === "release") {
      if (slot.state === LOST) return;
      this.#counters.doubleReleases++;
    }
    throw refusal(this.poolName, slot, use);
  }

  /**
   * Ends the views of slots that are free and about to lose their memory. A slot whose buffer is
   * with somebody else is taken out of the pool instead; then the answer is false.
   */
  dropViews(start: number, end: number): boolean {
    let dropped = true;
    const top = Math.min(end, this.records.length);
    for (let index = start; index < top; index++) {
      const slot = this.records[index];
      if (slot.state !== ENDED) continue;
      // SAFETY: the slot is free; a view kept under "trust" becomes empty here, or, if it cannot,
      // keeps the slot out of the pool, and the memory mapped.
      if (isDetached(slot) || !this.region.revoke(slot.view)) {
        slot.state = LOST;
        this.#slots.abandonFree(index);
        dropped = false;
      }
      slot.view = NO_VIEW;
    }
    if (!dropped) this.hooks.lost();
    return dropped;
  }

  /** Lets slots out of quarantine until so many are free; whether there are. */
  freeUp(free: number): boolean {
    if (this.#quarantine?.freeUp(free)) this.hooks.lost();
    return this.#slots.free >= free;
  }

  /**
   * Says what quarantine has found, once.
   *
   * @throws {SmritiError} `corrupted`
   */
  report(): void {
    const news = this.#quarantine?.takeNews();
    if (news !== undefined) throw news;
  }

  /** The pool has ended: what quarantine has found, if anything. */
  inspect(): SmritiError | undefined {
    this.#quarantine?.empty();
    return this.#quarantine?.takeNews();
  }

  /** Tags of the leases that have not ended. */
  outstanding(): (string | undefined)[] {
    return this.records.filter(isOut).map(({ tag }) => tag);
  }

  /** Ends every lease, whoever holds it; the slots leave the pool. */
  loseAll(): void {
    for (const slot of this.records.filter(isOut)) {
      // SAFETY: JavaScript can no longer reach the memory; native code still may, which is why
      // the region stays mapped.
      this.region.revoke(slot.view);
      this.lose(slot);
    }
  }

  /** The lease is over, nothing runs on the memory any more and no healed buffer is out. */
  #end(slot: Slot, usedBytes: number | undefined): void {
    if (slot.touched === true) {
      if (slot.view.length === 0) return this.lose(slot);
      slot.touched = false;
      if (this.zero === true) slot.view.fill(0, 0, usedBytes);
      if (this.#revoke === true) {
        const view = this.region.renew(slot.view);
        if (view === undefined) return this.lose(slot);
        slot.view = view;
      }
      if (this.#quarantine !== undefined) return this.#isolate(slot);
    }
    slot.state = HOT_ENDED;
    const slots = this.#slots;
    slots.push(slot.index);
    if (slots.free > slots.calmUpTo) this.hooks.ended();
  }

  /** Strict mode: the slot goes into quarantine, and the oldest one in it may come out. */
  #isolate(slot: Slot): void {
    this.#quarantine!.admit(slot);
    // One that was written to is out of the pool: some may now wait in vain.
    if (this.#quarantine!.overflow()) this.hooks.lost();
    this.hooks.ended();
  }

  protected lose(slot: Slot): void {
    this.leaks.forget(slot);
    if (slot.lends !== 0) this.#counters.lentBlocks--;
    this.#counters.abandons++;
    slot.state = LOST;
    slot.view = NO_VIEW;
    this.#slots.abandon(slot.index);
    this.hooks.lost();
  }

  #leaked(leak: Leak): void {
    if (leak.slot.state !== HELD) return;
    this.#counters.leaks++;
    // SAFETY: the handle is gone, but a raw view may not be: it becomes empty, and the slot is
    // never lent again because a read may still be under way.
    this.region.revoke(leak.slot.view);
    this.lose(leak.slot);
    this.hooks.leaked(leak);
  }

  #record(index: number): Slot {
    // Lowest first means that nearly always just one is missing.
    for (let next = this.records.length; next <= index; next++) {
      this.records.push(new Slot(this, next));
    }
    return this.records[index];
  }

  /** What only some leases get: a time, a watch. */
  #observe(block: Block, slot: Slot): Block {
    if (this.#timed) {
      slot.since = Date.now();
      slot.overdue = false;
    }
    const { taken } = this.#slots;
    if (taken % this.leaks.period === 0) this.leaks.watch(block, slot);
    this.#observeAt = taken + (this.#timed ? 1 : this.leaks.period);
    return block;
  }
}
