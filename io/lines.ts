/**
 * A body as lines of text, through one block. The block is acquired when the first bytes are there
 * and released on every way out of the loop.
 */
import type { Block, Pool } from "../mod.ts";
import { Abort } from "./abort.ts";
import { Body } from "./body.ts";
import { checkPool, limitOf, optionsOf, type WaitOptions } from "./check.ts";
import { invalidData } from "./errors.ts";
import { UNWOUND } from "./headroom.ts";
import { type BodySource, checkSource } from "./source.ts";

/** How to read lines. */
export interface LineOptions extends WaitOptions {
  /**
   * The most bytes of a line, without its end: an integer from 0 to 2^28. Default: the pool's
   * `blockSize`.
   */
  limit?: number | undefined;
}

/** A string can have twice as many characters, and hardly anything else is left then. */
const MOST_LIMIT = 2 ** 28;
const LF = 10;
const CR = 13;
const BYTE_ORDER_MARK = "\ufeff";

/**
 * Walks over the lines of a body: NDJSON, CSV without line ends in its fields, logs. A line ends
 * with LF or CR LF, which is not part of it; there is no line after a final one. The text is UTF-8,
 * with a leading byte order mark removed and whatever is malformed replaced by U+FFFD.
 *
 * Lines may be kept; as with `split`, one may keep the text of its block alive. `break` and `throw`
 * cancel the rest of the body and release the block. A body of any size costs one block, and at most
 * `limit` for a line.
 *
 * @param source A request, a response, their `body`, or any async iterable of bytes. A request or
 * response is held to its Content-Length
 * @param pool Where the one block comes from
 * @throws {TypeError} if an argument is of the wrong kind, or the body was used before
 * @throws {RangeError} if `limit` or `timeoutMs` is out of range
 *
 * The loop fails with
 * - `Deno.errors.InvalidData`, when a line is longer than `limit`, or the body than its
 *   Content-Length
 * - `signal.reason`, when the signal is aborted
 * - `SmritiError` `timeout`, `exhausted` or `closed`, when there is no block
 * - `Deno.errors.UnexpectedEof`, when the body ends before its Content-Length
 * - whatever the source fails with
 *
 * @example NDJSON
 * ```ts
 * import { BlockPool } from "@smriti/pool";
 * import { lines } from "@smriti/pool/io";
 *
 * using pool = new BlockPool({ blockSize: 64 * 1024, maxBlocks: 256 });
 *
 * const request = new Request("http://localhost", { method: "POST", body: '{"a":1}\n{"a":2}\n' });
 * for await (const line of lines(request, pool, { limit: 1_000_000 })) {
 *   console.log(JSON.parse(line).a);
 * }
 * ```
 */
export function lines(
  source: BodySource,
  pool: Pool,
  options?: LineOptions,
): AsyncIterableIterator<string> {
  checkSource(source);
  checkPool(pool);
  optionsOf(options, ["limit", "signal", "timeoutMs"]);
  const limit = options?.limit === undefined
    ? pool.blockSize
    : limitOf(options.limit, MOST_LIMIT);
  const { signal, timeoutMs } = options ?? {};
  return new Lines(walk(source, pool, limit, { signal, timeoutMs }), signal);
}

/**
 * Single lines out of arrays of lines. A generator that yields each costs as much again as all that
 * is done for it.
 */
class Lines implements AsyncIterableIterator<string> {
  readonly #batches: AsyncGenerator<string[], void, undefined>;
  readonly #signal: AbortSignal | undefined;
  readonly #clock = new Abort(undefined);
  #batch: readonly string[] = [];
  #at = 0;
  /** The last call that had to wait, until it has settled. */
  #waiting: Promise<unknown> | undefined;

  constructor(
    batches: AsyncGenerator<string[], void, undefined>,
    signal: AbortSignal | undefined,
  ) {
    this.#batches = batches;
    this.#signal = signal;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<string, undefined>> {
    const isThere = this.#at < this.#batch.length;
    if (!isThere || this.#waiting !== undefined || this.#signal?.aborted) {
      return this.#wait(() => this.#next());
    }
    if (this.#clock.check()) {
      return this.#wait(() => this.#clock.turn().then(() => this.#next()));
    }
    return Promise.resolve({ done: false, value: this.#batch[this.#at++]! });
  }

  return(): Promise<IteratorResult<string, undefined>> {
    return this.#wait(async () => {
      this.#batch = [];
      await this.#batches.return();
      return { done: true, value: undefined };
    });
  }

