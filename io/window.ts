/**
 * A block whose bytes are handed out a piece at a time, each piece ended by the next.
 *
 * The block's buffer is moved out of the block meanwhile: moving it once more is what ends the views
 * of a piece and keeps the bytes behind them. So `block.bytes` is never asked for here after the
 * first time; it would make a second view of the memory. Decides nothing about what a piece is.
 */
import { type Block, type LendOptions, SmritiError } from "../mod.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const NOTHING = new ArrayBuffer(0);

/**
 * A step of a loop over bytes that lie in a block. Not bytes itself, so that nothing which keeps
 * what it is given takes it for some: a stream or a response that is handed one fails at once.
 */
export interface Chunk {
  /**
   * The bytes, without a copy. Valid until the next step: then a view that was kept has length 0,
   * and the block may hold other bytes. Await what you do with them before the step ends, and keep
   * a copy (`bytes.slice()`), not the view.
   *
   * @throws {SmritiError} `released` after the step; `lent` if the buffer was transferred
   */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** One block, from the first piece to the last. Exactly one `end()` must follow. */
export class Window {
  /** Bytes in the block. */
  readonly size: number;

  readonly #block: Block;
  /** All of the memory, without a view: the first view of a new buffer costs as much as its move. */
  #buffer: ArrayBuffer;
  /** Whether views of the present piece were handed out. */
  #seen = false;
  /** Counts the pieces. */
  #step = 0;

  /** Takes the block over; if that cannot be, it is released. */
  constructor(block: Block) {
    this.size = block.size;
    this.#block = block;
    try {
      // SAFETY: the block is held and its buffer in no other use; `end()` gives it back.
      this.#buffer = block.bytes.buffer.transfer();
    } catch (error) {
      block[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * The memory, to read and write between two pieces.
   *
   * @throws {SmritiError} `released` if the pool has ended the lease
   */
  get bytes(): Bytes {
    return this.part(0, this.size);
  }

  /** The same from `start` to before `end`. */
  part(start: number, end: number): Bytes {
    if (this.#block.released) this.#block.bytes; // which throws what fits
    return new Uint8Array(this.#buffer, start, end - start);
  }

  /** A piece: these bytes, until `next()` or `end()`. */
  piece(start: number, end: number): Piece {
    return new Piece(this, this.#step, start, end);
  }

  /** For pieces: throws unless it is still their turn. */
  check(step: number): void {
    if (step === this.#step) return;
    throw new SmritiError(
      "released",
      "the bytes of this step were valid until the next one: copy what you keep",
    );
  }

  /** For pieces: a view of these bytes if it is still their turn. */
  view(step: number, start: number, end: number): Bytes {
    this.check(step);
    return this.show(start, end);
  }

  /** A view of these bytes, until `next()` or `end()`. */
  show(start: number, end: number): Bytes {
    if (this.#buffer.detached) throw gone();
    const view = this.part(start, end);
    this.#seen = true;
    return view;
  }

  /**
   * Ends the present piece.
   *
   * @throws {SmritiError} `lent` if its buffer was transferred
   */
  next(): void {
    this.#step++;
    if (!this.#seen) return;
    if (this.#buffer.detached) throw gone();
    // SAFETY: no operation runs on the memory between pieces; the new buffer is the only one.
    this.#buffer = this.#buffer.transfer();
    this.#seen = false;
  }

  /** Lends the memory to an operation that has begun on it. */
  lend<T>(operation: Promise<T>, options: LendOptions): Promise<T> {
    return this.#block.lend(operation, options);
  }

  /** Ends what was handed out and releases the block. Later calls do nothing. */
  end(): void {
    const block = this.#block;
    const buffer = this.#buffer;
    this.#step++;
    this.#buffer = NOTHING;
    if (block.released) {
      // SAFETY: the pool has ended the lease, and had no buffer to end. (The last call has, too,
      // and there is nothing left.)
      if (!buffer.detached) buffer.transfer(0);
      return;
    }
    try {
      // A buffer that was transferred does not come back: the pool sees that it is out.
      if (!buffer.detached) {
        // SAFETY: the one buffer of the memory, which the block has had before. An operation that
        // was given up may still write to it: the block waits for that.
        block.reattach(
          new Uint8Array(this.#seen ? buffer.transfer() : buffer),
        );
      }
    } finally {
      block[Symbol.dispose]();
    }
  }
}

/** What a step gives. */
export class Piece implements Chunk {
  readonly #window: Window;
  readonly #step: number;
  readonly #start: number;
  readonly #end: number;

  /** For a window only. */
  constructor(window: Window, step: number, start: number, end: number) {
    this.#window = window;
    this.#step = step;
    this.#start = start;
    this.#end = end;
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#window.view(this.#step, this.#start, this.#end);
  }

  /** Throws `released` once the step is over. */
  check(): void {
    this.#window.check(this.#step);
  }

  /** Throws: a response or a socket that takes text would send the name of this class. */
  [Symbol.toPrimitive](): never {
    throw notBytes("chunk", "chunk.bytes");
  }

  /** The same for an answer as JSON. */
  toJSON(): never {
    throw notBytes("chunk", "chunk.bytes");
  }
}

/** What an object throws that has bytes and is taken for text. */
export function notBytes(name: string, use: string): TypeError {
  return new TypeError(`a ${name} is not bytes: use ${use}`);
}

function gone(): SmritiError {
  return new SmritiError(
    "lent",
    "the buffer of this step was transferred: transfer a copy",
  );
}
