/**
 * Puts memory behind the slabs of a shared pool and gives it back: the hands of the sizer, which
 * sees to it that only one isolate at a time is here.
 *
 * Slots are given memory before they become free, and taken before they lose it.
 */
import type { SmritiError } from "../pool/errors.ts";
import type { Region } from "../pool/region.ts";
import type { GivenBack } from "../pool/supply.ts";
import type { Bell } from "./bell.ts";
import { type Control, FREE, HEADER, kindOf, UNCOMMITTED } from "./control.ts";
import { raise } from "./roster.ts";
import type { SharedSlots } from "./shared_slots.ts";

/** The committed memory of one shared pool. */
export class SharedSupply {
  /** Slots in a slab. */
  readonly slabSlots: number;

  readonly #words: Int32Array;
  readonly #owner: Int32Array;
  readonly #slots: SharedSlots;
  readonly #region: Region;
  readonly #bell: Bell;
  readonly #wipeSlot: (slot: number) => void;
  readonly #slabs: number;

  /** Nothing is committed yet, or what others have. */
  constructor(
    { words, owner }: Control,
    slots: SharedSlots,
    region: Region,
    bell: Bell,
    wipeSlot: (slot: number) => void,
  ) {
    this.#words = words;
    this.#owner = owner;
    this.#slots = slots;
    this.#region = region;
    this.#bell = bell;
    this.#wipeSlot = wipeSlot;
    this.slabSlots = region.slabSlots;
    this.#slabs = Math.ceil(owner.length / this.slabSlots);
  }

  /** So many blocks in whole slabs. */
  roundUp(blocks: number): number {
    const slabs = Math.ceil(blocks / this.slabSlots);
    return Math.min(this.#owner.length, slabs * this.slabSlots);
  }

  /** One past the highest slot ever committed. */
  get top(): number {
    return Atomics.load(this.#words, HEADER.TOP);
  }

  /** Commits slabs for at least so many blocks; less if the OS refuses, down to one slab. */
  commit(blocks: number): SmritiError | undefined {
    let left = Math.ceil(blocks / this.slabSlots);
    let error: SmritiError | undefined;
    // Below the top lie only holes that were given back: without them the search begins there.
    const hasHoles = Atomics.load(this.#words, HEADER.COMMITTED) < this.top;
    let slab = hasHoles ? 0 : Math.ceil(this.top / this.slabSlots);
    while (slab < this.#slabs && left > 0) {
      let count = 0;
      while (count < left && this.#isClosed(slab + count)) count++;
      if (count === 0) {
        slab++;
        continue;
      }
      const refusal = this.#region.commit({ first: slab, count });
      if (refusal !== undefined) {
        error = refusal;
        left = count >> 1;
        continue;
      }
      for (const end = slab + count; slab < end; slab++) {
        error ??= this.#open(slab);
      }
      left -= count;
      // Part of a step is better than none, and asking for the rest again would be in vain.
      if (error !== undefined) break;
    }
    return error;
  }

  /** Gives free slabs back, the highest first, at most so many blocks. */
  giveBack(most: number): GivenBack {
    let blocks = 0;
    let bytes = 0;
    const highest = Math.ceil(this.top / this.slabSlots) - 1;
    for (let slab = highest; slab >= 0; slab--) {
      if (!this.#isFree(slab)) continue;
      const { first, end } = this.#bounds(slab);
      if (blocks + end - first > most) break;
      if (!this.#claim(first, end)) continue;
      if (this.#region.decommit({ first: slab, count: 1 }) !== 0) {
        this.#unclaim(first, end);
        return { blocks, bytes, refused: true };
      }
      for (let slot = first; slot < end; slot++) this.#slots.drop(slot);
      Atomics.sub(this.#words, HEADER.COMMITTED, end - first);
      blocks += end - first;
      bytes += this.#region.slabBytes;
    }
    return { blocks, bytes, refused: false };
  }

  /** Counts the committed slots, for one who died while it changed them. */
  recount(): void {
    let committed = 0;
    let top = 0;
    for (let slot = 0; slot < this.#owner.length; slot++) {
      if (kindOf(Atomics.load(this.#owner, slot)) === UNCOMMITTED) continue;
      committed++;
      top = slot + 1;
    }
    Atomics.store(this.#words, HEADER.COMMITTED, committed);
    Atomics.store(this.#words, HEADER.TOP, Math.max(top, this.top));
  }

  /** Makes the slots of a slab free, which has just been committed; gives what kept it from that. */
  #open(slab: number): SmritiError | undefined {
    const { first, end } = this.#bounds(slab);
    // Where giving back does not zero, what comes back may be old.
    const wipe = !this.#region.zeroesOnRecommit && first < this.top;
    raise(this.#words, HEADER.TOP, end);
    let opened = 0;
    let error: SmritiError | undefined;
    for (let slot = first; slot < end; slot++) {
      if (kindOf(Atomics.load(this.#owner, slot)) !== UNCOMMITTED) continue;
      if (wipe) error = this.#wipe(slot);
      if (error !== undefined) break;
      this.#slots.open(slot);
      opened++;
    }
    Atomics.add(this.#words, HEADER.COMMITTED, opened);
    return error;
  }

  /** Zeroes a slot; gives what kept it from that. */
  #wipe(slot: number): SmritiError | undefined {
    try {
      this.#wipeSlot(slot);
      return undefined;
    } catch (error) {
      return error as SmritiError;
    }
  }

  /** Takes every slot of a slab, or none. */
  #claim(first: number, end: number): boolean {
    for (let slot = first; slot < end; slot++) {
      if (this.#slots.claim(slot)) continue;
      this.#unclaim(first, slot);
      return false;
    }
    return true;
  }

  /** Gives claimed slots back. An acquire may have missed them meanwhile, and wait. */
  #unclaim(first: number, end: number): void {
    for (let slot = first; slot < end; slot++) this.#slots.unclaim(slot);
    if (end > first) this.#bell.ring();
  }

  /** Whether a slab has a slot without memory. A death may have left only some of them so. */
  #isClosed(slab: number): boolean {
    return slab < this.#slabs && this.#has(slab, UNCOMMITTED);
  }

  /** Whether all slots are free: a look before taking them one by one, which others would notice. */
  #isFree(slab: number): boolean {
    const { first, end } = this.#bounds(slab);
    for (let slot = first; slot < end; slot++) {
      if (kindOf(Atomics.load(this.#owner, slot)) !== FREE) return false;
    }
    return true;
  }

  #has(slab: number, kind: number): boolean {
    const { first, end } = this.#bounds(slab);
    for (let slot = first; slot < end; slot++) {
      if (kindOf(Atomics.load(this.#owner, slot)) === kind) return true;
    }
    return false;
  }

  #bounds(slab: number): { first: number; end: number } {
    const first = slab * this.slabSlots;
    return { first, end: Math.min(this.#owner.length, first + this.slabSlots) };
  }
}
