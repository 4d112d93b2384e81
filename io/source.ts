/**
 * What a body can be read from, and one way to read from all of it. A source is asked for one chunk
 * at a time and told when no more are wanted; it is never waited for in that.
 *
 * A stream is read with the built-in methods, as `pipeTo` does it, whatever a subclass has of its
 * own. Counts and copies nothing.
 */
import { refuse } from "./check.ts";

/**
 * What a body can be read from. An async iterable may be a generator, a node `Readable` or an
 * `IncomingMessage`: its `return()` is called when it is not read to its end. (Of a request to
 * `node:http` the rest is thrown away instead, as it comes.)
 *
 * Give a node stream itself, never `Readable.toWeb(it)`: to cancel what that makes ends the process
 * when more data arrives, and nothing tells it from other streams (Deno 2.9.6).
 */
export type BodySource =
  | Request
  | Response
  | ReadableStream<Uint8Array>
  | AsyncIterable<Uint8Array>;

/** Chunks, one after another. */
export interface Feed {
  /**
   * The next chunk; it may come with the end. One call at a time, and not before the chunk before was
   * taken: its memory may be used again.
   */
  next(): Promise<IteratorResult<unknown, unknown>>;
  /** The chunk that `next` has promised has come, and these are its bytes. */
  came?(bytes: Uint8Array): void;
  /** No more are wanted: lets go of the source. Never throws. */
  end(done: boolean): void;
  /** The source is the caller's again, to be read on. */
  leave(): void;
}

/** No read asks for more: each connection keeps a buffer as large as its largest read. */
const MOST_READ = 64 * 1024;
/** Nor for less: a read of one byte never ends when the body comes chunked (Deno 2.9.6). */
const LEAST_READ = 4 * 1024;
/** How many buffers are kept for the next bodies: 1 MiB at most. */
const MOST_SPARE = 16;
/** Longer bodies come after their heads, in pieces. */
const SHORT = 32 * 1024;

const RULE = "an iterator";

const spare: Uint8Array<ArrayBuffer>[] = [];
/** Whether the last body of a kind was there as a whole. */
const cameWhole: boolean[] = new Array(33).fill(true);

const { getReader } = ReadableStream.prototype;
const plain = ReadableStreamDefaultReader.prototype;
const byob = ReadableStreamBYOBReader.prototype;

/** Throws unless a body can be read from this, and has not been yet. */
export function checkSource(
  source: unknown,
  name = "source",
  or = "",
): asserts source is BodySource {
  if (isUsed(source)) {
    throw new TypeError(`${name} must have its body still, got a used one`);
  }
  if (
    source instanceof Request || source instanceof Response ||
    source instanceof ReadableStream ||
    typeof Object(source)[Symbol.asyncIterator] === "function"
  ) return;
  const rule =
    `${or}a Request, Response, ReadableStream or AsyncIterable of bytes`;
  refuse(TypeError, name, source, rule);
}

function isUsed(source: unknown): boolean {
  if (source instanceof Request || source instanceof Response) {
    return source.bodyUsed;
  }
  // A node stream that something else has read to its end, such as a body parser.
  return Object(source).readableEnded === true;
}

/** What is known of a node stream. */
interface NodeStream {
  on(event: "error", listener: () => void): void;
  off(event: string, listener: unknown): void;
  listeners(event: string): unknown[];
  resume(): void;
}

/** Whether this is the request of a node server, of HTTP/1. */
function isServed(node: object): boolean {
  const { method, httpVersionMajor } = node as Record<string, unknown>;
  return typeof method === "string" && httpVersionMajor === 1;
}

/** Whether this is a stream of node's, to be read from or written to. */
export function isNode(stream: unknown): stream is NodeStream {
  const { pipe, on } = Object(stream);
  return typeof pipe === "function" && typeof on === "function";
}

/**
 * Begins to read, which locks a stream. Reads that can choose go no further than needed to fill
 * `room` bytes at once. `undefined` for a request or response without a body.
 */
