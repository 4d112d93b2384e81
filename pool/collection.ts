/**
 * Asks V8 for a collection, which finds dropped blocks. V8 collects rarely where little garbage is
 * made, and a program that uses a pool makes little.
 *
 * At most once in five seconds a process, whatever the number of pools and isolates.
 */
import { PAGE, processWords } from "../ffi/process_page.ts";

/** The shortest time between two requests, in ms. */
const PEACE_MS = 5000;
/**
 * Allocated and dropped without being touched: no page is behind them, but V8 collects to make room for
 * them.
 */
const ARRAYS = 4;
const BYTES = 2 ** 28;

/** Asks for a collection, unless one was asked for just now. Takes microseconds; V8 comes within 0.1 s. */
export function askForCollection(): void {
  const words = processWords();
  // Monotonic in each isolate. Between them it may jump with the wall clock: then one is asked for early.
  const now = performance.timeOrigin + performance.now() | 0;
  const last = Atomics.load(words, PAGE.COLLECTED);
  if (last !== 0 && Math.abs(now - last | 0) < PEACE_MS) return;
  if (
    Atomics.compareExchange(words, PAGE.COLLECTED, last, now || 1) !== last
  ) return;
  try {
    for (let count = 0; count < ARRAYS; count++) new ArrayBuffer(BYTES);
  } catch {
    // There was no room for one; V8 collects before it throws.
  }
}
