/**
 * How much memory a shared pool has: any isolate may grow, shrink or trim it, one at a time.
 *
 * Carries out what the scaling policy decides of the counts of all workers. A take that finds the pool
 * busy sets a flag; the next look takes it down and notes the time. The resizer holds a word in the
 * control block; if it dies there, its reclaimer counts the slots anew.
 */
import type { SmritiError } from "../pool/errors.ts";
import type { Events } from "../pool/events.ts";
import { PressureWatch } from "../pool/pressure.ts";
import { headroom } from "../pool/headroom.ts";
import {
  lookMs,
  Refusals,
  ScalingPolicy,
  SHRINK_PIECE,
} from "../pool/scaling.ts";
import { COUNTLESS } from "../pool/slots.ts";
import type { GivenBack } from "../pool/supply.ts";
import { Timer } from "../pool/timers.ts";
import { between, type Clock } from "./clock.ts";
import { type Control, HEADER } from "./control.ts";
import type { SharedFilledOptions } from "./handle.ts";
import type { Healing } from "./healing.ts";
import { raise } from "./worker_registry.ts";
import type { SharedSupply } from "./shared_supply.ts";
import type { Tally } from "./tally.ts";

// Hot constants: see ARCHITECTURE.md.
const { BUSY, COMMITTED, PEAK, UNREPLACED } = HEADER;

/** Looks at the resizer's word before giving up: growing takes microseconds. */
const SPINS = 2000;

/** The longest time between two housekeepings of an isolate, in ms. */
const HOUSEKEEPING_MS = 250;

const NOTHING: GivenBack = { blocks: 0, bytes: 0, refused: false };

/** How often an isolate looks after the pool, in ms. */
export function housekeepingMs(options: SharedFilledOptions): number {
  return Math.min(HOUSEKEEPING_MS, lookMs(options));
}

/** What an attempt to grow came to. */
export type Growth =
  /** There is more memory than before. */
  | "grown"
  /** Another worker is changing the size. */
  | "busy"
  /** The limit is reached, or the OS refused. */
  | "refused";

/** The size of one shared pool, as one isolate sees and changes it. */
export class SharedSizer {
  readonly #options: SharedFilledOptions;
  readonly #words: Int32Array;
  readonly #tally: Tally;
  readonly #clock: Clock;
  readonly #supply: SharedSupply;
  readonly #healing: Healing;
  readonly #events: Events;
  readonly #worker: number;
  readonly #policy: ScalingPolicy;
  /** How often shrinking is looked at, in ms. */
  readonly #lookMs: number;
  /** Committed blocks that the two lines below belong to. */
  #seen = -1;
  #growAt: number = COUNTLESS;
  #busyAt: number = COUNTLESS;
  /** A take changes nothing else while fewer blocks than this are in use or were given up unreplaced. */
  #watermark = 0;
  readonly #refusals = new Refusals();
  readonly #pressure: PressureWatch | undefined;
  #pieceTimer: Timer | undefined;
  #stopped = false;

  /** Acts for one worker id. */
  constructor(
    options: SharedFilledOptions,
    { words }: Control,
    tally: Tally,
    clock: Clock,
    supply: SharedSupply,
    healing: Healing,
    events: Events,
    worker: number,
  ) {
    this.#options = options;
    this.#words = words;
    this.#tally = tally;
    this.#clock = clock;
    this.#supply = supply;
    this.#healing = healing;
    this.#events = events;
    this.#worker = worker;
    this.#policy = new ScalingPolicy(options, supply.slabSlots);
    this.#lookMs = housekeepingMs(options);
    if (options.pressureTrim) {
      this.#pressure = new PressureWatch(() => this.#relieve());
    }
  }

  /** Blocks with memory. */
  get committed(): number {
    return this.#words[COMMITTED]!;
  }

  /** Whether one block more in use changes nothing here: it can be taken without `taken`. */
  get isBelowWatermark(): boolean {
    return this.#tally.used < this.#watermark &&
      this.#words[COMMITTED] === this.#seen;
  }

