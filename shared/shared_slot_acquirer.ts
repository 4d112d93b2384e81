/**
 * Acquires blocks from the slots that all isolates share: respects the reserve and another worker's
 * turn, grows the pool if that helps, and takes all or none. Of the queue it knows the length.
 *
 * Each slot that it takes has a lease at once, so no slot is held without a handle.
 */
import type { Block } from "../pool/block.ts";
import type { AcquireRequest } from "../pool/channel.ts";
import type { Acquirer, Grant, Need } from "../pool/dispatcher.ts";
import type { SmritiError } from "../pool/errors.ts";
import { headroom } from "../pool/headroom.ts";
import { type BlockArray, blockArray } from "../pool/pool.ts";
import type { SlotCache } from "./cache.ts";
import type { Notifier } from "./notifier.ts";
import { type Control, COUNT, HEADER, OPEN } from "./control.ts";
import type { SharedFilledOptions } from "./handle.ts";
import type { Hints } from "./hints.ts";
import type { SharedLeases } from "./shared_leases.ts";
import type { Growth, SharedSizer } from "./shared_sizer.ts";
import type { SharedSlots } from "./shared_slots.ts";

// Hot constants: see ARCHITECTURE.md.
const { COMMITTED, STATE, TURN } = HEADER;
const HOT_OPEN = OPEN;

/** Every so many takes from the cache one of the other workers is looked at. */
const LOOK_EVERY = 16;
/** Attempts for one request while other workers interfere, before it is not served. */
const ATTEMPTS = 16;

/** What an acquirer works with. */
export interface AcquirerParts {
  readonly worker: number;
  readonly options: SharedFilledOptions;
  readonly control: Control;
  readonly slots: SharedSlots;
  readonly leases: SharedLeases;
  readonly sizer: SharedSizer;
  readonly notifier: Notifier;
}

/** Acquires blocks for one isolate. */
export class SharedSlotAcquirer implements Acquirer {
  readonly #reservedBlocks: number;
  readonly #words: Int32Array;
  readonly #slots: SharedSlots;
  readonly #hints: Hints;
  readonly #cache: SlotCache;
  readonly #leases: SharedLeases;
  readonly #sizer: SharedSizer;
  readonly #notifier: Notifier;
  readonly #counts: Float64Array;
  /** Index of this worker's count of acquires. */
  readonly #acquiresAt: number;
  readonly #onQueue: (waiting: number) => void;
  /** Blocks taken after the pool was closed, to be put back. */
  readonly #late: Block[] = [];
  /** Acquires that wait in this isolate. */
  #waiting = 0;
  /** Set by `close`: no block is taken from then on, also by a call that is growing the pool. */
  #closed = false;

  /** `onQueue` is called with the number of acquires that wait here. */
  constructor(parts: AcquirerParts, onQueue: (waiting: number) => void) {
    const { options, control, slots, leases, sizer, notifier, worker } = parts;
    this.#counts = control.counts;
    this.#acquiresAt = control.countAt(worker, COUNT.ACQUIRES);
    this.#onQueue = onQueue;
    this.#reservedBlocks = options.reservedBlocks;
    this.#words = control.words;
    this.#slots = slots;
    this.#hints = slots.hints;
    this.#cache = slots.cache;
    this.#leases = leases;
    this.#sizer = sizer;
    this.#notifier = notifier;
  }

  get isClosed(): boolean {
    // A plain read: it may miss a close at this very moment, and the call then counts as one before it.
    return this.#closed || this.#words[STATE] !== HOT_OPEN;
  }

  get usage(): { acquired: number; capacity: number } {
    const { tally } = this.#slots;
    return { acquired: tally.recount(), capacity: tally.capacity };
  }

  get refusal(): SmritiError | undefined {
    return this.#sizer.refusal;
  }

