/**
 * Several block pools as one, each for a size class: a request is served by the smallest that fits.
 *
 * Owns nothing but the pools and what was asked of them; everything about blocks is theirs.
 */
import type { Block } from "./block.ts";
import { BlockPool, takeFast } from "./block_pool.ts";
import { complain } from "./console.ts";
import { SmritiError } from "./errors.ts";
import { boolean, integer, show, snapshot } from "./checks.ts";
import { showAs } from "./console.ts";
import {
  ACQUIRE_NAMES,
  type AcquireOptions,
  checkAcquire,
  type CloseOptions,
  closeTimeout,
  POOL_NAMES,
  type PoolOptions,
  TRY_NAMES,
  type TryAcquireOptions,
} from "./options.ts";
import type { PoolStats } from "./stats.ts";

const TRY_SIZE_NAMES = new Set([...TRY_NAMES, "upgrade"] as const);
const SIZE_NAMES = new Set([...ACQUIRE_NAMES, "upgrade"] as const);

/** The further option of a request for a size. */
export interface UpgradeOptions {
  /**
   * Whether a larger class with a free block may serve when the right one has none. Always the
   * smallest such class. Default false.
   */
  upgrade?: boolean | undefined;
}

/** The numbers of one size class. */
export interface SizeClassStats extends PoolStats {
  /** Sum of the bytes asked for by the leases this class began. */
  readonly askedBytes: number;
  /** Sum of the bytes those leases got beyond what they asked for. */
  readonly wastedBytes: number;
  /** Leases that a smaller class should have served. */
  readonly upgrades: number;
}

interface SizeClass {
  readonly pool: BlockPool;
  asked: number;
  leases: number;
  upgrades: number;
}

/**
 * A pool with several block sizes.
 *
 * @example A block that fits
 * ```ts
 * import { SizeClassPool } from "@smriti/pool";
 *
 * await using pool = new SizeClassPool([
 *   { blockSize: 4096, maxBlocks: 256 },
 *   { blockSize: 65536, maxBlocks: 64 },
 * ]);
 * using block = await pool.acquire(5000);
 * console.log(block.size); // 65536
 * ```
 */
