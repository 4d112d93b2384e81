/**
 * What the loops read from and write to: their shapes, what `lend` must be told of them, and which
 * counts they may give.
 *
 * There, native code works on the block's own memory, so each call is lent the block: whatever
 * becomes of the caller, the block is not reused before the call has settled. The loops are written
 * out where they run, because a promise more for each step is a tenth of its cost.
 */
import type { Block, LendOptions } from "../mod.ts";
import { Body } from "./body.ts";
import { refuse, show } from "./check.ts";
import { writeZero } from "./errors.ts";
import { type BodySource, checkSource, isNode } from "./source.ts";

/** What bytes can be read from: `Deno.Conn`, `Deno.FsFile`, `Deno.stdin`, or your own. */
export interface Reader {
  /** Reads up to `p.byteLength` bytes into `p`; resolves to how many, or to `null` at the end. */
  read(p: Uint8Array): Promise<number | null>;
}

/** What bytes can be written to: `Deno.Conn`, `Deno.FsFile`, `Deno.stdout`, or your own. */
export interface Writer {
  /** Writes some of `p`; resolves to how many bytes. */
  write(p: Uint8Array): Promise<number>;
}

/**
 * What `copy` and `BlockChain.writeTo` write to. A stream gets copies, because it may keep what it
 * is given. It is locked meanwhile and unlocked afterwards, a writer of yours stays as it is;
 * neither is closed.
 */
export type Sink =
  | Writer
  | WritableStream<Uint8Array<ArrayBuffer>>
  // Its `write` left out, the parameter of a writer made in place has its type still.
  | Omit<WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>, "write">;

/** One thing to read from. Exactly one `end()` must follow. */
export interface Inlet {
  /** What `lend` has to know; `undefined` if only what has arrived is copied to the memory. */
  readonly kind: LendOptions | undefined;
  /**
   * As a reader does, and always a promise. `room` gives the memory, and is asked for it when it is
   * written to: at once if it has to be lent, else after a wait in which the lease may have ended.
   */
  read(room: () => Uint8Array): Promise<number | null>;
  /** No more is read. A reader stays open, anything else is let go of. */
  end(): void;
  /** What has arrived and was not read; the source is the caller's again. `end()` must follow. */
  rest(): Uint8Array;
}

/** One thing to write to. Exactly one `end()` must follow. */
export interface Outlet {
  /** What `lend` has to know; `undefined` if the memory is copied before anything waits. */
  readonly kind: LendOptions | undefined;
  /** As a writer does, and always a promise. */
  write(p: Uint8Array): Promise<number>;
  /** No more is written; nothing is closed. */
  end(): void;
}

/** So often in a row may a reader give no bytes and yet not be at its end. */
const MOST_EMPTY_READS = 100;

const SOCKET: LendOptions = { socket: true };
const OTHER: LendOptions = {};

/** Throws unless bytes can be read from this. */
export function checkReader(
  reader: unknown,
): asserts reader is Reader | BodySource {
  if (!isReader(reader)) {
    checkSource(reader, "reader", "an object with a read() method, or ");
  }
}

/** Throws unless bytes can be written to this. */
export function checkWriter(writer: unknown): asserts writer is Sink {
  if (isNode(writer)) {
    // Its write() keeps the memory, and there is nothing to wait for.
    const rule = "no node stream: use Writable.toWeb(writer)";
    refuse(TypeError, "writer", writer, rule);
  }
  if (writer instanceof WritableStream) {
    if (!writer.locked) return;
    throw new TypeError("writer must not be locked, got a locked stream");
  }
  if (typeof Object(writer).write === "function") return;
  const rule = "an object with a write() method, or a WritableStream";
  refuse(TypeError, "writer", writer, rule);
}

/** Begins to write, which locks a stream. */
export function openWriter(writer: Sink): Outlet {
  if (writer instanceof WritableStream) {
    return new StreamOutlet(writer.getWriter(), true);
  }
  return writer instanceof WritableStreamDefaultWriter
    ? new StreamOutlet(writer, false)
    : new WriterOutlet(writer as Writer);
}