  /**
   * If it is cut short nothing has happened: after the swap that takes the slot there are stores only.
   */
  fast(reserved: boolean, tag: string | undefined): Block | undefined {
    if (this.#waiting !== 0 || this.#closed) return undefined;
    const words = this.#words;
    if (words[TURN] !== 0) return undefined;
    let slot = this.#cache.peek();
    if (slot < 0 || (this.#slots.taken & LOOK_EVERY - 1) === 0) {
      this.#slots.tally.lookOn();
    }
    if (!this.#sizer.isBelowWatermark) return undefined;
    let block: Block | undefined;
    if (this.#reservedBlocks !== 0 && !reserved) block = this.#above(tag);
    else {
      if (slot < 0) slot = this.#hints.find();
      else if (!this.#hints.isLowest(slot)) slot = this.#slots.find();
      if (slot < 0) return undefined;
      block = this.#leases.tryBegin(slot, tag);
      // Read after the swap: close() writes the state first and looks at the slots then (Dekker).
      if (words[STATE] !== HOT_OPEN) return this.#putBackLate(block);
    }
    if (block !== undefined) this.#counts[this.#acquiresAt]!++;
    return block;
  }

  acquire(
    request: AcquireRequest,
    isAsked: boolean,
    isOff: () => boolean,
  ): Grant | undefined {
    const { count, reserved, tag } = request;
    const grant = count === undefined
      ? this.#one(reserved, tag, isAsked, isOff)
      : this.#many(request, isAsked, isOff);
    if (grant !== undefined) this.#counts[this.#acquiresAt]! += count ?? 1;
    return grant;
  }

  acquired(hadWaited: boolean): void {
    if (hadWaited) this.#notifier.dropTurn();
    if (!this.#sizer.isBelowWatermark) this.#sizer.taken();
  }

  freed(): void {
    this.#hints.restore();
    this.#cache.flush();
    this.#notifier.notify();
  }

  report(): void {}

  close(): void {
    this.#closed = true;
  }

  queueChanged(waiting: number): void {
    this.#waiting = waiting;
    this.#onQueue(waiting);
  }

  /** One, if need be by growing or by trying again. */
  #one(
    reserved: boolean,
    tag: string | undefined,
    asked: boolean,
    isOff: () => boolean,
  ): Block | undefined {
    if (!reserved && this.#notifier.mustYield) return undefined;
    const kept = this.#kept(reserved);
    for (let tries = 0; tries < ATTEMPTS;) {
      const block = kept === 0 ? this.#any(tag) : this.#above(tag);
      if (block !== undefined) return block;
      const next = this.#more(kept, 1, asked, tries);
      if (next === "refused" || this.#closed || isOff()) break;
      if (next === "busy") this.#standBack(++tries);
    }
    return undefined;
  }

  /** Several, all or none, in the same way. */
  #many(
    { count = 1, reserved, tag }: AcquireRequest,
    asked: boolean,
    isOff: () => boolean,
  ): BlockArray | undefined {
    headroom();
    if (!reserved && this.#notifier.mustYield) return undefined;
    const kept = this.#kept(reserved);
    for (let tries = 0; tries < ATTEMPTS;) {
      // Not tried unless there are as many: other workers may miss blocks that are taken and put back.
      if (this.#slots.tally.countFree() >= kept + count) {
        const blocks = this.#allWithin(kept, count, tag);
        if (blocks !== undefined) return blocks;
        tries++;
      }
      const next = this.#more(kept, count, asked, tries);
      if (next === "refused" || this.#closed || isOff()) break;
      if (next === "busy") this.#standBack(++tries);
    }
    return undefined;
  }

  /**
   * Randomized exponential back-off, of microseconds: two workers that retry in step would interfere
   * for ever (a livelock).
   */
  #standBack(tries: number): void {
    for (
      let left = Math.random() * 2 ** Math.min(tries, 10);
      left > 0;
      left--
    ) {
      Atomics.load(this.#words, STATE);
    }
  }

  /** Puts back what was taken when the pool had just been closed. */
  tidy(): void {
    this.#undo(this.#late);
  }

  /** Whether a request can never be served: too much of the pool has been abandoned. */
  isHopeless({ count = 1, reserved }: Need): boolean {
    return count > this.#slots.tally.capacity - this.#kept(reserved);
  }

  /** A free block that leaves the reserve to others. */
  #above(tag: string | undefined): Block | undefined {
    try {
      return this.#isWithin(this.#reservedBlocks, 1)
        ? this.#any(tag)
        : undefined;
    } finally {
      if (this.#slots.said > 0) this.#slots.unsay();
    }
  }

  /** So many of them, or none. */
  #allWithin(
    kept: number,
    count: number,
    tag: string | undefined,
  ): BlockArray | undefined {
    const blocks = blockArray([]);
    let isDone = false;
    try {
      if (kept > 0 && !this.#isWithin(kept, count)) return undefined;
      while (blocks.length < count) {
        const block = this.#any(tag);
        if (block === undefined) return undefined;
        blocks[blocks.length] = block;
      }
      isDone = true;
      return blocks;
    } finally {
      if (!isDone) this.putBack(blocks);
      if (this.#slots.said > 0) this.#slots.unsay();
    }
  }

  /** Any free block. */
  #any(tag: string | undefined): Block | undefined {
    for (let slot; (slot = this.#slots.find()) >= 0;) {
      const block = this.#leases.tryBegin(slot, tag);
      if (this.#words[STATE] !== HOT_OPEN) return this.#putBackLate(block);
      if (block !== undefined) return block;
    }
    return undefined;
  }

  #putBackLate(block: Block | undefined): undefined {
    if (block === undefined) return;
    this.#late[this.#late.length] = block;
    this.tidy();
  }

  /** Announces takes, and then looks whether so many blocks are left after them (Dekker). */
  #isWithin(kept: number, count: number): boolean {
    const { tally } = this.#slots;
    this.#slots.say(count);
    // In this order: what is given back is in use until it is no longer committed.
    return tally.atMost() <= this.#words[COMMITTED]! - kept;
  }

  /** Fewer were free than needed: looks for some in caches, and grows if that does not help. */
  #more(kept: number, count: number, asked: boolean, tries: number): Growth {
    const theft = this.#cache.steal();
    // Others may take what was found again and again.
    if (theft === "found" && tries < ATTEMPTS / 2) return "busy";
    const growth = this.#grow(kept, count, asked);
    return growth === "refused" && theft !== "none" ? "busy" : growth;
  }

  /** Fewer were free than needed: grows if that helps. Before a refusal the owner words are counted. */
  #grow(kept: number, count: number, asked: boolean): Growth {
    const { tally } = this.#slots;
    const needed = kept + count;
    // There are enough, but other workers have announced takes, which they may withdraw.
    if (kept > 0 && tally.countFree() >= needed) return "busy";
    // Others may hold so much that it could not be enough however far the pool grows.
    const isInVain = needed > 1 &&
      needed > tally.capacity - tally.recount() &&
      needed > tally.capacity - tally.countUsed();
    return isInVain ? "refused" : this.#sizer.grow(asked);
  }

  /**
   * Gives back blocks that are not delivered, and notifies: an acquire may have missed them. Takes each
   * out of the array once it is back: when it is cut short and called again, that block may be of
   * another lease by then.
   */
  putBack(blocks: Block[]): void {
    this.#undo(blocks);
    this.freed();
  }

  #undo(blocks: Block[]): void {
    while (blocks.length > 0) {
      this.#leases.undo(blocks[blocks.length - 1]!);
      blocks.length--;
    }
  }

  #kept(reserved: boolean): number {
    return reserved ? 0 : this.#reservedBlocks;
  }
}
