/**
 * The messages of a length-prefixed protocol, found in one block that serves as a window over the
 * connection. The block is released on every way out of the loop; the connection is not closed.
 */
import type { Pool } from "../mod.ts";
import { Abort } from "./abort.ts";
import {
  checkPool,
  limitOf,
  optionsOf,
  refuse,
  type WaitOptions,
} from "./check.ts";
import { UNWOUND } from "./headroom.ts";
import { Inflow } from "./inflow.ts";
import { invalidData, unexpectedEof } from "./errors.ts";
import { checkReader, openReader, type Reader } from "./streams.ts";
import type { BodySource } from "./source.ts";
import { type Chunk, notBytes, type Piece, Window } from "./window.ts";

/** Frames with their length in front. */
export interface FrameOptions extends WaitOptions {
  /** Bytes of the unsigned length in front of each frame, which does not count itself. */
  lengthBytes: 1 | 2 | 4;
  /** Whether the least significant byte of the length comes first. Default false: network order. */
  littleEndian?: boolean | undefined;
  /**
   * The longest frame accepted, in bytes without its head: an integer from 0 to the pool's
   * `blockSize`, which is the default.
   */
  limit?: number | undefined;
}

/** Frames with a head of any other kind. */
export interface HeadedFrameOptions extends WaitOptions {
  /** Bytes of the head, or of its first part: an integer from 1 to the pool's `blockSize`. */
  header: number;
  /**
   * How many bytes follow the head; `undefined` if the head is one byte longer than this. What is
   * below 0 or above `limit` is `InvalidData`. The array ends with the step.
   */
  length: (head: Uint8Array<ArrayBuffer>) => number | undefined;
  /** As with {@linkcode FrameOptions.limit}. */
  limit?: number | undefined;
}

/** One message. Like a {@linkcode Chunk}, it ends with its step. */
export interface Frame extends Chunk {
  /** What came before the bytes and said how many there are. Ends with them. */
  readonly head: Uint8Array<ArrayBuffer>;
}

type Bytes = Uint8Array<ArrayBuffer>;

/** Both kinds of options, checked. */
interface Shape {
  readonly header: number;
  readonly length: (head: Bytes) => number | undefined;
  /** The head of a frame of this size; `undefined` if only the caller's `length` knows. */
  readonly headOf: ((size: number) => Bytes) | undefined;
  readonly limit: number;
}

/**
 * Walks over the frames that arrive on a connection: `length, bytes, length, bytes, …`, or
 * `head, bytes, …` where a function of yours says how many bytes follow a head.
 *
 * One block is the window: a read brings as many frames as have arrived, and each is given as
 * `{ head, bytes }`, without a copy. **Both are valid until the next step.** Then they throw
 * `released`, and views that were kept have length 0. Await what you do with them before the step
 * ends. A frame may have 0 bytes.
 *
 * Worth it for frames from some hundred bytes to the block's size; docs/io.md has what it saves
 * beside `conn.readable` with concatenation. Choose blocks of at least twice the usual frame. Each
 * connection in the loop holds a block, idle or not; for one that lives long, a plain `Uint8Array` of
 * its own would be as fast.
 *
 * `break` and `throw` release the block; what the window held of later frames is lost, so close the
 * connection then. After `signal` was aborted a read is still under way: it owns the block until
 * you close the connection.
 *
 * @param reader A `Deno.Conn`, a `Deno.FsFile`, or anything with the same `read`; or the source of
 * a body, which is cancelled on every way out before its end
 * @param pool Where the one block comes from; its `blockSize` is at least `lengthBytes`
 * @param options Either `lengthBytes` or `header` and `length`
 * @throws {TypeError} if an argument is of the wrong kind
 * @throws {RangeError} if `lengthBytes`, `header`, `limit` or `timeoutMs` is out of range
 *
 * The loop fails with
 * - `signal.reason`, when the signal is aborted
 * - `Deno.errors.InvalidData`, when a frame is longer than `limit`, or its head than a block; none
 *   of it was given
 * - `Deno.errors.UnexpectedEof`, when the connection ends within a frame or its head
 * - a `TypeError`, when `length` gives what is no length, and what it throws
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
 * for await (const { bytes } of readFrames(file, pool, { lengthBytes: 2 })) {
 *   console.log(bytes.reduce((sum, byte) => sum + byte)); // 11, then 7
 * }
 * ```
 *
 * @example Messages as Postgres has them: a letter, then a length that counts itself
 * ```ts
 * import { BlockPool } from "@smriti/pool";
 * import { readFrames } from "@smriti/pool/io";
 *
 * using pool = new BlockPool({ blockSize: 64 * 1024, maxBlocks: 64 });
 *
 * const query = new Uint8Array([81, 0, 0, 0, 6, 59, 0]); // Q, 6 bytes, ";" and its end
 * const messages = readFrames(new Response(query), pool, {
 *   header: 5,
 *   length: (head) => new DataView(head.buffer).getUint32(1) - 4,
 * });
 * for await (const { head, bytes } of messages) {
 *   console.log(String.fromCharCode(head[0]), bytes.length); // Q 2
 * }
 * ```
 */
export function readFrames(
  reader: Reader | BodySource,
  pool: Pool,
  options: FrameOptions | HeadedFrameOptions,
): AsyncIterableIterator<Frame> {
  checkReader(reader);
  checkPool(pool);
  const shape = Object(options).header === undefined
    ? lengthShape(options, pool.blockSize)
    : headShape(options, pool.blockSize);
  return walk(reader, pool, shape, { ...options });
}

