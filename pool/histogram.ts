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

/** How many counts there are. */
const BUCKETS = BOUNDS.length + 1;

/** Where durations are counted. */
export interface Durations {
  /** Counts one; a negative duration, of a clock that was set back, counts as 0. */
  add(ms: number): void;
  /** The counts now, frozen. */
  snapshot(): Histogram;
}

/** Durations of one isolate. */
export class OwnDurations implements Durations {
  readonly #counts: number[] = new Array(BUCKETS).fill(0);
  #sum = 0;

  /** All that can fail comes first, and what follows are stores. */
  add(ms: number): void {
    const lasted = Math.max(0, ms);
    const bucket = bucketOf(lasted);
    this.#counts[bucket]!++;
    this.#sum += lasted;
  }

  snapshot(): Histogram {
    return histogramOf([...this.#counts], this.#sum);
  }
}

/** Durations of all isolates that see the same cells. */
export class SharedDurations implements Durations {
  /** Cells that one takes. */
  static readonly CELLS: number = BUCKETS + 1;
  readonly #cells: BigInt64Array;
  readonly #at: number;

  /** Goes on from the cells from `at` on: zeroes at first, later the counts and, last, the sum. */
  constructor(cells: BigInt64Array, at: number) {
    this.#cells = cells;
    this.#at = at;
  }

  add(ms: number): void {
    const lasted = Math.max(0, Math.round(ms));
    Atomics.add(this.#cells, this.#at + bucketOf(lasted), 1n);
    Atomics.add(this.#cells, this.#at + BUCKETS, BigInt(lasted));
  }

  snapshot(): Histogram {
    const counts = Array.from(
      { length: BUCKETS + 1 },
      (_, cell) => Number(Atomics.load(this.#cells, this.#at + cell)),
    );
    return histogramOf(counts, counts.pop()!);
  }
}

function bucketOf(ms: number): number {
  let at = 0;
  while (at < BOUNDS.length && ms > BOUNDS[at]!) at++;
  return at;
}

function histogramOf(counts: number[], sum: number): Histogram {
  return Object.freeze({ bounds: BOUNDS, counts: Object.freeze(counts), sum });
}
