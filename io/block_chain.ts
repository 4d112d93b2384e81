/**
 * Bytes that lie in several blocks, one after another. Owns the blocks; knows nothing of where the
 * bytes came from.
 */
import { type Block, SmritiError } from "../mod.ts";
import { Abort } from "./abort.ts";
import { disposeAll, firstOf } from "./blocks.ts";
import { chainStream } from "./chain_stream.ts";
import { optionsOf } from "./check.ts";
import { askHeadroom } from "./headroom.ts";
import {
  checkWriter,
  on,
  openWriter,
  type Sink,
  sizeWritten,
} from "./streams.ts";
import { type Chunk, notBytes } from "./window.ts";

/**
 * A body in a chain of blocks, as `collect` makes it. Release it, or let `using` do so; after that
 * every method throws `released`.
 */
export class BlockChain implements Disposable {
  /** Bytes in the chain. */
  readonly byteLength: number;
  #blocks: readonly Block[] | undefined;
  readonly #onRelease: () => void;

  // One line for `console.log`. Not in the class's type: not an API.
  static {
    Object.defineProperty(this.prototype, Symbol.for("Deno.customInspect"), {
      configurable: true,
      writable: true,
      value(this: BlockChain): string {
        const state = this.#blocks === undefined
          ? "released"
          : `in ${this.#blocks.length} blocks`;
        return `BlockChain(${this.byteLength} bytes, ${state})`;
      },
    });
  }

  /** For `collect` only: all blocks are full, but for the last. */
  constructor(
    blocks: readonly Block[],
    byteLength: number,
    onRelease: () => void,
  ) {
    this.#blocks = blocks;
    this.byteLength = byteLength;
    this.#onRelease = onRelease;
  }

  /** Whether the chain was released. */
  get released(): boolean {
    return this.#blocks === undefined;
  }

  /**
   * The bytes in order, block by block; nothing is copied. The chunks are valid until the chain is
   * released; then their `bytes` throw `released`, and views that were kept have length 0.
   */
  chunks(): IterableIterator<Chunk> {
    return this.#slices(0, this.byteLength);
  }

  /** A copy of all bytes, in memory of its own. It is as large as the body: mind what you ask for. */
  bytes(): Uint8Array<ArrayBuffer> {
    return this.slice();
  }

  /**
   * All bytes as text: UTF-8, with a leading byte order mark removed and whatever is malformed
   * replaced by U+FFFD, as `Response.text()` does it. A character may lie across blocks.
   */
  text(): string {
    const decoder = new TextDecoder();
    let text = "";
    for (const { bytes } of this.chunks()) {
      text += decoder.decode(bytes, { stream: true });
    }
    return text + decoder.decode();
  }

  /**
   * A copy of the bytes from `start` to before `end`, in memory of its own. As with
   * `Uint8Array.prototype.slice`, a negative position counts from the end, one beyond it means
   * the end, a fraction is cut off, and a range that is not one gives no bytes.
   *
   * @param start Default 0
   * @param end Default `byteLength`
   */
  slice(start?: number, end?: number): Uint8Array<ArrayBuffer> {
    const from = position(start ?? 0, this.byteLength);
    const to = position(end ?? this.byteLength, this.byteLength);
    const copy = new Uint8Array(Math.max(0, to - from));
    let filled = 0;
    for (const { bytes } of this.#slices(from, to)) {
      copy.set(bytes, filled);
      filled += bytes.byteLength;
    }
    return copy;
  }

  /**
   * All bytes as a stream, for a `Response`, `fetch` or `pipeTo`. The blocks move to the stream: the
   * chain is released with this call, and disposing it does nothing more. A read copies at most
   * 64 KiB, and a block goes back to the pool as soon as it was read.
   *
   * Costs a copy, as `bytes()` does, but never more memory than one slice. The stream owns the
   * blocks to its end: read it, cancel it, or give a `signal`. One that is dropped unread is found
   * as a leak.
   *
   * @param options `signal`: the stream fails with its reason, and all blocks go back
   * @throws {SmritiError} `released`
   */
  stream(
    options?: { signal?: AbortSignal | undefined },
  ): ReadableStream<Uint8Array<ArrayBuffer>> {
    optionsOf(options, ["signal"]);
    const blocks = this.#held();
    askHeadroom();
    const { byteLength } = this;
    const stream = chainStream(
      blocks,
      byteLength,
      options?.signal,
      this.#onRelease,
    );
    this.#blocks = undefined;
    return stream;
  }

