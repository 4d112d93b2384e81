// What bodies come from: every kind of source through every adaptor, sources that
// lie, fail or never end, and node's streams, whose too large uploads once ended
// the process.

import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { Buffer } from "node:buffer";
import { createReadStream } from "node:fs";
import { Agent, createServer, type IncomingMessage, request } from "node:http";
import net, { type AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { BlockPool } from "@smriti/pool";
import {
  type BodySource,
  bufferedReader,
  chunks,
  collect,
  copy,
  readBody,
  readFrames,
} from "@smriti/pool/io";
import { lawful, unharmed } from "../support/invariants.ts";
import { until } from "../support/misuse.ts";
import { join, pattern, serve, streamOf } from "../support/uploads.ts";

function poolOf(blockSize: number): BlockPool {
  return new BlockPool({ blockSize, maxBlocks: 40 });
}

/** Each adaptor, as a way to get all bytes of a source; `null` if they are too many. */
const ADAPTORS: Record<
  string,
  (source: BodySource, pool: BlockPool) => Promise<Uint8Array | null>
> = {
  async readBody(source, pool) {
    using block = await pool.acquire();
    return (await readBody(source, block))?.slice() ?? null;
  },
  async collect(source, pool) {
    using chain = await collect(source, pool, { limit: pool.blockSize });
    return chain && chain.bytes();
  },
  async chunks(source, pool) {
    const parts = [];
    let size = 0;
    for await (const { bytes } of chunks(source, pool)) {
      size += bytes.length;
      if (size > pool.blockSize) return null;
      parts.push(bytes.slice());
    }
    return join(parts);
  },
  async copy(source, pool) {
    using block = await pool.acquire();
    const parts: Uint8Array[] = [];
    let size = 0;
    const tooLarge = new Error();
    // deno-lint-ignore require-await
    const write = async (bytes: Uint8Array) => {
      if ((size += bytes.length) > pool.blockSize) throw tooLarge;
      parts.push(bytes.slice());
      return bytes.length;
    };
    try {
      await copy(source, { write }, block);
    } catch (error) {
      if (error === tooLarge) return null;
      throw error;
    }
    return join(parts);
  },
  async readFrames(source, pool) {
    const parts = [];
    let size = 0;
    // Frames of one byte each: their lengths are the bytes 0 and 1 that come before.
    for await (const { head } of readFrames(source, pool, { lengthBytes: 1 })) {
      if (++size > pool.blockSize) return null;
      parts.push(head.slice());
    }
    return join(parts);
  },
};

/** Of file streams, which may still read when their adaptor has ended. */
const closing: Promise<void>[] = [];

/** Sources of these bytes. */
const SOURCES: Record<string, (bytes: Uint8Array<ArrayBuffer>) => BodySource> =
  {
    Request: (body) => new Request("http://localhost", { method: "PUT", body }),
    Response: (body) => new Response(body),
    stream: (bytes) => streamOf(pieces(bytes)),
    "byte stream": (bytes) => streamOf(pieces(bytes), { byob: true }),
    Readable: (bytes) => Readable.from(pieces(bytes).map(Buffer.from)),
    "file stream": (bytes) => {
      const path = Deno.makeTempFileSync();
      Deno.writeFileSync(path, bytes);
      const stream = createReadStream(path);
      const closed = Promise.withResolvers<void>();
      stream.on("close", () => {
        Deno.removeSync(path);
        closed.resolve();
      });
      closing.push(closed.promise);
      return stream;
    },
    generator: async function* (bytes) {
      yield* pieces(bytes);
    },
    "iterator without promises": (bytes) => {
      const all = pieces(bytes).values();
      return { [Symbol.asyncIterator]: () => all } as never;
    },
  };

function pieces(bytes: Uint8Array): Uint8Array[] {
  const parts = [];
  for (let at = 0; at < bytes.length; at += 7) {
    parts.push(bytes.subarray(at, at + 7));
  }
  return parts;
}

for (const [name, adaptor] of Object.entries(ADAPTORS)) {
  Deno.test(`${name}() reads every kind of source, and knows when it is too large`, async () => {
    using pool = poolOf(50);
    // readFrames reads zeros as empty frames.
    const make = (size: number) =>
      name === "readFrames" ? new Uint8Array(size) : pattern(size);
    for (const [kind, of] of Object.entries(SOURCES)) {
      for (const size of [0, 1, 7, 49, 50]) {
        const bytes = make(size);
        const read = await adaptor(of(bytes), pool);
        assertEquals(read, bytes, `${kind}, ${size} bytes`);
        unharmed(pool);
      }
      assertEquals(await adaptor(of(make(51)), pool), null, kind);
      unharmed(pool);
    }
    await Promise.all(closing.splice(0));
  });

  Deno.test(`${name}() ends an iterable by return(), once, whatever it does then`, async () => {
    using pool = poolOf(50);
    const endless = { done: false, value: new Uint8Array(7) };
    const never = new Promise<never>(() => {});
    const ways: (() => unknown)[] = [
      () => Promise.resolve({ done: true }),
      () => undefined,
      () => 1,
      () => never,
      () => Promise.reject(new Error("in return")),
      () => {
        throw new Error("in return");
      },
      () => ({
        get then() {
          throw new Error("in then");
        },
      }),
    ];
    for (const way of ways) {
      let ended = 0;
      const source = {
        [Symbol.asyncIterator]: () => ({
          next: () => Promise.resolve(endless),
          return: () => (ended++, way()),
        }),
      };
      assertEquals(await adaptor(source as never, pool), null);
      assertEquals(ended, 1, `${way}`);
      unharmed(pool);
    }
    // One that has come to its end, or failed, is not ended again.
    const fails = new Error("in next");
    for (const next of [() => ({ done: true }), () => Promise.reject(fails)]) {
      let ended = 0;
      const iterator = { next, return: () => ended++ };
      const source = { [Symbol.asyncIterator]: () => iterator } as never;
      const outcome = await adaptor(source, pool).catch((error) => error);
      if (outcome instanceof Error) assertStrictEquals(outcome, fails);
      else assertEquals(outcome, new Uint8Array(0));
      assertEquals(ended, 0);
    }
    unharmed(pool);
  });

  Deno.test(`${name}() takes chunks for what they are, and refuses those that are no bytes`, async () => {
    using pool = poolOf(50);
    const one = new Uint8Array(1);
    const lies: Uint8Array[] = [];
    for (const value of [-1, 0, 1e9, NaN, "2", {}]) {
      const lying = new Uint8Array(3);
      for (const key of ["byteLength", "length", "byteOffset"] as const) {
        Object.defineProperty(lying, key, { value });
      }
      Object.defineProperty(lying, "buffer", { value: new ArrayBuffer(9) });
      Object.defineProperty(lying, "subarray", { value: () => lying });
      lies.push(lying);
    }
    class Odd extends Uint8Array {
      override get byteLength() {
        return -1;
      }
      override get length(): never {
        throw new Error("asked");
      }
      static get [Symbol.species](): never {
        throw new Error("asked");
      }
    }
    const growing = new ArrayBuffer(3, { maxByteLength: 9 });
    const shared = new SharedArrayBuffer(3);
    lies.push(new Odd(3), Buffer.from([0, 0, 0]));
    lies.push(new Uint8Array(growing), new Uint8Array(shared));
    for (const lie of lies) {
      const read = await adaptor(ReadableStream.from([one, lie, one]), pool);
      assertEquals(read, new Uint8Array(5));
      unharmed(pool);
    }

    const detached = new Uint8Array(3);
    structuredClone(detached, { transfer: [detached.buffer] });
    const shrunk = new ArrayBuffer(9, { maxByteLength: 9 });
    const outside = new Uint8Array(shrunk, 5, 3);
    shrunk.resize(4);
    const wrong: unknown[] = [
      detached,
      outside,
      new Proxy(one, {}),
      Object.create(Uint8Array.prototype),
      new Uint8ClampedArray(1),
      new DataView(new ArrayBuffer(1)),
      new ArrayBuffer(1),
      [1],
      "a",
      1,
      null,
      undefined,
      {},
      { bytes: one },
    ];
    for (const value of wrong) {
      let ended = 0;
      const source = async function* () {
        try {
          yield one;
          yield value;
          yield one;
        } finally {
          ended++;
        }
      };
      await assertRejects(
        () => adaptor(source() as never, pool),
        TypeError,
        "a chunk of source must",
      );
      await until(() => ended === 1);
      const stream = ReadableStream.from([one, value]) as never;
      await assertRejects(() => adaptor(stream, pool), TypeError, "must");
      unharmed(pool);
    }
    const odd = { [Symbol.asyncIterator]: () => ({ next: () => 5 }) } as never;
    await assertRejects(
      () => adaptor(odd, pool),
      TypeError,
      "a step of source",
    );
    const none = { [Symbol.asyncIterator]: () => 5 } as never;
    await assertRejects(() => adaptor(none, pool), TypeError, "an iterator");
    for (const source of [new Blob(["x"]), new Uint8Array(3), "x", 1, null]) {
      await assertRejects(() => adaptor(source as never, pool), TypeError);
    }
    unharmed(pool);
  });

  Deno.test(`${name}() fails with what a node stream fails with, and takes none that was read`, async () => {
    using pool = poolOf(5000);
    const reason = new Error("pulled");
    for (const error of [undefined, reason]) {
      const readable = new Readable({ read() {} });
      readable.push(new Uint8Array(10));
      const reading = adaptor(readable, pool);
      setTimeout(() => readable.destroy(error), 5);
      const caught = await assertRejects(() => reading);
      if (error !== undefined) assertStrictEquals(caught, error);
      unharmed(pool);
    }
    const used = Readable.from([new Uint8Array(1)]);
    for await (const _ of used);
    await assertRejects(() => adaptor(used, pool), TypeError, "must");
    await assertRejects(() => adaptor(Readable.from(["a"]), pool), TypeError);
    unharmed(pool);
  });
}

Deno.test("a node stream that fails while a block is waited for ends the step, not the process", async () => {
  const reading: Record<
    string,
    (source: BodySource, pool: BlockPool) => Promise<unknown>
  > = {
    readFrames: ADAPTORS.readFrames,
    async bufferedReader(source, pool) {
      using reader = bufferedReader(source, pool);
      return await reader.fill(1);
    },
  };
  for (const read of Object.values(reading)) {
    using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
    const block = pool.acquireSync();
    const readable = new Readable({ read() {} });
    const reason = new Error("reset");
    const result = read(readable, pool).catch((error) => error);
    await until(() => pool.stats().waiting === 1);
    readable.destroy(reason);
    await new Promise((resolve) => readable.once("close", resolve));
    block.release();
    assertStrictEquals(await result, reason);
    unharmed(pool);
  }
});

Deno.test("a chunk whose memory goes before it was copied is no shorter one", async () => {
  using pool = new BlockPool({ blockSize: 4, maxBlocks: 2 });
  for (const way of ["transfer", "resize"] as const) {
    const held = await pool.acquireMany(2);
    const buffer = new ArrayBuffer(8, { maxByteLength: 8 });
    const collecting = collect(
      ReadableStream.from([new Uint8Array(buffer)]),
      pool,
    );
    await until(() => pool.stats().waiting === 1);
    if (way === "transfer") structuredClone(buffer, { transfer: [buffer] });
    else buffer.resize(4);
    held[Symbol.dispose]();
    await assertRejects(() => collecting, TypeError, "must keep its memory");
    unharmed(pool);
  }
});

Deno.test("a stream of a subclass is read by the built-in methods, as pipeTo does", async () => {
  using pool = poolOf(50);
  using block = pool.acquireSync();
  class Odd extends ReadableStream<Uint8Array> {
    override getReader(): never {
      return { read: () => 5 } as never;
    }
    override cancel(): never {
      throw new Error("asked");
    }
  }
  const stream = new Odd({
    pull: (controller) => controller.enqueue(new Uint8Array(20)),
  });
  assertEquals(await readBody(stream, block), null);
  assert(!stream.locked);
});

Deno.test("readBody() shows a source nothing of earlier bodies, whatever it wrote and reported", async () => {
  using pool = poolOf(65536);
  using block = pool.acquireSync();
  const byteStream = (fn: (bytes: Uint8Array) => void) =>
    new ReadableStream({
      type: "bytes",
      pull(controller) {
        const view = controller.byobRequest!.view as Uint8Array;
        fn(new Uint8Array(view.buffer));
        controller.byobRequest!.respond(1);
        controller.close();
      },
    });
  const secretive = byteStream((bytes) => bytes.fill(83));
  assertEquals((await readBody(secretive, block))?.length, 1);
  let seen = 0;
  const nosy = byteStream((bytes) =>
    seen = bytes.filter((b) => b !== 0).length
  );
  assertEquals((await readBody(nosy, block))?.length, 1);
  assertEquals(seen, 0);
});

/** A node server that reads uploads by an adaptor and answers their size, or 413. */
async function serveNode(
  answer: (request: IncomingMessage) => Promise<Uint8Array | null>,
) {
  const errors: unknown[] = [];
  const server = createServer(async (request, response) => {
    try {
      const bytes = await answer(request);
      response.statusCode = bytes === null ? 413 : 200;
      response.end(String(bytes?.length));
    } catch (error) {
      errors.push(error);
      response.statusCode = 400;
      response.end("failed");
    }
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  return {
    errors,
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Sends an upload and reads the first line of the answer, at the same time. */
function upload(port: number, size: number, announced: boolean) {
  const socket = net.connect(port, "127.0.0.1");
  const { promise, resolve } = Promise.withResolvers<string>();
  socket.on("error", () => resolve("hung up"));
  socket.on("close", () => resolve("hung up"));
  socket.on("data", (data) => resolve(`${data}`.split("\r\n")[0]));
  socket.write(
    "POST / HTTP/1.1\r\nHost: localhost\r\n" +
      (announced
        ? `Content-Length: ${size}\r\n\r\n`
        : "Transfer-Encoding: chunked\r\n\r\n"),
  );
  if (!announced) socket.write(`${size.toString(16)}\r\n`);
  socket.write(new Uint8Array(size));
  if (!announced) socket.write("\r\n0\r\n\r\n");
  return promise.finally(() => socket.destroy());
}

for (const name of ["readBody", "collect", "chunks"]) {
  Deno.test(`a node server that reads by ${name}() answers too large uploads with 413`, async () => {
    using pool = poolOf(100_000);
    await using server = await serveNode((request) =>
      ADAPTORS[name](request, pool)
    );
    for (let round = 0; round < 5; round++) {
      for (const announced of [true, false]) {
        const fits = await upload(server.port, 100_000, announced);
        assertEquals(fits, "HTTP/1.1 200 OK");
        const large = await upload(server.port, 3_000_000, announced);
        assertEquals(large, "HTTP/1.1 413 Payload Too Large");
      }
    }
    assertEquals(server.errors, []);
    await until(() => lawful(pool).acquiredBlocks === 0);
    unharmed(pool);
  });

  Deno.test(`a node server that reads by ${name}() outlives uploads that are cut`, async () => {
    using pool = poolOf(100_000);
    await using server = await serveNode((request) =>
      ADAPTORS[name](request, pool)
    );
    for (const announced of [true, false]) {
      const socket = net.connect(server.port, "127.0.0.1");
      socket.on("error", () => {});
      socket.write(
        "POST / HTTP/1.1\r\nHost: localhost\r\n" +
          (announced
            ? "Content-Length: 5000\r\n\r\nabc"
            : "Transfer-Encoding: chunked\r\n\r\n5\r\nabc"),
      );
      const before = server.errors.length;
      // Not before the server has heard of it.
      await until(() => pool.stats().acquiredBlocks > 0);
      socket.destroy();
      await until(() => server.errors.length > before);
    }
    assertEquals(await upload(server.port, 10, true), "HTTP/1.1 200 OK");
    await until(() => lawful(pool).acquiredBlocks === 0);
    unharmed(pool);
  });
}

for (const [name, adaptor] of Object.entries(ADAPTORS)) {
  Deno.test(`a node server that reads by ${name}() takes the rest of a client that reads its answer last`, async () => {
    using pool = poolOf(1000);
    const server = createServer(async (request, response) => {
      response.statusCode = await adaptor(request, pool) === null ? 413 : 200;
      response.end();
    }).listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as AddressInfo;
    for (let i = 0; i < 2; i++) {
      using client = await Deno.connect({ hostname: "127.0.0.1", port });
      const head =
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n";
      let left = join([new TextEncoder().encode(head), new Uint8Array(8e6)]);
      while (left.length > 0) left = left.subarray(await client.write(left));
      const answer = new Uint8Array(12);
      await client.read(answer);
      assertEquals(new TextDecoder().decode(answer), "HTTP/1.1 413");
    }
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    unharmed(pool);
  });
}

Deno.test("the answer to a HEAD has no body, whatever length it names, on node too", async () => {
  using pool = poolOf(50);
  using block = pool.acquireSync();
  await using server = serve(() =>
    new Response(null, { headers: { "content-length": "5" } })
  );
  const { port } = server.addr;
  const options = { host: "127.0.0.1", port, method: "HEAD" };
  const agent = new Agent();
  const answer = await new Promise<IncomingMessage>((resolve, reject) =>
    request({ ...options, agent }, resolve).on("error", reject).end()
  );
  assertEquals((await readBody(answer, block))?.length, 0);
  agent.destroy();
});
