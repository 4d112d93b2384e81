/**
 * The life of a lease: a slot leaves the free list, is used and lent, and comes back zeroed and
 * revoked as the options say, or leaves the pool for good.
 *
 * The owner of every block of a pool. Decides what a release does to memory; knows no waiters, no
 * growing and no closing: it calls its hooks when a block became free or was given up.
 */
import type { GivenUp } from "./abandoned.ts";
import { type Block, blockOf, slotOf } from "./block.ts";
import { isOut } from "./inspect.ts";
import { SmritiError } from "./errors.ts";
import {
  adopt,
  bringBack,
  broughtBy,
  isDetached,
  wholeOf,
} from "./detached_buffers.ts";
import type { Quarantine } from "./quarantine.ts";
import { isOverViewBudget, ViewBudget } from "./view_budget.ts";
import { headroom } from "./headroom.ts";
import { type Leak, LeakWatch, type Note } from "./leaks.ts";
import { show } from "./checks.ts";
import type { FilledOptions } from "./options.ts";
import { bufferLent, otherMemory, refusal } from "./lease_errors.ts";
import type { Region } from "./region.ts";
import {
  type BlockTicket,
  LEASE_ABANDONED,
  LEASE_ENDED,
  LEASE_ENDING,
  LEASE_HELD,
  NO_VIEW,
  type Owner,
  type Settled,
  Slot,
} from "./slot.ts";
import { COUNTLESS } from "./slots.ts";
import type { Counters } from "./stats.ts";

/** To clear more bytes than these takes longer than to wrap those before them. */
const WORTH_SPARING = 256 * 1024;

// Hot constants, and `=== true` below: see ARCHITECTURE.md.
const HOT_HELD = LEASE_HELD;
const HOT_ENDED = LEASE_ENDED;
const hotBlockOf = blockOf;

/** What leases need of the slots of a pool. */
export interface LeaseSlots {
  /** Slots ready to be lent. */
  readonly free: number;
  /** Slots ever taken. */
  readonly taken: number;
  /** A lease of the slot that was given for it begins now. */
  take(slot: number): void;
  /** Puts an acquired slot back; whether the pool must be told. */
  push(slot: number): boolean;
  /** Gives an acquired slot up for good; `mayBeRead`: its bytes may be read by others. */
  abandon(slot: number, mayBeRead: boolean): void;
  /** Gives a free slot up for good. */
  abandonFree(slot: number): void;
}

/** What leases tell their pool. Called when the state is consistent again. */
export interface LeaseHooks {
  /** A lease has ended. */
  ended(): void;
  /** A slot left the pool for good. */
  abandoned(): void;
  /** A block was found unreachable; its slot was given up. */
  leaked(leak: Leak): void;
  /** One more operation holds the slot's memory, or one less. */
  lending?(slot: number, change: 1 | -1): void;
}

/** All leases of one pool. */
export class Leases implements Owner {
  readonly blockSize: number;
  readonly ended: Slot;

  protected readonly poolName: string;
  protected readonly zero: boolean;
  readonly #revoke: boolean;
  /** Whether release may clear less than the block. */
  readonly #spares: boolean;
  readonly #timed: boolean;
  protected readonly region: Region;
  readonly #slots: LeaseSlots;
  readonly #counters: Counters;
  protected readonly hooks: LeaseHooks;
  protected readonly leaks: LeakWatch;
  readonly #quarantine: Quarantine | undefined;
  /** Whether every slot has its view for good. */
  sealed = false;
  /** The records of slots up to the highest ever lent, by index. */
  readonly records: Slot[] = [];
  /** The record in `records` of all slots that were given up. */
  readonly #gone: Slot;
  readonly #givenUp: GivenUp[];
  /** The bytes of this pool's views, for the budget of the isolate. */
  readonly views: ViewBudget = new ViewBudget();
  /** The ledger's bytes, for isolates that outlive this one: 1 for each slot in use or given up. */
  readonly #used: Uint8Array;
  /** Once so many slots were taken, something is noted of the next lease. */
  protected noteAt: number;
  /** Number of the next lease of the sample. */
  #sampleAt = 1;

