/**
 * The result: what was measured of each server, the one table that compares them, and what it
 * means in words. The words follow from the numbers of this run, whichever way they fall.
 */

import type { LoadReport } from "./client.ts";
import type { Snapshot } from "./server.ts";

/** Everything measured of one server over all of its rounds. */
export class Totals {
  readonly micros: number[] = [];
  requests = 0;
  wrong = 0;
  failed = 0;
  failure: string | null = null;
  activeMs = 0;
  cpuMicros = 0;
  peakRssBytes = 0;
  markCompacts = 0;

  constructor(readonly name: string) {}

  add(load: LoadReport, before: Snapshot, after: Snapshot): void {
    for (const micros of load.micros) this.micros.push(micros);
    this.requests += load.requests;
    this.wrong += load.wrong;
    this.failed += load.failed;
    this.failure ??= load.failure;
    this.activeMs += load.activeMs;
    // The pause after the load is included: work put off until then is still work.
    this.cpuMicros += after.cpuMicros - before.cpuMicros;
    this.peakRssBytes = Math.max(this.peakRssBytes, after.peakRssBytes);
  }
}

interface Row {
  readonly title: string;
  readonly digits: number;
  value(totals: Totals): number;
  /** Counts of mistakes are not compared: the only good value is none. */
  readonly mistake?: true;
}

const ROWS: Row[] = [
  { title: "requests", digits: 0, value: (totals) => totals.requests },
  { title: "requests/s", digits: 0, value: perSecond },
  { title: "p50 ms", digits: 1, value: (totals) => percentile(totals, 0.5) },
  { title: "p99 ms", digits: 1, value: (totals) => percentile(totals, 0.99) },
  {
    title: "p99.9 ms",
    digits: 1,
    value: (totals) => percentile(totals, 0.999),
  },
  { title: "server CPU µs/request", digits: 0, value: cpuPerRequest },
  {
    title: "peak RSS MB",
    digits: 0,
    value: (totals) => totals.peakRssBytes / 1e6,
  },
  { title: "mark-compacts", digits: 0, value: (totals) => totals.markCompacts },
  {
    title: "digests wrong",
    digits: 0,
    value: (totals) => totals.wrong,
    mistake: true,
  },
  {
    title: "requests failed",
    digits: 0,
    value: (totals) => totals.failed,
    mistake: true,
  },
];

export function table(pooled: Totals, bytes: Totals): string {
  const lines = [["", pooled.name, bytes.name, "ratio"]];
  for (const { title, digits, value, mistake } of ROWS) {
    const [a, b] = [value(pooled), value(bytes)];
    lines.push([
      title,
      number(a, digits),
      number(b, digits),
      mistake || !(b > 0) ? "" : (a / b).toFixed(2),
    ]);
  }
  const widths = lines[0].map((_, column) =>
    Math.max(...lines.map((line) => line[column].length))
  );
  const show = (cells: string[]) =>
    cells.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column])
    ).join("   ").trimEnd();
  const [heading, ...rest] = lines.map(show);
  return [heading, "─".repeat(heading.length), ...rest].join("\n");
}

/** Two sentences for somebody who reads nothing else. */
export function conclusion(pooled: Totals, bytes: Totals): string {
  const cpu = change(cpuPerRequest(pooled), cpuPerRequest(bytes), "less");
  const memory = change(pooled.peakRssBytes, bytes.peakRssBytes, "less");
  const rate = change(perSecond(pooled), perSecond(bytes), "fewer");
  const measured =
    `Compared with ${bytes.name}, the ${pooled.name} server took ${cpu} processor time for ` +
    `each upload and ${memory} memory at its peak, and served ${rate} uploads a second.`;
  const reason = pooled.markCompacts < bytes.markCompacts
    ? "A body in a block is nothing to allocate and nothing to collect: fewer full collections, " +
      "and memory that grows and shrinks with the load."
    : "Full collections did not become fewer this time: with bodies this small or a run this " +
      "short there is little for a pool to save.";
  return wrap(`${measured} ${reason}`);
}

function change(value: number, other: number, less: "less" | "fewer"): string {
  const percent = Math.round((value / other - 1) * 100);
  if (percent === 0) return less === "less" ? "the same" : "as many";
  return `${Math.abs(percent)} % ${percent < 0 ? less : "more"}`;
}

function wrap(text: string): string {
  return text.replace(/(.{1,88})(?:\s|$)/g, "$1\n").trimEnd();
}

function perSecond(totals: Totals): number {
  return totals.requests / totals.activeMs * 1_000;
}

function cpuPerRequest(totals: Totals): number {
  return totals.cpuMicros / totals.requests;
}

function percentile(totals: Totals, share: number): number {
  const sorted = Float64Array.from(totals.micros).sort();
  return sorted[
    Math.min(sorted.length - 1, Math.floor(sorted.length * share))
  ] / 1_000;
}

function number(value: number, digits: number): string {
  return Number.isFinite(value) ? value.toFixed(digits) : "-";
}
