/**
 * Carries out what the scaling controller decides: grows, shrinks by the clock, trims when asked.
 *
 * Owns the timers of the pool's size, all of them unref'd: they never keep a process alive. Tells
 * listeners, and its pool, after the change is complete.
 */
import type { Events } from "./events.ts";
import { headroom } from "./headroom.ts";
import type { FilledOptions } from "./options.ts";
import type { Parts } from "./parts.ts";
import { ScalingController } from "./scaling.ts";
import type { Slots } from "./slots.ts";
import type { Counters } from "./stats.ts";
import type { Supply } from "./supply.ts";

/** Bytes given back by one piece of a shrink: the event loop runs in between. */
const SHRINK_PIECE = 4 * 1024 * 1024;
/** How long to leave the OS in peace after it refused memory. */
export const RETRY_MS = 100;

/** The size of one pool. */
export class Sizer {
  readonly #options: FilledOptions;
  readonly #supply: Supply;
  readonly #slots: Slots;
  readonly #counters: Counters;
  readonly #events: Events;
  readonly #scaling: ScalingController;
  /** Told that the marks may have moved. */
  readonly #onChange: () => void;
  #stopped = false;
  #shrinkTimer: ReturnType<typeof setInterval> | undefined;
  #pieceTimer: ReturnType<typeof setTimeout> | undefined;

  /** Commits nothing yet: `start` does. */
  constructor(parts: Parts, onChange: () => void) {
    this.#options = parts.options;
    this.#supply = parts.supply;
    this.#slots = parts.slots;
    this.#counters = parts.counters;
    this.#events = parts.events;
    this.#onChange = onChange;
    const { slabSlots } = parts.region;
    this.#scaling = new ScalingController(parts.options, slabSlots);
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
    return this.#scaling.isRefused(Date.now());
  }

  /** Commits the first blocks; throws the OS's refusal. */
  start(): void {
    const { error } = this.#supply.grow(this.#options.initialBlocks);
    if (error !== undefined) throw error;
    this.#resized();
  }

  /** Few blocks are free: grow if the threshold says so. */
  fell(): void {
    const due = this.#scaling.fell(this.#slots.free, Date.now());
    if (due) this.#grow();
    else this.#onChange();
  }

  /** Many blocks are free. */
  rose(): void {
    this.#scaling.rose(this.#slots.free, Date.now());
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

  /** Gives all free memory above the initial blocks back; returns the bytes. */
  trim(): number {
    return this.#stopped ? 0 : this.#giveBack(this.#scaling.spare, Infinity);
  }

  /** No more growing and shrinking; gives every free slab back. */
  stop(): void {
    this.#stopped = true;
    clearInterval(this.#shrinkTimer);
    clearTimeout(this.#pieceTimer);
    this.#supply.giveBack(Infinity, Infinity);
  }

  #grow(): boolean {
    headroom();
    const wanted = this.#stopped ? 0 : this.#scaling.growBy();
    if (wanted === 0) return false;
    const { blocks, error } = this.#supply.grow(wanted);
    if (blocks > 0) this.#counters.grows++;
    if (error !== undefined) {
      this.#counters.growFailures++;
      this.#scaling.refused(Date.now() + RETRY_MS);
    }
    this.#resized();
    this.#events.emit("grow", () => ({
      pool: this.#options.name,
      blocks,
      committedBlocks: this.#slots.committed,
      ...(error && { error }),
    }));
    return blocks > 0;
  }

  /** The number of committed blocks has changed. */
  #resized(): void {
    // A listener may have closed the pool in the middle of it.
    if (this.#stopped) return;
    const { committed, free } = this.#slots;
    this.#scaling.resized(committed, free, Date.now());
    if (this.#scaling.spare === 0) {
      clearInterval(this.#shrinkTimer);
      this.#shrinkTimer = undefined;
    } else if (this.#shrinkTimer === undefined) {
      const ms = this.#options.shrinkIntervalMs;
      this.#shrinkTimer = unref(setInterval(() => this.#shrink(), ms));
    }
    this.#onChange();
  }

  /** Gives back in pieces if the pool was idle long enough. */
  #shrink(): void {
    if (this.#pieceTimer !== undefined) return;
    const blocks = this.#scaling.shrinkBy(this.#slots.free, Date.now());
    if (blocks > 0) this.#shrinkPiece(blocks);
  }

  #shrinkPiece(blocks: number): void {
    this.#pieceTimer = undefined;
    const before = this.#slots.committed;
    if (this.#giveBack(blocks, SHRINK_PIECE) === 0 || this.#stopped) return;
    const left = blocks - (before - this.#slots.committed);
    if (left > 0) {
      this.#pieceTimer = unref(setTimeout(() => this.#shrinkPiece(left), 0));
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

/** Keeps a timer from keeping the process alive. */
export function unref<T extends ReturnType<typeof setTimeout>>(timer: T): T {
  // deno-lint-ignore no-explicit-any
  Deno.unrefTimer(timer as any);
  return timer;
}