export class SizeClassPool implements Disposable, AsyncDisposable {
  static {
    showAs(SizeClassPool.prototype, (pool) => pool.#line());
  }

  /** Smallest first. */
  readonly #classes: SizeClass[] = [];
  /** Their block sizes, in the same order. */
  readonly #sizes: readonly number[];

  /**
   * Makes one pool for each entry; the options are those of {@linkcode BlockPool}. The default name
   * of a class has its size in it.
   *
   * @throws {TypeError | RangeError} for wrong options, an empty list or two classes of one size
   * @throws {SmritiError} as `BlockPool` does; no class is left mapped then
   */
  constructor(classes: readonly PoolOptions[]) {
    if (!Array.isArray(classes) || classes.length === 0) {
      throw new TypeError(
        `classes must be an array with at least one entry, got ${
          show(classes)
        }`,
      );
    }
    try {
      for (const options of classes) this.#add(options);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
    this.#classes.sort((a, b) => a.pool.blockSize - b.pool.blockSize);
    this.#sizes = this.#classes.map(({ pool }) => pool.blockSize);
  }

  /** Whether the pool is closed. */
  get closed(): boolean {
    return this.#classes[0]!.pool.closed;
  }

  /**
   * A block of at least `byteLength` bytes, from the smallest class that fits; waits for that class.
   *
   * @param byteLength Bytes needed, an integer from 0 to the largest class's size
   * @returns A promise that rejects as `BlockPool.acquire` does, or with a `RangeError` when no
   * class is large enough
   */
  acquire(
    byteLength: number,
    options?: AcquireOptions & UpgradeOptions,
  ): Promise<Block> {
    return options === undefined && this.#fits(byteLength)
      ? this.#acquirePlain(byteLength)
      : this.#acquire(byteLength, options);
  }

  /**
   * A block of at least `byteLength` bytes, or `undefined` if there is none for this caller now.
   *
   * @throws {RangeError} when no class is large enough
   * @throws {SmritiError} `closed`
   */
  tryAcquire(
    byteLength: number,
    options?: TryAcquireOptions & UpgradeOptions,
  ): Block | undefined {
    const first = this.#classFor(byteLength);
    if (options === undefined) {
      const served = this.#classes[first]!;
      const block = served.pool.tryAcquire();
      // Stores only, here and below: if a call threw, the block would be lost.
      if (block !== undefined) {
        served.asked += byteLength;
        served.leases++;
      }
      return block;
    }
    const { upgrade, rest } = split(options, TRY_SIZE_NAMES);
    return this.#tryFrom(first, upgrade, rest, byteLength);
  }

  /**
   * Same as `block.release()`.
   *
   * @throws {TypeError} if it is no block
   * @throws {SmritiError} `foreign-block` if it is another pool's, `released` if its lease has ended
   */
  release(block: Block): void {
    const at = this.#sizes.indexOf(block?.size);
    this.#classes[Math.max(at, 0)]!.pool.release(block);
  }

  /** The numbers of each class, the smallest first. */
  stats(): SizeClassStats[] {
    return this.#classes.map(({ pool, asked, leases, upgrades }) =>
      Object.freeze({
        ...pool.stats(),
        askedBytes: asked,
        wastedBytes: leases * pool.blockSize - asked,
        upgrades,
      })
    );
  }

  /** Gives the free memory of every class above its initial blocks back; returns the bytes. */
  trim(): number {
    return this.#classes.reduce((sum, { pool }) => sum + pool.trim(), 0);
  }

  /** As {@linkcode BlockPool.seal}, of every class. */
  seal(): void {
    for (const { pool } of this.#classes) pool.seal();
  }

  /**
   * Closes every class, as {@linkcode BlockPool.close} does.
   *
   * @returns A promise that rejects with a `timeout` error if blocks of any class were still out
   */
  async close(options?: CloseOptions): Promise<void> {
    const timeoutMs = closeTimeout(options);
    const ends = await Promise.allSettled(
      this.#classes.map(({ pool }) => pool.close({ timeoutMs })),
    );
    const errors = ends.filter((end) => end.status === "rejected")
      .map(({ reason }) => reason);
    if (errors.length <= 1 || !(errors[0] instanceof SmritiError)) {
      if (errors.length > 0) throw errors[0];
      return;
    }
    throw new SmritiError(
      errors[0].code,
      errors.map(({ message }) => message).join("; "),
      { cause: new AggregateError(errors) },
    );
  }

  /** Closes every class without waiting. */
  [Symbol.dispose](): void {
    for (const { pool } of this.#classes) pool[Symbol.dispose]();
  }

  /** Closes, and never rejects: what `close()` would reject with is printed by `console.error`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close().catch(complain);
  }

  #line(): string {
    const classes = this.stats().map((stats) =>
      `${stats.acquiredBlocks} of ${stats.committedBlocks} × ` +
      `${stats.blockSize} bytes`
    );
    const state = this.closed ? ", closed" : "";
    return `SizeClassPool(in use: ${classes.join(", ")}${state})`;
  }

  #add(options: PoolOptions): void {
    const own = snapshot("options", options, POOL_NAMES);
    const size = own.blockSize;
    if (this.#classes.some(({ pool }) => pool.blockSize === size)) {
      throw new RangeError(
        `blockSize must differ between classes, got ${show(size)} twice`,
      );
    }
    // A size that is no number is refused below, by name.
    const fallback = typeof size === "number" ? `smriti ${size}` : undefined;
    const pool = new BlockPool({ name: fallback, ...own } as PoolOptions);
    this.#classes.push({ pool, asked: 0, leases: 0, upgrades: 0 });
  }

  #fits(byteLength: number): boolean {
    const largest = this.#sizes[this.#sizes.length - 1]!;
    return Number.isInteger(byteLength) && byteLength >= 0 &&
      byteLength <= largest;
  }

  /** Index of the smallest class that holds so many bytes. */
  #classFor(byteLength: number): number {
    const sizes = this.#sizes;
    if (!this.#fits(byteLength)) {
      integer("byteLength", byteLength, 0, sizes[sizes.length - 1]);
    }
    let at = 0;
    while (sizes[at]! < byteLength) at++;
    return at;
  }

  /** The common case, without a promise of our own around the pool's. */
  #acquirePlain(byteLength: number): Promise<Block> {
    const served = this.#classes[this.#classFor(byteLength)]!;
    const block = takeFast(served.pool);
    if (block === undefined) return this.#acquire(byteLength, undefined);
    served.asked += byteLength;
    served.leases++;
    return Promise.resolve(block);
  }

  async #acquire(
    byteLength: number,
    options: (AcquireOptions & UpgradeOptions) | undefined,
  ): Promise<Block> {
    const first = this.#classFor(byteLength);
    const { upgrade, rest } = split(options, SIZE_NAMES);
    if (upgrade && !rest.signal?.aborted) {
      checkAcquire(rest);
      const { reserved, tag } = rest;
      const block = this.#tryFrom(first, true, { reserved, tag }, byteLength);
      if (block !== undefined) return block;
    }
    const served = this.#classes[first]!;
    const block = await served.pool.acquire(rest);
    served.asked += byteLength;
    served.leases++;
    return block;
  }

  /** A block of class `first`, or of the first one after it that has one. */
  #tryFrom(
    first: number,
    upgrade: boolean,
    options: TryAcquireOptions,
    byteLength: number,
  ): Block | undefined {
    const end = upgrade ? this.#classes.length : first + 1;
    for (let at = first; at < end; at++) {
      const served = this.#classes[at]!;
      const block = served.pool.tryAcquire(options);
      if (block === undefined) continue;
      served.asked += byteLength;
      served.leases++;
      if (at !== first) served.upgrades++;
      return block;
    }
    return undefined;
  }
}

/** Takes `upgrade` out of the options; the rest is checked by the class's pool. */
function split<T extends object>(
  options: (T & UpgradeOptions) | undefined,
  names: ReadonlySet<string>,
): { upgrade: boolean; rest: T } {
  if (options === undefined) return { upgrade: false, rest: {} as T };
  const { upgrade = false, ...rest } = snapshot("options", options, names);
  return { upgrade: boolean("upgrade", upgrade), rest: rest as T };
}
