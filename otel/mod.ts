/**
 * A pool's numbers in the tools you already watch: OpenTelemetry metrics, through Deno's built-in
 * telemetry or any meter, and the text that Prometheus scrapes. No dependency.
 *
 * @example Both
 * ```ts
 * import { BlockPool } from "@smriti/pool";
 * import { observePool, toPrometheus } from "@smriti/pool/otel";
 *
 * await using pool = new BlockPool({ blockSize: 65536, maxBlocks: 8, name: "uploads" });
 * using _metrics = observePool(pool); // pushed, when run with OTEL_DENO=true
 * console.log(toPrometheus(pool.stats())); // scraped
 * ```
 *
 * @module
 */
export {
  type HistogramOptions,
  type InstrumentOptions,
  type ObservationResult,
  type ObservedPool,
  observePool,
  type PoolHistogram,
  type PoolMeter,
} from "./observe.ts";
export { toPrometheus } from "./prometheus.ts";
