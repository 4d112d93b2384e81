/**
 * A chain that the caller fills, write by write: a parser of multipart forms, archives or
 * protocols of its own. Owns the blocks until the chain is complete.
 */
import { type Pool, SmritiError } from "../mod.ts";
import { Abort, listenWeakly } from "./abort.ts";
import type { BlockChain } from "./block_chain.ts";
import { bytesIn, checkStillThere } from "./bytes.ts";
import { checkPool, limitOf, optionsOf, type WaitOptions } from "./check.ts";
import { Filling } from "./filling.ts";
import { growthOf } from "./growth.ts";
import { askHeadroom, UNWOUND } from "./headroom.ts";

/** How to collect what is written. */
export interface CollectorOptions extends WaitOptions {
  /** The most bytes that may be written; as with `collect`. */
  limit?: number | undefined;
}

/** Takes bytes until they are a chain. */
export interface Collector extends Disposable {
  /**
   * Copies the bytes to blocks, which may have to be waited for. When the promise has settled, the
   * bytes are the caller's again. Writes that are not awaited are done in their order.
   *
   * @throws {RangeError} (as all errors here: as a rejection) if that would be more than `limit`
   * @throws {TypeError} if it is no Uint8Array
   * @throws {SmritiError} `timeout`, `exhausted` or `closed`, when there is no block; `released`
   * after `finish()` or when disposed
   * @throws `signal.reason`
   */
  write(bytes: Uint8Array): Promise<void>;

  /**
   * The same for pipes. Aborting it gives all blocks back; and it fails, so that a pipe ends, as soon
   * as nothing more can be written: after an abort of `signal`, `finish()`, or when disposed.
   */
  readonly writable: WritableStream<Uint8Array>;

  /**
   * The chain of all that was written, which the caller has to release; `null` if it was more than
   * `limit`. Never less: after a write that failed it throws what that one did.
   *
   * @throws {TypeError} while a write is under way, or `writable` is locked and not closed
   * @throws {SmritiError} `released` if it was called before, or disposed
   */
  finish(): BlockChain | null;
}

/**
 * Collects what is written to it into a chain of blocks: for bytes that come from a parser or from
 * callbacks and not from a body alone. Otherwise as `collect`: `limit`, the order in which several
 * grow and the waits are the same. All blocks go back as soon as one write has failed.
 *
 * Let `using` dispose it: that gives back what was not finished.
 *
 * @param pool Where the blocks come from
 * @param options `limit`, without which one may take the whole pool; `signal`; `timeoutMs`
 * @throws {TypeError} if an argument is of the wrong kind
 * @throws {RangeError} if `limit` or `timeoutMs` is out of range
 *
 * @example What a parser finds
 * ```ts
 * import { BlockPool } from "@smriti/pool";
 * import { collector } from "@smriti/pool/io";
 *
 * using pool = new BlockPool({ blockSize: 64 * 1024, maxBlocks: 256 });
 *
 * using file = collector(pool, { limit: 1_000_000 });
 * for (const part of ["one, ", "two"]) {
 *   await file.write(new TextEncoder().encode(part));
 * }
 * using chain = file.finish();
 * console.log(chain?.text());
 * ```
 */
export function collector(pool: Pool, options?: CollectorOptions): Collector {
  checkPool(pool);
  optionsOf(options, ["limit", "signal", "timeoutMs"]);
  return new Collecting(pool, options ?? {});
}

class Collecting implements Collector {
  readonly #limit: number;
  readonly #filling: Filling;
  readonly #signal: AbortSignal | undefined;
  readonly #unlisten: () => void;
  /** The event loop's, in a loop of writes that need not wait. */
  readonly #turns = new Abort(undefined);
  /** Settles when the last write so far has. */
  #last: Promise<unknown> = Promise.resolve();
  #writing = 0;
  #written = 0;
  /** Why no more can be written. */
  #over: { readonly error: unknown } | undefined;
  #isTooLarge = false;
  #writable: WritableStream<Uint8Array> | undefined;
  #controller: WritableStreamDefaultController | undefined;
  /** Writes that the stream has not handed on, and whether there will be more. */
  #queued = 0;
  #isClosed = false;

