// Random numbers that can be had again: the same seed gives the same run.

/** The seed of this run: `SMRITI_SEED`, or a new one. Print it where it matters. */
export function seedOfRun(): number {
  const given = Deno.env.get("SMRITI_SEED");
  if (given === undefined) return (Math.random() * 2 ** 32) >>> 0;
  const seed = Number(given);
  if (!Number.isInteger(seed)) {
    throw new RangeError(`SMRITI_SEED must be an integer, got ${given}`);
  }
  return seed >>> 0;
}

/** A generator of 32-bit numbers (mulberry32), seeded. */
export class Rng {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A number of 32 bits. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** An integer from 0 to `end - 1`. */
  below(end: number): number {
    return this.next() % end;
  }

  /** Whether a thing of this probability happens. */
  chance(probability: number): boolean {
    return this.next() < probability * 2 ** 32;
  }

  /** One of the items. */
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)];
  }
}
