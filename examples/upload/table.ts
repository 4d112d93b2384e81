/**
 * The result: what was measured of each server, the one table that compares them, and what it
 * means in words. The words follow from the numbers of this run, whichever way they fall.
 */
import type { LoadReport } from "./client.ts";
import type { Snapshot } from "./server.ts";

/** Everything measured of one server over all of its rounds. */
export class Totals implements LoadReport {
  readonly waitedMs: number[] = [];
  wrong = 0;
  failed = 0;
  failure: string | undefined;
  activeMs = 0;
  cpuMicros = 0;
  peakRssBytes = 0;
  markCompacts = 0;

  constructor(readonly name: string) {}

  add(load: LoadReport, before: Snapshot, after: Snapshot): void {
    for (const ms of load.waitedMs) this.waitedMs.push(ms);
    this.wrong += load.wrong;
    this.failed += load.failed;
    this.failure ??= load.failure;
    this.activeMs += load.activeMs;
    // The pause after the load is included: work put off until then is still work.
    this.cpuMicros += after.cpuMicros - before.cpuMicros;
    this.peakRssBytes = Math.max(this.peakRssBytes, after.peakRssBytes);
  }

  get perSecond(): number {
    return this.waitedMs.length / this.activeMs * 1_000;
  }

  get cpuPerRequest(): number {
    return this.cpuMicros / this.waitedMs.length;
  }

  percentile(share: number): number {
    const sorted = Float64Array.from(this.waitedMs).sort();
    return sorted[
      Math.min(sorted.length - 1, Math.floor(sorted.length * share))
    ];
  }
}

const ROWS: [
  title: string,
  digits: number,
  value: (totals: Totals) => number,
][] = [
  ["requests", 0, ({ waitedMs }) => waitedMs.length],
  ["requests/s", 0, ({ perSecond }) => perSecond],
  ["p50 ms", 1, (totals) => totals.percentile(0.5)],
  ["p99 ms", 1, (totals) => totals.percentile(0.99)],
  ["p99.9 ms", 1, (totals) => totals.percentile(0.999)],
  ["server CPU µs/request", 0, ({ cpuPerRequest }) => cpuPerRequest],
  ["peak RSS MB", 0, ({ peakRssBytes }) => peakRssBytes / 1e6],
  ["mark-compacts", 0, ({ markCompacts }) => markCompacts],
  ["digests wrong", 0, ({ wrong }) => wrong],
  ["requests failed", 0, ({ failed }) => failed],
];

export function table(pooled: Totals, bytes: Totals): string {
  const lines = [["", pooled.name, bytes.name, "ratio"]];
  for (const [title, digits, value] of ROWS) {
    const values = [pooled, bytes].map(value);
    const [a, b] = values;
    lines.push([
      title,
      ...values.map((n) => Number.isFinite(n) ? n.toFixed(digits) : "-"),
      b > 0 ? (a / b).toFixed(2) : "",
    ]);
  }
  const [heading, ...rest] = lines.map(([title, ...cells]) =>
    title.padEnd(22) +
    cells.map((cell) => cell.padStart(13)).join("").trimEnd()
  );
  return [heading, "─".repeat(heading.length), ...rest].join("\n");
}

/** Two sentences for somebody who reads nothing else. */
export function conclusion(pooled: Totals, bytes: Totals): string {
  const cpu = change(pooled.cpuPerRequest, bytes.cpuPerRequest, "less");
  const memory = change(pooled.peakRssBytes, bytes.peakRssBytes, "less");
  const rate = change(pooled.perSecond, bytes.perSecond, "fewer");
  const measured =
    `Compared with ${bytes.name}, the ${pooled.name} server took ${cpu} processor time for ` +
    `each upload and ${memory} memory at its peak, and served ${rate} uploads a second.`;
  const reason = pooled.markCompacts < bytes.markCompacts
    ? "A body in a block is nothing to allocate and nothing to collect: fewer full collections, " +
      "and memory that grows and shrinks with the load."
    : "Full collections did not become fewer this time: with bodies this small or a run this " +
      "short there is little for a pool to save.";
  return `${measured} ${reason}`.replace(/(.{1,88})(?:\s|$)/g, "$1\n")
    .trimEnd();
}

function change(value: number, other: number, less: "less" | "fewer"): string {
  const percent = Math.round((value / other - 1) * 100);
  if (percent === 0) return less === "less" ? "the same" : "as many";
  return `${Math.abs(percent)} % ${percent < 0 ? less : "more"}`;
}
