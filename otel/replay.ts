/**
 * Gives a pool's counted durations to a histogram instrument, which takes single values: what was
 * counted since the last collection is recorded once more, each in its bucket.
 *
 * Keeps what it has recorded of each pool, and nothing else.
 */
import type { Histogram, PoolStats } from "../mod.ts";
import { type DurationMetric, POOL_NAME } from "./metrics.ts";
import type { PoolHistogram, PoolMeter } from "./observe.ts";

/**
 * Values recorded by one collection at most, but for rounding: each takes a microsecond or more. Of
 * more than these, every bucket gets its share.
 */
const MOST_RECORDS = 1_000;
/** The least share of its bucket's width that a value is given: a lower bound is the next bucket's. */
const LEAST_SHARE = 0.01;

type Counted = Pick<Histogram, "counts" | "sum">;

/** One histogram of one meter. */
export class Replay {
  readonly #metric: DurationMetric;
  readonly #meter: PoolMeter;
  #instrument: PoolHistogram | undefined;
  /** What was recorded, by pool and name: a pool of several size classes has several names. */
  readonly #seen = new WeakMap<object, Map<string, Counted>>();

  /** Makes no instrument yet: only the numbers of a pool say which bounds it needs. */
  constructor(meter: PoolMeter, metric: DurationMetric) {
    this.#meter = meter;
    this.#metric = metric;
  }

  /** Records what a pool has counted since it was last looked at. */
  upTo(pool: object, stats: PoolStats): void {
    const { name } = stats;
    // A double of the program's may be older than these numbers.
    const now = stats[this.#metric.field] as Histogram | undefined;
    if (now === undefined) return;
    let seen = this.#seen.get(pool);
    if (seen === undefined) this.#seen.set(pool, seen = new Map());
    const { counts = [], sum = 0 } = seen.get(name) ?? {};
    seen.set(name, now);
    const fresh = now.counts.map((count, at) => count - (counts[at] ?? 0));
    if (fresh.every((count) => count === 0)) return;
    const instrument = this.#instrument ??= this.#create(now.bounds);
    for (const [ms, count] of spread(now.bounds, fresh, now.sum - sum)) {
      for (let left = count; left > 0; left--) {
        instrument?.record(ms / 1000, { [POOL_NAME]: name });
      }
    }
  }

  #create(bounds: readonly number[]): PoolHistogram {
    const { name, unit, description } = this.#metric;
    return this.#meter.createHistogram!(name, {
      unit,
      description,
      advice: { explicitBucketBoundaries: bounds.map((ms) => ms / 1000) },
    });
  }
}

/**
 * A duration for each bucket, and how often to record it: all at the same share of their bucket's
 * width, such that they add up to `sum` as nearly as their buckets allow.
 */
function spread(
  bounds: readonly number[],
  counts: readonly number[],
  sum: number,
): [ms: number, count: number][] {
  let total = 0, least = 0, width = 0;
  for (const [at, count] of counts.entries()) {
    const low = bounds[at - 1] ?? 0;
    total += count;
    least += count * low;
    width += count * ((bounds[at] ?? low) - low);
  }
  const above = counts[bounds.length]!;
  // What is above all bounds has no width: it takes what the others leave.
  const most = above > 0 ? 0.5 : 1;
  const share = width === 0
    ? most
    : Math.max(LEAST_SHARE, Math.min(most, (sum - least) / width));
  const rest = Math.max(0, sum - least - share * width);
  const part = Math.min(1, MOST_RECORDS / total);
  return counts.map((count, at) => {
    const low = bounds[at - 1] ?? 0;
    const ms = at < bounds.length
      ? low + share * (bounds[at]! - low)
      : low + Math.max(rest / above, 1);
    return [ms, Math.ceil(count * part)];
  });
}
