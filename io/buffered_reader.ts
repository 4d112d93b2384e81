/**
 * A reader with a block in between: what has arrived can be looked at before it is taken, and what
 * was not taken is handed on. For protocols that readFrames() does not fit.
 */
import { type Pool, SmritiError } from "../mod.ts";
import { Abort } from "./abort.ts";
import {
  checkPool,
  limitOf,
  optionsOf,
  refuse,
  type WaitOptions,
} from "./check.ts";
import { invalidData } from "./errors.ts";
import { askHeadroom } from "./headroom.ts";
import { Inflow } from "./inflow.ts";
import type { BodySource } from "./source.ts";
import { checkReader, type Inlet, openReader, type Reader } from "./streams.ts";
import { Window } from "./window.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * Bytes of a reader, as they arrive. The arrays that `peek` and `take` give are valid until the next
 * call, whichever it is: then their length is 0. One call at a time: a promise has to settle first.
 */
export interface BufferedReader extends Disposable {
  /** Bytes that have arrived and were not taken. */
  readonly available: number;

  /**
   * Waits until at least `n` bytes are available; `false` if the reader ends before.
   *
   * @param n An integer from 0 to the pool's `blockSize`
   * @throws {RangeError} (as all errors here: as a rejection) if `n` is out of range
   * @throws {SmritiError} `timeout`, `exhausted` or `closed`, when there is no block; `released`
   * after `rest()` or when disposed
   * @throws `signal.reason`, and whatever the reader fails with
   */
  fill(n: number): Promise<boolean>;

  /**
   * The next `n` bytes, which stay available; nothing is copied.
   *
   * @throws {RangeError} if fewer are available: `fill(n)` before
   */
  peek(n: number): Uint8Array<ArrayBuffer>;

  /** The next `n` bytes, which are taken; otherwise as `peek`. */
  take(n: number): Uint8Array<ArrayBuffer>;

  /** Where this byte is in what is available; −1 if it is not there (yet). */
  indexOf(byte: number): number;

  /**
   * The next line without its end, LF or CR LF, as UTF-8; `null` at the end of the reader. What
   * comes behind the last end of a line is a line, unless there is nothing.
   *
   * @param options `limit`: the most bytes of a line, an integer from 0 to the pool's `blockSize`,
   * which is the default. Line and end must fit into a block
   * @throws {Deno.errors.InvalidData} (as a rejection) if the line is longer
   */
  readLine(options?: { limit?: number | undefined }): Promise<string | null>;

  /**
   * What was not taken, in memory of its own, to be handed on: to TLS after STARTTLS, to the next
   * protocol after an upgrade. That is the end of this reader: the block goes back, and what it read
   * from is the caller's again, neither closed nor cancelled.
   */
  rest(): Uint8Array<ArrayBuffer>;
}

/**
 * Reads ahead into one block and lets the bytes be looked at: for line-based and mixed protocols,
 * RESP, SMTP, HTTP heads.
 *
 * The block is acquired with the first call that reads and goes back with `rest()` or when disposed.
 * Each reader holds one while it is in use, idle or not; for a connection that lives long, a plain
 * `Uint8Array` of its own would be as fast. After `signal` was aborted a read may still be under
 * way: it owns the block until you close the connection.
 *
 * @param reader A `Deno.Conn`, a `Deno.FsFile`, or anything with the same `read`; or the source of a
 * body, which is cancelled when this is disposed before its end
 * @param pool Where the one block comes from
 * @throws {TypeError} if an argument is of the wrong kind
 * @throws {RangeError} if `timeoutMs` is out of range
 *
 * @example A command with a payload
 * ```ts
 * import { BlockPool } from "@smriti/pool";
 * import { bufferedReader } from "@smriti/pool/io";
 *
 * using pool = new BlockPool({ blockSize: 64 * 1024, maxBlocks: 64 });
 *
 * using reader = bufferedReader(new Response("PUT 5\r\nhelloQUIT\r\n"), pool);
 * const [command, size] = (await reader.readLine())!.split(" ");
 * if (await reader.fill(Number(size))) {
 *   console.log(command, reader.take(Number(size)).length); // PUT 5
 * }
 * console.log(await reader.readLine()); // QUIT
 * ```
 */
export function bufferedReader(
  reader: Reader | BodySource,
  pool: Pool,
  options?: WaitOptions,
): BufferedReader {
  checkReader(reader);
  checkPool(pool);
  optionsOf(options, ["signal", "timeoutMs"]);
  return new Buffered(reader, pool, options ?? {});
}

const LF = 10;
const CR = 13;
/** What is as long as that, and ASCII, is text sooner without a decoder. */
const SHORT = 16;

class Buffered implements BufferedReader {
  readonly #pool: Pool;
  readonly #options: WaitOptions;
  readonly #inlet: Inlet;
  readonly #abort: Abort;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #window: Window | undefined;
  #inflow: Inflow | undefined;
  #isReading = false;
  #isOver = false;

  constructor(
    reader: Reader | BodySource,
    pool: Pool,
    { signal, timeoutMs }: WaitOptions,
  ) {
    this.#pool = pool;
    this.#options = { signal, timeoutMs };
    this.#inlet = openReader(reader, pool.blockSize, signal);
    this.#abort = new Abort(signal);
  }

  get available(): number {
    return this.#inflow?.available ?? 0;
  }

