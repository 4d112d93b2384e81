/**
 * What every bench here needs: how long a loop takes, and the middle of several rounds.
 */

/** Median, least and most of the rounds. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** The middle and the ends; NaN of nothing. */
export function spread(values: readonly number[]): Spread {
  if (values.length === 0) return { median: NaN, min: NaN, max: NaN };
  const sorted = values.toSorted((a, b) => a - b);
  return {
    median: sorted[sorted.length >> 1],
    min: sorted[0],
    max: sorted[sorted.length - 1],
  };
}

/** A cheap random sequence, the same for all: 31 bits, of which the upper ones are the better. */
export function next(seed: number): number {
  return Math.imul(seed, 1103515245) + 12345 & 0x7fffffff;
}

/**
 * Milliseconds so far that the main thread was ready to run and no processor was free: what other
 * programs cost a measurement. 0 where the system does not tell.
 */
export function waitedMs(): number {
  try {
    const text = Deno.readTextFileSync("/proc/self/schedstat");
    return Number(text.split(" ")[1]) / 1e6;
  } catch {
    return 0;
  }
}

/** Milliseconds of the clock since it was made, less those spent waiting for a processor. */
export function stopwatch(): () => number {
  const waited = waitedMs();
  const start = performance.now();
  return () => {
    const ms = performance.now() - start;
    return Math.max(ms - (waitedMs() - waited), 1e-6);
  };
}

/** Nanoseconds for one operation, warm: more and more of them until `run` takes `sliceMs`. */
export async function nsPerOperation(
  run: (n: number) => void | Promise<void>,
  sliceMs: number,
): Promise<number> {
  for (let n = 64;;) {
    const elapsed = stopwatch();
    const running = run(n);
    if (running !== undefined) await running;
    const ms = elapsed();
    if (ms >= sliceMs) return ms / n * 1e6;
    n = Math.ceil(n * Math.min(8, 1.2 * sliceMs / Math.max(ms, 0.01)));
  }
}
