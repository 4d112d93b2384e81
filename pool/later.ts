/**
 * Calls a function once after a time, at no cost to anybody: for what a pool has to say, not for what
 * it has to do.
 *
 * Keeps no process alive, and is no timer that a test with sanitizers finds left over. It can not be
 * cancelled: the function has to look whether there is still something to do.
 */

// Of the prototype: the method of signals makes their timer keep the process alive.
const { addEventListener } = EventTarget.prototype;

/**
 * Calls `act` with `what` after so many milliseconds, at most 2^31 − 1, unless `what` was collected: it
 * is not kept by this.
 */
export function later<T extends object>(
  ms: number,
  what: T,
  act: (what: T) => void,
): void {
  const ref = new WeakRef(what);
  addEventListener.call(AbortSignal.timeout(ms), "abort", () => {
    const there = ref.deref();
    if (there !== undefined) act(there);
  });
}
