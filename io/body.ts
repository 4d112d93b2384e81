/**
 * Reads a body, whatever it is: a byte stream or not, announced or not, in chunks of any size. What
 * has arrived is taken out as there is room for it.
 *
 * Bytes arrive in a buffer of this file's own and are copied from there, so that native code never
 * holds a block: whoever cuts, stalls or aborts a body can neither cost a block nor write to one
 * later. The copy cannot be seen in measurements (docs/decisions.md).
 */
import { Abort } from "./abort.ts";
import { refuse } from "./check.ts";

/** What a body can be read from. */
export type BodySource = Request | Response | ReadableStream<Uint8Array>;

/** No read asks for more: each connection keeps a buffer as large as its largest read. */
const MOST_READ = 64 * 1024;
/** Nor for less: a read of one byte never ends when the body comes chunked (Deno 2.9.6). */
const LEAST_READ = 4 * 1024;
/** How many buffers are kept for the next body: 1 MiB. */
const MOST_SPARE = 16;

/** Empty chunks in a row before others get a turn. */
const MOST_EMPTY = 100;

const NOTHING: Uint8Array = new Uint8Array(0);
const spare: Uint8Array<ArrayBuffer>[] = [];

/** Throws unless a body can be read from this, and has not been yet. */
export function checkSource(source: unknown): asserts source is BodySource {
  if (source instanceof ReadableStream) return;
  if (!(source instanceof Request) && !(source instanceof Response)) {
    refuse(
      TypeError,
      "source",
      source,
      "a Request, Response or ReadableStream",
    );
  }
  if (source.bodyUsed) {
    throw new TypeError("source must have its body still, got a used one");
  }
}

/** One body being read. Exactly one `end()` must follow. */
export class Body {
  /** The length that the sender has announced, in bytes. */
  readonly announced: number | undefined;

  readonly #abort: Abort;
  readonly #byob: ReadableStreamBYOBReader | undefined;
  readonly #plain: ReadableStreamDefaultReader<Uint8Array> | undefined;
  readonly #unlock: boolean;
  readonly #readSize: number;
  /** For BYOB reads; away while one runs. */
  #buffer: Uint8Array<ArrayBuffer> | undefined;
  /** The most bytes of `#buffer` ever written by this body. */
  #dirty = 0;
  /** What has arrived and was not taken. */
  #rest = NOTHING;
  #received = 0;
  #done = false;