  /** No leases yet. */
  constructor(
    options: FilledOptions,
    region: Region,
    slots: LeaseSlots,
    counters: Counters,
    hooks: LeaseHooks,
    givenUp: GivenUp[] = [],
    used: Uint8Array = new Uint8Array(0),
    quarantine?: Quarantine,
  ) {
    this.blockSize = options.blockSize;
    this.ended = new Slot(this, -1, NO_VIEW);
    this.#gone = new Slot(this, -1, NO_VIEW);
    this.#gone.state = LEASE_ABANDONED;
    this.#givenUp = givenUp;
    this.#used = used;
    this.poolName = options.name;
    this.zero = options.zero;
    this.#revoke = options.safety !== "trust";
    this.#spares = options.safety === "revoke" && this.zero &&
      region.hasAddresses;
    this.#timed = options.overdueMs !== undefined;
    this.region = region;
    this.#slots = slots;
    this.#counters = counters;
    this.hooks = hooks;
    this.#quarantine = quarantine;
    this.leaks = new LeakWatch(
      options.leakDetection,
      (leak) => this.leaked(leak),
    );
    this.noteAt = this.#timed || this.leaks.isOn ? 0 : COUNTLESS;
  }

  /**
   * Begins a lease of a slot that is free for it. All that can fail comes first: `take` is the last
   * call, and what follows are stores.
   */
  beginAt(index: number, tag: string | undefined): Block {
    const slots = this.#slots;
    const slot = this.records[index] ?? this.record(index);
    const block = hotBlockOf(slot);
    const note = slots.taken >= this.noteAt ? this.note(slot) : undefined;
    slots.take(index);
    slot.state = HOT_HELD;
    slot.tag = tag;
    slot.token = undefined;
    if (note !== undefined) {
      slot.note = note;
      slot.special = true;
    }
    return block;
  }

  view(slot: Slot): Uint8Array<ArrayBuffer> {
    if (slot.state !== LEASE_HELD) this.refuse(slot, "use");
    if (slot.view === NO_VIEW) {
      this.#makeView(slot);
    } else if (isDetached(slot)) {
      if (slot.lends !== 0) {
        throw bufferLent(this.poolName, slot);
      }
      // SAFETY: the old buffer is detached, and `escaped` keeps the slot from being lent again.
      slot.view = this.region.view(slot.index);
      slot.escaped++;
      slot.special = true;
      slot.owed = false;
    }
    slot.touched = true;
    this.#used[slot.index] = 1;
    return slot.view;
  }

