/**
 * Calls a function once after a time, at no cost to anybody: for what a pool has to say, not for what
 * it has to do.
 *
 * Keeps no process alive, and is no timer that a test with sanitizers finds left over. It can not be
 * cancelled: the function has to look whether there is still something to do.
 */

// Of the prototype: the method of signals makes their timer keep the process alive.
const { addEventListener } = EventTarget.prototype;

/** Calls `act` after so many milliseconds, at most 2^31 − 1, if the process lives that long. */
export function later(ms: number, act: () => void): void {
  addEventListener.call(AbortSignal.timeout(ms), "abort", act);
}
