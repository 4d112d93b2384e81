/**
 * The memory of a shared pool as one isolate knows it: where each slot is now.
 *
 * A slot has the place of its index until that is given up, and then one in a range that some isolate has
 * mapped for it. The ranges stand in the control block. Never decides which place a slot has.
 */
import { SmritiError } from "../pool/errors.ts";
import type { Extent } from "../pool/ledger.ts";
import { Region } from "../pool/region.ts";
import { type Control, HEADER } from "./control.ts";

/** The memory of one shared pool. */
export class SharedRegion extends Region {
  #control: Control | undefined;
  /** Ranges of the control block that are known here. */
  #known = 0;

  /** From now on slots are where this control block says. */
  follow(control: Control): void {
    this.#control = control;
  }

  /** Takes over the ranges that were mapped since the last look. */
  catchUp(): void {
    const control = this.#control!;
    const { counts, words } = control;
    for (
      const count = Atomics.load(words, HEADER.RANGES);
      this.#known < count;
      this.#known++
    ) {
      const at = control.rangeAt(this.#known);
      this.add({
        base: BigInt(counts[at]!),
        size: counts[at + 1]!,
        mappedBase: BigInt(counts[at + 2]!),
        mappedSize: counts[at + 3]!,
      });
    }
  }

  /**
   * Maps more addresses, and tells first `write` and then all isolates of them. For the resizer alone: a
   * death in between costs addresses. Returns the OS's refusal.
   */
  extendForAll(write: (extent: Extent) => void): SmritiError | undefined {
    const control = this.#control!;
    const { counts, words } = control;
    this.catchUp();
    const range = this.mapMore(Infinity);
    if (range instanceof SmritiError) return range;
    write({ range, firstSlab: this.slabs });
    const at = control.rangeAt(this.#known);
    counts[at] = Number(range.base);
    counts[at + 1] = range.size;
    counts[at + 2] = Number(range.mappedBase);
    counts[at + 3] = range.mappedSize;
    Atomics.store(words, HEADER.RANGES, this.#known + 1);
    this.catchUp();
    return undefined;
  }

  protected override placeOf(slot: number): number {
    const place = this.#control!.place[slot]! || slot;
    if (place >= this.slabs * this.slabSlots) this.catchUp();
    return place;
  }
}
