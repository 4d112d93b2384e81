/**
 * Bodies of unknown length that grow in one pool, and how many of them may: each takes one block
 * after another, so several that together want more than there is would wait for each other.
 *
 * Resource reservation, as in the banker's algorithm, with two claims: one block, or all that a body
 * may come to. Each may have a first block. To have a second one a body is admitted: what all that
 * were admitted may come to, and what others hold, fits into the pool, or no other grows. Those
 * that wait for that come in their order. What was promised can still be missing, with those that
 * wait or with others of the pool's users: then one that waits gives its block up and keeps a copy of
 * what was in it, and the younger of those that were admitted give way to the eldest.
 */
import { type Block, type Pool, type PoolStats, SmritiError } from "../mod.ts";
import { Abort } from "./abort.ts";
import type { WaitOptions } from "./check.ts";
import { askHeadroom } from "./headroom.ts";

/** How long a body that holds blocks waits for a further one before it gives way. */
const PATIENCE_MS = 1000;
/** The same of the eldest, to whom others give way. */
const MOST_PATIENCE_MS = 10_000;

/** The share of a pool that a body without a limit is thought to come to. */
const USUAL_SHARE = 8;

const growths = new WeakMap<Pool, Growth>();

/** What is known of the growing bodies of a pool. */
export function growthOf(pool: Pool): Growth {
  let growth = growths.get(pool);
  if (growth === undefined) growths.set(pool, growth = new Growth(pool));
  return growth;
}

/** What a pool says of itself; a double of one may say less. */
function numbersOf(pool: Pool): Partial<PoolStats> {
  return pool.stats();
}

/** A body at one of the two gates. */
export interface Place {
  readonly grower: Grower;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/** The growing bodies of one pool. */
export class Growth {
  readonly #pool: Pool;
  /** Blocks kept back for reserved acquires: the most that were seen, until it must be all. */
  #reserved = 0;
  #isKnown = false;
  /** Bodies that have a first block, or are about to, and were not admitted. */
  #firsts = 0;
  /** Those that were, the eldest first. */
  readonly #admitted = new Set<Grower>();
  /** Blocks that those may come to. */
  #claimed = 0;
  /** Blocks that all of them hold. */
  #held = 0;
  readonly #toBegin = new Set<Place>();
  readonly #toGrow = new Set<Place>();
  /** Admitted ones that wait for a block. */
  #inNeed = 0;

