/**
 * What every pool promises: the interface that `BlockPool` and `SharedBlockPool` implement, and
 * that a test double of yours can.
 */
import type { Block } from "./block.ts";
import type {
  PoolEventListener,
  PoolEventType,
  PoolListenerOptions,
} from "./events.ts";
import type {
  AcquireOptions,
  CloseOptions,
  TryAcquireOptions,
} from "./options.ts";
import type { PoolStats } from "./stats.ts";

/** Blocks acquired together. Disposing the array releases those not yet released. */
export type BlockArray = Block[] & Disposable;

/** A pool of blocks of one size. */
export interface Pool extends Disposable, AsyncDisposable {
  /** Bytes in one block. */
  readonly blockSize: number;
  /** The most blocks there can be. */
  readonly maxBlocks: number;
  /** Where the memory comes from. */
  readonly backend: "native" | "heap";
  /** Label in messages, stats and events. */
  readonly name: string;
  /** Whether `close` was called. */
  readonly closed: boolean;
  /** A block, as soon as there is one. */
  acquire(options?: AcquireOptions): Promise<Block>;
  /** A block, or `undefined` if there is none for this caller now. */
  tryAcquire(options?: TryAcquireOptions): Block | undefined;
  /** A block, or an `exhausted` error. */
  acquireSync(options?: TryAcquireOptions): Block;
  /** Several blocks at once, or none. */
  acquireMany(count: number, options?: AcquireOptions): Promise<BlockArray>;
  /** Lends a block to `fn` and releases it afterwards. */
  use<T>(
    fn: (block: Block) => T | PromiseLike<T>,
    options?: AcquireOptions,
  ): Promise<T>;
  /** Same as `block.release()`. */
  release(block: Block): void;
  /** The pool's numbers now. */
  stats(): PoolStats;
  /** Gives free memory back now; returns the bytes. */
  trim(): number;
  /** Ends the pool. Disposing it asynchronously does the same, and never rejects. */
  close(options?: CloseOptions): Promise<void>;
  /** Listens to what the pool does. */
  addEventListener<K extends PoolEventType>(
    type: K,
    listener: PoolEventListener<K>,
    options?: PoolListenerOptions,
  ): void;
  /** Stops listening. */
  removeEventListener<K extends PoolEventType>(
    type: K,
    listener: PoolEventListener<K>,
  ): void;
}

/** An array that releases its blocks when disposed. */
export function blockArray(blocks: Block[]): BlockArray {
  const dispose = () => {
    let failed: { error: unknown } | undefined;
    for (const block of blocks) {
      try {
        block[Symbol.dispose]();
      } catch (error) {
        // `corrupted`, in strict mode, about another block; the rest is released all the same.
        failed ??= { error };
      }
    }
    if (failed !== undefined) throw failed.error;
  };
  return Object.defineProperty(blocks, Symbol.dispose, {
    value: dispose,
  }) as BlockArray;
}
