/**
 * Takes free slots for a wish: respects the reserve and another isolate's turn, grows the pool if
 * that helps, and takes all or none. Knows no queue and no leases.
 */
import type { Wish } from "../pool/channel.ts";
import { type Bell, RETRY_MS } from "./bell.ts";
import { type Control, HEADER } from "./control.ts";
import type { SharedFilledOptions } from "./handle.ts";
import type { SharedSizer } from "./shared_sizer.ts";
import type { SharedSlots } from "./shared_slots.ts";

/** Tries before an asker is told that nothing is free, when others are in the way. */
const ATTEMPTS = 16;

/** What a taker works with. */
export interface TakerParts {
  readonly options: SharedFilledOptions;
  readonly control: Control;
  readonly slots: SharedSlots;
  readonly sizer: SharedSizer;
  readonly bell: Bell;
}

/** Takes slots for one isolate. */
export class Taker {
  readonly #maxBlocks: number;
  readonly #reservedBlocks: number;
  readonly #words: Int32Array;
  readonly #slots: SharedSlots;
  readonly #sizer: SharedSizer;
  readonly #bell: Bell;
  /** From now on, whatever growing has made of the pool, nothing is taken. */
  closed = false;

  /** Takes nothing yet. */
  constructor({ options, control, slots, sizer, bell }: TakerParts) {
    this.#maxBlocks = options.maxBlocks;
    this.#reservedBlocks = options.reservedBlocks;
    this.#words = control.words;
    this.#slots = slots;
    this.#sizer = sizer;
    this.#bell = bell;
  }

  /** A slot for one block, or -1. `asked` is for a caller who is there now. */
  slot(reserved: boolean, asked: boolean): number {
    if (!reserved && this.#bell.mustYield) return -1;
    const kept = this.#kept(reserved);
    if (kept === 0) {
      const slot = this.#slots.pop();
      if (slot >= 0) return slot;
    }
    return this.#insist(kept, asked);
  }

  /**
   * The same, stopping the thread until there is one, or -1 if there is none before `end`. Before it
   * stops, `look` is told how often it has; what it throws is the answer.
   */
  slotBlocking(
    reserved: boolean,
    end: number,
    look: (tries: number) => void,
  ): number {
    for (let tries = 0;; tries++) {
      const { epoch } = this.#bell;
      const slot = this.slot(reserved, tries === 0);
      if (slot >= 0) return slot;
      const left = end - performance.now();
      if (left <= 0) return -1;
      look(tries);
      if (tries > 1) this.#bell.claimTurn();
      this.#bell.sleep(epoch, Math.min(left, RETRY_MS));
    }
  }

  /** The same, if need be by growing the pool or by trying again. */
  #insist(kept: number, asked: boolean): number {
    for (let tries = 0; tries < ATTEMPTS;) {
      if (this.#isInVain(kept + 1)) break;
      const slot = kept > 0 && this.#sizer.spare <= kept
        ? -1
        : this.#slots.pop();
      if (slot >= 0) {
        // Two isolates may both have seen the last block above the reserve: one gives it back.
        if (kept === 0 || this.#sizer.spare >= kept) return slot;
        this.putBack([slot]);
        tries++;
        continue;
      }
      const growth = this.#sizer.grow(asked);
      // Growing tells listeners, and one of them may have closed the pool.
      if (growth === "refused" || this.closed) break;
      if (growth === "busy") tries++;
    }
    return -1;
  }

  /** Slots for a wish, or `undefined` if there are not enough. */
  gather({ count, reserved }: Wish, asked: boolean): number[] | undefined {
    if (count === undefined) {
      const slot = this.slot(reserved, asked);
      return slot < 0 ? undefined : [slot];
    }
    if (!reserved && this.#bell.mustYield) return undefined;
    const kept = this.#kept(reserved);
    if (this.#isInVain(kept + count)) return undefined;
    for (let tries = 0; this.#sizer.spare < kept + count;) {
      const growth = this.#sizer.grow(asked);
      if (growth === "refused" || this.closed) return undefined;
      if (growth === "busy" && tries++ > ATTEMPTS) return undefined;
    }
    const slots: number[] = [];
    while (slots.length < count) {
      const slot = this.#slots.pop();
      if (slot < 0) break;
      slots.push(slot);
    }
    if (slots.length === count && this.#sizer.spare >= kept) return slots;
    // Others took some in the meantime.
    this.putBack(slots);
    return undefined;
  }

  /** Gives slots back that were taken in vain: somebody may have missed them. */
  putBack(slots: number[]): void {
    for (const slot of slots) this.#slots.push(slot);
    this.#bell.ring();
  }

  /** Whether this can never be served: too much of the pool has been abandoned. */
  isHopeless({ count = 1, reserved = false }: Partial<Wish>) {
    const lost = Atomics.load(this.#words, HEADER.ABANDONED);
    return count > this.#maxBlocks - lost - this.#kept(reserved);
  }

  /** Whether others hold so much that so many cannot be free, however far the pool grows. */
  #isInVain(needed: number): boolean {
    return needed > this.#maxBlocks - this.#slots.used;
  }

  #kept(reserved: boolean): number {
    return reserved ? 0 : this.#reservedBlocks;
  }
}