class WriterOutlet implements Outlet {
  readonly kind: LendOptions;
  readonly #writer: Writer;

  constructor(writer: Writer) {
    this.kind = kindOf(writer);
    this.#writer = writer;
  }

  write(p: Uint8Array): Promise<number> {
    return promised("writer.write()", this.#writer.write(p));
  }

  end(): void {}
}

class StreamOutlet implements Outlet {
  readonly kind = undefined;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #unlock: boolean;

  constructor(
    writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>,
    unlock: boolean,
  ) {
    this.#writer = writer;
    this.#unlock = unlock;
  }

  async write(p: Uint8Array): Promise<number> {
    await this.#writer.write(new Uint8Array(p));
    return p.length;
  }

  end(): void {
    if (this.#unlock) this.#writer.releaseLock();
  }
}

/** Begins to read. What is no reader is read as a body is, `room` bytes at once. */
export function openReader(
  reader: Reader | BodySource,
  room: number,
  signal: AbortSignal | undefined,
): Inlet {
  return isReader(reader)
    ? new ReaderInlet(reader)
    : new BodyInlet(new Body(reader, room, signal));
}

class ReaderInlet implements Inlet {
  readonly kind: LendOptions;
  readonly #reader: Reader;

  constructor(reader: Reader) {
    this.kind = kindOf(reader);
    this.#reader = reader;
  }

  read(room: () => Uint8Array): Promise<number | null> {
    return promised("reader.read()", this.#reader.read(room()));
  }

  end(): void {}

  rest(): Uint8Array {
    return new Uint8Array(0);
  }
}

class BodyInlet implements Inlet {
  readonly kind = undefined;
  readonly #body: Body;

  constructor(body: Body) {
    this.#body = body;
  }

  async read(room: () => Uint8Array): Promise<number | null> {
    return await this.#body.fill() ? this.#body.take(room()) : null;
  }

  end(): void {
    this.#body.end();
  }

  rest(): Uint8Array {
    return this.#body.leave();
  }
}

/** Whether this is to be asked for bytes by `read`; a node stream's gives none to ask for. */
function isReader(reader: unknown): reader is Reader {
  return typeof Object(reader).read === "function" && !isNode(reader);
}

/**
 * What `lend` has to know: a socket that was closed has let go of the memory, a file has not. What
 * is neither for certain counts as a file.
 */
function kindOf(stream: Reader | Writer): LendOptions {
  return "remoteAddr" in stream && "localAddr" in stream ? SOCKET : OTHER;
}

/** Does something on a block's memory, which is lent to it unless `kind` says that it need not be. */
export function on<T>(
  block: Block,
  fn: (bytes: Uint8Array<ArrayBuffer>) => Promise<T>,
  kind: LendOptions | undefined,
): Promise<T> {
  return kind === undefined ? fn(block.bytes) : block.lend(fn, kind);
}

/** What a call gave, if it is a promise: nothing else says when the memory is free again. */
function promised<T>(call: string, result: Promise<T>): Promise<T> {
  if (typeof Object(result).then === "function") return result;
  throw new TypeError(`${call} must give a promise, got ${show(result)}`);
}

/** What a read of at most `most` bytes gave, if that can be. */
export function sizeRead(size: number, most: number): number {
  return checkSize("reader.read()", size, most);
}

/** What a write of `most` bytes took, if that can be: some of it. */
export function sizeWritten(size: number, most: number): number {
  if (checkSize("writer.write()", size, most) > 0) return size;
  throw writeZero(
    `writer.write() took none of ${most} bytes`,
  );
}

/** How many reads in a row have given nothing, this one included; not too many. */
export function emptyReads(size: number, before: number): number {
  if (size > 0) return 0;
  if (before + 1 < MOST_EMPTY_READS) return before + 1;
  throw new TypeError(
    `reader.read() must give bytes or null, got 0 bytes ${MOST_EMPTY_READS} times in a row`,
  );
}

function checkSize(call: string, size: number, most: number): number {
  if (Number.isInteger(size) && size >= 0 && size <= most) return size;
  throw new TypeError(
    `${call} must give an integer from 0 to ${most}, got ${show(size)}`,
  );
}
