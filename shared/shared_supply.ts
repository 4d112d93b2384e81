/**
 * Puts memory behind the slabs of a shared pool and gives it back, as the sizer asks, which lets only
 * the resizer call.
 *
 * Slots are given memory before they become free, and taken before they lose it.
 */
import type { Code } from "../ffi/backend.ts";
import type { SmritiError } from "../pool/errors.ts";
import type { Region } from "../pool/region.ts";
import type { SlabRun } from "../pool/slots.ts";
import { commitByHalves, type GivenBack } from "../pool/supply.ts";
import type { Notifier } from "./notifier.ts";
import {
  type Control,
  HEADER,
  isOpen,
  isUnreplaced,
  kindOf,
  UNCOMMITTED,
} from "./control.ts";
import { raise } from "./worker_registry.ts";
import type { SharedSlots } from "./shared_slots.ts";

/** Slots from the first up to the end, which is not among them. */
interface Bounds {
  readonly first: number;
  readonly end: number;
}

/** The committed memory of one shared pool. */
export class SharedSupply {
  /** Slots in a slab. */
  readonly slabSlots: number;

  readonly #words: Int32Array;
  readonly #owner: Int32Array;
  readonly #place: Int32Array;
  readonly #slots: SharedSlots;
  readonly #region: Region;
  readonly #notifier: Notifier;
  readonly #wipeSlot: (slot: number) => void;
  readonly #slabs: number;

  /** Nothing is committed yet, or what others have. */
  constructor(
    { words, owner, place }: Control,
    slots: SharedSlots,
    region: Region,
    notifier: Notifier,
    wipeSlot: (slot: number) => void,
  ) {
    this.#words = words;
    this.#owner = owner;
    this.#place = place;
    this.#slots = slots;
    this.#region = region;
    this.#notifier = notifier;
    this.#wipeSlot = wipeSlot;
    this.slabSlots = region.slabSlots;
    this.#slabs = Math.ceil(owner.length / this.slabSlots);
  }

  /** One past the highest slot ever committed. */
  get top(): number {
    return Atomics.load(this.#words, HEADER.TOP);
  }

  /** Commits slabs for at least so many blocks; less if the OS refuses, down to one slab. */
  commit(blocks: number): SmritiError | undefined {
    // Below the top lie only holes that were given back: without them the search begins there.
    const lost = Atomics.load(this.#words, HEADER.UNREPLACED);
    const hasHoles =
      Atomics.load(this.#words, HEADER.COMMITTED) + lost < this.top;
    let first = hasHoles ? 0 : Math.ceil(this.top / this.slabSlots);
    return commitByHalves(
      Math.ceil(blocks / this.slabSlots),
      (most) => {
        while (first < this.#slabs && !this.#isClosed(first)) first++;
        let count = 0;
        while (count < most && this.#isClosed(first + count)) count++;
        return count > 0 ? { first, count } : undefined;
      },
      (run) => this.#region.commit(run),
      ({ first, count }) => {
        let error: SmritiError | undefined;
        for (let slab = first; slab < first + count; slab++) {
          error ??= this.#open(slab);
        }
        return error;
      },
    );
  }

  /** Gives free slabs back, the highest first: at most so many blocks, stopping after so many bytes. */
  giveBack(most: number, enough: number): GivenBack {
    const { slabBytes } = this.#region;
    let left = Math.max(1, Math.floor(enough / slabBytes));
    let below = Math.ceil(this.top / this.slabSlots);
    let blocks = 0;
    let bytes = 0;
    // Free slots of high slabs may be in caches.
    this.#slots.cache.steal();
    while (left > 0) {
      const run = this.#claimRun(below, most - blocks, left);
      if (run === undefined) break;
      const { first, end } = this.#bounds(run);
      const code = this.#hasMoved({ first, end })
        ? this.#dropSlots(first, end)
        : this.#region.decommit(run);
      if (code !== 0) {
        this.#unclaim(first, end);
        return { blocks, bytes, refused: true };
      }
      for (let slot = first; slot < end; slot++) this.#slots.drop(slot);
      Atomics.sub(this.#words, HEADER.COMMITTED, end - first);
      blocks += end - first;
      bytes += run.count * slabBytes;
      left -= run.count;
      below = run.first;
    }
    if (blocks > 0) this.#slots.cache.voidRoom();
    return { blocks, bytes, refused: false };
  }

  /** Takes the highest run of free slabs below slab `below` that has no more than so many blocks and slabs. */
  #claimRun(below: number, blocks: number, slabs: number): SlabRun | undefined {
    let first = below;
    let count = 0;
    for (let slab = below - 1; slab >= 0 && count < slabs; slab--) {
      const bounds = this.#bounds({ first: slab, count: 1 });
      if (this.#isFree(bounds) && this.#mayDrop(bounds)) {
        const size = bounds.end - bounds.first;
        if (size > blocks) break;
        if (this.#claim(bounds)) {
          blocks -= size;
          first = slab;
          count++;
          continue;
        }
      }
      if (count > 0) break;
    }
    return count > 0 ? { first, count } : undefined;
  }

  /** Pages of several slots that have moved are shared with other slots than these. */
  #mayDrop(slots: Bounds): boolean {
    return this.#region.hasOwnPages || !this.#hasMoved(slots);
  }

  /** Whether one of these slots has another place than the one it began with. */
  #hasMoved({ first, end }: Bounds): boolean {
    for (let slot = first; slot < end; slot++) {
      if (this.#place[slot] !== 0) return true;
    }
    return false;
  }

  /** Gives the memory of slots back that have pages of their own, wherever they are. */
  #dropSlots(first: number, end: number): Code {
    let code = 0;
    for (let slot = first; slot < end && code === 0; slot++) {
      code = this.#region.dropSlot(slot);
    }
    return code;
  }

  /** Counts the committed slots anew, after a resizer that died. */
  recount(): void {
    let committed = 0;
    let top = 0;
    for (let slot = 0; slot < this.#owner.length; slot++) {
      const word = Atomics.load(this.#owner, slot);
      if (kindOf(word) === UNCOMMITTED) continue;
      if (!isUnreplaced(word)) committed++;
      top = slot + 1;
    }
    Atomics.store(this.#words, HEADER.COMMITTED, committed);
    Atomics.store(this.#words, HEADER.TOP, Math.max(top, this.top));
  }

  /** Makes the slots of a slab free, which has just been committed; gives what kept it from that. */
  #open(slab: number): SmritiError | undefined {
    const { first, end } = this.#bounds({ first: slab, count: 1 });
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

  /** Takes all of these slots, or none. */
  #claim({ first, end }: Bounds): boolean {
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
    if (end > first) this.#notifier.notify();
  }

  /** Whether a slab has a slot without memory. A death may have left only some of them so. */
  #isClosed(slab: number): boolean {
    if (slab >= this.#slabs) return false;
    const { first, end } = this.#bounds({ first: slab, count: 1 });
    for (let slot = first; slot < end; slot++) {
      if (kindOf(Atomics.load(this.#owner, slot)) === UNCOMMITTED) return true;
    }
    return false;
  }

  /** Whether all these slots are free: a look before taking them one by one, which others would notice. */
  #isFree({ first, end }: Bounds): boolean {
    for (let slot = first; slot < end; slot++) {
      if (!isOpen(Atomics.load(this.#owner, slot))) return false;
    }
    return true;
  }

  /** The slots of a run of slabs. */
  #bounds({ first, count }: SlabRun): Bounds {
    const start = first * this.slabSlots;
    const end = start + count * this.slabSlots;
    return { first: start, end: Math.min(this.#owner.length, end) };
  }
}
