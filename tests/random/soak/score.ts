// What the soak has counted, and the table it ends with.

/** The counts of one run. */
export class Score {
  leases = 0;
  steps = 0;
  bytes = 0;
  lawChecks = 0;
  poolsClosed = 0;
  /** Refused by the OS, cut, aborted, interrupted, written late: on purpose. */
  readonly faults = new Map<string, number>();
  /** Refusals that callers met, by code. */
  readonly refusals = new Map<string, number>();
  blocksLost = 0;
  foreignBytes = 0;
  lawViolations = 0;
  /** Errors that nothing here explains. */
  readonly surprises: unknown[] = [];

  /** Counts a fault that was done on purpose. */
  fault(what: string, times = 1): void {
    this.faults.set(what, (this.faults.get(what) ?? 0) + times);
  }

  /** Counts an error that a caller has to expect. */
  refusal(code: string): void {
    this.refusals.set(code, (this.refusals.get(code) ?? 0) + 1);
  }

  /** Faults of all kinds. */
  get injected(): number {
    return [...this.faults.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Whether nothing happened that must not. */
  get isClean(): boolean {
    return this.blocksLost + this.foreignBytes + this.lawViolations === 0 &&
      this.surprises.length === 0;
  }

  /** One line for those who wait. */
  line(): string {
    return `${this.leases} leases, ${this.steps} steps, ${this.injected} faults, ` +
      `${this.poolsClosed} pools closed`;
  }

  /** All of it. */
  table(): string {
    const sorted = (counts: Map<string, number>) =>
      [...counts].sort().map(([name, count]): Row => [`  ${name}`, count]);
    const rows: Row[] = [
      ["operations", this.leases + this.steps],
      ["  leases", this.leases],
      ["  steps while held", this.steps],
      ["  bytes of real I/O", this.bytes],
      ["  looks at the law", this.lawChecks],
      ["  pools closed", this.poolsClosed],
      ["faults injected", this.injected],
      ...sorted(this.faults),
      ["refusals met", [...this.refusals.values()].reduce((a, b) => a + b, 0)],
      ...sorted(this.refusals),
      ["blocks lost", this.blocksLost],
      ["foreign bytes seen", this.foreignBytes],
      ["law violations", this.lawViolations],
      ["unexpected errors", this.surprises.length],
    ];
    const width = Math.max(...rows.map(([name]) => name.length));
    return rows.map(([name, count]) =>
      `${name.padEnd(width)}  ${count.toLocaleString("en").padStart(14)}`
    ).join("\n");
  }
}

type Row = readonly [string, number];
