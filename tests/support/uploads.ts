// A server for a test and a client that sends uploads byte by byte if need be:
// what fetch() cannot be made to do.

import { delay } from "@std/async";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** `size` bytes that differ from place to place. */
export function pattern(size: number, seed = 0): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) bytes[i] = i * 31 + (i >> 8) + seed;
  return bytes;
}

/** A reader of `bytes` that gives at most `piece` at once, or as many as that says. */
export function readerOf(
  bytes: Uint8Array,
  piece: number | (() => number) = Infinity,
) {
  let at = 0;
  return {
    // deno-lint-ignore require-await
    async read(into: Uint8Array): Promise<number | null> {
      if (into.length === 0) throw new Error("asked for nothing");
      if (at === bytes.length) return null;
      const most = typeof piece === "number" ? piece : piece();
      const part = bytes.subarray(at, at + Math.min(most, into.length));
      into.set(part);
      at += part.length;
      return part.length;
    },
  };
}

/** A server on a free port. Its errors are the test's to look at, not the console's. */
export function serve(
  handler: Deno.ServeHandler<Deno.NetAddr>,
): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({
    hostname: "127.0.0.1",
    port: 0,
    onListen() {},
    onError: (error) => new Response(String(error), { status: 500 }),
  }, handler);
}

/** How a body is sent. */
export interface Sending {
  /** Content-Length to announce; by default the truth. `null`: chunked encoding. */
  announced?: number | null;
  /** Bytes in one write (and one chunk). Default: all at once. */
  piece?: number;
  /** Milliseconds between two writes, and between head and body. Default: none, all in one write. */
  pauseMs?: number;
  /** More header lines. */
  headers?: string[];
}

/** What came back. */
export interface Answer {
  readonly status: number;
  readonly text: string;
}

/**
 * Whether `Deno.serve` keeps a connection whose body came in several pieces. 2.9.5 and older close
 * it, and those are what the tests on Windows and arm64 have.
 */
export const keepsConnections: boolean = await probe();

async function probe(): Promise<boolean> {
  await using server = serve(async (request) =>
    new Response(await request.text())
  );
  const { hostname, port } = server.addr;
  using conn = await Deno.connect({ hostname, port });
  await conn.write(encoder.encode(
    "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n",
  ));
  await delay(20);
  await conn.write(encoder.encode("x"));
  const buffer = new Uint8Array(4096);
  let text = "";
  while (!text.endsWith("\r\n\r\nx")) {
    const size = await conn.read(buffer);
    if (size === null) throw new Error(`no answer, only ${text}`);
    text += decoder.decode(buffer.subarray(0, size));
  }
  return !/^connection: close/im.test(text);
}

/** One connection of an HTTP/1.1 client, kept alive where the server does so. */
export class Client implements Disposable {
  conn: Deno.TcpConn;
  #rest: Uint8Array = new Uint8Array(0);

  private constructor(conn: Deno.TcpConn) {
    this.conn = conn;
  }

  static async connect({ port }: { port: number }): Promise<Client> {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port });
    conn.setNoDelay();
    return new Client(conn);
  }

  /** Sends one upload and reads its answer. */
  async upload(body: Uint8Array, sending: Sending = {}): Promise<Answer> {
    await this.send(body, sending);
    return await this.answer();
  }

  /** Sends one upload, whole. */
  async send(body: Uint8Array, sending: Sending = {}): Promise<void> {
    const { announced = body.length, pauseMs, headers = [] } = sending;
    const piece = sending.piece ?? Math.max(1, body.length);
    const head = encoder.encode([
      "POST / HTTP/1.1",
      "Host: localhost",
      announced === null
        ? "Transfer-Encoding: chunked"
        : `Content-Length: ${announced}`,
      ...headers,
      "\r\n",
    ].join("\r\n"));
    const writes = [head];
    for (let at = 0; at < body.length; at += piece) {
      const bytes = body.subarray(at, at + piece);
      writes.push(announced === null ? chunk(bytes) : bytes.slice());
    }
    if (announced === null) writes.push(encoder.encode("0\r\n\r\n"));
    if (pauseMs === undefined) return await this.write(join(writes));
    for (const bytes of writes) {
      await this.write(bytes);
      await delay(pauseMs);
    }
  }

  /** Writes all of it. */
  async write(bytes: Uint8Array): Promise<void> {
    while (bytes.length > 0) {
      bytes = bytes.subarray(await this.conn.write(bytes));
    }
  }

  /** Reads one answer, which has a Content-Length. */
  async answer(): Promise<Answer> {
    for (;;) {
      const text = decoder.decode(this.#rest);
      const end = text.indexOf("\r\n\r\n");
      if (end >= 0) {
        const size = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0);
        const total = encoder.encode(text.slice(0, end)).length + 4 + size;
        if (this.#rest.length >= total) {
          const body = this.#rest.subarray(total - size, total);
          this.#rest = this.#rest.slice(total);
          const status = Number(text.slice(9, 12));
          const closes = /^connection: close/im.test(text.slice(0, end));
          if (closes && !keepsConnections) await this.#reconnect();
          return { status, text: decoder.decode(body) };
        }
      }
      const buffer = new Uint8Array(4096);
      const size = await this.conn.read(buffer);
      if (size === null) throw new Error(`no answer, only ${text}`);
      this.#rest = join([this.#rest, buffer.subarray(0, size)]);
    }
  }

  async #reconnect(): Promise<void> {
    const { hostname, port } = this.conn.remoteAddr;
    this.conn.close();
    this.conn = await Deno.connect({ hostname, port });
    this.conn.setNoDelay();
  }

  [Symbol.dispose](): void {
    this.conn.close();
  }
}

function chunk(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const head = encoder.encode(`${bytes.length.toString(16)}\r\n`);
  return join([head, bytes, encoder.encode("\r\n")]);
}

/** One array of all. */
export function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(
    parts.reduce((sum, { length }) => sum + length, 0),
  );
  let filled = 0;
  for (const part of parts) {
    whole.set(part, filled);
    filled += part.length;
  }
  return whole;
}

/** A stream of these chunks; `byob` makes it a byte stream. Tells what became of it. */
export function streamOf(
  chunks: readonly Uint8Array[],
  { byob = false, pauseMs = 0, fails }: {
    byob?: boolean;
    pauseMs?: number;
    fails?: Error;
  } = {},
): ReadableStream<Uint8Array> & { readonly cancelledWith: unknown[] } {
  let next = 0;
  const cancelledWith: unknown[] = [];
  const source = {
    async pull(
      controller:
        | ReadableStreamDefaultController
        | ReadableByteStreamController,
    ) {
      if (pauseMs > 0) await delay(pauseMs);
      if (next < chunks.length) {
        return controller.enqueue(chunks[next++].slice());
      }
      if (fails !== undefined) return controller.error(fails);
      controller.close();
      (controller as ReadableByteStreamController).byobRequest?.respond(0);
    },
    cancel(reason: unknown) {
      cancelledWith.push(reason);
    },
  };
  const stream = byob
    ? new ReadableStream({ type: "bytes", ...source })
    : new ReadableStream(source, { highWaterMark: 0 });
  return Object.assign(stream as ReadableStream<Uint8Array>, {
    cancelledWith,
  });
}