export function open(
  source: BodySource,
  room: number,
  announced: number | undefined,
): Feed | undefined {
  const owned = source instanceof ReadableStream;
  if (!owned && !(source instanceof Request || source instanceof Response)) {
    return new IteratorFeed(source);
  }
  const stream = owned ? source : source.body;
  if (stream === null) return undefined;
  // The same route gets both kinds of body, by timing alone: a short one has often come whole with
  // its head. Only asking tells, and a refusal costs as much as reading 20 KiB; not to ask costs more
  // where it comes later. So one is taken for what the last was, and no other one until it is here.
  const kind = kindOf(source, announced);
  if (kind !== undefined && cameWhole[kind]) {
    cameWhole[kind] = false;
  } else {
    const reader = byobReader(stream);
    if (reader !== undefined) return new ByteStreamFeed(reader, owned, room);
  }
  return new StreamFeed(plainReader(stream), owned, kind);
}

/** Requests of about one length, if it is short: what their bodies have been like is kept together. */
function kindOf(source: BodySource, announced = Infinity): number | undefined {
  return source instanceof Request && announced <= SHORT
    ? Math.clz32(announced)
    : undefined;
}

/** The length of the body that will be read, if the sender has announced it. */
export function announcedBy(source: BodySource): number | undefined {
  if (source instanceof ReadableStream) return undefined;
  const { headers } = source as { headers?: unknown };
  let text: unknown;
  if (headers instanceof Headers) {
    // `fetch` unpacks a compressed body and leaves the header with its packed length.
    const packed = source instanceof Response &&
      headers.has("content-encoding");
    if (!packed) text = headers.get("content-length");
  } else if (typeof (source as { method?: unknown }).method === "string") {
    // As node's servers have them; what its clients get may be the answer to a HEAD.
    text = Object(headers)["content-length"];
  }
  return typeof text === "string" && /^\d+$/.test(text)
    ? Number(text)
    : undefined;
}

class StreamFeed implements Feed {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #unlock: boolean;
  readonly #kind: number | undefined;

  constructor(
    reader: ReadableStreamDefaultReader<Uint8Array>,
    unlock: boolean,
    kind: number | undefined,
  ) {
    this.#reader = reader;
    this.#unlock = unlock;
    this.#kind = kind;
  }