  /** Notes how full the pool is after a take; grows at the threshold. */
  taken(): void {
    const words = this.#words;
    const used = this.#tally.recount();
    if (used > words[PEAK]!) raise(words, PEAK, used);
    this.#noteBusy(used);
    if (used >= this.#growAt) this.grow(false);
    this.#setWatermark();
  }

  /** Draws the line below which a take changes nothing, as it is until others change the size. */
  #setWatermark(): void {
    const words = this.#words;
    const busyAt = words[BUSY] === 0 ? this.#busyAt : COUNTLESS;
    // The block that is taken next is not among those in use.
    const below = Math.min(this.#growAt, busyAt, words[PEAK]! + 1) - 1;
    // What is given up unreplaced later on counts as in use until the line is drawn anew.
    this.#watermark = below + words[UNREPLACED]!;
  }

  /** Commits one step more. Unless `asked`, not for a while after the OS has refused. */
  grow(asked: boolean): Growth {
    const growth = this.#grow(asked);
    this.#tellHealing();
    return growth;
  }

  #grow(asked: boolean): Growth {
    const healed = this.#heal();
    if (healed !== "refused") return healed;
    const { capacity } = this.#tally;
    const committed = this.committed;
    if (committed >= capacity) return "refused";
    if (!asked && this.#refusals.isRecent(this.#clock.now())) return "refused";
    headroom();
    if (!this.#begin()) return "busy";
    const before = this.committed;
    let error: SmritiError | undefined;
    try {
      // Another worker may have grown it between the two looks.
      if (before === committed) {
        error = this.#supply.commit(this.#policy.growBy(before, capacity));
      }
    } finally {
      this.#end();
    }
    this.#refusals.note(error, this.#clock.now());
    if (error !== undefined) Atomics.add(this.#words, HEADER.GROW_FAILURES, 1);
    const after = this.committed;
    // Healing that found the lock taken. Before listeners are called, which may leave the pool.
    this.#heal();
    this.#tellGrow(after - before, error);
    return after > committed ? "grown" : "refused";
  }

  /** Gives slots that were given up fresh addresses, if there are any and the OS has some. */
  heal(): Growth {
    const growth = this.#heal();
    this.#tellHealing();
    return growth;
  }

  #heal(): Growth {
    let healed = false;
    while (this.#healing.isDue) {
      headroom();
      if (!this.#begin()) {
        // The resizer looks at that after its end; this one may have looked already.
        this.#healing.ask();
        if (!this.#begin()) return healed ? "grown" : "busy";
      }
      try {
        // What was cut short before.
        if (this.#healing.finish()) this.#supply.recount();
        if (this.#healing.heal()) healed = true;
      } finally {
        this.#end();
      }
    }
    return healed ? "grown" : "refused";
  }

  /** From here on every slot stays where it is. */
  seal(): void {
    Atomics.store(this.#words, HEADER.SEALED, 1);
    // What another worker is moving has been moved then.
    if (this.#begin()) this.#end();
    this.heal();
  }

  /** What the OS has refused when this isolate asked for memory last, if it did. */
  get refusal(): SmritiError | undefined {
    return this.#refusals.last ?? this.#healing.refusal;
  }

  /** Commits the first blocks of a new pool; throws the OS's refusal. */
  start(): void {
    const error = this.#supply.commit(this.#options.initialBlocks);
    if (error !== undefined) throw error;
  }

  /** Gives all memory back that may go now; returns the bytes. */
  trim(): number {
    return this.#giveBack(Infinity, Infinity).bytes;
  }

  /** The container is short of memory. */
  #relieve(): void {
    const bytes = this.trim();
    if (bytes === 0) return;
    this.#events.emit("pressure", () => ({ pool: this.#options.name, bytes }));
  }

  /** This isolate looks after the size no more. */
  stop(): void {
    this.#stopped = true;
    this.#pieceTimer?.stop();
    this.#pressure?.stop();
  }

  /** At each housekeeping, by the isolate that comes first: gives a step back if the pool was idle. */
  look(): void {
    if (this.committed > this.#policy.floor) this.#pressure?.start();
    else this.#pressure?.stop();
    const words = this.#words;
    // Others may have looked, and forgotten that the pool was busy.
    this.#watermark = 0;
    const now = this.#clock.now();
    const last = Atomics.load(words, HEADER.LOOKED);
    // Half: a look that came late, or after a slow housekeeping, must not make the next one come too soon.
    if (between(last, now) < this.#lookMs / 2) return;
    if (Atomics.compareExchange(words, HEADER.LOOKED, last, now) !== last) {
      return;
    }
    const wasBusy = Atomics.exchange(words, BUSY, 0) !== 0;
    const used = this.#tally.countUsed();
    // What is busy now may end before the next look.
    this.#noteBusy(used);
    if (wasBusy || words[BUSY] !== 0) {
      Atomics.store(words, HEADER.IDLE_SINCE, now);
      return;
    }
    if (this.#pieceTimer !== undefined) return;
    const { committed } = this;
    const idleMs = between(Atomics.load(words, HEADER.IDLE_SINCE), now);
    const blocks = this.#policy.shrinkBy(committed, committed - used, idleMs);
    if (blocks <= 0) return;
    Atomics.store(words, HEADER.IDLE_SINCE, now);
    this.#shrinkPiece(blocks);
  }

  /** Part of a step: what is left comes after a turn of the event loop. */
  #shrinkPiece(blocks: number): void {
    this.#pieceTimer = undefined;
    const given = this.#giveBack(blocks, SHRINK_PIECE);
    const left = blocks - given.blocks;
    if (given.blocks === 0 || left <= 0 || this.#stopped) return;
    this.#pieceTimer = Timer.once(
      0,
      this as SharedSizer,
      (sizer) => sizer.#shrinkPiece(left),
    );
  }

  /** The resizer has died: counts what it left, and lets others resize. */
  repair(dead: number): void {
    if (Atomics.load(this.#words, HEADER.RESIZER) === dead) {
      this.#supply.recount();
      Atomics.compareExchange(this.#words, HEADER.RESIZER, dead, 0);
    }
    // What it gave up, or was about to.
    this.#healing.ask();
    this.heal();
  }

  /** Gives at most so many blocks back, stopping after so many bytes. */
  #giveBack(most: number, enough: number): GivenBack {
    const spare = Math.min(most, this.committed - this.#policy.floor);
    if (spare <= 0) return NOTHING;
    headroom();
    if (!this.#begin()) return NOTHING;
    let given = NOTHING;
    try {
      given = this.#supply.giveBack(
        Math.min(spare, this.committed - this.#policy.floor),
        enough,
      );
    } finally {
      this.#end();
    }
    if (given.refused) Atomics.add(this.#words, HEADER.GROW_FAILURES, 1);
    if (given.blocks > 0) this.#noteBusy(this.#tally.recount());
    // As in `#grow`.
    this.#heal();
    if (given.blocks > 0) this.#tellShrink(given.blocks, given.bytes);
    this.#tellHealing();
    return given;
  }

  /** Remembers until the next look that the pool was busy. */
  #noteBusy(used: number): void {
    const { committed } = this;
    if (committed !== this.#seen) this.#draw(committed);
    // The word is on a line that all read: written only if that changes it.
    if (used >= this.#busyAt && this.#words[BUSY] === 0) {
      Atomics.store(this.#words, BUSY, 1);
    }
  }

  /** Where growing is due and where the pool counts as busy, in used blocks. */
  #draw(committed: number): void {
    this.#seen = committed;
    this.#watermark = 0;
    const growAt = this.#policy.growAt(committed, this.#tally.capacity);
    this.#growAt = growAt < 0 ? COUNTLESS : committed - growAt;
    this.#busyAt = committed - this.#policy.idleAbove(committed);
  }

  #begin(): boolean {
    for (let spin = 0; spin < SPINS; spin++) {
      const holder = Atomics.compareExchange(
        this.#words,
        HEADER.RESIZER,
        0,
        this.#worker,
      );
      if (holder === 0) return true;
      if (holder !== this.#worker) continue;
      // A change of this worker's own was cut short by an exception.
      this.#supply.recount();
      return true;
    }
    return false;
  }

  #end(): void {
    Atomics.compareExchange(this.#words, HEADER.RESIZER, this.#worker, 0);
  }

  #tellGrow(blocks: number, error: Error | undefined): void {
    if (blocks > 0) Atomics.add(this.#words, HEADER.GROWS, 1);
    if (blocks === 0 && error === undefined) return;
    this.#events.emit("grow", () => ({
      pool: this.#options.name,
      blocks,
      committedBlocks: this.committed,
      ...(error && { error: error as never }),
    }));
  }

  /** What the OS has refused to slots given up, unless this isolate is leaving. */
  #tellHealing(): void {
    const error = this.#healing.takeNews();
    if (error === undefined || this.#stopped) return;
    Atomics.add(this.#words, HEADER.GROW_FAILURES, 1);
    this.#tellGrow(0, error);
  }

  #tellShrink(blocks: number, bytes: number): void {
    Atomics.add(this.#words, HEADER.SHRINKS, 1);
    this.#events.emit("shrink", () => ({
      pool: this.#options.name,
      blocks,
      committedBlocks: this.committed,
      bytes,
    }));
  }
}
