/**
 * The messages of a length-prefixed protocol, found in one block that serves as a window over the
 * connection. The block is released on every way out of the loop; the connection is not closed.
 */
import type { Block, LendOptions, Pool } from "../mod.ts";
import { Abort } from "./abort.ts";
import {
  checkMethod,
  checkPool,
  limitOf,
  optionsOf,
  refuse,
  type WaitOptions,
} from "./check.ts";
import { emptyReads, kindOf, type Reader, sizeRead } from "./streams.ts";

/** What the frames look like. */
export interface FrameOptions extends WaitOptions {
  /** Bytes of the unsigned length in front of each frame, which does not count itself. */
  lengthBytes: 1 | 2 | 4;
  /** Whether the least significant byte of the length comes first. Default false: network order. */
  littleEndian?: boolean;
  /**
   * The longest frame accepted, in bytes without its length: an integer from 0 to the pool's
   * `blockSize`, which is the default.
   */
  limit?: number;
}

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * Walks over the frames that arrive on a connection: `length, bytes, length, bytes, …`.
 *
 * One block is the window: a read brings as many frames as have arrived, and each is given as a
 * view, without its length and without a copy. **Each view is valid until the next step.** After
 * the loop its length is 0. Await what you do with it before the step ends. A frame may have
 * 0 bytes.
 *
 * Worth it for frames from some hundred bytes to the block's size: at 30 000 bytes about a third
 * of the CPU time of `conn.readable` with concatenation. Choose blocks of at least twice the usual
 * frame. Each connection in the loop holds a block, idle or not; for one that lives long, a plain
 * `Uint8Array` of its own would be as fast.
 *
 * `break` and `throw` release the block; what the window held of later frames is lost, so close the
 * connection then. After `signal` was aborted a read is still under way: it owns the block until
 * you close the connection.
 *
 * @param reader A `Deno.Conn`, a `Deno.FsFile`, or anything with the same `read`
 * @param pool Where the one block comes from; its `blockSize` is at least `lengthBytes`
 * @throws {TypeError} if an argument is of the wrong kind
 * @throws {RangeError} if `lengthBytes`, `limit` or `timeoutMs` is out of range
 *
 * The loop fails with
 * - `signal.reason`, when the signal is aborted
 * - `Deno.errors.InvalidData`, when a frame is longer than `limit`; none of it was given
 * - `Deno.errors.UnexpectedEof`, when the connection ends within a frame or its length
 * - `SmritiError` `timeout`, `exhausted` or `closed`, when there is no block
 * - whatever the reader fails with
 *
 * @example Sum up numbers
 * ```ts
 * import { BlockPool } from "@smriti/pool";
 * import { readFrames } from "@smriti/pool/io";
 *
 * using pool = new BlockPool({ blockSize: 64 * 1024, maxBlocks: 64 });
 *
 * const path = await Deno.makeTempFile();
 * await Deno.writeFile(path, new Uint8Array([0, 2, 5, 6, 0, 1, 7]));
 * using file = await Deno.open(path);
 * for await (const frame of readFrames(file, pool, { lengthBytes: 2 })) {
 *   console.log(frame.reduce((sum, byte) => sum + byte)); // 11, then 7
 * }
 * ```
 */
export function readFrames(
  reader: Reader,
  pool: Pool,
  options: FrameOptions,
): AsyncIterableIterator<Uint8Array<ArrayBuffer>> {
  checkMethod("reader", reader, "read");
  checkPool(pool);
  const { lengthBytes, littleEndian } = optionsOf(options, [
    "lengthBytes",
    "littleEndian",
    "limit",
    "signal",
    "timeoutMs",
  ]);
  if (lengthBytes !== 1 && lengthBytes !== 2 && lengthBytes !== 4) {
    const Kind = typeof lengthBytes === "number" ? RangeError : TypeError;
    refuse(Kind, "lengthBytes", lengthBytes, "1, 2 or 4");
  }
  if (littleEndian !== undefined && typeof littleEndian !== "boolean") {
    refuse(TypeError, "littleEndian", littleEndian, "true or false");
  }
  if (pool.blockSize < lengthBytes) {
    const rule = `at least lengthBytes (${lengthBytes})`;
    refuse(RangeError, "blockSize of pool", pool.blockSize, rule);
  }
  const limit = limitOf(options.limit, pool.blockSize, pool.blockSize);
  return walk(reader, pool, { ...options, limit });
}

async function* walk(
  reader: Reader,
  pool: Pool,
  options: FrameOptions & { limit: number },
): AsyncGenerator<Bytes, void, undefined> {
  const { lengthBytes, limit, signal, timeoutMs } = options;
  const abort = new Abort(signal);
  let block: Block | undefined;
  try {
    block = await pool.acquire({ signal, timeoutMs });
    const window = new Window(reader, block, abort);
    // No promise for what has arrived already.
    while (window.available >= lengthBytes || await window.fill(lengthBytes)) {
      const size = lengthIn(window.take(lengthBytes), options.littleEndian);
      if (size > limit) {
        throw new Deno.errors.InvalidData(
          `a frame of ${size} bytes is longer than the limit of ${limit}`,
        );
      }
      if (window.available < size && !await window.fill(size)) {
        throw cut(size, window.available);
      }
      yield window.take(size);
      abort.check();
    }
    if (window.available > 0) throw cut(lengthBytes, window.available);
  } finally {
    abort.end();
    block?.[Symbol.dispose]();
  }
}

/** A block through which a reader's bytes pass in order. */
class Window {
  readonly #block: Block;
  readonly #abort: Abort;
  readonly #kind: LendOptions;
  readonly #read: (bytes: Uint8Array) => Promise<number | null>;
  #start = 0;
  #end = 0;
  #empty = 0;

  constructor(reader: Reader, block: Block, abort: Abort) {
    this.#block = block;
    this.#abort = abort;
    this.#kind = kindOf(reader);
    this.#read = (bytes) => reader.read(bytes.subarray(this.#end));
  }

  /** Bytes that have arrived and were not taken. */
  get available(): number {
    return this.#end - this.#start;
  }

  /** Reads until `size` bytes are there, at most a block; `false` if the reader ends before. */
  async fill(size: number): Promise<boolean> {
    while (this.available < size) {
      this.#abort.check();
      this.#makeRoom(size);
      const lent = this.#block.lend(this.#read, this.#kind);
      const read = await this.#abort.race(lent);
      if (read === null) return false;
      this.#empty = emptyReads(read, this.#empty);
      this.#end += sizeRead(read, this.#block.size - this.#end);
    }
    return true;
  }

  /** The next `size` bytes, which are there; valid until the next call of `fill`. */
  take(size: number): Bytes {
    const start = this.#start;
    this.#start += size;
    return this.#block.bytes.subarray(start, this.#start);
  }

  /** Moves what is there to the front if the rest of it would not fit, or only in small reads. */
  #makeRoom(size: number): void {
    if (this.#start === 0) return;
    const room = this.#block.size - this.#end;
    const missing = size - this.available;
    if (room >= missing && room >= this.#block.size / 4) return;
    this.#block.bytes.copyWithin(0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
  }
}

/** An unsigned integer of 1, 2 or 4 bytes. */
function lengthIn(bytes: Bytes, littleEndian = false): number {
  let value = 0;
  for (let i = 0; i < bytes.length; i++) {
    value = value * 256 + bytes[littleEndian ? bytes.length - 1 - i : i];
  }
  return value;
}

function cut(size: number, available: number): Error {
  return new Deno.errors.UnexpectedEof(
    `the connection ended after ${available} of ${size} bytes`,
  );
}
