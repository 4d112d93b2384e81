/**
 * The contestants: servers that do the same, each as one would write it with or without a pool.
 * Run as a script, this file is one of them in a process of its own.
 *
 *     deno run -A bench/io/servers.ts CONTESTANT
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import busboy from "busboy";
import { BlockPool, SmritiError } from "@smriti/pool";
import {
  chunks,
  collect,
  collector,
  copy,
  lines,
  readBody,
  readFrames,
} from "@smriti/pool/io";
import { answer } from "../child.ts";
import { spread } from "../measure.ts";
import { writeAll } from "./load.ts";
import { READERS, serveResp } from "./resp.ts";

const KIB = 1024;
const hostname = "127.0.0.1";
/** Of uploads; all contestants accept this much. */
const MOST = 1024 * KIB;
/** Of one read. */
const PAGE = 64 * KIB;
/** Of files in forms. */
const MOST_OF_FILE = 8 * 1024 * KIB;
/** What a server should give every read; here no sender is slow. */
const PATIENCE_MS = 30_000;

/** Answers requests; a number stands for its text. Gives the port. */
function http(
  handler: (request: Request) => Promise<Response | number> | Response,
): number {
  const server = Deno.serve(
    { hostname, port: 0, onListen() {} },
    async (request) => {
      const found = await handler(request);
      return found instanceof Response ? found : new Response(String(found));
    },
  );
  return server.addr.port;
}

/** Serves connections until the client ends or cuts them. Gives the port. */
function tcp(serve: (conn: Deno.TcpConn) => Promise<void>): number {
  const listener = Deno.listen({ hostname, port: 0 });
  (async () => {
    for await (const conn of listener) {
      conn.setNoDelay();
      serve(conn).catch(() => {}).finally(() => shut(conn));
    }
  })();
  return listener.addr.port;
}

/** `pipeTo` closes what it has read to the end. */
function shut(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // Closed.
  }
}

/** How an upload becomes a number: all its bytes in memory, or seen one after another. */
type Upload = (request: Request) => Promise<number>;

/** Whole bodies: the last byte and the length, so that all must be there. */
function look(bytes: Uint8Array): number {
  return bytes.length + bytes[bytes.length - 1];
}

const bodies = () => new BlockPool({ blockSize: MOST, maxBlocks: 64 });
const pages = (maxBlocks = 256) =>
  new BlockPool({ blockSize: 64 * KIB, maxBlocks });

const UPLOADS: Record<string, () => Upload> = {
  "req.bytes()": () => async (request) => look(await request.bytes()),
  "default reader": () => async (request) => {
    let size = 0;
    let last = 0;
    for await (const view of request.body!) {
      size += view.length;
      last = view[view.length - 1];
    }
    return size + last;
  },
  "readBody": (pool = bodies()) => (request) => whole(pool, request),
  "readBody, signal": (pool = bodies()) => (request) =>
    whole(pool, request, AbortSignal.timeout(PATIENCE_MS)),
  "readBody, 64 KiB": (pool = pages()) => (request) => whole(pool, request),
  "readBody, 16 KiB": (
    pool = new BlockPool({ blockSize: 16 * KIB, maxBlocks: 256 }),
  ) =>
  (request) => whole(pool, request),
  "bare BYOB loop": bareUpload,
  "collect": (pool = pages()) => async (request) => {
    using chain = await collect(request, pool, { limit: MOST });
    return chain!.byteLength + chain!.slice(-1)[0];
  },
  "chunks": (pool = pages()) => async (request) => {
    let size = 0;
    let last = 0;
    for await (const { bytes } of chunks(request, pool)) {
      size += bytes.length;
      last = bytes[bytes.length - 1];
    }
    return size + last;
  },
};

/** By hand, into an array that was used before; Deno itself takes no less. */
function bareUpload(): Upload {
  const free: ArrayBuffer[] = [];
  return async (request) => {
    let buffer = free.pop() ?? new ArrayBuffer(MOST + PAGE);
    let size = 0;
    const read = bareReader(request.body!);
    for (let isDone = false; !isDone;) {
      const { value, done } = await read(new Uint8Array(buffer, size, PAGE));
      isDone = done;
      if (value === undefined) continue;
      buffer = value.buffer;
      size += value.length;
    }
    free.push(buffer);
    return look(new Uint8Array(buffer, 0, size));
  };
}

