/**
 * Counts values in buckets 4 % wide: a million latencies in 4 KiB, and nothing for the collector.
 */
const BUCKETS = 1024;
/** Buckets in a factor of two. */
const FINE = 16;
/** Bucket of the value 1. */
const ONE = 256;

/** Positive values. */
export class Histogram {
  /** The greatest so far, exactly. */
  max = 0;
  readonly #counts = new Float64Array(BUCKETS);
  #total = 0;

  /** Counts one. */
  add(value: number): void {
    const bucket = ONE + Math.floor(FINE * Math.log2(Math.max(value, 1e-4)));
    this.#counts[Math.min(Math.max(bucket, 0), BUCKETS - 1)]++;
    this.#total++;
    if (value > this.max) this.max = value;
  }

  /** The upper end of the bucket below which that share of the values lies. */
  quantile(share: number): number {
    let left = share * this.#total;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      left -= this.#counts[bucket];
      if (left < 0) return Math.min(2 ** ((bucket + 1 - ONE) / FINE), this.max);
    }
    return this.max;
  }
}
