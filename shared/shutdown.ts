/**
 * The end of a shared pool: when no isolate is attached any more, one worker gives the memory back.
 *
 * The right to do so is a word that names the worker, so a survivor sees whose death to look for, and
 * goes on from the mark that was left. Every step can be done again but one: a range that the OS has
 * taken back may be given to another mapping at once, so it is never unmapped twice. A survivor that
 * finds an unmapping begun and not marked as done leaves the range alone: the addresses are leaked.
 */
import type { Ledger } from "../pool/ledger.ts";
import type { SlabRun } from "../pool/slots.ts";
import {
  ABANDONED,
  CLOSING,
  type Control,
  ENDING,
  GONE,
  HEADER,
  kindOf,
  LEFT_UNIT,
  MAPPED,
  OPEN,
  UNMAPPED,
  UNMAPPING,
  USED,
} from "./control.ts";
import type { WorkerRegistry } from "./worker_registry.ts";
import type { SharedRegion } from "./shared_region.ts";

const { STATE, ENDER, MAPPING } = HEADER;

/** The end of one pool, as one worker sees and brings it about. */
export class SharedShutdown {
  readonly #control: Control;
  readonly #words: Int32Array;
  readonly #region: SharedRegion;
  readonly #ledger: Ledger;
  readonly #registry: WorkerRegistry;
  readonly #worker: number;

  /** Acts for one worker id, which must rest when it calls `tryEnd`. */
  constructor(
    control: Control,
    region: SharedRegion,
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
      this.#region.catchUp();
      this.#unmap();
    }
    Atomics.store(words, STATE, GONE);
    Atomics.notify(words, STATE);
  }

  /** Gives all back but slabs with a place that a view may reach, or that native code may write to. */
  #unmap(): void {
    const words = this.#words;
    const kept = this.#reachable();
    this.#dropPages(kept);
    Atomics.store(words, MAPPING, UNMAPPING);
    // SAFETY: no isolate is attached, so every view has been ended but those that were given out of slots
    // in these slabs. Only the ender comes here, once, by the mark above.
    this.#region.unmapBut(kept);
    const left = Math.ceil(this.#region.mappedBytes / LEFT_UNIT);
    Atomics.store(words, MAPPING, UNMAPPED + left);
  }

  /** Drops the pages of all slabs that had some, but for these. */
  #dropPages(kept: ReadonlySet<number>): void {
    const { slabs, slabSlots, firstSlabs } = this.#region;
    const words = this.#words;
    const top = Math.ceil(Atomics.load(words, HEADER.TOP) / slabSlots);
    const end = Math.ceil(words[HEADER.NEXT_PLACE]! / slabSlots);
    const drop = (run: SlabRun) => {
      while (run.count > 0) {
        const part = this.#region.lowest(run);
        this.#region.decommit(part);
        run = { first: run.first + part.count, count: run.count - part.count };
      }
    };
    let first = 0;
    for (let slab = 0; slab <= slabs; slab++) {
      const had = slab < top || slab >= firstSlabs && slab < end;
      if (had && !kept.has(slab)) continue;
      drop({ first, count: slab - first });
      first = slab + 1;
    }
  }

  /** Slabs with a place given up, or one of a slot whose view may have outlived the workers of the pool. */
  #reachable(): Set<number> {
    const { owner, place, words } = this.#control;
    const { firstSlabs, slabSlots } = this.#region;
    const kept = new Set<number>();
    const keep = (at: number) => kept.add(Math.floor(at / slabSlots));
    const living = new Set<number>();
    const top = Atomics.load(words, HEADER.TOP);
    for (let slot = 0; slot < top; slot++) {
      const kind = kindOf(Atomics.load(owner, slot));
      const moved = place[slot]!;
      if (kind === ABANDONED || kind === USED) keep(moved || slot);
      if (moved === 0) continue;
      living.add(moved);
      keep(slot);
    }
    const fresh = words[HEADER.NEXT_PLACE]!;
    for (let at = firstSlabs * slabSlots; at < fresh; at++) {
      if (!living.has(at)) keep(at);
    }
    return kept;
  }
}