/** A body that is there already is no stream of bytes: then what it gives is copied. */
function bareReader(body: ReadableStream<Uint8Array<ArrayBuffer>>) {
  try {
    const reader = body.getReader({ mode: "byob" });
    return (view: Uint8Array<ArrayBuffer>) => reader.read(view);
  } catch {
    const reader = body.getReader();
    return async ({ buffer, byteOffset }: Uint8Array<ArrayBuffer>) => {
      const { value, done } = await reader.read();
      if (done) return { value: undefined, done };
      const view = new Uint8Array(buffer, byteOffset, value.length);
      view.set(value);
      return { value: view, done };
    };
  }
}

/** The same of text: a number out of each line. */
const TEXTS: Record<string, () => Upload> = {
  "TextDecoderStream": () => async (request) => {
    let sum = 0;
    let rest = "";
    const text = request.body!.pipeThrough(new TextDecoderStream());
    for await (const part of text) {
      const all = (rest + part).split("\n");
      rest = all.pop()!;
      for (const line of all) sum += JSON.parse(line).n;
    }
    return sum;
  },
  "lines": (pool = pages()) => async (request) => {
    let sum = 0;
    for await (const line of lines(request, pool)) sum += JSON.parse(line).n;
    return sum;
  },
};

async function whole(
  pool: BlockPool,
  request: Request,
  signal?: AbortSignal,
): Promise<number> {
  using block = pool.tryAcquire() ?? await pool.acquire();
  return look((await readBody(request, block, { signal }))!);
}

/** Files out of multipart forms, all of each in memory. */
const FORMS: Record<string, () => Upload> = {
  "formData()": () => async (request) => {
    let seen = 0;
    for (const value of (await request.formData()).values()) {
      const bytes = await (value as File).bytes();
      seen += bytes.length + bytes[bytes.length - 1];
    }
    return seen;
  },
  "busboy, collector": (pool = pages(2048)) => {
    const take = async (stream: Readable) => {
      using filling = collector(pool, { limit: MOST_OF_FILE });
      for await (const part of stream) await filling.write(part);
      using chain = filling.finish()!;
      return chain.byteLength + chain.slice(-1)[0];
    };
    return async (request) => {
      const form = busboy({ headers: Object.fromEntries(request.headers) });
      const files: Promise<number>[] = [];
      form.on("file", (_, stream) => files.push(take(stream)));
      await pipeline(Readable.fromWeb(request.body as never), form);
      return (await Promise.all(files)).reduce((sum, seen) => sum + seen, 0);
    };
  },
};

/** Bodies passed on to a store that wants their hash first, or put into a file unseen. */
const STORES: Record<
  string,
  () => (request: Request, target: string) => Promise<Response>
> = {
  "bytes(), fetch": () => async (request, target) => {
    const bytes = await request.bytes();
    const hash = createHash("md5").update(bytes).digest("hex");
    return await put(target, hash, bytes);
  },
  "collect, stream()": (pool = pages(2048)) => async (request, target) => {
    using chain = (await collect(request, pool))!;
    const hash = createHash("md5");
    for (const { bytes } of chain.chunks()) hash.update(bytes);
    return await put(target, hash.digest("hex"), chain.stream());
  },
  "pipeTo": () => async (request, target) => {
    const file = await Deno.open(target, { write: true });
    await request.body!.pipeTo(file.writable);
    return new Response("stored");
  },
  "chunks": (pool = pages()) => async (request, target) => {
    using file = await Deno.open(target, { write: true });
    for await (const { bytes } of chunks(request, pool)) {
      await writeAll(file, bytes);
    }
    return new Response("stored");
  },
};

async function put(
  target: string,
  hash: string,
  body: BodyInit,
): Promise<Response> {
  const headers = { "x-hash": hash };
  const stored = await fetch(target, { method: "PUT", headers, body });
  return new Response(await stored.text());
}

/** The same on node:http. */
const NODE_UPLOADS: Record<
  string,
  () => (request: IncomingMessage) => Promise<number>
> = {
  "node, Buffer.concat": () => async (request) => {
    const parts: Uint8Array[] = [];
    for await (const part of request) parts.push(part);
    return look(Buffer.concat(parts));
  },
  "node, readBody": (pool = bodies()) => async (request) => {
    using block = await pool.acquire();
    return look((await readBody(request, block))!);
  },
};

async function serveNode(
  upload: (request: IncomingMessage) => Promise<number>,
): Promise<number> {
  const server = createServer(async (request, response) => {
    response.end(String(await upload(request)));
  }).listen(0, hostname);
  await new Promise((resolve) => server.once("listening", resolve));
  return (server.address() as AddressInfo).port;
}

