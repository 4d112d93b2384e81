/**
 * Leases of a shared pool in one isolate: all that `pool/leases.ts` does, and what only many
 * isolates need: handing a lease over, taking one on, and giving all of them up at once.
 *
 * The view of a slot is kept here, where no user has it, until its bytes are asked for; the slot is
 * marked as used before it is given out.
 */
import { type Block, blockOf, part, slotOf } from "../pool/block.ts";
import { isOut } from "../pool/inspect.ts";
import { SmritiError } from "../pool/errors.ts";
import { isDetached } from "../pool/detached_buffers.ts";
import { isOverViewBudget } from "../pool/view_budget.ts";
import type { LeaseHooks } from "../pool/leases.ts";
import type { Leak } from "../pool/leaks.ts";
import { Leases } from "../pool/leases.ts";
import type { FilledOptions } from "../pool/options.ts";
import { called } from "../pool/lease_errors.ts";
import type { Region } from "../pool/region.ts";
import {
  type BlockTicket,
  LEASE_ABANDONED,
  LEASE_ENDED,
  LEASE_HELD,
  NO_VIEW,
  type Slot,
} from "../pool/slot.ts";
import type { Counters } from "../pool/stats.ts";
import type { Control } from "./control.ts";
import type { SharedSlots } from "./shared_slots.ts";

// Hot constants: see ARCHITECTURE.md.
const HOT_HELD = LEASE_HELD;
const hotBlockOf = blockOf;

/** All leases of a shared pool in this isolate. */
export class SharedLeases extends Leases {
  readonly #slots: SharedSlots;
  /** Makes a ticket of a held slot whose lease here has ended. */
  readonly #makeTicket: (slot: number) => BlockTicket;
  /**
   * Views by slot that were not given out: of free slots, and of held ones whose bytes were not asked
   * for.
   */
  readonly #views: (Uint8Array<ArrayBuffer> | undefined)[] = [];
  /** Where slots are now, and where each was when its view was made: a slot may get another place. */
  readonly #place: Int32Array;
  readonly #viewed: Int32Array;

  /** No leases yet. */
  constructor(
    options: FilledOptions,
    region: Region,
    slots: SharedSlots,
    { place }: Control,
    counters: Counters,
    hooks: LeaseHooks,
    makeTicket: (slot: number) => BlockTicket,
  ) {
    // What is in use is written down by the slots; this is for V8, which is slow where an index is out of
    // bounds.
    const used = new Uint8Array(options.maxBlocks);
    super(options, region, slots, counters, hooks, slots.givenUp, used);
    this.#place = place;
    this.#viewed = new Int32Array(place.length);
    this.#slots = slots;
    this.#makeTicket = makeTicket;
  }

  /**
   * Takes a slot that looks free and begins its lease; `undefined` if another worker was first. All
   * that can fail comes first, and what follows the swap are stores.
   */
  tryBegin(index: number, tag: string | undefined): Block | undefined {
    const slots = this.#slots;
    const slot = this.records[index] ?? this.record(index);
    const block = hotBlockOf(slot);
    const note = slots.taken >= this.noteAt ? this.note(slot) : undefined;
    if (!slots.take(index)) return undefined;
    slot.state = HOT_HELD;
    slot.tag = tag;
    slot.token = undefined;
    if (note !== undefined) {
      slot.note = note;
      slot.special = true;
    }
    return block;
  }

  /** Begins the lease of a slot in transit if that is its ticket, in the same way. */
  tryAdopt(
    index: number,
    serial: number,
    tag: string | undefined,
  ): Block | undefined {
    const slots = this.#slots;
    const slot = this.record(index);
    const block = blockOf(slot);
    // Its bytes have to be zeroed, so a view has to be had: without one the ticket stays good.
    this.#ready(index);
    const note = slots.taken >= this.noteAt ? this.note(slot) : undefined;
    if (!slots.receive(index, serial)) return undefined;
    slots.taken++;
    slot.state = LEASE_HELD;
    slot.tag = tag;
    slot.token = undefined;
    slot.touched = true;
    if (note !== undefined) {
      slot.note = note;
      slot.special = true;
    }
    return block;
  }

  /** Ends a lease whose handle was not given out. */
  undo(block: Block): void {
    const slot = slotOf(block)!;
    this.unnote(slot);
    this.#slots.push(slot.index);
    slot.special = false;
    slot.state = LEASE_ENDED;
    part(block);
  }

