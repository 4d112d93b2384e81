/**
 * Blocks that are filled one after another until they are a chain, or go back. Knows nothing of
 * where the bytes come from.
 */
import type { Block, Pool } from "../mod.ts";
import { BlockChain } from "./block_chain.ts";
import { disposeAll, firstOf } from "./blocks.ts";
import type { WaitOptions } from "./check.ts";
import { Grower, growthOf } from "./growth.ts";

/** Blocks being filled. Exactly one `end()` must follow. */
export class Filling {
  /** Bytes in the blocks so far. */
  filled = 0;

  readonly #pool: Pool;
  readonly #options: WaitOptions;
  readonly #grower: Grower;
  #blocks: Block[] = [];
  /** How many bytes there will be, if that is known. */
  #reserved = Infinity;
  /** What was in the one block, which a body that came before has now. */
  #kept: Uint8Array | undefined;

  /** `limit`: the most bytes there will be, if that is known. */
  constructor(pool: Pool, limit: number | undefined, options: WaitOptions) {
    const most = limit && Math.ceil(limit / pool.blockSize);
    this.#pool = pool;
    this.#options = options;
    this.#grower = new Grower(
      pool,
      most,
      options,
      (block) => this.#add(block),
      () => this.#giveUp(),
    );
  }

  /** Where the next bytes go: the free part of the last block; of length 0 if one must be added. */
  get room(): Uint8Array<ArrayBuffer> {
    const size = this.#pool.blockSize;
    const at = this.filled % size;
    const block = this.#blocks[Math.floor(this.filled / size)];
    if (block === undefined) return NOTHING;
    return firstOf(block, Math.min(size, this.#reserved - this.filled + at))
      .subarray(at);
  }

  /** Adds a block if there is one now. */
  tryGrow(): boolean {
    return this.#grower.tryNext();
  }

  /** Adds a block, and the one before it if that was given up meanwhile. */
  async grow(): Promise<void> {
    do await this.#grower.next(); while (this.room.length === 0);
  }

  #add(block: Block): void {
    this.#blocks.push(block);
    if (this.#kept === undefined) return;
    block.bytes.set(this.#kept);
    this.#kept = undefined;
  }

  /** Adds as many blocks as so many bytes need, all together. */
  async reserve(bytes: number): Promise<void> {
    const count = Math.ceil(bytes / this.#pool.blockSize);
    this.#reserved = bytes;
    this.#blocks = count > 1
      ? await this.#pool.acquireMany(count, this.#options)
      : [await this.#pool.acquire(this.#options)];
  }

  #giveUp(): void {
    const block = this.#blocks[0]!;
    this.#blocks = [];
    if (!block.released) this.#kept = block.bytes.slice();
    block[Symbol.dispose]();
  }

  /** The blocks become a chain, which has them from now on. */
  finish(): BlockChain {
    const blocks = this.#blocks;
    this.#blocks = [];
    const growth = growthOf(this.#pool);
    return new BlockChain(blocks, this.filled, () => growth.freed());
  }

  /** Gives back what has not become a chain. */
  end(): void {
    const blocks = this.#blocks;
    this.#blocks = [];
    try {
      disposeAll(blocks);
    } finally {
      this.#grower.end();
    }
  }
}

const NOTHING = new Uint8Array(0);