  /**
   * Writes all bytes, block by block; short writes are continued. The writer is not closed; a block
   * is not reused before the write from it has settled.
   *
   * @param writer A `Deno.Conn`, a `Deno.FsFile`, or anything with the same `write`: nothing is
   * copied. Or a `WritableStream`, or a writer of one: it gets a copy of each block
   * @returns Bytes written: `byteLength`
   * @throws {TypeError} (as a rejection) if an argument is of the wrong kind, or the writer gives
   * counts that cannot be
   * @throws {Deno.errors.WriteZero} if a write takes no byte
   * @throws {SmritiError} `released`, also when the chain is released meanwhile
   * @throws `signal.reason`, and whatever the writer fails with
   */
  async writeTo(
    writer: Sink,
    options?: { signal?: AbortSignal | undefined },
  ): Promise<number> {
    checkWriter(writer);
    optionsOf(options, ["signal"]);
    const blocks = this.#held();
    const outlet = openWriter(writer);
    const abort = new Abort(options?.signal);
    let start = 0;
    let end = 0;
    const write = (bytes: Uint8Array) =>
      outlet.write(bytes.subarray(start, end));
    try {
      if (abort.check()) await abort.turn();
      let left = this.byteLength;
      for (const block of blocks) {
        end = Math.min(block.size, left);
        for (start = 0; start < end;) {
          if (abort.check()) await abort.turn();
          const written = await abort.race(on(block, write, outlet.kind));
          start += sizeWritten(written, end - start);
        }
        left -= end;
      }
      return this.byteLength;
    } finally {
      abort.end();
      outlet.end();
    }
  }

  /**
   * Gives all blocks back to their pool.
   *
   * @throws {SmritiError} `released` if that was done before
   */
  release(): void {
    const blocks = this.#held();
    try {
      // A pool that was closed in the meantime may have ended the lease.
      disposeAll(blocks);
    } finally {
      // Else the stack has ended here, and the next call goes on.
      if (blocks.every(({ released }) => released)) {
        this.#onRelease();
        this.#blocks = undefined;
      }
    }
  }

  /** Gives the blocks back if that was not done before. */
  [Symbol.dispose](): void {
    if (this.#blocks !== undefined) this.release();
  }

  /** Throws: a response or a socket that takes text would send the name of this class. */
  [Symbol.toPrimitive](): never {
    throw notBytes("chain", "chain.stream(), chain.bytes() or chain.text()");
  }

  /** The same for an answer as JSON. */
  toJSON(): never {
    throw notBytes("chain", "chain.stream(), chain.bytes() or chain.text()");
  }

  /** The bytes from `from` to before `to`, block by block. */
  #slices(from: number, to: number): Generator<Chunk, void, undefined> {
    return slices(this.#held(), this.byteLength, from, to);
  }

  #held(): readonly Block[] {
    if (this.#blocks !== undefined) return this.#blocks;
    throw new SmritiError(
      "released",
      `this chain of ${this.byteLength} bytes was released: use it before`,
    );
  }
}

/** Of the bytes in these blocks those from `from` to before `to`, block by block. */
function* slices(
  blocks: readonly Block[],
  byteLength: number,
  from: number,
  to: number,
): Generator<Chunk, void, undefined> {
  let start = 0;
  for (const block of blocks) {
    if (start >= to) return;
    const end = Math.min(start + block.size, byteLength);
    if (end > from) {
      const first = Math.max(0, from - start);
      const last = Math.min(end, to) - start;
      yield new Slice(block, end - start, first, last);
    }
    start = end;
  }
}

/** A part of a block, for as long as the block is held. */
class Slice implements Chunk {
  readonly #block: Block;
  /** How many bytes of the block are the chain's. */
  readonly #used: number;
  readonly #start: number;
  readonly #end: number;

  constructor(block: Block, used: number, start: number, end: number) {
    if (block.released) block.bytes; // which throws what fits
    this.#block = block;
    this.#used = used;
    this.#start = start;
    this.#end = end;
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    return firstOf(this.#block, this.#used).subarray(this.#start, this.#end);
  }

  [Symbol.toPrimitive](): never {
    throw notBytes("chunk", "chunk.bytes");
  }

  toJSON(): never {
    throw notBytes("chunk", "chunk.bytes");
  }
}

/** A position as `slice` understands it, within 0 to `size`. */
function position(value: number, size: number): number {
  const whole = Math.trunc(value) || 0;
  return whole < 0 ? Math.max(0, size + whole) : Math.min(whole, size);
}
