/**
 * Acquires blocks from the slots of one isolate: respects the reserve, grows the pool or empties its
 * quarantine if that helps, and takes all or none. Of the queue it knows the length.
 *
 * Sets the two watermarks that keep the hot path to one comparison each way. While acquires wait it
 * asks again for memory that the OS refused, and for a collection that finds dropped blocks.
 */
import type { Block } from "./block.ts";
import type { AcquireRequest } from "./channel.ts";
import { askForCollection } from "./collection.ts";
import type { Acquirer, Grant, Need } from "./dispatcher.ts";
import type { SmritiError } from "./errors.ts";
import { headroom } from "./headroom.ts";
import type { Leases } from "./leases.ts";
import type { Parts } from "./parts.ts";
import { type BlockArray, blockArray } from "./pool.ts";
import { REFUSAL_MS } from "./scaling.ts";
import type { Sizer } from "./sizer.ts";
import { COUNTLESS, type Slots } from "./slots.ts";
import { Timer } from "./timers.ts";

/** If an acquire waits and nothing is released for this long, a collection is asked for, in ms. */
const COLLECT_MS = 100;

/** Acquires blocks for one pool. */
export class SlotAcquirer implements Acquirer {
  isClosed = false;

  readonly #slots: Slots;
  readonly #leases: Leases;
  readonly #sizer: Sizer;
  readonly #reservedBlocks: number;
  /** Asks again for the first waiter. */
  readonly #retry: () => void;
  #waiting = 0;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #collectTimer: Timer | undefined;

  /** Call `mark` once the pool has its first blocks. */
  constructor(parts: Parts, sizer: Sizer, retry: () => void) {
    this.#slots = parts.slots;
    this.#leases = parts.leases;
    this.#sizer = sizer;
    this.#reservedBlocks = parts.options.reservedBlocks;
    this.#retry = retry;
  }

  get usage(): { acquired: number; capacity: number } {
    return this.#slots;
  }

  get refusal(): SmritiError | undefined {
    return this.#sizer.refusal;
  }

  fast(_reserved: boolean, tag: string | undefined): Block | undefined {
    const slots = this.#slots;
    return slots.free > slots.lowWatermark ? this.#begin(tag) : undefined;
  }

  acquire(
    { count, reserved, tag }: AcquireRequest,
    isAsked: boolean,
    isOff: () => boolean,
  ): Grant | undefined {
    const slots = this.#slots;
    const needed = this.#kept(reserved) + (count ?? 1);
    // Others may hold so much that it cannot be enough however far the pool grows.
    if (needed > slots.capacity - slots.acquired) return undefined;
    if (slots.free < needed) {
      const mayGrow = isAsked || !this.#sizer.isRefused;
      const isThere = mayGrow && this.#sizer.growTo(needed) ||
        this.#leases.freeUp(needed);
      // Growing calls listeners, and one of them may have closed the pool.
      if (!isThere || this.isClosed || isOff()) return undefined;
    }
    return count === undefined ? this.#begin(tag) : this.#beginMany(count, tag);
  }

  acquired(): void {
    if (this.#slots.free < this.#sizer.lowMark) this.#sizer.fell();
  }

  freed(): void {
    if (this.#slots.highWatermark < 0) this.mark();
    if (this.#slots.free > this.#sizer.highMark) this.#sizer.rose();
  }

  putBack(blocks: Block[]): void {
    for (let block; (block = blocks.at(-1)) !== undefined;) {
      if (block.released) blocks.length--;
      else block.release();
    }
  }

  isHopeless({ count = 1, reserved }: Need): boolean {
    return count > this.#slots.capacity - this.#kept(reserved);
  }

  report(): void {
    this.#leases.report();
  }

  tidy(): void {}

  close(): void {
    this.isClosed = true;
    this.#collectTimer?.stop();
  }

  queueChanged(waiting: number): void {
    this.#waiting = waiting;
    if (waiting === 0) {
      clearTimeout(this.#retryTimer);
      this.#retryTimer = undefined;
    } else {
      this.#retryLater();
      this.#collectLater();
    }
    this.mark();
  }

  /** Sets the watermarks of the hot path. */
  mark(): void {
    const alert = this.isClosed || this.#waiting > 0;
    const { lowMark, highMark } = this.#sizer;
    const slots = this.#slots;
    slots.lowWatermark = alert
      ? COUNTLESS
      : Math.max(this.#reservedBlocks, lowMark);
    slots.highWatermark = alert ? -1 : highMark;
  }

  #begin(tag: string | undefined): Block {
    return this.#leases.beginAt(this.#slots.next(), tag);
  }

  /** Several, or none; so many are free. */
  #beginMany(count: number, tag: string | undefined): BlockArray {
    headroom();
    const blocks = blockArray([]);
    try {
      while (blocks.length < count) blocks[blocks.length] = this.#begin(tag);
    } catch (error) {
      blocks[Symbol.dispose]();
      throw error;
    }
    return blocks;
  }

  /** Free blocks that this kind of caller may not take. */
  #kept(reserved: boolean): number {
    return reserved ? 0 : this.#reservedBlocks;
  }

  /** Asks the OS again from time to time for memory that it refused, or refused to make accessible. */
  #retryLater(): void {
    if (this.#retryTimer !== undefined) return;
    if (!this.#sizer.canGrow && this.#slots.quarantined === 0) return;
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = undefined;
      this.#retry();
    }, REFUSAL_MS);
  }

  /** Nothing was released for a while: some of the blocks may have been dropped, which a collection finds. */
  #collectLater(): void {
    if (this.#collectTimer !== undefined || !this.#leases.findsLeaks) return;
    const before = this.#released;
    this.#collectTimer = Timer.once(COLLECT_MS, this as SlotAcquirer, (own) => {
      own.#collectTimer = undefined;
      if (own.#waiting === 0) return;
      if (own.#released === before) askForCollection();
      own.#collectLater();
    });
  }

  /** Leases that have ended, ever. */
  get #released(): number {
    return this.#slots.taken - this.#slots.acquired;
  }
}
