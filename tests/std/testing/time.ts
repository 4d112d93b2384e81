// Stands in for jsr:@std/testing/time, which has no npm build: the same
// FakeTime, less what the tests do without, on the fake timers Deno ships.

import { mock } from "node:test";

let current: FakeTime | undefined;

/** Misuse of a {@linkcode FakeTime}. */
export class TimeError extends Error {
  override name = "TimeError";
}

/**
 * Stops the clock: `Date`, `setTimeout`, `setInterval` and
 * `AbortSignal.timeout` move only by `tick` and `now`, until `restore`.
 */
export class FakeTime {
  /** When the fake time began, in milliseconds since 1970. */
  readonly start: number;

  constructor(start: number | string | Date | null = null) {
    if (current) throw new TimeError("Time is already faked");
    this.start = new Date(start ?? Date.now()).valueOf();
    if (Number.isNaN(this.start)) throw new TimeError("Invalid start");
    const apis = ["Date", "setTimeout", "setInterval", "AbortSignal.timeout"];
    // Deno's types do not know the last name yet.
    mock.timers.enable({ apis: apis as "Date"[], now: this.start });
    current = this;
  }

  /** The fake time; a larger value runs every timer due until then. */
  get now(): number {
    return Date.now();
  }
  set now(value: number) {
    if (value < this.now) throw new TimeError("Time cannot go backwards");
    mock.timers.tick(value - this.now);
  }

  /** Moves the fake time on, running every timer that falls due. */
  tick(ms = 0): void {
    this.now += ms;
  }

  /** Lets settled promises run first, then ticks. */
  async tickAsync(ms = 0): Promise<void> {
    await this.runMicrotasks();
    this.tick(ms);
  }

  /** Lets everything run that waits for settled promises only. */
  async runMicrotasks(): Promise<void> {
    // Not a timer: even a setTimeout kept from before is faked by node:test.
    await new Promise<void>((resolve) => setImmediate(resolve));
  }

  /** Brings the real clock and timers back; pending fake ones are dropped. */
  restore(): void {
    if (current !== this) throw new TimeError("Time is already restored");
    current = undefined;
    mock.timers.reset();
  }

  [Symbol.dispose](): void {
    this.restore();
  }
}
