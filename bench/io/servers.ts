/**
 * The contestants: servers that do the same, each as one would write it with or without a pool.
 * Run as a script, this file is one of them in a process of its own.
 *
 *     deno run -A bench/io/servers.ts CONTESTANT
 */
import { Buffer } from "node:buffer";
import { type Block, BlockPool, SmritiError } from "@smriti/pool";
import {
  chunks,
  collect,
  copy,
  lines,
  readBody,
  readFrames,
} from "@smriti/pool/io";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { answer } from "./child.ts";
import { serveForms } from "./forms.ts";
import { serveResp } from "./resp.ts";
import { serveStore } from "./stores.ts";

const KIB = 1024;
const hostname = "127.0.0.1";
/** Of uploads; all contestants accept this much. */
const MOST = 1024 * KIB;
/** What a server should give every read; here no sender is slow. */
const PATIENCE_MS = 30_000;

/** How an upload becomes a number: all its bytes in memory, or seen one after another. */
type Upload = (request: Request) => Promise<number>;

/** Whole bodies: the last byte and the length, so that all must be there. */
function look(bytes: Uint8Array): number {
  return bytes.length + bytes[bytes.length - 1];
}

const bodies = () => new BlockPool({ blockSize: MOST, maxBlocks: 64 });
const pages = () => new BlockPool({ blockSize: 64 * KIB, maxBlocks: 256 });

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
  "readBody": () => {
    const pool = bodies();
    return (request) => whole(pool, request);
  },
  "readBody, signal": () => {
    const pool = bodies();
    return (request) => whole(pool, request, AbortSignal.timeout(PATIENCE_MS));
  },
  "readBody, 64 KiB": () => {
    const pool = pages();
    return (request) => whole(pool, request);
  },
  "collect": () => {
    const pool = pages();
    return async (request) => {
      using chain = await collect(request, pool, { limit: MOST });
      return chain!.byteLength + chain!.slice(-1)[0];
    };
  },
  "chunks": () => {
    const pool = pages();
    return async (request) => {
      let size = 0;
      let last = 0;
      for await (const { bytes } of chunks(request, pool)) {
        size += bytes.length;
        last = bytes[bytes.length - 1];
      }
      return size + last;
    };
  },
};

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
  "lines": () => {
    const pool = pages();
    return async (request) => {
      let sum = 0;
      for await (const line of lines(request, pool)) sum += JSON.parse(line).n;
      return sum;
    };
  },
};

async function whole(
  pool: BlockPool,
  request: Request,
  signal?: AbortSignal,
): Promise<number> {
  const block = pool.tryAcquire() ?? await pool.acquire();
  try {
    return look((await readBody(request, block, { signal }))!);
  } finally {
    block.release();
  }
}