function lengthShape(options: unknown, blockSize: number): Shape {
  const { lengthBytes, littleEndian = false, limit } = optionsOf(options, [
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
  if (typeof littleEndian !== "boolean") {
    refuse(TypeError, "littleEndian", littleEndian, "true or false");
  }
  if (blockSize < lengthBytes) {
    const rule = `at least lengthBytes (${lengthBytes})`;
    refuse(RangeError, "blockSize of pool", blockSize, rule);
  }
  return {
    header: lengthBytes,
    length: (bytes) => lengthIn(bytes, lengthBytes, littleEndian),
    headOf: (size) => headOf(size, lengthBytes, littleEndian),
    limit: limitOf(limit, blockSize),
  };
}

function headShape(options: unknown, blockSize: number): Shape {
  const { header, length, limit } = optionsOf(options, [
    "header",
    "length",
    "limit",
    "signal",
    "timeoutMs",
  ]);
  const rule = `an integer from 1 to the blockSize of pool (${blockSize})`;
  if (typeof header !== "number") refuse(TypeError, "header", header, rule);
  if (!Number.isInteger(header) || header < 1 || header > blockSize) {
    refuse(RangeError, "header", header, rule);
  }
  if (typeof length !== "function") {
    refuse(TypeError, "length", length, "a function");
  }
  return {
    header,
    length: length as Shape["length"],
    headOf: undefined,
    limit: limitOf(limit, blockSize),
  };
}

async function* walk(
  reader: Reader | BodySource,
  pool: Pool,
  shape: Shape,
  { signal, timeoutMs }: WaitOptions,
): AsyncGenerator<Frame, void, undefined> {
  const { header } = shape;
  const inlet = openReader(reader, pool.blockSize, signal);
  const abort = new Abort(signal);
  let window: Window | undefined;
  let frame: OneFrame | undefined;
  try {
    window = new Window(await pool.acquire({ signal, timeoutMs }));
    const inflow = new Inflow(inlet, window, abort);
    // No promise for what has arrived already.
    while (inflow.available >= header || await inflow.fill(header)) {
      let headSize = header;
      let head = headIn(inflow, headSize, shape);
      let size: number | undefined;
      while ((size = sizeOf(shape, head)) === undefined) {
        if (abort.check()) await abort.turn();
        if (++headSize > pool.blockSize) {
          throw invalidData(`a head is longer than ${pool.blockSize} bytes`);
        }
        if (inflow.available < headSize && !await inflow.fill(headSize)) {
          throw cut(headSize, inflow.available);
        }
        head = headIn(inflow, headSize, shape);
      }
      inflow.skip(headSize);
      if (inflow.available < size && !await inflow.fill(size)) {
        throw cut(size, inflow.available);
      }
      frame = new OneFrame(inflow.take(size), size, shape, head);
      yield frame;
      frame.end();
      window.next();
      if (abort.check()) await abort.turn();
    }
    if (inflow.available > 0) throw cut(header, inflow.available);
  } finally {
    await UNWOUND; // the stack may have ended here
    abort.end();
    frame?.end();
    try {
      window?.end();
    } finally {
      inlet.end();
    }
  }
}

/** What the head says of the bytes behind it, if that can be; `undefined` if it is longer. */
function sizeOf({ length, limit }: Shape, head: Bytes): number | undefined {
  const size = length(head);
  if (size === undefined) return undefined;
  if (!Number.isInteger(size)) {
    refuse(TypeError, "length(head)", size, "an integer or undefined");
  }
  if (size >= 0 && size <= limit) return size;
  throw invalidData(
    size < 0
      ? `a frame has ${size} bytes`
      : `a frame of ${size} bytes is longer than the limit of ${limit}`,
  );
}

/** The head has memory of its own: the frame alone may fill the block. */
class OneFrame implements Frame {
  readonly #piece: Piece;
  readonly #size: number;
  readonly #shape: Shape;
  /** What was handed out of it. */
  #head: Bytes | undefined;

  constructor(piece: Piece, size: number, shape: Shape, head: Bytes) {
    this.#piece = piece;
    this.#size = size;
    this.#shape = shape;
    this.#head = shape.headOf === undefined ? head : undefined;
  }

  get head(): Bytes {
    this.#piece.check();
    return this.#head ??= this.#shape.headOf!(this.#size);
  }

  get bytes(): Bytes {
    return this.#piece.bytes;
  }

  [Symbol.toPrimitive](): never {
    throw notBytes("frame", "frame.bytes");
  }

  toJSON(): never {
    throw notBytes("frame", "frame.bytes");
  }

  end(): void {
    const buffer = this.#head?.buffer;
    // SAFETY: an array of this loop's own.
    if (buffer?.detached === false) buffer.transfer(0);
  }
}

/** The bytes of a head: as they lie in the window, or a copy if the caller's `length` gets them. */
function headIn(inflow: Inflow, size: number, { headOf }: Shape): Bytes {
  const { bytes } = inflow;
  return headOf === undefined ? bytes.slice(0, size) : bytes;
}

/** An unsigned integer, in the first bytes. */
function lengthIn(bytes: Bytes, size: number, littleEndian: boolean): number {
  let value = 0;
  for (let i = 0; i < size; i++) {
    value = value * 256 + bytes[littleEndian ? size - 1 - i : i]!;
  }
  return value;
}

/** The same, back again. */
function headOf(value: number, size: number, littleEndian: boolean): Bytes {
  const head = new Uint8Array(size);
  for (let i = 0; i < size; i++) {
    head[littleEndian ? i : size - 1 - i] = value / 256 ** i;
  }
  return head;
}

function cut(size: number, available: number): Error {
  return unexpectedEof(
    `the connection ended after ${available} of ${size} bytes`,
  );
}
