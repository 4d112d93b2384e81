/**
 * How long acquires waited. `stats()` counts waits; how long they were is for an application to
 * measure, and here is how. Knows only the public API.
 */

import type { AcquireOptions, Block, BlockPool } from "@smriti/pool";

/** Waits older than this say nothing about now. */
const WINDOW_MS = 10_000;
/** The newest of them: enough for a p99 that means something, few enough to sort at each frame. */
const MOST_SAMPLES = 5_000;

/** What is shown of the waits of the last ten seconds. */
export interface WaitSummary {
  /** How many are told of; those whose time ran out are among them. */
  readonly count: number;
  /** Half of them waited no longer than this; 0 if there were none. */
  readonly p50Ms: number;
  /** 99 of 100 waited no longer than this; 0 if there were none. */
  readonly p99Ms: number;
}

/** Times the waits of one pool until disposed. */
export class Waits implements Disposable {
  readonly #pool: BlockPool;
  #samples: { endedAt: number; ms: number }[] = [];

  /** `pool.acquire` is shadowed meanwhile, so that whoever uses the pool is timed unasked. */
  constructor(pool: BlockPool) {
    this.#pool = pool;
    const { acquire } = pool;
    pool.acquire = (options) => this.#timed(acquire, options);
  }

  /** The waits that ended in the last ten seconds. */
  summary(): WaitSummary {
    const oldest = performance.now() - WINDOW_MS;
    this.#samples = this.#samples.filter(({ endedAt }) => endedAt > oldest);
    const sorted = this.#samples.map(({ ms }) => ms).sort((a, b) => a - b);
    const count = sorted.length;
    const at = (share: number) =>
      count === 0 ? 0 : sorted[Math.ceil(share * count) - 1];
    return { count, p50Ms: at(0.5), p99Ms: at(0.99) };
  }

  /** The pool's own `acquire` shows again. */
  [Symbol.dispose](): void {
    delete (this.#pool as Partial<BlockPool>).acquire;
  }

  #timed(
    acquire: BlockPool["acquire"],
    options?: AcquireOptions,
  ): Promise<Block> {
    const began = performance.now();
    const { waits } = this.#pool.stats();
    const block = acquire.call(this.#pool, options);
    if (this.#pool.stats().waits > waits) {
      const note = () => this.#note(began);
      block.then(note, note);
    }
    return block;
  }

  #note(began: number): void {
    const endedAt = performance.now();
    if (this.#samples.length >= MOST_SAMPLES) this.#samples.shift();
    this.#samples.push({ endedAt, ms: endedAt - began });
  }
}
