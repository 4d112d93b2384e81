/**
 * Carries out what the scaling controller decides: grows, shrinks by the clock, trims when asked.
 *
 * Owns the timers of the pool's size. Sends events, and calls its pool, after the change is complete.
 */
import type { SmritiError } from "./errors.ts";
import type { Events } from "./events.ts";
import { headroom } from "./headroom.ts";
import type { Leases } from "./leases.ts";
import { sweep } from "./ledger.ts";
import type { FilledOptions } from "./options.ts";
import type { Parts } from "./parts.ts";
import {
  lookMs,
  Refusals,
  ScalingController,
  SHRINK_PIECE,
} from "./scaling.ts";
import type { Slots } from "./slots.ts";
import type { Counters } from "./stats.ts";
import type { Supply } from "./supply.ts";
import { PressureWatch } from "./pressure.ts";
import { Timer } from "./timers.ts";

/** The size of one pool. */
export class Sizer {
  readonly #options: FilledOptions;
  readonly #supply: Supply;
  readonly #slots: Slots;
  readonly #leases: Leases;
  readonly #counters: Counters;
  readonly #events: Events;
  readonly #scaling: ScalingController;
  /** Called when the marks may have moved. */
  readonly #onChange: () => void;
  #stopped = false;
  #shrinkTimer: Timer | undefined;
  #pieceTimer: Timer | undefined;
  readonly #pressure: PressureWatch | undefined;
  readonly #refusals = new Refusals();

  /** Commits nothing yet: `start` does. */
  constructor(parts: Parts, onChange: () => void) {
    this.#options = parts.options;
    this.#supply = parts.supply;
    this.#slots = parts.slots;
    this.#leases = parts.leases;
    this.#counters = parts.counters;
    this.#events = parts.events;
    this.#onChange = onChange;
    const { slabSlots } = parts.region;
    this.#scaling = new ScalingController(parts.options, slabSlots);
    if (parts.options.pressureTrim) {
      this.#pressure = new PressureWatch(() => this.#relieve());
    }
  }

  /** Call `fell` when fewer blocks than this are free. */
  get lowMark(): number {
    return this.#scaling.lowMark;
  }

  /** Call `rose` when more blocks than this are free. */
  get highMark(): number {
    return this.#scaling.highMark;
  }

  /** Whether more memory may be asked for. */
  get canGrow(): boolean {
    return !this.#stopped && this.#scaling.growBy() > 0;
  }

  /** Whether the OS has just refused memory. */
  get isRefused(): boolean {
    return this.#refusals.isRecent(Date.now());
  }

  /** The OS's last refusal of memory, unless it has given some since. */
  get refusal(): SmritiError | undefined {
    return this.#refusals.last;
  }

  /** Commits the first blocks; throws the OS's refusal. */
  start(): void {
    const { error } = this.#supply.grow(this.#options.initialBlocks);
    if (error !== undefined) throw error;
    this.#resized();
  }

  /** Few blocks are free: grow if the threshold says so. */
  fell(): void {
    if (this.#scaling.fell(this.#slots.free) && !this.isRefused) this.#grow();
  }

  /** Many blocks are free: once a look at most. */
  rose(): void {
    this.#look();
    this.#onChange();
  }

  /** Whether that many blocks are free, after growing as often as it takes. */
  growTo(free: number): boolean {
    // Bounded, because a listener may give back what was just committed.
    for (let turns = this.#scaling.steps; this.#slots.free < free; turns--) {
      if (turns === 0 || !this.#grow()) return false;
    }
    return true;
  }

  /** Puts fresh slots in the place of those given up, as far as that is allowed. */
  heal(): void {
    const { any, error } = this.#supply.heal(!this.#stopped);
    if (error !== undefined) this.#grown(0, error);
    else if (any) this.#resized();
  }

  /** Gives all free memory above the initial blocks back; returns the bytes. */
  trim(): number {
    return this.#stopped ? 0 : this.#giveBack(this.#scaling.spare, Infinity);
  }

  /** The container is short of memory. */
  #relieve(): void {
    const bytes = this.trim();
    if (bytes === 0) return;
    this.#events.emit("pressure", () => ({ pool: this.#options.name, bytes }));
  }

  /** No more growing and shrinking; gives every free slab back. */
  stop(): void {
    this.#stopped = true;
    this.#supply.stop();
    this.#shrinkTimer?.stop();
    this.#pieceTimer?.stop();
    this.#pressure?.stop();
    this.#supply.giveBack(Infinity, Infinity);
  }

  #grow(): boolean {
    headroom();
    const wanted = this.#stopped ? 0 : this.#scaling.growBy();
    if (wanted === 0) return false;
    const { blocks, error } = this.#supply.grow(wanted);
    if (blocks > 0) this.#counters.grows++;
    this.#grown(blocks, error);
    return blocks > 0;
  }

  /** So many blocks were added; the OS refused the rest, if there is an error. */
  #grown(blocks: number, error: SmritiError | undefined): void {
    this.#refusals.note(error, Date.now());
    if (error !== undefined) this.#counters.growFailures++;
    this.#resized();
    this.#events.emit("grow", () => ({
      pool: this.#options.name,
      blocks,
      committedBlocks: this.#slots.committed,
      ...(error && { error }),
    }));
  }

  /** The number of committed blocks has changed. */
  #resized(): void {
    // A listener may have closed the pool in the middle of it.
    if (this.#stopped) return;
    const { committed, free, lowest, capacity } = this.#slots;
    this.#scaling.capacity = capacity;
    this.#scaling.resized(committed, free, lowest, Date.now());
    this.#slots.look();
    if (this.#scaling.spare === 0) {
      this.#shrinkTimer?.stop();
      this.#shrinkTimer = undefined;
      this.#pressure?.stop();
    } else if (this.#shrinkTimer === undefined) {
      this.#shrinkTimer = Timer.every(
        lookMs(this.#options),
        this as Sizer,
        (sizer) => sizer.#shrink(),
      );
      this.#pressure?.start();
    }
    this.#onChange();
  }

  /** Gives back in pieces if the pool was idle long enough. */
  #shrink(): void {
    this.#look();
    this.#onChange();
    if (this.#pieceTimer !== undefined) return;
    sweep();
    this.#leases.shedViews();
    const blocks = this.#scaling.shrinkBy(this.#slots.free, Date.now());
    if (blocks > 0) this.#shrinkPiece(blocks);
  }

  /** Lets the scaling controller see how many are free and were. */
  #look(): void {
    const { free, lowest } = this.#slots;
    this.#scaling.look(free, lowest, Date.now());
    // Last: cut short, it makes the pool look busier than it was.
    this.#slots.look();
  }

  #shrinkPiece(blocks: number): void {
    this.#pieceTimer = undefined;
    const before = this.#slots.committed;
    if (this.#giveBack(blocks, SHRINK_PIECE) === 0 || this.#stopped) return;
    const left = blocks - (before - this.#slots.committed);
    if (left > 0) {
      this.#pieceTimer = Timer.once(
        0,
        this as Sizer,
        (sizer) => sizer.#shrinkPiece(left),
      );
    }
  }

  /** Gives back at most so many blocks, stopping after so many bytes. Returns the bytes. */
  #giveBack(most: number, enough: number): number {
    const { blocks, bytes, refused } = this.#supply.giveBack(most, enough);
    if (refused) this.#counters.growFailures++;
    if (blocks === 0) return 0;
    this.#counters.shrinks++;
    this.#resized();
    this.#events.emit("shrink", () => ({
      pool: this.#options.name,
      blocks,
      committedBlocks: this.#slots.committed,
      bytes,
    }));
    return bytes;
  }
}