  /** Ends an adopted lease whose handle was not given out: its ticket is good again. */
  unadopt(block: Block): void {
    const slot = slotOf(block)!;
    this.unnote(slot);
    this.#slots.unreceive(slot.index);
    slot.special = slot.touched = false;
    slot.state = LEASE_ENDED;
    part(block);
  }

  /** Whether a lease has the slot. */
  isLeased(index: number): boolean {
    const slot = this.records[index];
    return slot !== undefined && isOut(slot);
  }

  override view(slot: Slot): Uint8Array<ArrayBuffer> {
    if (slot.state !== LEASE_HELD || slot.view !== NO_VIEW) {
      return super.view(slot);
    }
    const { index } = slot;
    const view = this.#ready(index);
    this.#slots.expose(index);
    this.#views[index] = undefined;
    slot.view = view;
    slot.touched = true;
    return view;
  }

  override first(slot: Slot, length: number): Uint8Array<ArrayBuffer> {
    return this.view(slot).subarray(0, length);
  }

  override reattach(slot: Slot, view: ArrayBufferView): void {
    // It becomes a view that the user has.
    if (slot.state === LEASE_HELD && slot.view === NO_VIEW) this.view(slot);
    super.reattach(slot, view);
  }

  /**
   * Throws unless a block can be detached now, as one of a batch of this number.
   *
   * @throws {TypeError} for anything but a block
   * @throws {RangeError} if the batch has it already
   * @throws {SmritiError} `foreign-block`, `released`, `lent`
   */
  checkDetach(block: Block, batch: number): void {
    this.checkOwn(block);
    const slot = slotOf(block)!;
    this.#refuseDetach(slot);
    // By a mark on the slot: a Set of them would be a twentieth of a batch.
    if (slot.batch === batch) {
      throw new RangeError("blocks must be different ones, got one twice");
    }
    slot.batch = batch;
  }

  override detach(slot: Slot): BlockTicket {
    this.#refuseDetach(slot);
    this.#endView(slot);
    this.unnote(slot);
    const ticket = this.#makeTicket(slot.index);
    slot.special = slot.touched = false;
    slot.state = LEASE_ENDED;
    return ticket;
  }

  /**
   * Ends the views of a block that can be detached. Its lease goes on.
   *
   * @throws {SmritiError} `lent` if they cannot be ended; nothing has happened then
   */
  revoke(block: Block): void {
    this.#endView(slotOf(block)!);
  }

  /** Ends the lease of a block without views, and makes a ticket of it. */
  detachRevoked(block: Block): BlockTicket {
    const ticket = this.detach(slotOf(block)!);
    part(block);
    return ticket;
  }

  /**
   * Ends every lease of this isolate: free again, or lost if an operation still has it.
   *
   * @throws {SmritiError} `corrupted` if one was taken from this isolate; all have ended nevertheless
   */
  giveUpAll(): void {
    let stolen: SmritiError | undefined;
    for (const slot of this.records.filter(isOut)) {
      try {
        this.#giveUp(slot);
      } catch (error) {
        if (!(error instanceof SmritiError)) throw error;
        // SAFETY: the slot may be another worker's by now: nothing here reaches it any more.
        if (this.region.revoke(slot.view) && slot.view !== NO_VIEW) {
          this.views.count(-this.blockSize);
        }
        stolen = error;
      }
      // The handle, which still points here, finds it abandoned.
      slot.state = LEASE_ABANDONED;
    }
    this.hooks.abandoned();
    this.hooks.ended();
    if (stolen !== undefined) throw stolen;
  }

