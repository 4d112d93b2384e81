/**
 * Leases of a shared pool in one isolate: all that `pool/leases.ts` does, and what only many
 * isolates need: handing a lease over, taking one on, and giving all of them up at once.
 *
 * Knows no owner words and no other isolate: it is told which slots are here.
 */
import { type Block, part, slotOf } from "../pool/block.ts";
import { isOut } from "../pool/census.ts";
import { SmritiError } from "../pool/errors.ts";
import { isDetached } from "../pool/escape.ts";
import type { LeaseHooks, LeaseSlots } from "../pool/lease_parts.ts";
import { Leases } from "../pool/leases.ts";
import type { FilledOptions } from "../pool/options.ts";
import { called } from "../pool/refusal.ts";
import type { Region } from "../pool/region.ts";
import {
  type BlockTicket,
  ENDED,
  HELD,
  LOST,
  NO_VIEW,
  type Slot,
} from "../pool/slot.ts";
import type { Counters } from "../pool/stats.ts";

/** All leases of a shared pool in this isolate. */
export class SharedLeases extends Leases {
  /** Makes a ticket of a held slot that nobody here uses any more. */
  readonly #makeTicket: (slot: number) => BlockTicket;

  /** No leases yet. */
  constructor(
    options: FilledOptions,
    region: Region,
    slots: LeaseSlots,
    counters: Counters,
    hooks: LeaseHooks,
    makeTicket: (slot: number) => BlockTicket,
  ) {
    super(options, region, slots, counters, hooks);
    this.#makeTicket = makeTicket;
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
    this.#renew(slot);
    this.#letGo(slot);
    return this.#makeTicket(slot.index);
  }

  /**
   * Ends the views of a block that can be detached. Its lease goes on.
   *
   * @throws {SmritiError} `lent` if they cannot be ended; nothing has happened then
   */
  revoke(block: Block): void {
    this.#renew(slotOf(block)!);
  }

  /** Ends the lease of a block without views; its slot is for whoever makes the ticket. */
  partFrom(block: Block): number {
    const slot = slotOf(block)!;
    this.#letGo(slot);
    part(block);
    return slot.index;
  }

  #renew(slot: Slot): void {
    if (slot.view === NO_VIEW) return;
    const buffer = this.region.renew(slot.view);
    if (buffer === undefined) throw this.#stuck(slot);
    slot.view = NO_VIEW;
    slot.view = new Uint8Array(buffer);
  }

  #letGo(slot: Slot): void {
    this.leaks.forget(slot);
    slot.special = slot.touched = false;
    slot.state = ENDED;
  }

  #refuseDetach(slot: Slot): void {
    if (slot.state !== HELD) this.refuse(slot, "use");
    if (slot.lends !== 0 || slot.escaped !== 0 || isDetached(slot)) {
      throw this.#stuck(slot);
    }
  }

  #stuck(slot: Slot): SmritiError {
    return new SmritiError(
      "lent",
      `${
        called(this.poolName, slot)
      } cannot go: an operation or somebody else has its buffer, or marked it untransferable`,
    );
  }

  /** Ends every lease, whoever holds it: free again, or lost if an operation still has it. */
  giveUpAll(): void {
    for (const slot of this.records.filter(isOut)) {
      if (slot.lends > 0) {
        // SAFETY: native code may go on writing, JavaScript may not: the slot is never lent again.
        this.region.revoke(slot.view);
        this.lose(slot);
        this.hooks.lost();
        continue;
      }
      if (this.release(slot, this.blockSize)) this.released(slot);
      // SAFETY: the slot is free and never lent from here again; the handle, which still points
      // here, finds it lost.
      this.region.revoke(slot.view);
      slot.view = NO_VIEW;
      slot.state = LOST;
    }
  }

  /** Zeroes a slot that was taken from somebody else, and gives it back. */
  wash(index: number): void {
    const block = this.beginAt(index, undefined);
    if (this.zero) void block.bytes;
    block.release();
  }

  /** Begins a lease of a slot whose contents somebody else has written. */
  adoptAt(index: number, tag: string | undefined): Block {
    const block = this.beginAt(index, tag);
    const slot = this.records[index];
    // SAFETY: the slot is held, so its slab is committed. Not by `view()`: that may zero the block.
    if (slot.view === NO_VIEW) slot.view = this.region.view(index);
    slot.touched = true;
    return block;
  }
}
