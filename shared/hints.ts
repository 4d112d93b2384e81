/**
 * Where free slots may be: a bit a slot in the control block, and what this worker remembers.
 *
 * Hints only: a slot found here is taken by compare-and-swap on its owner word, which may fail. A hint
 * of a slot that is not free costs a read; a free slot without a hint is found by the next housekeeping
 * at the latest.
 */
import { lowestBit } from "../pool/bitmap.ts";
import { type Control, isOpen } from "./control.ts";

// Hot constants: see ARCHITECTURE.md.
const hotIsOpen = isOpen;
const hotLowestBit = lowestBit;

/** Every so many searches one begins at the lowest slot, so that high slabs empty. */
const FROM_BELOW = 64;
/** No slot. */
const NONE = -1;

/** The hints of one pool, as one worker follows and sets them. */
export class Hints {
  readonly #owner: Int32Array;
  readonly #bits: Int32Array;
  #searches = 0;
  /** The word of hints to look at first. */
  #cursor = 0;
  /** What this worker gave back last: warm, and most likely still free. */
  last = 0;
  /** A slot whose hint is to be set, should it be free, before the next search; or `NONE`. */
  due: number = NONE;

  /** Remembers nothing yet. */
  constructor({ owner, hints }: Control) {
    this.#owner = owner;
    this.#bits = hints;
  }

  /** A slot that looks free, the lowest that this worker knows of, or -1. */
  find(): number {
    if (this.due !== NONE) this.restore();
    const isFromBelow = this.#searches++ % FROM_BELOW === 0;
    // The hint of a slot is left set when it is taken, which spares a cycle of one slot two of its four
    // atomic operations. A plain read costs a tenth of an atomic one, and the compare-and-swap detects
    // a stale value.
    const { last } = this;
    const at = last >>> 5;
    const lower = (1 << (last & 31)) - 1;
    if (
      !isFromBelow && at <= this.#cursor && (this.#bits[at]! & lower) === 0 &&
      hotIsOpen(this.#owner[last]!)
    ) return last;
    return this.#search(isFromBelow ? 0 : this.#cursor);
  }

  #search(start: number): number {
    const bits = this.#bits;
    const count = bits.length;
    for (let step = 0; step < count; step++) {
      const at = start + step < count ? start + step : start + step - count;
      for (let left = bits[at]!; left !== 0; left &= left - 1) {
        const slot = (at << 5) + hotLowestBit(left);
        if (hotIsOpen(this.#owner[slot]!) || this.#recheck(slot)) {
          this.#cursor = at;
          return slot;
        }
      }
    }
    return NONE;
  }

  /** Clears a hint that looks wrong, unless the slot is free after all. */
  #recheck(slot: number): boolean {
    this.due = slot;
    // The hint is cleared before the owner is read; a release reads the hint after it wrote the owner.
    // So one of the two sees what the other has done (Dekker).
    Atomics.and(this.#bits, slot >>> 5, ~(1 << (slot & 31)));
    const isFree = isOpen(Atomics.load(this.#owner, slot));
    if (isFree) this.set(slot);
    this.due = NONE;
    return isFree;
  }

  /** Sets the hint that is due, if any. */
  restore(): void {
    if (this.due !== NONE) this.confirm(this.due);
    this.due = NONE;
  }

  /** Looks for hints below a slot, which this worker may not know of. */
  lookBelow(slot: number): void {
    const end = Math.min(this.#cursor, slot >>> 5);
    for (let at = 0; at < end; at++) {
      if (this.#bits[at] === 0) continue;
      this.#cursor = at;
      return;
    }
  }

  /** Whether this worker knows of no free slot below this one. */
  isLowest(slot: number): boolean {
    const at = slot >>> 5;
    const lower = (1 << (slot & 31)) - 1;
    return at <= this.#cursor && (this.#bits[at]! & lower) === 0;
  }

  /** Whether a slot has its hint that has just become free. */
  stands(slot: number): boolean {
    const at = slot >>> 5;
    if (at < this.#cursor) this.#cursor = at;
    // After the slot became free: a searcher that clears the hint from here on finds it free.
    return (Atomics.load(this.#bits, at) & (1 << (slot & 31))) !== 0;
  }

  /** Sets the hint of a free slot that most likely has it; true if it was missing. */
  confirm(slot: number): boolean {
    return !this.stands(slot) && this.set(slot);
  }

  /** Sets the hint of a free slot; true if it was missing. */
  set(slot: number): boolean {
    const at = slot >>> 5;
    const bit = 1 << (slot & 31);
    if (at < this.#cursor) this.#cursor = at;
    return (Atomics.or(this.#bits, at, bit) & bit) === 0;
  }
}
