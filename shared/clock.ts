/**
 * The pool's time: milliseconds since the pool was made, as a 32-bit number that runs over, monotonic
 * and the same for all isolates.
 *
 * Each isolate has a monotonic clock of its own (`performance.now()`), all of one rate and none of one
 * origin; the wall clock may jump. So the pool's time is the latest that any of them has told: who
 * attaches goes on from there, and who is behind catches up (a Lamport clock with a rate).
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
  /** What the pool's time was when this isolate's was 0. */
  #origin: number;
  readonly #began: number;
  /** Milliseconds that the timers of this isolate prove to have passed. */
  #ticked = 0;

  /** Goes on from the time that others have told. */
  constructor({ words }: Control) {
    this.#words = words;
    this.#origin = Atomics.load(words, TIME);
    this.#began = performance.now();
  }

  /** A timer of so many ms has fired: so much has passed, whatever else has stopped. */
  tick(ms: number): void {
    this.#ticked += ms;
  }

  /** The time now. */
  now(): number {
    const words = this.#words;
    const passed = Math.max(performance.now() - this.#began, this.#ticked);
    const mine = this.#origin + passed | 0;
    let told = Atomics.load(words, TIME);
    while (between(told, mine) > 0) {
      const before = Atomics.compareExchange(words, TIME, told, mine);
      if (before === told) return mine;
      told = before;
    }
    this.#origin += between(mine, told);
    return told;
  }
}