  async fill(n: number): Promise<boolean> {
    this.#next();
    count(n, this.#pool.blockSize);
    if (this.available < n || this.#inflow === undefined) {
      return await this.#read((inflow) => inflow.fill(n));
    }
    if (this.#abort.check()) await this.#abort.turn();
    return true;
  }

  peek(n: number): Bytes {
    this.#next();
    return this.#has(n) === 0 ? new Uint8Array(0) : this.#inflow!.view(n);
  }

  take(n: number): Bytes {
    const bytes = this.peek(n);
    this.#inflow?.skip(n);
    return bytes;
  }

  indexOf(byte: number): number {
    this.#next();
    count(byte, 255, "byte");
    return this.#inflow?.bytes.indexOf(byte) ?? -1;
  }

  async readLine(
    options?: { limit?: number | undefined },
  ): Promise<string | null> {
    this.#next();
    const { blockSize } = this.#pool;
    const limit = options === undefined
      ? blockSize
      : limitOf(optionsOf(options, ["limit"])["limit"], blockSize);
    // No more promises for what has arrived already.
    if (this.#abort.check()) await this.#abort.turn();
    const line = this.#inflow && this.#line(this.#inflow, 0, limit);
    return line ??
      await this.#read((inflow) => this.#readLine(inflow, limit));
  }

  rest(): Bytes {
    this.#next();
    askHeadroom();
    const arrived = this.#inflow?.bytes ?? new Uint8Array(0);
    const behind = this.#inlet.rest();
    const all = new Uint8Array(arrived.length + behind.length);
    all.set(arrived);
    all.set(behind, arrived.length);
    this.#end();
    return all;
  }

  [Symbol.dispose](): void {
    if (this.#isOver) return;
    askHeadroom();
    this.#end();
  }

  #check(): void {
    if (!this.#isOver) return;
    throw new SmritiError(
      "released",
      "this reader was disposed, or its rest was taken",
    );
  }

  /** Ends what the last call gave. */
  #next(): void {
    this.#check();
    if (this.#isReading) {
      throw new TypeError("one call at a time: await the one before");
    }
    this.#window?.next();
  }

  #has(n: number): number {
    count(n, this.#pool.blockSize);
    if (n <= this.available) return n;
    const rule = `at most what is available (${this.available})`;
    refuse(RangeError, "n", n, rule);
  }

  async #read<T>(fn: (inflow: Inflow) => Promise<T>): Promise<T> {
    this.#isReading = true;
    try {
      if (this.#inflow === undefined) {
        const window = new Window(await this.#pool.acquire(this.#options));
        if (this.#isOver) window.end();
        this.#check();
        this.#window = window;
        this.#inflow = new Inflow(this.#inlet, window, this.#abort);
      }
      const result = await fn(this.#inflow);
      this.#check(); // a body that is let go of ends like one that was read
      return result;
    } finally {
      this.#isReading = false;
    }
  }

  async #readLine(inflow: Inflow, limit: number): Promise<string | null> {
    for (let seen = 0;;) {
      const line = this.#line(inflow, seen, limit);
      if (line !== undefined) return line;
      seen = inflow.available;
      if (await inflow.fill(seen + 1)) continue;
      if (seen === 0) return null;
      if (seen > limit) throw tooLong(limit); // a CR that is no part of an end
      return this.#text(inflow, inflow.bytes, seen, seen);
    }
  }

  /** The next line, if it is there; of it, `seen` bytes have no end. */
  #line(inflow: Inflow, seen: number, limit: number): string | undefined {
    const { bytes } = inflow;
    const end = bytes.indexOf(LF, seen);
    // Where the line ends, as far as it is there.
    const line = end < 0 ? bytes.length : end;
    const length = line > 0 && bytes[line - 1] === CR ? line - 1 : line;
    if (length > limit) throw tooLong(limit);
    const { blockSize } = this.#pool;
    if (end < 0 && line === blockSize) {
      throw invalidData(
        `a line and its end are longer than ${blockSize} bytes`,
      );
    }
    return end < 0 ? undefined : this.#text(inflow, bytes, length, end + 1);
  }

  #text(inflow: Inflow, bytes: Bytes, length: number, size: number): string {
    inflow.skip(size);
    return shortText(bytes, length) ??
      this.#decoder.decode(bytes.subarray(0, length));
  }

  #end(): void {
    this.#isOver = true;
    this.#abort.end();
    try {
      this.#window?.end();
    } finally {
      this.#inlet.end();
    }
  }
}

/** Throws unless it is a count that can be. */
function count(value: unknown, most: number, name = "n"): void {
  if (Number.isInteger(value) && Number(value) >= 0 && Number(value) <= most) {
    return;
  }
  const Kind = typeof value === "number" ? RangeError : TypeError;
  refuse(Kind, name, value, `an integer from 0 to ${most}`);
}

function tooLong(limit: number): Error {
  return invalidData(`a line is longer than the limit of ${limit} bytes`);
}

/** The same as a decoder gives, of a few bytes of ASCII. */
function shortText(bytes: Bytes, length: number): string | undefined {
  if (length > SHORT) return undefined;
  let text = "";
  for (let i = 0; i < length; i++) {
    const byte = bytes[i]!;
    if (byte > 127) return undefined;
    text += String.fromCharCode(byte);
  }
  return text;
}
