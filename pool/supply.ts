/**
 * Puts memory behind slabs and gives it back, as the sizer asks.
 *
 * Keeps region and slots in step, whatever the OS answers. Decides nothing about when or how much, and
 * sends no events.
 */
import { Abandoned, type GivenUp } from "./abandoned.ts";
import { SmritiError } from "./errors.ts";
import type { Leases } from "./leases.ts";
import type { Ledger } from "./ledger.ts";
import type { FilledOptions } from "./options.ts";
import type { Region } from "./region.ts";
import { type SlabRun, Slots } from "./slots.ts";
import { Timer } from "./timers.ts";

/** How long faulting in may hold up the event loop at a time, and how long it then leaves it alone. */
const TURN_MS = 0.5;
const PAUSE_MS = 1;

/** What a grow came to. */
export interface Grown {
  /** Blocks added. */
  readonly blocks: number;
  /** The OS's refusal, if it gave less than was asked for. */
  readonly error: SmritiError | undefined;
}

/** What was given back. */
export interface GivenBack {
  /** Blocks without memory now. */
  readonly blocks: number;
  /** Bytes of memory. */
  readonly bytes: number;
  /** Whether the OS refused to take memory. */
  readonly refused: boolean;
}

/**
 * The free lists for a region. If there is no room for them, nothing stays mapped.
 *
 * @throws {SmritiError} `out-of-memory`
 */
export function slotsFor(region: Region, maxBlocks: number): Slots {
  try {
    return new Slots(maxBlocks, region.slabSlots);
  } catch (cause) {
    region.unmap();
    throw new SmritiError(
      "out-of-memory",
      `there is no room for the free lists of ${maxBlocks} blocks`,
      { cause },
    );
  }
}

/**
 * Puts memory behind so many slabs, run by run; of a run that the OS refuses the first half is tried, down
 * to one slab. `next` gives a run of at most so many slabs without memory, `commit` asks the OS, and `open`
 * makes its slots free. Returns what kept it from giving all.
 */
export function commitByHalves(
  slabs: number,
  next: (most: number) => SlabRun | undefined,
  commit: (run: SlabRun) => SmritiError | undefined,
  open: (run: SlabRun) => SmritiError | undefined | void,
): SmritiError | undefined {
  let error: SmritiError | undefined;
  while (slabs > 0) {
    const run = next(slabs);
    if (run === undefined) break;
    const refusal = commit(run);
    if (refusal !== undefined) {
      error = refusal;
      slabs = run.count >> 1;
      continue;
    }
    error = open(run) ?? error;
    slabs -= run.count;
    // Part of a step is better than none, and asking for the rest again would be in vain.
    if (error !== undefined) break;
  }
  return error;
}

/** What became of slots given up. */
export interface Healed {
  /** Whether there were any. */
  readonly any: boolean;
  /** The OS's refusal of fresh ones, if it gave less than was asked for. */
  readonly error: SmritiError | undefined;
}

/** The committed memory of one pool. */
export class Supply {
  /** What was given up. */
  readonly abandoned: Abandoned;

  readonly #region: Region;
  readonly #slots: Slots;
  readonly #leases: Leases;
  readonly #prefault: boolean;
  readonly #givenUp: GivenUp[];
  readonly #ledger: Ledger;
  /** Slots given up that no fresh ones have replaced yet. */
  #missing = 0;
  /** What is to be faulted in; the first one is under way. */
  readonly #unfaulted: SlabRun[] = [];
  #timer: Timer | undefined;

  /** Nothing is committed yet. */
  constructor(
    region: Region,
    slots: Slots,
    leases: Leases,
    options: FilledOptions,
    givenUp: GivenUp[],
    ledger: Ledger,
  ) {
    this.#ledger = ledger;
    this.abandoned = new Abandoned(options, region);
    this.#givenUp = givenUp;
    this.#region = region;
    this.#slots = slots;
    this.#leases = leases;
    this.#prefault = options.prefault && region.prefaults;
  }

