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

/** Where the sum stands among the cells, after the counts. */
const SUM = BOUNDS.length + 1;
/** Numbers that one histogram takes. */
export const CELLS: number = SUM + 1;

/** Counts durations, in memory of its own or in that which is given, such as all isolates see. */
export class Durations {
  readonly #cells: number[] | Float64Array;

  /** Goes on from what is in `cells`: zeroes at first. */
  constructor(cells: number[] | Float64Array = new Array(CELLS).fill(0)) {
    this.#cells = cells;
  }

  /**
   * Counts one; a clock that was set back has measured nothing. All that can fail comes first, and what
   * follows are stores.
   */
  add(ms: number): void {
    const lasted = Math.max(0, ms);
    const cells = this.#cells;
    let at = 0;
    while (at < BOUNDS.length && lasted > BOUNDS[at]) at++;
    cells[at]++;
    cells[SUM] += lasted;
  }

  /** The counts now, frozen. */
  snapshot(): Histogram {
    return histogramOf(this.#cells);
  }
}

/** What these cells say, frozen. */
export function histogramOf(cells: number[] | Float64Array): Histogram {
  return Object.freeze({
    bounds: BOUNDS,
    counts: Object.freeze([...cells.slice(0, SUM)]),
    sum: cells[SUM],
  });
}
