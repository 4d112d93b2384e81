/**
 * The life of a lease: a slot leaves the free list, is used and lent, and comes back zeroed and
 * revoked as the options say, or leaves the pool for good.
 *
 * The owner of every block of a pool. Decides what a release does to memory; does not know who
 * waits, when to grow or how to close: it tells its hooks that something became free or was lost.
 */
import { type Block, blockOf, slotOf } from "./block.ts";
import { isOut } from "./census.ts";
import { SmritiError } from "./errors.ts";
import { adopt, bringBack, broughtBy, isDetached, wholeOf } from "./escape.ts";
import type { Quarantine } from "./guard.ts";
import { headroom } from "./headroom.ts";
import { type Leak, LeakWatch, type Watch } from "./leaks.ts";
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
const hotBlockOf = blockOf;

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
  /** Once so many slots were taken, the next lease is observed. */
  protected observeAt: number;

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
    this.observeAt = this.#timed ? 0 : this.leaks.period - 1;
  }

  /**
   * Begins a lease of a slot that is free for it. All that can fail comes first: `take` is the last
   * call, and what follows are stores.
   */
  beginAt(index: number, tag: string | undefined): Block {
    const slots = this.#slots;
    const slot = this.records[index] ?? this.record(index);
    const block = hotBlockOf(slot);
    const watch = slots.taken >= this.observeAt
      ? this.observe(block, slot, tag)
      : undefined;
    slots.take(index);
    slot.state = HOT_HELD;
    slot.tag = tag;
    if (watch !== undefined) {
      slot.watch = watch;
      slot.special = true;
    }
    return block;
  }

  view(slot: Slot): Uint8Array<ArrayBuffer> {
    if (slot.state !== HELD) this.refuse(slot, "use");
    if (slot.view === NO_VIEW) {
      // SAFETY: the slot is held, so its slab is committed.
      const view = this.region.view(slot.index);
      if (this.zero && this.region.mayBeStale(slot.index)) view.fill(0);
      slot.view = view;
    } else if (isDetached(slot)) {
      if (slot.lends !== 0) {
        throw bufferLent(this.poolName, slot);
      }
      // SAFETY: the old buffer is detached, and the mark keeps the slot from being lent again.
      slot.view = this.region.view(slot.index);
      slot.escaped++;
      slot.special = true;
      slot.owed = false;
    }
    slot.touched = true;
    return slot.view;
  }

  pointer(slot: Slot): Deno.PointerObject {
    this.view(slot);
    return this.region.pointer(slot.index);
  }

  /** All that can fail comes first: `push` is the last call, and what follows are stores. */
  release(slot: Slot, usedBytes: number | undefined): boolean {
    if (slot.special === true || this.#quarantine !== undefined) {
      return this.#releaseSpecial(slot, usedBytes);
    }
    if (slot.touched === true && !this.clean(slot, usedBytes)) {
      this.lose(slot);
      return true;
    }
    const tells = this.#slots.push(slot.index);
    slot.touched = false;
    slot.state = HOT_ENDED;
    return tells;
  }

  /** The closer look at a lease that was watched, lent or has escaped, or that goes into quarantine. */
  #releaseSpecial(slot: Slot, usedBytes: number | undefined): boolean {
    if (slot.lends !== 0) {
      slot.state = ENDING;
      slot.usedBytes = usedBytes;
      return false;
    }
    return this.#finish(slot, usedBytes);
  }

  released(slot: Slot): void {
    this.#tell(slot);
    if (this.#quarantine !== undefined) this.report();
  }

  #tell(slot: Slot): void {
    if (slot.state === LOST) this.hooks.lost();
    else this.hooks.ended();
  }

  abandon(slot: Slot): boolean {
    if (slot.state === ENDED) this.refuse(slot, "use");
    if (slot.state === LOST) return false;
    this.lose(slot);
    return true;
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
    const slot = slotOf(block);
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

  lendEnds(
    slot: Slot,
    how: Settled,
    result: unknown,
    dead: Uint8Array | undefined,
  ): void {
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
    let isSafe = how !== "running";
    if (isSafe && isDetached(slot)) {
      try {
        bringBack(this.region, slot, buffer, dead);
      } catch {
        // There can be no view any more: the permission was taken back, or the heap is full.
        isSafe = false;
      }
    }
    const isOver = isLast && slot.state === ENDING;
    if (!isSafe) this.lose(slot);
    else if (isOver) this.#finish(slot, slot.usedBytes);
    if (isOver || !isSafe) this.#tell(slot);
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
    if (this.#quarantine === undefined) return this.#slots.free >= free;
    headroom();
    if (this.#quarantine.freeUp(free)) this.hooks.lost();
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
    this.hooks.lost();
  }

  /**
   * The lease is over and nothing runs on the memory any more: the slot is free, or lost. Whether the
   * pool must hear of it.
   */
  #finish(slot: Slot, usedBytes: number | undefined): boolean {
    if (this.#quarantine !== undefined) headroom();
    const trace = slot.watch?.site;
    this.leaks.forget(slot);
    if (
      slot.escaped !== 0 || (slot.touched && !this.clean(slot, usedBytes))
    ) {
      this.lose(slot);
      return true;
    }
    if (slot.touched && this.#quarantine !== undefined) {
      this.#isolate(slot, trace);
      return true;
    }
    const tells = this.#slots.push(slot.index);
    slot.touched = slot.special = false;
    slot.state = ENDED;
    return tells || this.#quarantine !== undefined;
  }

  /** Zeroes and revokes as the options say; false if somebody else has the buffer, or keeps it. */
  protected clean(slot: Slot, usedBytes: number | undefined): boolean {
    if (slot.view.length === 0) {
      if (slot.view !== NO_VIEW) return false;
      // SAFETY: the slot is held. A release before this one was cut short below.
      slot.view = this.region.view(slot.index);
    }
    if (this.zero === true) slot.view.fill(0, 0, usedBytes);
    if (this.#revoke === true) {
      const buffer = this.region.renew(slot.view);
      if (buffer === undefined) return false;
      slot.view = NO_VIEW;
      slot.view = new Uint8Array(buffer);
    }
    return true;
  }

  /** Strict mode: the slot goes into quarantine, and the oldest one in it may come out. */
  #isolate(slot: Slot, trace: Error | undefined): void {
    slot.touched = slot.special = false;
    slot.trace = trace;
    this.#quarantine!.admit(slot);
    // One that was written to is out of the pool: some may now wait in vain.
    if (this.#quarantine!.overflow()) this.hooks.lost();
  }

  /**
   * The slot leaves the pool. The caller tells the hooks, once it is done with the slot. `abandon` is
   * the last call, and what follows are stores.
   */
  protected lose(slot: Slot): void {
    this.leaks.forget(slot);
    this.#slots.abandon(slot.index);
    if (slot.lends !== 0) this.#counters.lentBlocks--;
    this.#counters.abandons++;
    slot.state = LOST;
    slot.view = NO_VIEW;
  }

  #leaked(leak: Leak): void {
    if (leak.slot.state !== HELD) return;
    this.#counters.leaks++;
    // SAFETY: the handle is gone, but a raw view may not be: it becomes empty, and the slot is
    // never lent again because a read may still be under way.
    this.region.revoke(leak.slot.view);
    this.lose(leak.slot);
    this.hooks.lost();
    this.hooks.leaked(leak);
  }

  protected record(index: number): Slot {
    // Lowest first means that nearly always just one is missing.
    for (let next = this.records.length; next <= index; next++) {
      this.records.push(new Slot(this, next));
    }
    return this.records[index];
  }

  /** What only some leases get: a time, a watch. */
  protected observe(
    block: Block,
    slot: Slot,
    tag: string | undefined,
  ): Watch | undefined {
    if (this.#timed) {
      slot.since = Date.now();
      slot.overdue = false;
    }
    const { taken } = this.#slots;
    const { period } = this.leaks;
    this.observeAt = taken + (this.#timed ? 1 : period);
    return (taken + 1) % period === 0
      ? this.leaks.watch(block, slot, tag)
      : undefined;
  }
}