  constructor(pool: Pool, { limit, signal, timeoutMs }: CollectorOptions) {
    const most = growthOf(pool).capacity * pool.blockSize;
    this.#limit = Math.min(limitOf(limit, Infinity), most);
    const known = limit === undefined ? undefined : this.#limit;
    this.#filling = new Filling(pool, known, { signal, timeoutMs });
    this.#signal = signal;
    this.#unlisten = listenWeakly(signal, this);
    if (signal?.aborted) this.interrupt(signal.reason);
  }

  async write(bytes: Uint8Array): Promise<void> {
    const before = this.#writing++ > 0 ? this.#last : undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#last = promise;
    try {
      this.#check();
      const view = bytesIn("bytes", bytes);
      const { length } = view;
      this.#written += length;
      // Known at once, though others are before it: nothing of it is kept.
      if (this.#written > this.#limit) {
        this.#isTooLarge = true;
        throw new RangeError(
          `the bytes written must be at most limit (${this.#limit}), got ${this.#written}`,
        );
      }
      if (before !== undefined || this.#turns.check()) {
        await before;
        if (this.#turns.check()) await this.#turns.turn();
        this.#check();
      }
      // No promise for what there is room for.
      const rest = this.#take(view, length);
      if (rest !== undefined) await rest;
    } catch (error) {
      await UNWOUND; // the stack may have ended here
      throw this.#fail(error);
    } finally {
      this.#writing--;
      resolve();
    }
  }

  get writable(): WritableStream<Uint8Array> {
    return this.#writable ??= new WritableStream({
      start: (controller) => {
        this.#controller = controller;
        if (this.#over !== undefined) controller.error(this.#over.error);
      },
      write: (bytes) => {
        this.#queued--;
        return this.write(bytes);
      },
      close: () => void (this.#isClosed = true),
      abort: (reason = new DOMException("aborted", "AbortError")) =>
        void this.#fail(reason),
    }, {
      highWaterMark: 1,
      // Asked of each write as soon as it is made.
      size: () => {
        this.#queued++;
        return 1;
      },
    });
  }

  finish(): BlockChain | null {
    if (this.#isTooLarge) return null;
    this.#check();
    const isPiping = this.#writable?.locked === true && !this.#isClosed;
    if (this.#writing > 0 || this.#queued > 0 || isPiping) {
      throw new TypeError(
        "finish() must come after all writes have settled, and the pipe has ended",
      );
    }
    askHeadroom();
    const chain = this.#filling.finish();
    this.#end(finished());
    return chain;
  }

  [Symbol.dispose](): void {
    if (this.#over !== undefined) return;
    askHeadroom();
    this.#end(finished());
  }

  /** For the signal. */
  interrupt(reason: unknown): void {
    this.#fail(reason);
  }

  #check(): void {
    if (this.#over !== undefined) throw this.#over.error;
  }

  /** Copies all of it; what there is room for now, at once. */
  #take(view: Uint8Array, length: number): Promise<void> | undefined {
    let at = 0;
    const copy = () => {
      checkStillThere("bytes", view, length);
      const { room } = this.#filling;
      const part = view.subarray(at, at + room.length);
      room.set(part);
      at += part.length;
      this.#filling.filled += part.length;
    };
    for (; at < length; copy()) {
      if (this.#filling.room.length > 0 || this.#filling.tryGrow()) continue;
      return this.#takeRest(() => at < length, copy);
    }
    return undefined;
  }

  async #takeRest(more: () => boolean, copy: () => void): Promise<void> {
    const abort = new Abort(this.#signal);
    try {
      while (more()) {
        if (abort.check()) await abort.turn();
        if (this.#filling.room.length === 0) await this.#filling.grow();
        this.#check();
        copy();
      }
    } finally {
      abort.end();
    }
  }

  /** No more can be written, and nothing is kept. Gives what says why. */
  #fail(error: unknown): unknown {
    if (this.#over !== undefined) return this.#over.error;
    try {
      this.#end(error);
    } catch (found) {
      this.#over = { error: found }; // strict mode, on another slot
    }
    return this.#over!.error;
  }

  #end(error: unknown): void {
    this.#over = { error };
    this.#controller?.error(error);
    this.#unlisten();
    this.#filling.end();
  }
}

function finished(): SmritiError {
  return new SmritiError(
    "released",
    "this collector was finished or disposed: write before",
  );
}
