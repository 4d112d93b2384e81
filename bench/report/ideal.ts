/**
 * The same rules in their ideal form: a pool that can give back any free block, at once, and counts
 * nothing but blocks. What the real one holds beyond this is the price of slots that stay put.
 */

/** What was seen in one tick. */
export interface Tick {
  readonly ms: number;
  /** Blocks in use at its end; also the most in it. */
  readonly used: number;
  /** Blocks with memory behind them, as the contestant has it. */
  readonly committed: number;
}

/** The blocks it would have committed at each tick. */
export function ideal(
  ticks: readonly Tick[],
  maxBlocks: number,
  intervalMs: number,
): number[] {
  const initial = Math.ceil(0.2 * maxBlocks);
  let committed = initial;
  let idleSince = Infinity;
  let due = intervalMs;
  return ticks.map(({ ms, used }) => {
    while (committed < maxBlocks && used >= Math.ceil(0.8 * committed)) {
      committed = Math.min(maxBlocks, committed + Math.ceil(0.1 * maxBlocks));
    }
    const isIdle = () => committed - used > Math.floor(0.5 * committed);
    idleSince = isIdle() ? Math.min(idleSince, ms) : Infinity;
    for (; due <= ms; due += intervalMs) {
      if (due - idleSince < intervalMs) continue;
      const step = Math.ceil(0.1 * committed);
      const busy = Math.ceil(committed - used / 0.8) - 1;
      committed -= Math.min(step, committed - initial, busy);
      if (!isIdle()) idleSince = Infinity;
    }
    return committed;
  });
}

/** What lies under a curve of blocks over time: blocks × ms. */
export function area(ticks: readonly Tick[], blocks: readonly number[]) {
  let sum = 0;
  for (let at = 1; at < ticks.length; at++) {
    sum += blocks[at - 1] * (ticks[at].ms - ticks[at - 1].ms);
  }
  return sum;
}