  next(): Promise<IteratorResult<unknown, unknown>> {
    return plain.read.call(this.#reader) as ReturnType<Feed["next"]>;
  }

  came({ length, buffer }: Uint8Array): void {
    // A stream of bytes gives a part of the buffer that it has made for the read.
    if (this.#kind !== undefined) {
      cameWhole[this.#kind] = length === buffer.byteLength;
    }
  }

  end(done: boolean): void {
    // Without an end or a cancel the next request on the connection would not be served.
    // Cancelling may fail because the sender is gone, which changes nothing here. It may also take
    // for ever, so it is not waited for.
    if (!done) plain.cancel.call(this.#reader).catch(() => {});
    // This makes an error with a stack, which costs as much as reading 20 KiB; the body of a
    // request cannot be read once more anyway.
    if (this.#unlock) this.leave();
  }

  leave(): void {
    plain.releaseLock.call(this.#reader);
  }
}

/**
 * Bytes arrive in a buffer of this file's own, so that native code never holds a block: a body
 * that is cut, stalls or is aborted can neither cost a block nor write to one later. To copy them from
 * there cannot be seen in measurements (docs/decisions.md).
 */
class ByteStreamFeed implements Feed {
  readonly #reader: ReadableStreamBYOBReader;
  readonly #unlock: boolean;
  readonly #size: number;
  /** Away while a read runs. */
  #buffer: Uint8Array<ArrayBuffer> | undefined;

  constructor(reader: ReadableStreamBYOBReader, unlock: boolean, room: number) {
    this.#reader = reader;
    this.#unlock = unlock;
    this.#size = Math.max(LEAST_READ, Math.min(MOST_READ, room));
  }

  next(): Promise<IteratorResult<unknown, unknown>> {
    const buffer = this.#buffer ?? this.#newBuffer();
    // The read takes the buffer away and brings it back, if it succeeds. One that fails or is
    // given up may still be writing: its buffer is left to the garbage collector.
    this.#buffer = undefined;
    return byob.read.call(this.#reader, buffer) as ReturnType<Feed["next"]>;
  }

  came({ buffer }: Uint8Array): void {
    this.#buffer = new Uint8Array(buffer as ArrayBuffer);
  }

  end(done: boolean): void {
    if (!done) byob.cancel.call(this.#reader).catch(() => {});
    if (this.#unlock) byob.releaseLock.call(this.#reader);
    this.#keepBuffer();
  }

  leave(): void {
    byob.releaseLock.call(this.#reader);
    this.#keepBuffer();
  }

  #keepBuffer(): void {
    const buffer = this.#buffer;
    this.#buffer = undefined;
    if (buffer?.length !== this.#size) return;
    if (spare.length === MOST_SPARE) spare.shift();
    // A source made in JavaScript sees the buffer and may write to all of it, whatever it
    // reports: the next body's gets a clean one.
    spare.push(buffer.fill(0));
  }

  #newBuffer(): Uint8Array<ArrayBuffer> {
    const at = spare.findLastIndex(({ length }) => length === this.#size);
    return at < 0 ? new Uint8Array(this.#size) : spare.splice(at, 1)[0]!;
  }
}

class IteratorFeed implements Feed {
  readonly #iterator: AsyncIterator<unknown, unknown>;
  readonly #node: NodeStream | undefined;
  /** What listened to a node stream before. */
  readonly #before: unknown[] | undefined;
  /** Whether it has failed: then it has ended itself. */
  #failed = false;

  constructor(source: AsyncIterable<unknown>) {
    if (isNode(source)) {
      this.#node = source;
      this.#before = source.listeners("readable");
      // Its iterator listens from the first step on: an error that comes before, while a block is
      // waited for, would end the process. That step fails with it.
      source.on("error", ignore);
    }
    this.#iterator = source[Symbol.asyncIterator]();
    if (typeof Object(this.#iterator).next !== "function") {
      refuse(TypeError, "source[Symbol.asyncIterator]()", this.#iterator, RULE);
    }
  }

  async next(): Promise<IteratorResult<unknown, unknown>> {
    let result;
    try {
      result = await this.#iterator.next();
    } catch (error) {
      this.#failed = true;
      throw error;
    }
    if (Object(result) !== result) {
      refuse(TypeError, "a step of source", result, "an object");
    }
    // What a generator returns is none of its chunks.
    return result.done ? { done: true, value: undefined } : result;
  }

  end(done: boolean): void {
    if (done || this.#failed) return;
    const node = this.#node;
    if (node !== undefined && isServed(node)) {
      // Destroyed or left unread, it would stall a client that sends on before it reads its answer.
      this.leave();
      node.on("error", ignore);
      node.resume();
      return;
    }
    try {
      // As with a cancel: it may fail or take for ever; a step that was given up comes first.
      Promise.resolve(this.#iterator.return?.()).catch(() => {});
    } catch {
      // It has failed at once.
    }
  }

  leave(): void {
    const node = this.#node;
    if (node === undefined) return;
    node.off("error", ignore);
    // Those of its iterator would keep it from flowing.
    for (const each of node.listeners("readable")) {
      if (!this.#before!.includes(each)) node.off("readable", each);
    }
  }
}

function ignore(): void {}

function byobReader(
  stream: ReadableStream<Uint8Array>,
): ReadableStreamBYOBReader | undefined {
  try {
    return getReader.call(stream, { mode: "byob" }) as ReadableStreamBYOBReader;
  } catch (error) {
    if (error instanceof TypeError && !stream.locked) return undefined;
    throw error;
  }
}

function plainReader(
  stream: ReadableStream<Uint8Array>,
): ReadableStreamDefaultReader<Uint8Array> {
  return getReader.call(stream) as ReadableStreamDefaultReader<Uint8Array>;
}