  /** Locks the source's stream. Reads go no further than needed to fill `room` bytes at once. */
  constructor(source: BodySource, room: number, signal?: AbortSignal) {
    this.#unlock = source instanceof ReadableStream;
    const stream = source instanceof ReadableStream ? source : source.body;
    this.#readSize = Math.max(LEAST_READ, Math.min(MOST_READ, room));
    if (stream === null) {
      this.#done = true;
    } else {
      // The same route gets both kinds of body, by timing alone. Only asking tells.
      this.#byob = byobReader(stream);
      if (this.#byob === undefined) this.#plain = stream.getReader();
      this.announced = announcedBy(source);
    }
    this.#abort = new Abort(signal);
  }

  /** Bytes that have arrived and can be taken. */
  get available(): number {
    return this.#rest.byteLength;
  }

  /**
   * Waits until there is something to take; `false` means that the body has ended, with as many
   * bytes as announced.
   */
  async fill(): Promise<boolean> {
    this.#abort.check();
    for (let empty = 0; this.#rest.byteLength === 0; empty++) {
      // A stream of nothing, without end, would let no timer fire, not even that of the signal.
      if (empty % MOST_EMPTY === MOST_EMPTY - 1) {
        await new Promise((next) => setTimeout(next, 0));
        this.#abort.check();
      }
      if (this.#done) {
        this.#checkLength();
        return false;
      }
      const { done, value } = await this.#abort.race(this.#read());
      this.#done = done;
      if (value === undefined) continue;
      if (!(value instanceof Uint8Array)) {
        refuse(TypeError, "a chunk of source", value, "a Uint8Array");
      }
      if (this.#byob !== undefined) {
        // The buffer has come back.
        this.#buffer = new Uint8Array(value.buffer as ArrayBuffer);
        this.#dirty = Math.max(this.#dirty, value.byteLength);
      }
      this.#rest = value; // also when done: the last bytes may come with the end
      this.#received += value.byteLength;
    }
    const { announced } = this;
    if (announced !== undefined && this.#received > announced) {
      throw new Deno.errors.InvalidData(
        `the body is longer than the ${announced} bytes that its Content-Length announced`,
      );
    }
    return true;
  }

  /** Copies to `target` what has arrived, as far as it fits; returns how many bytes. */
  take(target: Uint8Array): number {
    const rest = this.#rest;
    const size = Math.min(rest.byteLength, target.byteLength);
    if (size === rest.byteLength) {
      target.set(rest);
      this.#rest = NOTHING;
    } else {
      target.set(rest.subarray(0, size));
      this.#rest = rest.subarray(size);
    }
    return size;
  }

  /** Lets go of the source, and cancels it unless it was read to its end. */
  end(): void {
    this.#abort.end();
    const reader = this.#byob ?? this.#plain;
    if (reader !== undefined) {
      // Without an end or a cancel the next request on the connection would not be served.
      // Cancelling may fail because the sender is gone: nobody is left to tell. It may also take
      // for ever, so it is not waited for.
      if (!this.#done) reader.cancel().catch(() => {});
      // This makes an error with a stack, which costs as much as reading 20 KiB; nobody can read
      // the body of a request once more anyway.
      if (this.#unlock) reader.releaseLock();
    }
    const buffer = this.#buffer;
    if (buffer?.byteLength === MOST_READ && spare.length < MOST_SPARE) {
      // A byte stream made in JavaScript sees the buffer, so it gets a clean one.
      spare.push(buffer.fill(0, 0, this.#dirty));
    }
    this.#buffer = undefined;
    this.#rest = NOTHING;
  }

  #read(): Promise<ReadableStreamReadResult<Uint8Array>> {
    if (this.#byob === undefined) return this.#plain!.read();
    const buffer = this.#buffer ?? this.#newBuffer();
    // The read takes the buffer away and brings it back, if it succeeds. One that fails or is
    // given up may still be writing: its buffer is left to the garbage collector.
    this.#buffer = undefined;
    return this.#byob.read(buffer);
  }

  #newBuffer(): Uint8Array<ArrayBuffer> {
    const kept = this.#readSize === MOST_READ ? spare.pop() : undefined;
    return kept ?? new Uint8Array(this.#readSize);
  }

  #checkLength(): void {
    const { announced } = this;
    // An HTTP/2 upload that its sender cancels ends like a complete one: only the count shows it.
    if (announced === undefined || this.#received === announced) return;
    throw new Deno.errors.UnexpectedEof(
      `the body ended after ${this.#received} of the ${announced} bytes that its ` +
        "Content-Length announced",
    );
  }
}

function byobReader(
  stream: ReadableStream<Uint8Array>,
): ReadableStreamBYOBReader | undefined {
  try {
    return stream.getReader({ mode: "byob" });
  } catch (error) {
    if (error instanceof TypeError && !stream.locked) return undefined;
    throw error;
  }
}

/** The length of the body that will be read, if the sender has announced it. */
function announcedBy(source: BodySource): number | undefined {
  if (source instanceof ReadableStream) return undefined;
  const { headers } = source;
  // `fetch` unpacks a compressed body and leaves the header with its packed length.
  if (source instanceof Response && headers.has("content-encoding")) {
    return undefined;
  }
  const text = headers.get("content-length");
  return text !== null && /^\d+$/.test(text) ? Number(text) : undefined;
}
