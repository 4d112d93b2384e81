/**
 * The end of a shared pool: when no isolate is attached any more, one worker gives the memory back.
 *
 * The right to do so is a word that names the worker, so a survivor sees whose death to look for, and
 * goes on from the mark that was left. Every step can be done again but one: a range that the OS has
 * taken back may be given to another mapping at once, so it is never unmapped twice. A survivor that
 * finds an unmapping begun and not marked as done leaves the range alone: the addresses are leaked.
 */
import type { Ledger } from "../pool/ledger.ts";
import type { Region } from "../pool/region.ts";
import {
  ABANDONED,
  CLOSING,
  type Control,
  ENDING,
  GONE,
  HEADER,
  kindOf,
  MAPPED,
  OPEN,
  UNMAPPED,
  UNMAPPING,
  USED,
} from "./control.ts";
import type { WorkerRegistry } from "./worker_registry.ts";

const { STATE, ENDER, MAPPING } = HEADER;

/** The end of one pool, as one worker sees and brings it about. */
export class SharedShutdown {
  readonly #control: Control;
  readonly #words: Int32Array;
  readonly #region: Region;
  readonly #ledger: Ledger;
  readonly #registry: WorkerRegistry;
  readonly #worker: number;

  /** Acts for one worker id, which must rest when it calls `tryEnd`. */
  constructor(
    control: Control,
    region: Region,
    ledger: Ledger,
    registry: WorkerRegistry,
    worker: number,
  ) {
    this.#control = control;
    this.#words = control.words;
    this.#region = region;
    this.#ledger = ledger;
    this.#registry = registry;
    this.#worker = worker;
  }

  /** Ends the pool if no isolate is attached; the dead count until they were reclaimed. */
  tryEnd(): void {
    const words = this.#words;
    const mine = this.#worker;
    // Again after giving up the right: a worker that came to rest meanwhile found it taken, and did not
    // end the pool.
    while (this.#isDue) {
      Atomics.compareExchange(words, STATE, OPEN, CLOSING);
      const before = Atomics.compareExchange(words, ENDER, 0, mine);
      if (before !== 0 && before !== mine) return;
      // No isolate can attach from here on. One that attached just before is seen now.
      if (this.#isDue) this.#end();
      Atomics.store(words, ENDER, 0);
    }
  }

  /** A worker has died: if it had the right to end the pool, the next `tryEnd` has it. */
  forget(dead: number): void {
    Atomics.compareExchange(this.#words, ENDER, dead, 0);
  }

  get #isDue(): boolean {
    return this.#registry.attached().length === 0 &&
      Atomics.load(this.#words, STATE) < GONE;
  }

  #end(): void {
    const words = this.#words;
    Atomics.store(words, STATE, ENDING);
    // Not known whether it was unmapped: what is there now may be another mapping.
    if (Atomics.load(words, MAPPING) === MAPPED) {
      // Before unmapping: an isolate that ends without running code stays listed, and a later sweep
      // must not unmap what is mapped at these addresses by then.
      this.#ledger.forget();
      const isDone = this.#dropPages();
      if (isDone) this.#unmap();
    }
    Atomics.store(words, STATE, GONE);
    Atomics.notify(words, STATE);
  }

  #unmap(): void {
    const words = this.#words;
    Atomics.store(words, MAPPING, UNMAPPING);
    // SAFETY: no isolate is attached, so every view has been ended, and no slot is left that a view
    // given out could reach. Only the ender comes here, once, by the mark above.
    this.#region.unmap();
    words[MAPPING] = this.#region.mappedBytes === 0 ? UNMAPPED : MAPPED;
  }

  /**
   * Drops the pages of all slabs but those that views given out may still reach; false if there are
   * any.
   */
  #dropPages(): boolean {
    const { slabSlots } = this.#region;
    const top = Math.ceil(Atomics.load(this.#words, HEADER.TOP) / slabSlots);
    let first = 0;
    let isAll = true;
    for (let slab = 0; slab <= top; slab++) {
      const isKept = slab < top && this.#isReachable(slab);
      if (isKept) isAll = false;
      if (!isKept && slab < top) continue;
      if (slab > first) this.#region.decommit({ first, count: slab - first });
      first = slab + 1;
    }
    return isAll;
  }

  /** Whether a view of a slot in this slab may have outlived the workers of the pool. */
  #isReachable(slab: number): boolean {
    const { owner } = this.#control;
    const { slabSlots } = this.#region;
    const end = Math.min(owner.length, (slab + 1) * slabSlots);
    for (let slot = slab * slabSlots; slot < end; slot++) {
      const kind = kindOf(Atomics.load(owner, slot));
      if (kind === ABANDONED || kind === USED) return true;
    }
    return false;
  }
}