  async #next(): Promise<IteratorResult<string, undefined>> {
    // The generator knows what to do about an abort.
    if (this.#signal?.aborted) this.#batch = [];
    while (this.#at >= this.#batch.length) {
      const { done, value } = await this.#batches.next();
      if (done) return { done, value: undefined };
      this.#batch = value;
      this.#at = 0;
    }
    return { done: false, value: this.#batch[this.#at++]! };
  }

  /** One after another, as they were called. */
  #wait<T>(fn: () => Promise<T>): Promise<T> {
    const settled = this.#waiting?.then(fn, fn) ?? fn();
    this.#waiting = settled;
    const end = () => {
      if (this.#waiting === settled) this.#waiting = undefined;
    };
    settled.then(end, end);
    return settled;
  }
}

async function* walk(
  source: BodySource,
  pool: Pool,
  limit: number,
  options: WaitOptions,
): AsyncGenerator<string[], void, undefined> {
  const body = new Body(source, pool.blockSize, options.signal);
  const splitter = new Splitter(limit);
  let block: Block | undefined;
  try {
    while (await body.fill()) {
      block ??= await pool.acquire(options);
      const size = body.take(block.bytes);
      yield splitter.feed(block.bytes.subarray(0, size));
      splitter.check();
    }
    const last = splitter.end();
    if (last !== undefined) yield [last];
  } finally {
    await UNWOUND; // the stack may have ended here
    try {
      block?.[Symbol.dispose]();
    } finally {
      body.end();
    }
  }
}

/** Finds lines in bytes that come in parts. */
class Splitter {
  readonly #limit: number;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  /** What is known of the line that has begun: its text, its bytes, whether the last is a CR. */
  #text = "";
  #size = 0;
  #isAfterCR = false;
  #isFirst = true;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The lines that these bytes complete. Those behind one that is too long are not among them. */
  feed(bytes: Uint8Array): string[] {
    let at = 0;
    for (;;) {
      const found = bytes.indexOf(LF, at);
      const end = found < 0 ? bytes.length : found;
      if (end > at) this.#isAfterCR = bytes[end - 1] === CR;
      this.#size += end - at;
      if (found < 0 || this.#isTooLong) break;
      at = found + 1;
      this.#size = 0;
      this.#isAfterCR = false;
    }
    if (at === 0) {
      this.#text += this.#decoder.decode(bytes, { stream: true });
      return [];
    }
    // All at once: to decode a line costs as much as to decode a hundred. A character may lie across
    // two parts, but never across an LF.
    const whole = bytes.subarray(0, at - 1);
    const text = this.#marked(this.#text + this.#decoder.decode(whole));
    this.#text = this.#decoder.decode(bytes.subarray(at), { stream: true });
    const lines = text.split("\n");
    return text.includes("\r") ? lines.map(withoutCR) : lines;
  }

  /** Throws if the line that has begun is too long. */
  check(): void {
    if (!this.#isTooLong) return;
    throw invalidData(
      `a line is longer than the limit of ${this.#limit} bytes`,
    );
  }

  /** The last line, if there is one without an end. */
  end(): string | undefined {
    this.#isAfterCR = false;
    this.check();
    return this.#size === 0
      ? undefined
      : this.#marked(this.#text + this.#decoder.decode());
  }

  get #isTooLong(): boolean {
    // A CR may turn out to be of the end.
    return this.#size - (this.#isAfterCR ? 1 : 0) > this.#limit;
  }

  /** Without a byte order mark, if it is the first text. */
  #marked(text: string): string {
    const isMarked = this.#isFirst && text.startsWith(BYTE_ORDER_MARK);
    this.#isFirst = false;
    return isMarked ? text.slice(1) : text;
  }
}

function withoutCR(line: string): string {
  return line.endsWith("\r") ? line.slice(0, -1) : line;
}
