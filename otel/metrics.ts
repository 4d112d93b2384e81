/**
 * The table of metrics: how each number of a pool is called, counted and explained outside.
 *
 * Both ways out read it, so an OpenTelemetry collector that exports to Prometheus and a scrape of
 * `toPrometheus` show the same names. Says what the numbers are; never takes or sends one.
 */
import type { PoolStats, SizeClassStats } from "../mod.ts";

/** A number of `stats()`. Those of size classes are there only in a `SizeClassPool`'s. */
type Field = {
  [K in keyof SizeClassStats]: SizeClassStats[K] extends number ? K : never;
}[keyof SizeClassStats];

/** One metric and where its values come from. */
export interface Metric {
  /** Dotted name, after OpenTelemetry's conventions. */
  readonly name: string;
  /** `counter` only ever rises; the sum of several `updown` means something, of `gauge` nothing. */
  readonly kind: "counter" | "updown" | "gauge";
  /** A UCUM unit: `By`, or what is counted in braces. */
  readonly unit: string;
  readonly description: string;
  /** Fields of `stats()`; the key, if not empty, is the value of {@linkcode STATE}. */
  readonly fields: Readonly<Record<string, Field>>;
}

/** One metric of durations and where its counts come from. */
export interface DurationMetric {
  /** As in {@linkcode Metric}. */
  readonly name: string;
  /** Durations are shown in seconds, though `stats()` has milliseconds. */
  readonly unit: "s";
  readonly description: string;
  /** Field of `stats()`. */
  readonly field: "waitMs" | "heldMs";
}

/** Attribute that says which pool. */
export const POOL_NAME = "smriti.pool.name";
/** Attribute that says what the counted blocks are doing. */
export const STATE = "smriti.block.state";

/** Every metric, in the order in which it is shown. */
export const METRICS: readonly Metric[] = [
  {
    name: "smriti.pool.blocks",
    kind: "updown",
    unit: "{block}",
    description:
      "Blocks by state; without the abandoned, which others replace, the sum is what is committed.",
    fields: {
      free: "freeBlocks",
      acquired: "acquiredBlocks",
      quarantined: "quarantinedBlocks",
      abandoned: "abandonedBlocks",
    },
  },
  updown("max_blocks", "{block}", "maxBlocks", "The most blocks there can be."),
  updown(
    "capacity_blocks",
    "{block}",
    "capacityBlocks",
    "The most blocks that can be committed now.",
  ),
  updown(
    "lent_blocks",
    "{block}",
    "lentBlocks",
    "Acquired blocks that a running operation holds.",
  ),
  updown(
    "reserved_blocks",
    "{block}",
    "reservedBlocks",
    "Free blocks kept back for reserved acquires.",
  ),
  gauge(
    "peak_blocks",
    "{block}",
    "peakAcquired",
    "The most blocks ever acquired at once.",
  ),
  gauge("block_size", "By", "blockSize", "Bytes in one block."),
  updown(
    "memory.committed",
    "By",
    "committedBytes",
    "Bytes with memory behind them.",
  ),
  updown(
    "memory.abandoned",
    "By",
    "abandonedBytes",
    "Bytes that stay behind for abandoned blocks.",
  ),
  updown("memory.mapped", "By", "mappedBytes", "Bytes of address space held."),
  updown("waiting", "{waiter}", "waiting", "Acquires waiting now."),
  counter("acquires", "{acquire}", "acquires", "Leases begun."),
  counter("releases", "{release}", "releases", "Leases ended by release."),
  counter("waits", "{wait}", "waits", "Acquires that had to wait."),
  counter(
    "timeouts",
    "{timeout}",
    "timeouts",
    "Acquires that ran out of time.",
  ),
  counter(
    "exhaustions",
    "{exhaustion}",
    "exhaustions",
    "Acquires refused because of a limit.",
  ),
  counter("grows", "{grow}", "grows", "Times the pool grew."),
  counter(
    "shrinks",
    "{shrink}",
    "shrinks",
    "Times the pool gave memory back.",
  ),
  counter(
    "grow_failures",
    "{failure}",
    "growFailures",
    "Times the operating system refused to change the pool's size.",
  ),
  counter(
    "leaks",
    "{block}",
    "leaks",
    "Blocks that became unreachable unreleased, as far as watched.",
  ),
  counter(
    "double_releases",
    "{release}",
    "doubleReleases",
    "Second releases of one lease, refused.",
  ),
  counter(
    "listener_errors",
    "{error}",
    "listenerErrors",
    "Errors thrown by event listeners.",
  ),
  counter(
    "asked",
    "By",
    "askedBytes",
    "Bytes asked of a size class by the leases it began.",
  ),
  counter(
    "wasted",
    "By",
    "wastedBytes",
    "Bytes given by a size class beyond what was asked.",
  ),
  counter(
    "upgrades",
    "{upgrade}",
    "upgrades",
    "Leases that a smaller size class should have served.",
  ),
];

/** Every metric of durations. */
export const DURATIONS: readonly DurationMetric[] = [
  {
    name: "smriti.pool.wait",
    unit: "s",
    description: "How long acquires waited that had to, served or not.",
    field: "waitMs",
  },
  {
    name: "smriti.pool.held",
    unit: "s",
    description: "How long leases were held that leak detection watched.",
    field: "heldMs",
  },
];

/** A value, in a message. */
export function show(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.slice(0, 80));
  if (typeof value === "function") return "a function";
  return Object(value) === value ? "an object" : String(value);
}

/** Calls `tell` for each value of a metric that these numbers have, with its attributes. */
export function eachValue(
  metric: Metric,
  stats: PoolStats,
  tell: (value: number, attributes: Record<string, string>) => void,
): void {
  for (const [state, field] of Object.entries(metric.fields)) {
    const value = (stats as Partial<SizeClassStats>)[field];
    if (value === undefined) continue;
    const attributes: Record<string, string> = { [POOL_NAME]: stats.name };
    if (state !== "") attributes[STATE] = state;
    tell(value, attributes);
  }
}

function counter(
  name: string,
  unit: string,
  field: Field,
  description: string,
) {
  return metric(name, "counter", unit, field, description);
}

function updown(name: string, unit: string, field: Field, description: string) {
  return metric(name, "updown", unit, field, description);
}

function gauge(name: string, unit: string, field: Field, description: string) {
  return metric(name, "gauge", unit, field, description);
}

function metric(
  name: string,
  kind: Metric["kind"],
  unit: string,
  field: Field,
  description: string,
): Metric {
  name = `smriti.pool.${name}`;
  return { name, kind, unit, description, fields: { "": field } };
}
