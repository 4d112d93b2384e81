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
import { Inflow } from "./inflow.ts";
import { checkReader, openReader, type Reader } from "./streams.ts";
import type { BodySource } from "./source.ts";
import { type Chunk, notBytes, type Piece, Window } from "./window.ts";

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

/** One message. Like a {@linkcode Chunk}, it ends with its step. */
export interface Frame extends Chunk {
  /** What came before the bytes and said how many there are. Ends with them. */
  readonly head: Uint8Array<ArrayBuffer>;
}

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * Walks over the frames that arrive on a connection: `length, bytes, length, bytes, …`.
 *
 * One block is the window: a read brings as many frames as have arrived, and each is given as
 * `{ head, bytes }`, without a copy. **Both are valid until the next step.** Then they throw
 * `released`, and views that were kept have length 0. Await what you do with them before the step
 * ends. A frame may have 0 bytes.
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
 * @param reader A `Deno.Conn`, a `Deno.FsFile`, or anything with the same `read`; or the source of
 * a body, which is cancelled on every way out before its end
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
 * for await (const { bytes } of readFrames(file, pool, { lengthBytes: 2 })) {
 *   console.log(bytes.reduce((sum, byte) => sum + byte)); // 11, then 7
 * }
 * ```
 */
export function readFrames(
  reader: Reader | BodySource,
  pool: Pool,
  options: FrameOptions,
): AsyncIterableIterator<Frame> {
  checkReader(reader);
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
  const limit = limitOf(options.limit, pool.blockSize);
  return walk(reader, pool, { ...options, limit });
}

async function* walk(
  reader: Reader | BodySource,
  pool: Pool,
  options: FrameOptions & { limit: number },
): AsyncGenerator<Frame, void, undefined> {
  const { lengthBytes, limit, signal, timeoutMs } = options;
  const inlet = openReader(reader, pool.blockSize, signal);
  const abort = new Abort(signal);
  let window: Window | undefined;
  try {
    window = new Window(await pool.acquire({ signal, timeoutMs }));
    const inflow = new Inflow(inlet, window, abort);
    // No promise for what has arrived already.
    while (inflow.available >= lengthBytes || await inflow.fill(lengthBytes)) {
      const head = inflow.bytes.slice(0, lengthBytes);
      inflow.skip(lengthBytes);
      const size = lengthIn(head, options.littleEndian);
      if (size > limit) {
        throw new Deno.errors.InvalidData(
          `a frame of ${size} bytes is longer than the limit of ${limit}`,
        );
      }
      if (inflow.available < size && !await inflow.fill(size)) {
        throw cut(size, inflow.available);
      }
      const frame = new OneFrame(head, inflow.take(size));
      yield frame;
      frame.end();
      window.next();
      if (abort.check()) await abort.turn();
    }
    if (inflow.available > 0) throw cut(lengthBytes, inflow.available);
  } finally {
    abort.end();
    try {
      window?.end();
    } finally {
      inlet.end();
    }
  }
}

/** The head has memory of its own: the frame alone may fill the block. */
class OneFrame implements Frame {
  readonly #head: Bytes;
  readonly #piece: Piece;
  #seen = false;

  constructor(head: Bytes, piece: Piece) {
    this.#head = head;
    this.#piece = piece;
  }

  get head(): Bytes {
    this.#piece.check();
    this.#seen = true;
    return this.#head;
  }

  get bytes(): Bytes {
    return this.#piece.bytes;
  }

  [Symbol.toPrimitive](): never {
    throw notBytes("frame", "frame.bytes");
  }

  end(): void {
    // SAFETY: an array of this loop's own.
    if (this.#seen) this.#head.buffer.transfer(0);
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
