/**
 * Durations counted by fixed bounds: what a percentile of waits or leases is estimated from.
 *
 * Counts only. Reads no clock and decides nothing.
 */

/** Durations in milliseconds, counted by size. Frozen, plain, cloneable. */
export interface Histogram {
  /** Upper bounds in ms, rising, from 1 to 60 000; the same ones always. */
  readonly bounds: readonly number[];
  /**
   * How many lasted at most `bounds[i]` ms, but longer than the bound before it. The last count, one
   * more than there are bounds, is of those above all bounds.
   */
  readonly counts: readonly number[];
  /** All of them added up, in ms. */
  readonly sum: number;
}

/** In ms: 1, 2 and 5 times the powers of ten, with 30 s, a common limit, for 20 s and 50 s. */
const BOUNDS: readonly number[] = Object.freeze(
  // deno-fmt-ignore
  [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000],
);

/** Which count a duration belongs to. */
export function bucketOf(ms: number): number {
  let at = 0;
  while (at < BOUNDS.length && ms > BOUNDS[at]) at++;
  return at;
}

/** Counts durations. */
export class Durations {
  /** How many of each bucket. */
  readonly counts: number[] = new Array(BOUNDS.length + 1).fill(0);
  /** All of them, in ms. */
  sum = 0;

  /** Counts one; a clock that was set back has measured nothing. */
  add(ms: number): void {
    const lasted = Math.max(0, ms);
    this.counts[bucketOf(lasted)]++;
    this.sum += lasted;
  }

  /** The counts now, frozen. */
  snapshot(): Histogram {
    return Object.freeze({
      bounds: BOUNDS,
      counts: Object.freeze([...this.counts]),
      sum: this.sum,
    });
  }
}