  #giveUp(slot: Slot): void {
    // Before anything is zeroed: the slot may be another worker's, or without memory.
    this.#slots.check(slot.index);
    if (slot.lends === 0) return void this.release(slot, this.blockSize);
    // SAFETY: native code may go on writing, JavaScript may not: the slot is never lent again.
    this.region.revoke(slot.view);
    this.abandonSlot(slot, true);
  }

  /** The handle points to the record of the place given up, and what comes gets another one. */
  protected override abandonSlot(slot: Slot, mayBeRead: boolean): void {
    const fresh = this.makeRecord(slot.index);
    super.abandonSlot(slot, mayBeRead);
    this.records[slot.index] = fresh;
  }

  /** A block that was taken from this isolate is another's to give up. */
  protected override leaked(leak: Leak): void {
    if (this.#slots.holds(leak.slot.index)) super.leaked(leak);
  }

  /** Ends the views that are kept here; no lease may be left. */
  endViews(): void {
    for (let index = 0; index < this.#views.length; index++) this.#drop(index);
  }

  /**
   * Makes a view of every slot there can be, and keeps them all from now on: this isolate needs the FFI
   * permission no more.
   *
   * @throws {SmritiError} `permission`
   */
  override seal(slots: number): void {
    for (let index = 0; index < slots; index++) {
      const slot = this.records[index];
      // One that was given out is kept again when its lease ends.
      const isGiven = slot !== undefined &&
        (slot.view !== NO_VIEW || slot.state === LEASE_ABANDONED);
      if (!isGiven) this.#ready(index);
    }
    this.sealed = true;
  }

  override shedViews(): void {
    if (this.sealed) return;
    for (let index = this.#views.length - 1; isOverViewBudget(); index--) {
      if (index < 0) return;
      if (!this.isLeased(index)) this.#drop(index);
    }
  }

  /** Zeroes a slot without a lease that has just been given memory. */
  wipe(index: number): void {
    const isThere = this.#viewed[index] === this.#place[index];
    const view = isThere ? this.#views[index] : undefined;
    if (view === undefined) this.region.wipe(index);
    else view.fill(0);
  }

  /** Ends the view of a slot that is kept here, if there is one. */
  #drop(index: number): void {
    const view = this.#views[index];
    if (view === undefined) return;
    // SAFETY: this view was never given out; the slot is free, or another worker's.
    this.region.revoke(view);
    this.#views[index] = undefined;
    this.views.count(-this.blockSize);
  }

  /** Whether a view of the slot can be had here. */
  canWash(index: number): boolean {
    try {
      if (this.zero) this.#ready(index);
      return true;
    } catch {
      // There can be none any more: the permission was taken back, or memory is short.
      return false;
    }
  }

  /** Zeroes a held slot without a lease, if the pool does; false if that cannot be done here. */
  wash(index: number): boolean {
    if (!this.canWash(index)) return false;
    if (this.zero) this.#ready(index).fill(0);
    return true;
  }

  /** Zeroes and revokes; false if the buffer is elsewhere, or cannot be ended. */
  protected override clean(slot: Slot, usedBytes: number | undefined): boolean {
    // An adopted block whose bytes were not asked for has those of the sender.
    const view = slot.view === NO_VIEW
      ? this.#ready(slot.index)
      : this.#takeBack(slot);
    if (view === undefined) return false;
    if (this.zero === true) view.fill(0, 0, usedBytes);
    if (isOverViewBudget() && !this.sealed) this.#drop(slot.index);
    return true;
  }

  /** Ends the views that the user has, and keeps a new one; `undefined` if they cannot be ended. */
  #takeBack(slot: Slot): Uint8Array<ArrayBuffer> | undefined {
    const buffer = slot.view.length === 0
      ? undefined
      : this.region.renew(slot.view);
    if (buffer === undefined) return undefined;
    slot.view = NO_VIEW;
    return this.#views[slot.index] = new Uint8Array(buffer);
  }

  #endView(slot: Slot): void {
    if (slot.view === NO_VIEW || this.#takeBack(slot) !== undefined) return;
    throw this.#stuck(slot);
  }

  /** The view of a held slot that is kept here, if the slot is still where it was when that was made. */
  #ready(index: number): Uint8Array<ArrayBuffer> {
    return this.#viewed[index] === this.#place[index]
      ? this.#views[index] ?? this.#make(index)
      : this.#make(index);
  }

  #make(index: number): Uint8Array<ArrayBuffer> {
    const views = this.#views;
    // SAFETY: one of a place given up was never given out, or has ended.
    this.#drop(index);
    // First: should the slot move meanwhile, what is made here is not taken for a view of its new place.
    this.#viewed[index] = this.#place[index]!;
    // No gaps: V8 keeps an array with large ones as a table.
    while (views.length <= index) views.push(undefined);
    // SAFETY: given out only while the slot is held, and then its slab is committed; this isolate's other
    // view of it, if there was one, has been ended, or is nowhere to be found.
    const view = views[index] = this.region.view(index);
    this.views.count(view.length);
    return view;
  }

  #refuseDetach(slot: Slot): void {
    if (slot.state !== LEASE_HELD) this.refuse(slot, "use");
    if (slot.lends !== 0 || slot.escaped !== 0 || isDetached(slot)) {
      throw this.#stuck(slot);
    }
  }

  #stuck(slot: Slot): SmritiError {
    return new SmritiError(
      "lent",
      `${
        called(this.poolName, slot)
      } cannot go: its buffer is with an operation, was transferred, or is marked untransferable`,
    );
  }
}
