/**
 * Lets an OpenTelemetry meter ask a pool for its numbers whenever it collects.
 *
 * Knows a meter by its shape alone: no dependency. Never sends anything and never keeps a number;
 * what is collected, how often and where it goes is the meter's.
 */
import type { PoolStats } from "../mod.ts";
import { DURATIONS, eachValue, type Metric, METRICS, show } from "./metrics.ts";
import { Replay } from "./replay.ts";

/** What has numbers to show: a `BlockPool`, a `SizeClassPool`, or a double of yours. */
export interface ObservedPool {
  /** The numbers now, one entry for each size class if there are several. */
  stats(): PoolStats | readonly PoolStats[];
}

/** How an instrument is described to a meter. */
export interface InstrumentOptions {
  /** What it counts, in a sentence. */
  description?: string | undefined;
  /** `By`, or what is counted in braces. */
  unit?: string | undefined;
}

/** How a histogram is described to a meter. */
export interface HistogramOptions extends InstrumentOptions {
  /** Hints that the meter may follow. */
  advice?: {
    /** Upper bounds of the buckets. */
    explicitBucketBoundaries?: number[] | undefined;
  } | undefined;
}

/** Where single durations are recorded. */
export interface PoolHistogram {
  /** Takes one value. */
  record(value: number, attributes?: Record<string, string>): void;
}

/** Where a meter takes the values when it collects. */
export interface ObservationResult {
  /** One value of one instrument. */
  observe(
    instrument: object,
    value: number,
    attributes?: Record<string, string>,
  ): void;
}

/** The part of an OpenTelemetry meter used here; Deno's and `@opentelemetry/api`'s have it. */
export interface PoolMeter {
  /** A sum that only rises. */
  createObservableCounter(name: string, options?: InstrumentOptions): object;
  /** A sum that rises and falls. */
  createObservableUpDownCounter(
    name: string,
    options?: InstrumentOptions,
  ): object;
  /** A value of which no sum makes sense. */
  createObservableGauge(name: string, options?: InstrumentOptions): object;
  /** Counts values by size. Without it `waitMs` and `heldMs` are not shown. */
  createHistogram?(name: string, options?: HistogramOptions): PoolHistogram;
  /** Calls back at each collection, for all these instruments at once. */
  addBatchObservableCallback(
    callback: (result: ObservationResult) => void,
    instruments: object[],
  ): void;
  /** Ends that. */
  removeBatchObservableCallback(
    callback: (result: ObservationResult) => void,
    instruments: object[],
  ): void;
}

interface Instruments {
  readonly observed: ReadonlyMap<Metric, object>;
  readonly replays: readonly Replay[];
}

/** A meter wants each instrument made once, however many pools there are. */
const instrumentsOf = new WeakMap<PoolMeter, Instruments>();
let denoMeter: PoolMeter | undefined;

/**
 * Shows a pool's numbers as OpenTelemetry metrics: all those of `stats()`, named `smriti.pool.…`,
 * with the attribute `smriti.pool.name`. Nothing runs between collections; each takes about 5 µs
 * besides what the meter does. Give each pool a `name` of its own: two of one name overwrite each
 * other.
 *
 * `waitMs` and `heldMs` go to histogram instruments, if the meter makes them. A collection records what
 * is new since the last one, each duration in its bucket and all with their sum, at about a microsecond
 * a value; of more than 1 000 of a pool, each bucket gets its share of 1 000.
 *
 * @example With Deno's own telemetry, in a server run with `OTEL_DENO=true`
 * ```ts
 * import { BlockPool } from "@smriti/pool";
 * import { observePool } from "@smriti/pool/otel";
 *
 * await using pool = new BlockPool({ blockSize: 65536, maxBlocks: 8, name: "uploads" });
 * using _metrics = observePool(pool);
 * ```
 *
 * @param pool Whose numbers
 * @param meter Any OpenTelemetry meter. Default: a meter of Deno's built-in telemetry; where that
 * is off (no `OTEL_DENO=true`) nothing is observed
 * @returns What ends it when disposed. Dispose it with the pool, or the meter keeps the closed pool
 * from being collected. Deno then shows nothing more of it; OpenTelemetry's SDK for JavaScript goes
 * on showing the last values
 * @throws {TypeError} if `pool` has no `stats` or `meter` lacks one of the methods used
 */
export function observePool(
  pool: ObservedPool,
  meter: PoolMeter | undefined = builtIn(),
): Disposable {
  if (typeof pool?.stats !== "function") {
    throw new TypeError(`pool must be a pool with stats(), got ${show(pool)}`);
  }
  if (meter === undefined) return { [Symbol.dispose]() {} };
  let instruments = instrumentsOf.get(meter);
  if (instruments === undefined) {
    instrumentsOf.set(meter, instruments = createInstruments(meter));
  }
  const observe = (result: ObservationResult) => {
    for (const stats of numbersOf(pool)) {
      for (const [metric, instrument] of instruments.observed) {
        eachValue(metric, stats, (value, attributes) => {
          result.observe(instrument, value, attributes);
        });
      }
      for (const replay of instruments.replays) {
        replay.upTo(pool, stats);
      }
    }
  };
  const observed = [...instruments.observed.values()];
  meter.addBatchObservableCallback(observe, observed);
  let active = true;
  return {
    [Symbol.dispose]() {
      if (!active) return;
      active = false;
      meter.removeBatchObservableCallback(observe, observed);
    },
  };
}

/** In Deno an error thrown while a meter collects would end the process. */
function numbersOf(pool: ObservedPool): readonly PoolStats[] {
  try {
    return [pool.stats()].flat();
  } catch (error) {
    console.error(
      "a pool's stats() failed while metrics were collected:",
      error,
    );
    return [];
  }
}

function createInstruments(meter: PoolMeter): Instruments {
  for (const method of METHODS) {
    if (typeof meter?.[method] !== "function") {
      throw new TypeError(
        `meter must be an OpenTelemetry meter with ${method}(), got ${
          show(meter)
        }`,
      );
    }
  }
  return {
    observed: new Map(METRICS.map((metric) => [metric, create(meter, metric)])),
    replays: typeof meter.createHistogram === "function"
      ? DURATIONS.map((metric) => new Replay(meter, metric))
      : [],
  };
}

const METHODS = [
  "createObservableCounter",
  "createObservableUpDownCounter",
  "createObservableGauge",
  "addBatchObservableCallback",
  "removeBatchObservableCallback",
] as const;

function create(
  meter: PoolMeter,
  { name, kind, unit, description }: Metric,
): object {
  const options = { unit, description };
  switch (kind) {
    case "counter":
      return meter.createObservableCounter(name, options);
    case "updown":
      return meter.createObservableUpDownCounter(name, options);
    case "gauge":
      return meter.createObservableGauge(name, options);
  }
}

/** Deno's meter of this library, or nothing where telemetry is off. */
function builtIn(): PoolMeter | undefined {
  if (denoMeter !== undefined) return denoMeter;
  try {
    return denoMeter = Deno.telemetry.meterProvider.getMeter("@smriti/pool");
  } catch {
    // "otel not initialized": metrics that were not asked for must not stop a server.
    return undefined;
  }
}