  #makeView(slot: Slot): void {
    // SAFETY: the slot is held, so its slab is committed.
    const view = this.region.view(slot.index);
    if (this.zero && this.region.mayBeStale(slot.index)) view.fill(0);
    slot.view = view;
    this.views.count(view.length);
  }

  first(slot: Slot, length: number): Uint8Array<ArrayBuffer> {
    if (slot.state !== LEASE_HELD) this.refuse(slot, "use");
    const isSpared = this.#spares && this.blockSize - length > WORTH_SPARING;
    if (length === this.blockSize) return this.view(slot);
    if (!isSpared) return this.view(slot).subarray(0, length);
    if (length === 0) return new Uint8Array(0);
    if (slot.first.length === length) return slot.first;
    const isFresh = !slot.touched && slot.first === NO_VIEW;
    if (isFresh && !isOverViewBudget() && !this.sealed) {
      this.#makeFirst(slot, length);
    }
    return slot.first.length === length
      ? slot.first
      : this.view(slot).subarray(0, length);
  }

  #makeFirst(slot: Slot, length: number): void {
    try {
      // With this one it will be cleared; it is not given out.
      if (slot.view === NO_VIEW) this.#makeView(slot);
      // SAFETY: the slot is held, so its slab is committed; the view ends before the slot is free.
      const first = this.region.view(slot.index, length);
      this.#used[slot.index] = 1;
      slot.special = true;
      slot.first = first;
    } catch {
      // No view can be made any more: the one of the whole block is there, or says why not.
    }
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
      this.abandonSlot(slot, true);
      return true;
    }
    const tells = this.#slots.push(slot.index);
    if (slot.touched === true) {
      this.#used[slot.index] = 0;
      slot.touched = false;
    }
    slot.state = HOT_ENDED;
    return tells;
  }

  /** Releases a lease that is of the sample, lent or has escaped, or that goes into quarantine. */
  #releaseSpecial(slot: Slot, usedBytes: number | undefined): boolean {
    if (slot.lends !== 0) {
      slot.state = LEASE_ENDING;
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
    if (slot.state !== LEASE_ABANDONED) return this.hooks.ended();
    // A fresh slot replaces it: many calls, of which none may be cut short.
    headroom();
    this.hooks.abandoned();
  }

  abandon(slot: Slot): boolean {
    if (slot.state === LEASE_ENDED) this.refuse(slot, "use");
    if (slot.state === LEASE_ABANDONED) return false;
    this.abandonSlot(slot, true);
    return true;
  }

  reattach(slot: Slot, view: ArrayBufferView): void {
    if (slot.state !== LEASE_HELD) this.refuse(slot, "use");
    const buffer = wholeOf(this.region, this.records, slot, view);
    // Looking may have run code that ended the lease.
    if (slot.state !== LEASE_HELD) this.refuse(slot, "use");
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
    if (slot.state !== LEASE_HELD) this.refuse(slot, "use");
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
    if (isLast) slot.lentTo = undefined;
    // `abandonSlot` has lowered the count already.
    if (slot.state === LEASE_ABANDONED) return;
    this.hooks.lending?.(slot.index, -1);
    if (isLast) this.#counters.lentBlocks--;
    let isSafe = how !== "running";
    let mayBeRead = !isLast || slot.escaped > 0 || isDetached(slot);
    if (isSafe && isDetached(slot)) {
      try {
        bringBack(this.region, slot, buffer, dead);
      } catch {
        // No view can be made: the permission was taken back, or the heap is full.
        isSafe = false;
        mayBeRead = !isLast || slot.escaped > 0 || slot.view !== dead;
      }
    }
    const isOver = isLast && slot.state === LEASE_ENDING;
    // SAFETY: native code may go on writing, which is why the address is given up; JavaScript may not.
    if (!isSafe) {
      this.abandonSlot(slot, mayBeRead || !this.#revokeAll(slot));
    } else if (isOver) this.#finish(slot, slot.usedBytes);
    if (isOver || !isSafe) this.#tell(slot);
  }

  refuse(slot: Slot, use: "use" | "release"): void {
    if (use === "release") {
      if (slot.state === LEASE_ABANDONED) return;
      this.#counters.doubleReleases++;
    }
    throw refusal(this.poolName, slot, use);
  }

  /**
   * Makes a view of every slot there can be, and keeps them all from now on: the pool needs the FFI
   * permission no more.
   *
   * @throws {SmritiError} `permission`
   */
  seal(slots: number): void {
    for (let index = 0; index < slots; index++) {
      const slot = this.records[index] ?? this.record(index);
      // SAFETY: the view is given out with a lease alone, and then the slot is committed.
      if (slot.view === NO_VIEW && slot.state !== LEASE_ABANDONED) {
        slot.view = this.region.view(index);
        this.views.count(this.blockSize);
      }
    }
    this.sealed = true;
  }

  /**
   * Ends the views of slots that are free and about to lose their memory. A slot whose buffer is
   * elsewhere is given up instead; then the answer is false. A sealed pool keeps its views, which read
   * zeroes meanwhile, until the end.
   */
  dropViews(start: number, end: number, isEnd: boolean): boolean {
    let dropped = true;
    const top = Math.min(end, this.records.length);
    for (let index = start; index < top; index++) {
      const slot = this.records[index]!;
      if (slot.state !== LEASE_ENDED) continue;
      // SAFETY: the slot is free; a view kept under "trust" becomes empty here, or, if it cannot,
      // keeps the slot out of the pool, and the memory mapped.
      const keeps = this.sealed && !isEnd && !isDetached(slot);
      if (keeps) continue;
      if (isDetached(slot) || !this.region.revoke(slot.view)) {
        this.#slots.abandonFree(index);
        this.#used[index] = 1;
        slot.state = LEASE_ABANDONED;
        this.#givenUp[this.#givenUp.length] = { index, mayBeRead: true };
        dropped = false;
      }
      if (slot.view !== NO_VIEW) this.views.count(-this.blockSize);
      slot.view = NO_VIEW;
    }
    if (!dropped) this.hooks.abandoned();
    return dropped;
  }

  /** Lets slots out of quarantine until so many are free; whether there are. */
  freeUp(free: number): boolean {
    if (this.#quarantine === undefined) return this.#slots.free >= free;
    headroom();
    if (this.#quarantine.freeUp(free)) this.hooks.abandoned();
    return this.#slots.free >= free;
  }

  /**
   * Throws what quarantine has found, once.
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

  /** Whether dropped blocks are found. */
  get findsLeaks(): boolean {
    return this.leaks.isOn;
  }

  /** Drops the record of a slot that was given up, once its pages were dealt with. */
  bury(index: number): void {
    this.records[index] = this.#gone;
  }

  /** Ends every lease; the slots are given up. */
  abandonAll(): void {
    for (const slot of this.records.filter(isOut)) {
      this.#revokeAndAbandon(slot);
    }
    this.hooks.abandoned();
  }

  /**
   * The lease is over and no operation holds the memory any more: the slot becomes free, quarantined or
   * abandoned. Returns whether the pool must be told.
   */
  #finish(slot: Slot, usedBytes: number | undefined): boolean {
    if (this.#quarantine !== undefined) headroom();
    const trace = slot.note?.site;
    this.unnote(slot);
    if (
      slot.escaped !== 0 || !this.#endFirst(slot, usedBytes) ||
      (slot.touched && !this.clean(slot, usedBytes))
    ) {
      this.abandonSlot(slot, true);
      return true;
    }
    if (slot.touched && this.#quarantine !== undefined) {
      this.#isolate(slot, trace);
      return true;
    }
    const tells = this.#slots.push(slot.index);
    this.#used[slot.index] = 0;
    slot.touched = slot.special = false;
    slot.state = LEASE_ENDED;
    return tells || this.#quarantine !== undefined;
  }

  /** Ends the buffer of the first bytes, if there is one, and zeroes them; false if it is elsewhere. */
  #endFirst(slot: Slot, usedBytes: number | undefined): boolean {
    const { first, touched } = slot;
    if (first === NO_VIEW) return true;
    const { length } = first;
    // If a call below is cut short, all of the block is cleared by the next release.
    slot.touched = true;
    // SAFETY: JavaScript writes to the bytes no more when they are cleared.
    if (length === 0 || !this.region.revoke(first)) return false;
    slot.first = NO_VIEW;
    if (touched) return true;
    slot.view.fill(0, 0, usedBytes ?? length);
    slot.touched = false;
    return true;
  }

  /** Zeroes and revokes as the options say; false if the buffer is elsewhere, or cannot be detached. */
  protected clean(slot: Slot, usedBytes: number | undefined): boolean {
    if (slot.view.length === 0) {
      if (slot.view !== NO_VIEW) return false;
      // SAFETY: the slot is held. A release before this one was cut short below.
      slot.view = this.region.view(slot.index);
      this.views.count(this.blockSize);
    }
    const isTooMany = isOverViewBudget() && !this.sealed;
    if (this.#revoke === true || isTooMany) {
      const buffer = this.region.renew(slot.view);
      // Not zeroed: a buffer that was kept may be read.
      if (buffer === undefined) return false;
      slot.view = NO_VIEW;
      slot.view = new Uint8Array(buffer);
    }
    if (this.zero === true) slot.view.fill(0, 0, usedBytes);
    return !isTooMany || this.#dropView(slot);
  }

  /** Ends the views of a slot that is not in use; false if they cannot be ended. */
  #dropView(slot: Slot): boolean {
    // SAFETY: a view kept under "trust" becomes empty here; the next use makes a new one.
    if (!this.region.revoke(slot.view)) return false;
    slot.view = NO_VIEW;
    this.views.count(-this.blockSize);
    return true;
  }

  /**
   * Ends views of free slots, the highest first, until the views of this isolate are within the budget.
   */
  shedViews(): void {
    if (this.sealed) return;
    for (let index = this.records.length - 1; isOverViewBudget(); index--) {
      if (index < 0) return;
      const slot = this.records[index]!;
      if (slot.state === LEASE_ENDED && slot.view.length > 0) {
        this.#dropView(slot);
      }
    }
  }

  /** Strict mode: the slot goes into quarantine, and the oldest one in it may come out. */
  #isolate(slot: Slot, trace: Error | undefined): void {
    slot.touched = slot.special = false;
    slot.trace = trace;
    this.#used[slot.index] = 0;
    this.#quarantine!.admit(slot);
    // A slot that was written to left the pool: waiters may have become hopeless.
    if (this.#quarantine!.overflow()) this.hooks.abandoned();
  }

  /** A lease that may have been noted has ended, or is about to: how long it was held is counted once. */
  protected unnote(slot: Slot): void {
    const { note } = slot;
    if (note === undefined) return;
    slot.note = undefined;
    this.#counters.heldMs.add(Date.now() - note.since);
  }

  /**
   * Gives the slot up. The caller tells the hooks, once it is done with the slot. `abandon` is the last
   * call, and what follows are stores. `mayBeRead`: JavaScript may have a buffer of it.
   */
  protected abandonSlot(slot: Slot, mayBeRead: boolean): void {
    this.unnote(slot);
    this.#slots.abandon(slot.index, mayBeRead);
    this.#used[slot.index] = 1;
    this.#givenUp[this.#givenUp.length] = { index: slot.index, mayBeRead };
    if (slot.lends !== 0) this.#counters.lentBlocks--;
    this.#counters.abandons++;
    slot.state = LEASE_ABANDONED;
    if (slot.view !== NO_VIEW) this.views.count(-this.blockSize);
    slot.view = slot.first = NO_VIEW;
  }

  /** Gives up a slot whose lease may be in use: its views end, but for a buffer that is elsewhere. */
  #revokeAndAbandon(slot: Slot): void {
    const isElsewhere = slot.escaped > 0 || isDetached(slot);
    this.abandonSlot(slot, !this.#revokeAll(slot) || isElsewhere);
  }

  /** Ends the views of a slot; false if one cannot be ended, or the buffer of its first bytes is away. */
  #revokeAll({ view, first }: Slot): boolean {
    const { region } = this;
    // SAFETY: JavaScript reaches the memory no more; native code may, so the address stays mapped.
    const isAway = first.length === 0 && first !== NO_VIEW;
    const isEnded = region.revoke(first) && !isAway;
    return region.revoke(view) && isEnded;
  }

  protected leaked(leak: Leak): void {
    if (leak.slot.state !== LEASE_HELD) return;
    this.#counters.leaks++;
    if (leak.stack === undefined) this.#search();
    this.#revokeAndAbandon(leak.slot);
    this.hooks.abandoned();
    this.hooks.leaked(leak);
  }

  /** Notes places more often for a while: that of a leak was not noted. */
  #search(): void {
    const { taken } = this.#slots;
    this.leaks.search(taken);
    this.#sampleAt = this.leaks.next(Math.max(1, taken));
    if (!this.#timed) this.noteAt = this.#sampleAt - 1;
  }

  protected record(index: number): Slot {
    // Slots are taken lowest first, so nearly always just one record is missing.
    for (let next = this.records.length; next <= index; next++) {
      this.records.push(this.makeRecord(next));
    }
    return this.records[index]!;
  }

  protected makeRecord(index: number): Slot {
    const slot = new Slot(this, index, this.#used);
    this.leaks.register(slot);
    return slot;
  }

  /** The start and the note of a lease, if it gets any. */
  protected note(slot: Slot): Note | undefined {
    const now = Date.now();
    if (this.#timed) {
      slot.since = now;
      slot.overdue = false;
    }
    const { leaks } = this;
    const number = this.#slots.taken + 1;
    const isDue = leaks.isOn && number >= this.#sampleAt;
    const note = isDue ? leaks.note(number, now) : undefined;
    if (isDue) this.#sampleAt = leaks.next(number);
    this.noteAt = this.#timed ? number : this.#sampleAt - 1;
    return note;
  }
}
