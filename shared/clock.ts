/**
 * The pool's time: milliseconds since the pool was made, as a 32-bit number that runs over, monotonic
 * and the same for all workers.
 *
 * A Lamport clock with a rate. Each isolate has a monotonic clock of its own (`performance.now()`), of
 * one rate and of different origins; the wall clock may jump. So the pool's time is the latest that any
 * worker has written: a worker that attaches starts from it, and one that is behind catches up.
 */
import { type Control, HEADER } from "./control.ts";

const { TIME } = HEADER;

/** Milliseconds from one time to another, negative if it comes first. */
export function between(from: number, to: number): number {
  return to - from | 0;
}

/** The clock of one isolate. */
export class Clock {
  readonly #words: Int32Array;
  /** How far the pool's time is ahead of this isolate's. */
  #ahead: number;
  /** When the timer fired last, in the pool's time before it is cut to 32 bits. */
  #ticked: number;

  /** Starts from the time that others have written. */
  constructor({ words }: Control) {
    this.#words = words;
    this.#ticked = Atomics.load(words, TIME);
    this.#ahead = this.#ticked - performance.now();
  }

  /**
   * A timer of so many ms has fired again: at least that much has passed since it last did, even if
   * this isolate's clock did not advance.
   */
  tick(ms: number): void {
    const now = performance.now() + this.#ahead;
    const late = this.#ticked + ms - now;
    if (late > 0) this.#ahead += late;
    this.#ticked = Math.max(now, now + late);
  }

  /** The time now. */
  now(): number {
    const words = this.#words;
    const mine = performance.now() + this.#ahead | 0;
    let told = Atomics.load(words, TIME);
    while (between(told, mine) > 0) {
      const before = Atomics.compareExchange(words, TIME, told, mine);
      if (before === told) return mine;
      told = before;
    }
    this.#ahead += between(mine, told);
    return told;
  }
}