  /** Commits at least `blocks` more if there are as many; less if the OS refuses, down to one slab. */
  grow(blocks: number): Grown {
    const before = this.#slots.committed;
    let extension: SmritiError | undefined;
    const error = commitByHalves(
      Math.ceil(
        (blocks - this.#slots.addSpare(blocks)) / this.#region.slabSlots,
      ),
      (most) => {
        for (;;) {
          const found = this.#slots.nextRun(most);
          if (found !== undefined) return this.#region.lowest(found);
          extension = this.#extend();
          if (extension !== undefined) return undefined;
        }
      },
      (run) => this.#region.commit(run),
      (run) => {
        this.#slots.commit(run);
        if (this.#prefault) this.#fault(run);
      },
    ) ?? extension;
    return { blocks: this.#slots.committed - before, error };
  }

  /** Puts fresh slots in the place of those given up, if that `mayGrow` and they may be replaced. */
  heal(mayGrow: boolean): Healed {
    // Where one of these calls throws, what is left is done the next time.
    for (let each; (each = this.#givenUp.at(-1)) !== undefined;) {
      const mayHeal = this.abandoned.add(each);
      // In a sealed pool a fresh slot could get no view.
      if (!mayHeal || this.#leases.sealed) this.#slots.capacity--;
      this.#givenUp.pop();
      this.#missing++;
      this.#leases.bury(each.index);
    }
    if (this.#missing === 0) return { any: false, error: undefined };
    const { capacity, committed } = this.#slots;
    const blocks = mayGrow ? Math.min(this.#missing, capacity - committed) : 0;
    const { error } = blocks > 0 ? this.grow(blocks) : { error: undefined };
    this.#missing = 0;
    return { any: true, error };
  }

  /** Maps addresses for more slabs, in place of those given up. */
  #extend(): SmritiError | undefined {
    const refusal = this.#region.extend();
    if (refusal === undefined) {
      this.#slots.extend(this.#region.slabs);
      this.#ledger.add(this.#region.lastPart);
    } else {
      // Without further addresses no further block can be committed.
      this.#slots.capacity = this.#slots.committed;
    }
    return refusal;
  }

  /**
   * Gives wholly free slabs back, the highest first: at most `blocks` blocks, and about `bytes`
   * bytes.
   */
  giveBack(blocks: number, bytes: number): GivenBack {
    const { slabBytes } = this.#region;
    const slabsInBytes = Math.max(1, Math.floor(bytes / slabBytes));
    let below = Infinity;
    let given = 0;
    let slabs = 0;
    while (slabs < slabsInBytes) {
      const run = this.#runOf(blocks - given, slabsInBytes - slabs, below);
      if (run === undefined) break;
      const { start, end } = this.#slots.bounds(run);
      // A slot whose buffer could not be ended was given up: searches the rest again.
      if (!this.#leases.dropViews(start, end, false)) continue;
      if (this.#region.decommit(run) !== 0) {
        return {
          blocks: given,
          bytes: slabs * slabBytes,
          refused: true,
        };
      }
      const { committed } = this.#slots;
      this.#slots.decommit(run);
      below = run.first;
      given += committed - this.#slots.committed;
      slabs += run.count;
    }
    return { blocks: given, bytes: slabs * slabBytes, refused: false };
  }

  /** Faults in no more. */
  stop(): void {
    this.#unfaulted.length = 0;
    this.#timer?.stop();
  }

  /** The highest run of free slabs that has no more than so many blocks and slabs. */
  #runOf(blocks: number, slabs: number, below: number): SlabRun | undefined {
    const free = this.#slots.freeRun(below, slabs);
    if (free === undefined) return undefined;
    const found = this.#region.highest(free);
    const last = found.first + found.count - 1;
    const highest = this.#slots.blocksIn(last);
    if (highest > blocks) return undefined;
    const more = Math.floor((blocks - highest) / this.#region.slabSlots);
    const count = Math.min(found.count, 1 + more);
    return { first: last - count + 1, count };
  }

  /** Has a run faulted in, after those before it. */
  #fault(run: SlabRun): void {
    this.#unfaulted.push(run);
    if (this.#unfaulted.length === 1) this.#goOn(this.#faultAll());
  }

  /** Goes on with it in turns. */
  #goOn(work: Iterator<void>): void {
    this.#timer = Timer.once(PAUSE_MS, this as Supply, (supply) => {
      const end = performance.now() + TURN_MS;
      do {
        if (work.next().done) return;
      } while (performance.now() < end);
      supply.#goOn(work);
    });
  }

  /** Faults in all that waits for it, piece by piece. */
  *#faultAll(): Generator<void> {
    for (let run; (run = this.#unfaulted[0]) !== undefined;) {
      const isRefused = yield* this.#faultIn(run);
      // What is left is faulted in by its first use.
      if (isRefused) this.#unfaulted.length = 0;
      else this.#unfaulted.shift();
    }
  }

  /** Faults one run in, but for what was given back meanwhile; whether the OS has refused. */
  *#faultIn({ first, count }: SlabRun): Generator<void, boolean> {
    const region = this.#region;
    const slabs = Math.max(1, Math.floor(region.pieceBytes / region.slabBytes));
    const end = first + count;
    for (let slab = first; slab < end; slab += slabs) {
      const run = { first: slab, count: Math.min(slabs, end - slab) };
      const bytes = run.count * region.slabBytes;
      for (let at = 0; at < bytes; at += region.pieceBytes) {
        if (!this.#hasMemory(run)) break;
        if (region.prefault(run, at) !== 0) return true;
        yield;
      }
    }
    return false;
  }

  #hasMemory({ first, count }: SlabRun): boolean {
    const { slabSlots } = this.#region;
    for (let slab = first; slab < first + count; slab++) {
      const has = this.#slots.isCommitted(slab * slabSlots);
      if (!has || this.abandoned.isDead(slab)) return false;
    }
    return true;
  }
}