  /** Nothing grows yet. */
  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** The most blocks that a body can ever have. */
  get capacity(): number {
    if (!this.#isKnown) {
      // The pool tells of the reserve as far as it is free.
      const { reservedBlocks = 0, freeBlocks = 0 } = numbersOf(this.#pool);
      this.#reserved = Math.max(this.#reserved, reservedBlocks);
      this.#isKnown = reservedBlocks < freeBlocks;
    }
    return Math.max(1, this.#pool.maxBlocks - this.#reserved);
  }

  /** Lets in all that may: after blocks have gone back, by a call that may come near the end of the stack. */
  freed(): void {
    if (this.#toGrow.size === 0 && this.#toBegin.size === 0) return;
    askHeadroom();
    this.look();
  }

  /** Lets in all that may: to be called when something has ended. */
  look(): void {
    for (const place of this.#toGrow) {
      if (!this.#mayGrow(place.grower)) break;
      this.#toGrow.delete(place);
      this.#admit(place.grower);
      place.resolve();
    }
    for (const place of this.#toBegin) {
      if (!this.#mayBegin()) break;
      this.#toBegin.delete(place);
      this.#begin(place.grower);
      place.resolve();
    }
  }

  /** Lets a body have its first block, or admits one that has it, if that may be now. */
  tryEnter(grower: Grower): boolean {
    if (grower.stage === "outside") {
      if (this.#toBegin.size > 0 || !this.#mayBegin()) return false;
      this.#begin(grower);
    } else if (grower.stage === "begun" && grower.held > 0) {
      if (this.#toGrow.size > 0 || !this.#mayGrow(grower)) return false;
      this.#admit(grower);
      if (this.#toBegin.size > 0) this.look(); // its place among the first is free
    }
    return true;
  }

  /** The same as soon as it may be. */
  async enter(grower: Grower): Promise<void> {
    if (this.tryEnter(grower)) return;
    const isOutside = grower.stage === "outside";
    await this.#wait(isOutside ? this.#toBegin : this.#toGrow, grower);
  }

  /** A body has got a block; one without a limit may come to more than was thought. */
  gained(beyondClaim: boolean): void {
    this.#held++;
    if (beyondClaim) this.#claimed++;
  }

  /** A body has ended. */
  ended(grower: Grower): void {
    const { place } = grower;
    if (place !== undefined) {
      this.#toBegin.delete(place);
      this.#toGrow.delete(place);
      place.reject(givenUp());
    }
    if (grower.stage === "outside") return;
    if (this.#admitted.delete(grower)) this.#claimed -= grower.claim;
    else this.#firsts--;
    grower.stage = "outside";
    this.#held -= grower.held;
    this.look();
  }

  /** Whether all others of those admitted came later. */
  isEldest(grower: Grower): boolean {
    return this.#admitted.values().next().value === grower;
  }

  /** One that was admitted waits for a block: those that wait to be give theirs up until it ends. */
  need(): () => void {
    this.#inNeed++;
    this.#makeWay();
    const timer = setInterval(() => this.#makeWay(), PATIENCE_MS);
    return () => {
      this.#inNeed--;
      clearInterval(timer);
    };
  }

  /** The youngest of those that hold a block and wait to be admitted gives it up. */
  #makeWay(): void {
    const { grower } =
      [...this.#toGrow].findLast(({ grower }) => grower.held > 0) ?? {};
    if (grower === undefined) return;
    this.#held -= grower.held;
    grower.held = 0;
    grower.giveUp();
  }

  #begin(grower: Grower): void {
    grower.stage = "begun";
    this.#firsts++;
  }

  #admit(grower: Grower): void {
    grower.stage = "admitted";
    this.#firsts--;
    this.#admitted.add(grower);
    this.#claimed += grower.claim;
  }

  #mayBegin(): boolean {
    return this.#firsts < Math.max(1, Math.floor(this.capacity / 2));
  }

  #mayGrow({ claim }: Grower): boolean {
    if (this.#admitted.size === 0) return true;
    const { acquiredBlocks = 0 } = numbersOf(this.#pool);
    const others = acquiredBlocks - this.#held;
    const firsts = this.#firsts - 1;
    return this.#claimed + claim + firsts + others <= this.capacity;
  }

  async #wait(gate: Set<Place>, grower: Grower): Promise<void> {
    const { signal, timeoutMs } = grower.options;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const place: Place = { grower, resolve, reject };
    const abort = new Abort(signal);
    const timer = timeoutMs === undefined ? undefined : setTimeout(
      () => {
        const why = `no room to grow beside others within ${timeoutMs} ms`;
        reject(new SmritiError("timeout", why));
      },
      timeoutMs,
    );
    gate.add(place);
    grower.place = place;
    try {
      if (gate === this.#toGrow && this.#inNeed > 0) this.#makeWay();
      await abort.race(promise);
    } finally {
      grower.place = undefined;
      gate.delete(place);
      clearTimeout(timer);
      abort.end();
    }
  }
}

/** One body that takes block after block. Exactly one `end()` must follow. */
export class Grower {
  /** How far it has come among the pool's growing bodies. Theirs to change. */
  stage: "outside" | "begun" | "admitted" = "outside";
  /** Where it waits, if it does. Theirs, too. */
  place: Place | undefined = undefined;
  /** Blocks that it may come to, as far as is known. */
  claim: number;
  /** Blocks that it has. */
  held = 0;
  /** Of the waits. */
  readonly options: WaitOptions;
  /** Gives the one block back, and keeps a copy of what is in it. */
  readonly giveUp: () => void;

  readonly #pool: Pool;
  readonly #growth: Growth;
  readonly #take: (block: Block) => void;
  #isOver = false;

  /** `most`: blocks that it may come to, if it has a limit; `take` gets each of them. */
  constructor(
    pool: Pool,
    most: number | undefined,
    options: WaitOptions,
    take: (block: Block) => void,
    giveUp: () => void,
  ) {
    this.#pool = pool;
    this.#take = take;
    this.giveUp = giveUp;
    this.#growth = growthOf(pool);
    this.options = options;
    this.claim = most ??
      Math.max(2, Math.floor(this.#growth.capacity / USUAL_SHARE));
  }

  /** One more block, if there is one now. */
  tryNext(): boolean {
    if (!this.#isAlone && !this.#growth.tryEnter(this)) return false;
    const block = this.#pool.tryAcquire();
    if (block !== undefined) this.#had(block);
    return block !== undefined;
  }

  /**
   * The same as soon as there is one.
   *
   * @throws what the pool's `acquire` does; `released` if `end` is called meanwhile
   */
  async next(): Promise<void> {
    if (this.#isOver) throw givenUp();
    if (!this.#isAlone) await this.#growth.enter(this);
    const block = this.stage === "admitted"
      ? await this.#further()
      : await this.#pool.acquire(this.options);
    // In the same turn, or there were one in which nothing has the block.
    if (!this.#isOver) return this.#had(block);
    block.release();
    throw givenUp();
  }

  /** It has all its blocks, or gives them back. */
  end(): void {
    this.#isOver = true;
    this.#growth.ended(this);
  }

  /** One block alone is as any other acquire; and a closed pool says itself that it is. */
  get #isAlone(): boolean {
    return this.claim <= 1 || this.#pool.closed;
  }

  #had(block: Block): void {
    this.#take(block);
    this.held++;
    if (this.stage !== "outside") {
      const isBeyond = this.held > this.claim;
      if (isBeyond) this.claim++;
      this.#growth.gained(isBeyond);
    }
  }

  async #further(): Promise<Block> {
    const growth = this.#growth;
    const { signal, timeoutMs = MOST_PATIENCE_MS } = this.options;
    const acquire = (most: number) =>
      this.#pool.acquire({ signal, timeoutMs: Math.min(timeoutMs, most) });
    const now = this.#pool.tryAcquire();
    if (now !== undefined) return now;
    const hasEnded = growth.need();
    try {
      if (growth.isEldest(this)) return await acquire(MOST_PATIENCE_MS);
      try {
        return await acquire(PATIENCE_MS);
      } catch (error) {
        // It may have become the eldest meanwhile.
        const isOver = timeoutMs <= PATIENCE_MS || !growth.isEldest(this) ||
          !(error instanceof SmritiError && error.code === "timeout");
        if (isOver) throw error;
        return await acquire(MOST_PATIENCE_MS);
      }
    } finally {
      hasEnded();
    }
  }
}

function givenUp(): SmritiError {
  return new SmritiError("released", "the body was given up");
}