/** Answers made in memory: of a fresh array, and of a block. */
const ANSWERS: Record<string, () => (size: number) => Response> = {
  "a fresh array": () => (size) => new Response(new Uint8Array(size).fill(7)),
  "a block": (pool = pages()) => (size) => {
    using block = pool.acquireSync();
    const bytes = block.bytes.subarray(0, size).fill(7);
    return new Response(bytes); // has copied it
  },
};

/** Passes bytes both ways until both sides have ended. */
type Proxy = (client: Deno.TcpConn, upstream: Deno.TcpConn) => Promise<void>;

const PROXIES: Record<string, () => Proxy> = {
  pipeTo: () => async (client, upstream) => {
    await Promise.all([
      client.readable.pipeTo(upstream.writable),
      upstream.readable.pipeTo(client.writable),
    ]);
  },
  "copy": (pool = pages()) => async (client, upstream) => {
    using blocks = await pool.acquireMany(2);
    await Promise.all([
      copy(client, upstream, blocks[0]).then(() => upstream.closeWrite()),
      copy(upstream, client, blocks[1]).then(() => client.closeWrite()),
    ]);
  },
  "bare loop": () => async (client, upstream) => {
    await Promise.all([pass(client, upstream), pass(upstream, client)]);
  },
};

/** Into an array of its own; `copy` without a block. */
async function pass(from: Deno.TcpConn, to: Deno.TcpConn): Promise<void> {
  const bytes = new Uint8Array(PAGE);
  for (let size; (size = await from.read(bytes)) !== null;) {
    await writeAll(to, bytes.subarray(0, size));
  }
  await to.closeWrite();
}

async function proxied(
  proxy: Proxy,
  client: Deno.TcpConn,
  port: number,
): Promise<void> {
  const upstream = await Deno.connect({ hostname, port });
  upstream.setNoDelay();
  await proxy(client, upstream);
  shut(upstream);
}

/** Answers each frame with 4 bytes. */
type Frames = (conn: Deno.TcpConn) => Promise<void>;

const FRAMES: Record<string, () => Frames> = {
  "conn.readable": () => async (conn) => {
    const reply = new Uint8Array(4);
    let rest = new Uint8Array(0);
    for await (const chunk of conn.readable) {
      const all = new Uint8Array(rest.length + chunk.length);
      all.set(rest);
      all.set(chunk, rest.length);
      let at = 0;
      while (all.length - at >= 4) {
        const size = new DataView(all.buffer, at).getUint32(0);
        if (all.length - at - 4 < size) break;
        const frame = all.subarray(at + 4, at + 4 + size);
        reply[0] = frame[size - 1];
        await conn.write(reply);
        at += 4 + size;
      }
      rest = all.subarray(at);
    }
  },
  /** One array each, which a frame fits into. */
  "bare loop": () => async (conn) => {
    const reply = new Uint8Array(4);
    const bytes = new Uint8Array(PAGE);
    const head = new DataView(bytes.buffer);
    for (let start = 0, end = 0;;) {
      while (end - start < 4 || end - start < 4 + head.getUint32(start)) {
        bytes.copyWithin(0, start, end);
        end -= start;
        start = 0;
        const size = await conn.read(bytes.subarray(end));
        if (size === null) return;
        end += size;
      }
      start += 4 + head.getUint32(start);
      reply[0] = bytes[start - 1];
      await conn.write(reply);
    }
  },
  "readFrames": (pool = pages()) => async (conn) => {
    const reply = new Uint8Array(4);
    for await (
      const { bytes } of readFrames(conn, pool, { lengthBytes: 4 })
    ) {
      reply[0] = bytes[bytes.length - 1];
      await conn.write(reply);
    }
  },
};

/** Reads every file once; gives what it saw. */
type Files = (paths: string[]) => Promise<number>;

const FILES: Record<string, () => Files> = {
  "Deno.readFile": () => async (paths) => {
    let seen = 0;
    const rest = paths.values();
    await Promise.all(Array.from({ length: 8 }, async () => {
      for (const path of rest) {
        const bytes = await Deno.readFile(path);
        seen += look(bytes);
      }
    }));
    return seen;
  },
  // deno-lint-ignore require-await
  "readSync": (pool = pages()) => async (paths) => {
    const block = pool.acquireSync();
    let seen = 0;
    for (const path of paths) {
      using file = Deno.openSync(path);
      seen += look(block.bytes.subarray(0, file.readSync(block.bytes)!));
    }
    block.release();
    return seen;
  },
};

