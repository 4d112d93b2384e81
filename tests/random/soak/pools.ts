// The pools of the soak: each lives for a while among refusals of the OS, is closed while it is in
// use, must then have got every block back, and is followed by the next one of its kind.

import {
  type Block,
  BlockPool,
  type PoolOptions,
  type PoolStats,
  SizeClassPool,
  SmritiError,
} from "@smriti/pool";
import { Chaos, type Odds } from "../fuzz/chaos.ts";
import { lawful } from "../../support/invariants.ts";
import type { Rng } from "../../support/rng.ts";
import type { Plan } from "./plan.ts";
import type { Score } from "./score.ts";

const ODDS: Odds = {
  map: 0.2,
  commit: 0.2,
  decommit: 0.2,
  protect: 0.05,
  prefault: 0.2,
};

const KINDS: readonly PoolOptions[] = [
  { blockSize: 16_384, maxBlocks: 16, prefault: true },
  { blockSize: 4096, maxBlocks: 24, safety: "strict" },
  { blockSize: 512, maxBlocks: 24, safety: "strict", name: "small strict" },
  { blockSize: 8192, maxBlocks: 12, safety: "trust", reservedBlocks: 2 },
  { blockSize: 65_536, maxBlocks: 8, maxWaiting: 4, leakDetection: "all" },
  { blockSize: 2048, maxBlocks: 12, backend: "heap" },
];

const CLASSES: readonly PoolOptions[] = [
  { blockSize: 1024, maxBlocks: 12 },
  { blockSize: 8192, maxBlocks: 6 },
  { blockSize: 32_768, maxBlocks: 4 },
];

const COMMON: Partial<PoolOptions> = { initialBlocks: 4, shrinkIntervalMs: 20 };

/** How many kinds of pools there are. */
export const HOMES = KINDS.length + 1;

/** One pool, while it lives. */
export class Home {
  readonly pool: BlockPool | SizeClassPool;
  readonly safety: PoolOptions["safety"];
  readonly isHeap: boolean;
  /** Blocks that were taken out of the pool on purpose. */
  expectedLosses = 0;
  readonly #chaos: Chaos;
  readonly #score: Score;

  constructor(kind: number, rng: Rng, score: Score) {
    this.#score = score;
    const options = KINDS[kind];
    this.safety = options?.safety;
    this.isHeap = options?.backend === "heap";
    this.#chaos = new Chaos(rng, ODDS);
    const make = () =>
      options === undefined
        ? new SizeClassPool(CLASSES.map((each) => ({ ...COMMON, ...each })))
        : new BlockPool({ ...COMMON, ...options } as PoolOptions);
    for (let pool;; this.#score.refusal("no pool")) {
      try {
        pool = this.#chaos.during(make);
      } catch (error) {
        // The OS would not give the first blocks: ask again.
        if (error instanceof SmritiError && error.code === "out-of-memory") {
          continue;
        }
        throw error;
      }
      this.pool = pool;
      return;
    }
  }

  /** Blocks for a plan; rejects as the library does. */
  async acquire(plan: Plan, signal: AbortSignal | undefined): Promise<Block[]> {
    const { pool } = this;
    const { reserved, tag, timeoutMs, upgrade } = plan;
    const how = { reserved, tag, timeoutMs, signal };
    if (pool instanceof SizeClassPool) {
      const size = Math.floor(plan.size * 32_769);
      if (plan.way !== "try") {
        return [await pool.acquire(size, { ...how, upgrade })];
      }
      return asArray(pool.tryAcquire(size, { reserved, tag, upgrade }));
    }
    if (plan.way === "try") return asArray(pool.tryAcquire({ reserved, tag }));
    if (plan.way === "many") return await pool.acquireMany(plan.count, how);
    return [await pool.acquire(how)];
  }

  /** The numbers of the pool, or of its classes. */
  stats(): PoolStats[] {
    const { pool } = this;
    return pool instanceof BlockPool ? [pool.stats()] : pool.stats();
  }

  /** Counts it if the numbers do not agree with each other. */
  checkLaw(): void {
    for (const stats of this.stats()) {
      this.#score.lawChecks++;
      try {
        lawful({ stats: () => stats });
      } catch (error) {
        this.#score.lawViolations++;
        this.#score.surprises.push(error);
      }
    }
  }

  /** Closes the pool while others use it; nothing may be missing in the end. */
  async end(): Promise<void> {
    const score = this.#score;
    const refused = this.#chaos.injected;
    score.fault("refused by the OS", refused);
    try {
      await this.pool.close({ timeoutMs: 20_000 });
    } catch (error) {
      const code = error instanceof SmritiError ? error.code : "";
      // What was written late and not come upon before.
      if (code === "corrupted") score.refusal(code);
      else score.surprises.push(error);
    }
    this.checkLaw();
    const stats = this.stats();
    const sum = (name: "acquiredBlocks" | "abandonedBlocks") =>
      stats.reduce((sum, each) => sum + each[name], 0);
    const lost = sum("acquiredBlocks") + sum("abandonedBlocks") -
      this.expectedLosses;
    // What the OS would not take back at the end counts as abandoned.
    const isKept = this.#chaos.injected > refused;
    if (isKept ? lost < 0 : lost !== 0) {
      score.blocksLost += Math.abs(lost);
      score.surprises.push(new Error(`lost ${lost}: ${Deno.inspect(stats)}`));
    }
    const isMapped = stats.some(({ mappedBytes }) => mappedBytes > 0);
    // On the heap nothing stays behind: the memory is the buffer's.
    const mayStay = this.expectedLosses > 0 && !this.isHeap;
    if (!isKept && isMapped !== mayStay) {
      score.surprises.push(new Error(`mapped: ${Deno.inspect(stats)}`));
    }
    score.poolsClosed++;
  }
}

function asArray(block: Block | undefined): Block[] {
  return block === undefined ? [] : [block];
}
