/**
 * A pool's numbers in the text format that Prometheus scrapes.
 *
 * Names follow OpenTelemetry's rules for Prometheus: dots become underscores, bytes, seconds and
 * counters say so at the end. Listens nowhere and keeps nothing: text in the shape of numbers.
 */
import type { Histogram, PoolStats } from "../mod.ts";
import {
  type DurationMetric,
  DURATIONS,
  eachValue,
  type Metric,
  METRICS,
  POOL_NAME,
  show,
} from "./metrics.ts";

/**
 * The numbers of one or several pools, for an endpoint that Prometheus scrapes. Answer it with
 * `content-type: text/plain; version=0.0.4; charset=utf-8`. Takes about 50 µs for a pool.
 *
 * @example An endpoint
 * ```ts
 * import { BlockPool } from "@smriti/pool";
 * import { toPrometheus } from "@smriti/pool/otel";
 *
 * using pool = new BlockPool({ blockSize: 65536, maxBlocks: 8, name: "uploads" });
 * const handler = () =>
 *   new Response(toPrometheus(pool.stats()), {
 *     headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" },
 *   });
 * console.log(await handler().text());
 * ```
 *
 * @param stats What `stats()` gave: of a `BlockPool` an object, of a `SizeClassPool` an array
 * @returns One family for each metric, whatever the number of pools; counts, and bytes where the
 * name says so
 * @throws {TypeError} for what no `stats()` gave, such as a pool; if two pools have one name, also as
 * it is shown: their samples could not be told apart, and a scrape would be refused as a whole
 */
export function toPrometheus(
  ...stats: readonly (PoolStats | readonly PoolStats[])[]
): string {
  const pools = stats.flat() as PoolStats[];
  const names = new Set<string>();
  for (const each of pools) {
    const { name, committedBlocks } = Object(each);
    // A pool itself has a name, too.
    if (typeof name !== "string" || typeof committedBlocks !== "number") {
      throw new TypeError(
        `stats must be what stats() of a pool gave, got ${show(each)}`,
      );
    }
    const label = escapeLabel(name);
    if (names.has(label)) {
      throw new TypeError(
        `stats must be of pools with different names, got ${
          JSON.stringify(name)
        } twice`,
      );
    }
    names.add(label);
  }
  return METRICS.map((metric) => family(metric, pools)).join("") +
    DURATIONS.map((metric) => histograms(metric, pools)).join("");
}

function family(metric: Metric, pools: readonly PoolStats[]): string {
  const name = nameOf(metric);
  let samples = "";
  for (const stats of pools) {
    eachValue(metric, stats, (value, attributes) => {
      samples += `${name}{${labelled(attributes)}} ${value}\n`;
    });
  }
  const type = metric.kind === "counter" ? "counter" : "gauge";
  return titled(name, metric.description, type, samples);
}

function histograms(
  { name: dotted, description, field }: DurationMetric,
  pools: readonly PoolStats[],
): string {
  const name = `${underscored(dotted)}_seconds`;
  let samples = "";
  for (const stats of pools) {
    // A double of the program's may be older than these numbers.
    const histogram = stats[field] as Histogram | undefined;
    if (histogram === undefined) continue;
    const { bounds, counts, sum } = histogram;
    const labels = labelled({ [POOL_NAME]: stats.name });
    let count = 0;
    for (const [at, more] of counts.entries()) {
      count += more;
      const le = at < bounds.length ? `${bounds[at]! / 1000}` : "+Inf";
      samples += `${name}_bucket{${labels},le="${le}"} ${count}\n`;
    }
    samples += `${name}_sum{${labels}} ${sum / 1000}\n`;
    samples += `${name}_count{${labels}} ${count}\n`;
  }
  return titled(name, description, "histogram", samples);
}

function titled(
  name: string,
  description: string,
  type: string,
  samples: string,
): string {
  if (samples === "") return "";
  return `# HELP ${name} ${description}\n# TYPE ${name} ${type}\n${samples}`;
}

function labelled(attributes: Record<string, string>): string {
  return Object.entries(attributes).map(([key, text]) =>
    `${underscored(key)}="${escapeLabel(text)}"`
  ).join(",");
}

function nameOf({ name, unit, kind }: Metric): string {
  return underscored(name) + (unit === "By" ? "_bytes" : "") +
    (kind === "counter" ? "_total" : "");
}

function underscored(name: string): string {
  return name.replaceAll(".", "_");
}

/** What controls a terminal or the direction of text, but for the line feed, which has an escape. */
const CONTROLS =
  // deno-lint-ignore no-control-regex
  /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/**
 * A pool's name may be any text. The format knows three escapes; what controls a terminal is written as
 * JSON does, because people look at metrics there.
 */
function escapeLabel(text: string): string {
  return text.toWellFormed().replace(
    CONTROLS,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  ).replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