/** Reads the folder over and over for a while; wall time of one file, in µs. */
async function measureFiles(files: Files, folder: string): Promise<number> {
  const paths = Array.from(
    Deno.readDirSync(folder),
    ({ name }) => `${folder}/${name}`,
  );
  const expected = await files(paths); // warm
  return await micros(paths.length, async () => {
    if (await files(paths) !== expected) throw new Error("read something else");
  });
}

/** Wall time of one of `count` that a run does, the median of nine runs, in µs. */
async function micros(count: number, run: () => Promise<void>) {
  const times: number[] = [];
  for (let round = 0; round < 9; round++) {
    const start = performance.now();
    await run();
    times.push(1000 * (performance.now() - start) / count);
  }
  return spread(times).median;
}

/** Bodies that stay open while others are read. */
const OPEN = 10_000;

/** Wall time of one small body beside those, in µs; with a signal that all of them share, or not. */
async function measureOpen(signal: AbortSignal | undefined): Promise<number> {
  const blocks = OPEN + 1;
  const pool = new BlockPool({
    blockSize: 4096,
    maxBlocks: blocks,
    initialBlocks: blocks,
  });
  for (let i = 0; i < OPEN; i++) {
    const stalled = new ReadableStream<Uint8Array>({
      type: "bytes",
      pull: () => new Promise(() => {}),
    });
    readBody(stalled, pool.acquireSync(), { signal });
  }
  const small = async (count: number) => {
    for (let i = 0; i < count; i++) {
      using block = pool.acquireSync();
      await readBody(new Response("hello").body!, block, { signal });
    }
  };
  await small(5000); // warm
  return await micros(1000, () => small(1000));
}

/** How long an upload of the crowd waits for a block, in ms. */
const WAIT_MS = 1500;

const busy = () => new Response("busy", { status: 503 });

/** Slow uploads, far more than there are blocks. */
const CROWDS: Record<
  string,
  (pool: BlockPool) => (request: Request) => Promise<number | Response>
> = {
  /** What the crowd costs the runtime before a byte is read. */
  "refuse all": () => async (request) => {
    await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
    await request.body?.cancel();
    return busy();
  },
  "req.bytes()": () => async (request) => look(await request.bytes()),
  "readBody": (pool) => async (request) => {
    try {
      using block = await pool.acquire({ timeoutMs: WAIT_MS });
      const signal = AbortSignal.timeout(PATIENCE_MS);
      return look((await readBody(request, block, { signal }))!);
    } catch (error) {
      if (!(error instanceof SmritiError)) throw error;
      await request.body?.cancel();
      return busy();
    }
  },
};

/** By kind, how the contestant of a name is run; what it says when it is ready. */
const KINDS: Record<
  string,
  (name: string, argument: string) => unknown
> = {
  uploads: (name) => ({ port: http(UPLOADS[name]()) }),
  texts: (name) => ({ port: http(TEXTS[name]()) }),
  forms: (name) => ({ port: http(FORMS[name]()) }),
  store(name, target) {
    const store = STORES[name]();
    return { port: http((request) => store(request, target)) };
  },
  node: async (name) => ({ port: await serveNode(NODE_UPLOADS[name]()) }),
  answers(name) {
    const make = ANSWERS[name]();
    return {
      port: http(async (request) => make(Number(await request.text()))),
    };
  },
  proxy(name, target) {
    const proxy = PROXIES[name]();
    return { port: tcp((client) => proxied(proxy, client, Number(target))) };
  },
  frames: (name) => ({ port: tcp(FRAMES[name]()) }),
  resp(name) {
    const readerOf = READERS[name]();
    return { port: tcp((conn) => serveResp(conn, readerOf(conn))) };
  },
  async open(name) {
    const { signal } = new AbortController();
    const given = name === "one signal" ? signal : undefined;
    return { wallMicros: await measureOpen(given) };
  },
  files: async (name, folder) => ({
    wallMicros: await measureFiles(FILES[name](), folder),
  }),
};

if (import.meta.main) {
  const [kind, name, argument] = Deno.args;
  if (kind === "crowd") {
    const pool = pages();
    await answer({ port: http(CROWDS[name](pool)) }, () => pool.stats());
  } else await answer(await KINDS[kind](name, argument));
}