function serveUploads(upload: Upload): number {
  const server = Deno.serve(
    { hostname, port: 0, onListen() {} },
    async (request) => new Response(String(await upload(request))),
  );
  return server.addr.port;
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
  "node, readBody": () => {
    const pool = bodies();
    return async (request) => {
      using block = await pool.acquire();
      return look((await readBody(request, block))!);
    };
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
  "a block": () => {
    const pool = pages();
    return (size) => {
      using block = pool.acquireSync();
      const bytes = block.bytes.subarray(0, size).fill(7);
      return new Response(bytes); // has copied it
    };
  },
};

function serveAnswers(make: (size: number) => Response): number {
  const server = Deno.serve(
    { hostname, port: 0, onListen() {} },
    async (request) => make(Number(await request.text())),
  );
  return server.addr.port;
}

/** Passes bytes both ways until both sides have ended. */
type Proxy = (client: Deno.TcpConn, upstream: Deno.TcpConn) => Promise<void>;

const PROXIES: Record<string, () => Proxy> = {
  pipeTo: () => async (client, upstream) => {
    await Promise.all([
      client.readable.pipeTo(upstream.writable),
      upstream.readable.pipeTo(client.writable),
    ]);
  },
  "copy": () => {
    const pool = pages();
    return async (client, upstream) => {
      using blocks = await pool.acquireMany(2);
      await Promise.all([
        copy(client, upstream, blocks[0]).then(() => upstream.closeWrite()),
        copy(upstream, client, blocks[1]).then(() => client.closeWrite()),
      ]);
    };
  },
};

function serveProxy(proxy: Proxy, target: number): number {
  const listener = Deno.listen({ hostname, port: 0 });
  const pass = async (client: Deno.TcpConn) => {
    try {
      const upstream = await Deno.connect({ hostname, port: target });
      client.setNoDelay();
      upstream.setNoDelay();
      await proxy(client, upstream);
      shut(upstream);
    } catch {
      // The load has ended and closed its connections.
    }
    shut(client);
  };
  (async () => {
    for await (const client of listener) pass(client);
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
  "readFrames": () => {
    const pool = pages();
    return async (conn) => {
      const reply = new Uint8Array(4);
      for await (
        const { bytes } of readFrames(conn, pool, { lengthBytes: 4 })
      ) {
        reply[0] = bytes[bytes.length - 1];
        await conn.write(reply);
      }
    };
  },
};

function serveFrames(frames: Frames): number {
  const listener = Deno.listen({ hostname, port: 0 });
  (async () => {
    for await (const conn of listener) {
      conn.setNoDelay();
      frames(conn).catch(() => {}).finally(() => shut(conn));
    }
  })();
  return listener.addr.port;
}

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
  "readSync": () => {
    const pool = pages();
    // deno-lint-ignore require-await
    return async (paths) => {
      const block = pool.acquireSync();
      let seen = 0;
      for (const path of paths) {
        using file = Deno.openSync(path);
        seen += look(block.bytes.subarray(0, file.readSync(block.bytes)!));
      }
      block.release();
      return seen;
    };
  },
};

/** Reads the folder over and over for a while; wall time of one file, in µs. */
async function measureFiles(files: Files, folder: string): Promise<number> {
  const paths = [...Deno.readDirSync(folder)].map(({ name }) =>
    `${folder}/${name}`
  );
  const expected = await files(paths); // warm
  const times: number[] = [];
  for (let round = 0; round < 9; round++) {
    const start = performance.now();
    const seen = await files(paths);
    times.push(performance.now() - start);
    if (seen !== expected) throw new Error("read something else");
  }
  return 1000 * times.toSorted((a, b) => a - b)[4] / paths.length;
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
  const times: number[] = [];
  for (let round = 0; round < 9; round++) {
    const start = performance.now();
    await small(1000);
    times.push(performance.now() - start);
  }
  return times.toSorted((a, b) => a - b)[4];
}

/** How long an upload of the crowd waits for a block, in ms. */
const WAIT_MS = 1500;

/** Slow uploads, far more than there are blocks. `null`: refused. */
const CROWDS: Record<string, (pool: BlockPool) => Slow> = {
  /** What the crowd costs the runtime before anybody reads a byte. */
  "refuse all": () => async () => {
    await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
    return null;
  },
  "req.bytes()": () => async (request) => look(await request.bytes()),
  "readBody": (pool) => async (request) => {
    let block: Block;
    try {
      block = await pool.acquire({ timeoutMs: WAIT_MS });
    } catch (error) {
      if (!(error instanceof SmritiError)) throw error;
      return null;
    }
    try {
      const signal = AbortSignal.timeout(PATIENCE_MS);
      return look((await readBody(request, block, { signal }))!);
    } finally {
      block.release();
    }
  },
};

type Slow = (request: Request) => Promise<number | null>;

function serveCrowd(upload: Slow): number {
  const server = Deno.serve(
    { hostname, port: 0, onListen() {} },
    async (request) => {
      const seen = await upload(request);
      if (seen !== null) return new Response(String(seen));
      await request.body?.cancel();
      return new Response("busy", { status: 503 });
    },
  );
  return server.addr.port;
}

if (import.meta.main) {
  const [kind, name, argument] = Deno.args;
  if (kind === "uploads") {
    await answer({ port: serveUploads(UPLOADS[name]()) });
  } else if (kind === "proxy") {
    await answer({ port: serveProxy(PROXIES[name](), Number(argument)) });
  } else if (kind === "frames") {
    await answer({ port: serveFrames(FRAMES[name]()) });
  } else if (kind === "texts") {
    await answer({ port: serveUploads(TEXTS[name]()) });
  } else if (kind === "node") {
    await answer({ port: await serveNode(NODE_UPLOADS[name]()) });
  } else if (kind === "answers") {
    await answer({ port: serveAnswers(ANSWERS[name]()) });
  } else if (kind === "forms") {
    await answer({ port: serveForms(name) });
  } else if (kind === "store") {
    await answer({ port: serveStore(name, argument) });
  } else if (kind === "resp") {
    await answer({ port: serveResp(name) });
  } else if (kind === "open") {
    const { signal } = new AbortController();
    const given = name === "one signal" ? signal : undefined;
    await answer({ wallMicros: await measureOpen(given) });
  } else if (kind === "files") {
    await answer({ wallMicros: await measureFiles(FILES[name](), argument) });
  } else {
    const pool = pages();
    const port = serveCrowd(CROWDS[name](pool));
    await answer({ port }, () => pool.stats());
  }
}
