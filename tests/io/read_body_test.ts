// readBody(): a whole body in one block, from real servers, raw clients, files
// and streams of every kind; and that no failure costs a block.

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { delay } from "@std/async";
import { BlockPool } from "@smriti/pool";
import { type BodySource, collect, readBody } from "@smriti/pool/io";
import http2 from "node:http2";
import { unharmed } from "../support/invariants.ts";
import { rejected, until } from "../support/misuse.ts";
import { hasNative, hasPosixShell } from "../support/platform.ts";
import {
  Client,
  keepsConnections,
  pattern,
  serve,
  streamOf,
} from "../support/uploads.ts";
import { Fifo, wire } from "../support/connections.ts";

const SIZE = 256 * 1024;
const SIZES = [0, 1, 100, 4095, 65535, 65536, 65537, SIZE - 1, SIZE];

function poolOf(blockSize = SIZE): BlockPool {
  return new BlockPool({ blockSize, maxBlocks: 4 });
}

/** Answers with the hash of what readBody gave, or with what went wrong. */
function hashing(pool: BlockPool, limit?: number) {
  return serve(async (request) => {
    using block = await pool.acquire();
    try {
      const body = await readBody(request, block, { limit });
      if (body === null) return new Response("too large", { status: 413 });
      assertStrictEquals(body.buffer, block.bytes.buffer);
      return new Response(await hashOf(body));
    } catch (error) {
      return new Response((error as Error).name, { status: 400 });
    }
  });
}

async function hashOf(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", bytes);
  return `${bytes.length} ${new Uint8Array(hash).toHex()}`;
}

Deno.test("readBody() reads uploads of every size, sent at once, in pieces, announced or chunked", async () => {
  using pool = poolOf();
  await using server = hashing(pool);
  using client = await Client.connect(server.addr);
  for (const size of SIZES) {
    const body = pattern(size, size);
    const expected = { status: 200, text: await hashOf(body) };
    for (
      const sending of [
        {}, // in the socket's buffer before the handler runs
        { piece: 50_000, pauseMs: 4 },
        { announced: null },
        { announced: null, piece: 30_000, pauseMs: 4 },
        { announced: null, piece: 1, ...size > 4095 && { piece: 1021 } },
      ]
    ) {
      const answer = await client.upload(body, sending);
      assertEquals(answer, expected, Deno.inspect({ size, sending }));
    }
  }
  unharmed(pool);
});

Deno.test("readBody() reads what trickles in byte by byte", async () => {
  using pool = poolOf(20);
  await using server = hashing(pool);
  using client = await Client.connect(server.addr);
  for (const announced of [undefined, null]) {
    const body = pattern(20);
    const sending = { announced, piece: 1, pauseMs: 2 };
    const { text } = await client.upload(body, sending);
    assertEquals(text, await hashOf(body));
  }
  unharmed(pool);
});

Deno.test("readBody() gives null for a larger body, however it is found out, and the connection lives on", async () => {
  for (const limit of [undefined, 0, 1, 65536]) {
    using pool = poolOf(70_000);
    const most = limit ?? 70_000;
    await using server = hashing(pool, limit);
    for (
      const sending of [{}, { announced: null }, {
        announced: null,
        piece: 40_000,
        pauseMs: 4,
      }]
    ) {
      using client = await Client.connect(server.addr);
      const fits = pattern(most);
      for (let round = 0; round < 2; round++) {
        assertEquals((await client.upload(fits, sending)).status, 200);
        assertEquals(
          await client.upload(pattern(most + 1), sending),
          { status: 413, text: "too large" },
        );
      }
    }
    unharmed(pool);
  }
});

Deno.test("readBody() refuses by the announced length alone and reads nothing", async () => {
  using pool = poolOf(1000);
  await using server = hashing(pool);
  using client = await Client.connect(server.addr);
  await client.send(pattern(10), { announced: 1001 });
  assertEquals((await client.answer()).status, 413);
  unharmed(pool);
});

Deno.test("readBody() lets three requests on one connection through without a stall", async () => {
  using pool = poolOf(60_000);
  await using server = hashing(pool);
  using client = await Client.connect(server.addr);
  const body = pattern(60_000);
  const start = performance.now();
  for (let i = 0; i < 3; i++) {
    const { status } = await client.upload(body, { piece: 30_000, pauseMs: 1 });
    assertEquals(status, 200);
  }
  assert(performance.now() - start < 1000, "no stall");
  unharmed(pool);
});

Deno.test("readBody() rejects when an upload is cut, and the block is as good as before", async () => {
  using pool = poolOf();
  const errors: unknown[] = [];
  await using server = serve(async (request) => {
    using block = await pool.acquire();
    await readBody(request, block).catch((error) => errors.push(error));
    block.bytes.fill(1);
    return new Response();
  });
  for (let i = 0; i < 20; i++) {
    using client = await Client.connect(server.addr);
    await client.send(pattern(i * 5000), { announced: 200_000, pauseMs: 1 });
    if (i % 2 === 0) await client.conn.closeWrite();
  }
  await until(() => errors.length === 20);
  for (const error of errors) assertInstanceOf(error, Error);
  await until(() => pool.stats().acquiredBlocks === 0);
  unharmed(pool);
});

Deno.test("readBody() holds a request or response to its Content-Length", async () => {
  using pool = poolOf();
  using block = pool.acquireSync();
  const init = (announced: string) => ({
    headers: { "content-length": announced },
  });
  for (const byob of [true, false]) {
    const body = () => streamOf([pattern(10), pattern(5)], { byob });
    const cut = await assertRejects(
      () => readBody(new Response(body(), init("16")), block),
      Deno.errors.UnexpectedEof,
    );
    assert(cut.message.includes("15 of the 16 bytes"), cut.message);
    await assertRejects(
      () => readBody(new Response(body(), init("14")), block),
      Deno.errors.InvalidData,
    );
    const whole = await readBody(new Response(body(), init("15")), block);
    assertEquals(whole?.length, 15);
    // Not a length at all: nothing to hold it to.
    for (const odd of ["abc", "-1", "1, 1"]) {
      const response = new Response(body(), init(odd));
      assertEquals((await readBody(response, block))?.length, 15);
    }
  }
});

Deno.test("readBody() reads responses: fetched, compressed, without a body", async () => {
  using pool = poolOf();
  using block = pool.acquireSync();
  const body = pattern(200_000);
  const packed = await new Response(
    new Blob([body]).stream().pipeThrough(new CompressionStream("gzip")),
  ).bytes();
  await using server = serve((request) => {
    if (request.url.endsWith("/gzip")) {
      const headers = { "content-encoding": "gzip" };
      return new Response(packed, { headers });
    }
    return new Response(body);
  });
  const url = `http://127.0.0.1:${server.addr.port}`;
  for (const path of ["/", "/gzip"]) {
    const response = await fetch(url + path);
    assertEquals(await readBody(response, block), body);
  }
  const head = await fetch(url, { method: "HEAD" });
  assertEquals((await readBody(head, block))?.length, 0);
  assertEquals((await readBody(new Request(url), block))?.length, 0);
});

Deno.test("readBody() takes chunks of any size from any kind of stream", async () => {
  using pool = poolOf(1000);
  using block = pool.acquireSync();
  const body = pattern(1000);
  for (const byob of [true, false]) {
    for (const size of [1, 7, 999, 1000]) {
      const chunks = [];
      for (let at = 0; at < 1000; at += size) {
        chunks.push(body.subarray(at, at + size));
        if (!byob) chunks.push(new Uint8Array(0)); // not allowed in byte streams
      }
      const stream = streamOf(chunks, { byob });
      assertEquals(await readBody(stream, block), body);
      assert(!stream.locked);
      const larger = streamOf([...chunks, new Uint8Array(1)], { byob });
      assertEquals(await readBody(larger, block), null);
      assertEquals(larger.cancelledWith.length, 1);
    }
  }
  const shared = new Uint8Array(new SharedArrayBuffer(3)).fill(7);
  const stream = ReadableStream.from([shared]);
  assertEquals(await readBody(stream, block), new Uint8Array([7, 7, 7]));
});

Deno.test("readBody() rejects with what the stream fails with, or when a chunk is not bytes", async () => {
  using pool = poolOf();
  using block = pool.acquireSync();
  const fails = new Error("disk on fire");
  for (const byob of [true, false]) {
    const stream = streamOf([pattern(10)], { byob, fails });
    const error = await assertRejects(() => readBody(stream, block));
    assertStrictEquals(error, fails);
  }
  const texts = ReadableStream.from(["a"]) as unknown as ReadableStream;
  await assertRejects(
    () => readBody(texts, block),
    TypeError,
    'a chunk of source must be a Uint8Array, got "a"',
  );
});

Deno.test("readBody() takes no more of a request made here than it announces, however long it is", async () => {
  using pool = poolOf();
  await using server = serve(async (served) => {
    using block = await pool.acquire();
    const made = [
      // As a middleware does that unpacks bodies, and leaves the header as it was.
      (body: BodyInit) => new Request(served, { body }),
      (body: BodyInit) => new Request(served, { body }).clone(),
      (body: BodyInit) => new Request(new Request(served, { body })),
      (body: BodyInit) =>
        new Request(served.url, {
          method: "POST",
          headers: served.headers,
          body,
        }),
    ];
    for (const make of made) {
      let given = 0;
      const endless = new ReadableStream({
        pull(controller) {
          if (++given > 1000) throw new Error("all of it was read");
          controller.enqueue(new Uint8Array(5));
        },
      });
      await assertRejects(
        () => readBody(make(endless), block),
        Deno.errors.InvalidData,
        "longer than the 10 bytes",
      );
      assert(given < 20, `${given} chunks were taken`);
    }
    return new Response((await readBody(served, block))!);
  });
  using client = await Client.connect(server.addr);
  const { text } = await client.upload(new TextEncoder().encode("0123456789"));
  assertEquals(text, "0123456789");
  unharmed(pool);
});

/**
 * Requests that announce a short body are read as the last one of about their length came: whole
 * with its head, or later. Each of these makes it one of the two.
 */
const LAST_CAME: Record<string, (announced: number) => Request> = {
  "whole": (announced) => announcing(announced, new Uint8Array(announced)),
  "later": (announced) => {
    const part = new Uint8Array(announced + 1).subarray(1);
    return announcing(announced, ReadableStream.from([part]));
  },
};

function announcing(announced: number, body: BodyInit): Request {
  const headers = { "content-length": String(announced) };
  return new Request("http://localhost", { method: "POST", headers, body });
}

for (const [came, last] of Object.entries(LAST_CAME)) {
  const after = `after one that came ${came}`;
  const before = async (announced: number) => {
    using pool = poolOf();
    using block = pool.acquireSync();
    await readBody(last(announced), block);
  };

  Deno.test(`readBody() reads a short body ${after}, at once or in pieces, and knows its limit`, async () => {
    using pool = poolOf();
    await using server = serve(async (request) => {
      using block = await pool.acquire();
      await before(Number(request.headers.get("content-length")));
      const limit = Number(request.headers.get("x-limit"));
      const body = await readBody(request, block, { limit });
      if (body === null) return new Response("too large", { status: 413 });
      return new Response(await hashOf(body));
    });
    using client = await Client.connect(server.addr);
    for (const size of [0, 1, 100, 4097, 32 * 1024, 32 * 1024 + 1]) {
      const body = pattern(size, size);
      for (const sending of [{}, { piece: 20_000, pauseMs: 4 }]) {
        const upload = async (limit: number) => {
          const headers = [`x-limit: ${limit}`];
          return await client.upload(body, { ...sending, headers });
        };
        const expected = { status: 200, text: await hashOf(body) };
        assertEquals(await upload(size), expected);
        if (size === 0) continue;
        assertEquals((await upload(size - 1)).status, 413);
      }
    }
    unharmed(pool);
  });

  Deno.test(
    `readBody() of a short body ${after} that never comes ends with the signal, or with the connection`,
    {
      // A Deno that closes such connections also forgets reads of their bodies.
      sanitizeOps: keepsConnections,
    },
    async () => {
      using pool = poolOf(32 * 1024);
      const outcomes: unknown[] = [];
      await using server = serve(async (request) => {
        using block = await pool.acquire();
        const signal = AbortSignal.timeout(50);
        await before(32 * 1024);
        outcomes.push(
          await readBody(request, block, { signal }).catch((e) => e),
        );
        return new Response(null, { status: 408 });
      });
      // The answer comes, and the block is back, though the body never does.
      using client = await Client.connect(server.addr);
      await client.send(pattern(100), { announced: 32 * 1024 });
      assertEquals((await client.answer()).status, 408);
      assertEquals((outcomes[0] as Error).name, "TimeoutError");
      // Cut in the middle, it fails.
      {
        using other = await Client.connect(server.addr);
        await other.send(pattern(100), { announced: 32 * 1024 });
      }
      await until(() => outcomes.length === 2);
      assertInstanceOf(outcomes[1], Error);
      await until(() => pool.stats().acquiredBlocks === 0);
      unharmed(pool);
    },
  );

  Deno.test(`readBody() of a short body ${after} ends with the lease, and holds it to its length`, async () => {
    using pool = poolOf();
    const endless = new ReadableStream({
      type: "bytes",
      pull: (controller) => controller.enqueue(new Uint8Array(5)),
    });
    await before(10);
    using block = pool.acquireSync();
    await assertRejects(
      () => readBody(announcing(10, endless), block),
      Deno.errors.InvalidData,
      "longer than the 10 bytes",
    );
    await before(10);
    await assertRejects(
      () => readBody(announcing(10, pattern(9)), block),
      Deno.errors.UnexpectedEof,
      "after 9 of the 10 bytes",
    );
    await before(10);
    const { readable, writable } = new TransformStream<Uint8Array>();
    const reading = readBody(announcing(10, readable), block);
    block.release();
    const writing = writable.getWriter().write(pattern(10));
    await rejected("released", reading);
    await Promise.allSettled([writing]);
    unharmed(pool);
  });
}

Deno.test("readBody() rejects with the reason of an aborted signal at once and never writes later", async () => {
  using pool = poolOf();
  const reason = new Error("too slow");
  const outcomes: unknown[] = [];
  await using server = serve(async (request) => {
    const block = await pool.acquire();
    const aborting = new AbortController();
    const reading = readBody(request, block, { signal: aborting.signal });
    setTimeout(() => aborting.abort(reason), 30);
    outcomes.push(await reading.catch((error) => error));
    block.release();
    using next = pool.acquireSync(); // the same slot
    await delay(60);
    outcomes.push(next.bytes.every((byte) => byte === 0));
    return new Response();
  });
  for (const announced of [1000, null]) {
    using client = await Client.connect(server.addr);
    const sending = client.send(pattern(1000), {
      announced,
      piece: 100,
      pauseMs: 10,
    });
    await until(() => outcomes.length === 2);
    await sending.catch(() => {}); // the server may have hung up
    assertEquals(outcomes.splice(0), [reason, true]);
  }
  unharmed(pool);
});

Deno.test({
  name:
    "readBody() may be aborted on a file whose read cannot be: nothing is lost or written later",
  ignore: !hasPosixShell,
  async fn() {
    using pool = poolOf(4096);
    await using fifo = await Fifo.open();
    const block = pool.acquireSync();
    const reason = new Error("enough");
    const aborting = new AbortController();
    const { signal } = aborting;
    const reading = readBody(fifo.reader.readable, block, { signal });
    await delay(20);
    aborting.abort(reason);
    assertStrictEquals(await assertRejects(() => reading), reason);
    block.release();
    using next = pool.acquireSync();
    await fifo.say("LATE");
    await delay(50);
    assert(next.bytes.every((byte) => byte === 0));
    next.release();
    unharmed(pool);
  },
});

Deno.test("readBody() survives a clone that goes on reading after the abort", async () => {
  using pool = poolOf(4096);
  const block = pool.acquireSync();
  using net = await wire();
  const request = new Request("http://localhost", {
    method: "POST",
    body: net.ours.readable,
  });
  const other = request.clone().bytes();
  const aborting = new AbortController();
  const reading = readBody(request, block, { signal: aborting.signal });
  await delay(20);
  aborting.abort();
  await assertRejects(() => reading);
  block.release();
  using next = pool.acquireSync();
  await net.peer.write(new TextEncoder().encode("LATE"));
  await net.peer.closeWrite();
  assertEquals((await other).length, 4);
  assert(next.bytes.every((byte) => byte === 0));
  next.release();
  unharmed(pool);
});

Deno.test("readBody() with an aborted signal cancels the source and reads nothing", async () => {
  using pool = poolOf();
  using block = pool.acquireSync();
  const stream = streamOf([pattern(10)]);
  const signal = AbortSignal.abort("no");
  const error = await readBody(stream, block, { signal }).catch((e) => e);
  assertEquals(error, "no");
  assertEquals(stream.cancelledWith.length, 1);
});

Deno.test("readBody() leaves no listener on a signal that outlives it", async () => {
  using pool = poolOf();
  using block = pool.acquireSync();
  const { signal } = new AbortController();
  let listeners = 0;
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...args: unknown[]) => {
    listeners++;
    addEventListener.apply(signal, args as never);
  };
  signal.removeEventListener = (...args: unknown[]) => {
    listeners--;
    removeEventListener.apply(signal, args as never);
  };
  await readBody(streamOf([pattern(10)]), block, { signal });
  const fails = new Error();
  await readBody(streamOf([], { fails }), block, { signal }).catch(() => {});
  assertEquals(listeners, 0);
});

Deno.test("readBody() rejects with released when the block goes meanwhile, and cancels the rest", async () => {
  using pool = poolOf();
  const block = pool.acquireSync();
  const stream = streamOf([pattern(10), pattern(10)], { pauseMs: 10 });
  const reading = readBody(stream, block);
  block.release();
  await rejected("released", reading);
  await rejected("released", readBody(streamOf([]), block));
  assertEquals(stream.cancelledWith.length, 1);
  unharmed(pool);
});

Deno.test("readBody() shows a byte stream made in JavaScript nothing of earlier bodies", async () => {
  using pool = poolOf();
  using block = pool.acquireSync();
  const secret = new Uint8Array(65536).fill(0x5e);
  await readBody(new Response(new Blob([secret]).stream()), block);
  let seen = 0;
  const nosy = new ReadableStream({
    type: "bytes",
    pull(controller) {
      const view = controller.byobRequest!.view as Uint8Array;
      for (const byte of view) if (byte !== 0) seen++;
      controller.close();
      controller.byobRequest!.respond(0);
    },
  });
  await readBody(nosy, block);
  assertEquals(seen, 0);
});

Deno.test("readBody() checks its arguments and then has touched nothing", async () => {
  using pool = poolOf(100);
  using block = pool.acquireSync();
  const stream = streamOf([pattern(1)]);
  const wrong = (...args: unknown[]) =>
    assertRejects(
      () => (readBody as (...args: unknown[]) => Promise<unknown>)(...args),
    );
  const refusals: [unknown[], typeof TypeError | typeof RangeError, string][] =
    [
      [
        [],
        TypeError,
        "source must be a Request, Response, ReadableStream or AsyncIterable of bytes, got undefined",
      ],
      [["body", block], TypeError, 'got "body"'],
      [[stream], TypeError, "block must be a Block, got undefined"],
      [
        [stream, block.bytes],
        TypeError,
        "block must be a Block, got Uint8Array",
      ],
      [[stream, block, 5], TypeError, "options must be an object, got 5"],
      [[stream, block, { limits: 1 }], TypeError, 'unknown option "limits"'],
      [
        [stream, block, { limit: "1" }],
        TypeError,
        'limit must be an integer from 0 to 100, got "1"',
      ],
      [[stream, block, { limit: -1 }], RangeError, "got -1"],
      [[stream, block, { limit: 101 }], RangeError, "got 101"],
      [[stream, block, { limit: 1.5 }], RangeError, "got 1.5"],
      [[stream, block, { limit: NaN }], RangeError, "got NaN"],
      [
        [stream, block, { signal: {} }],
        TypeError,
        "signal must be an AbortSignal, got Object",
      ],
    ];
  for (const [args, Kind, message] of refusals) {
    const error = await wrong(...args);
    assertInstanceOf(error, Kind, message);
    assert(error.message.includes(message), `${error.message}: ${message}`);
  }
  assert(!stream.locked);
  assertEquals((await readBody(stream, block))?.length, 1);

  const used = new Response("a");
  await used.text();
  await assertRejects(() => readBody(used, block), TypeError, "used");
  const locked = new Response("a");
  locked.body!.getReader();
  await assertRejects(() => readBody(locked, block), TypeError);
});

Deno.test("readBody() and collect() read what is too large to its end if they are asked to", async () => {
  using pool = poolOf(1000);
  for (const drain of [true, false, undefined]) {
    const ways = [
      async (source: BodySource, signal?: AbortSignal) => {
        using block = pool.acquireSync();
        return await readBody(source, block, { drain, signal });
      },
      (source: BodySource, signal?: AbortSignal) =>
        collect(source, pool, { limit: 1000, drain, signal }),
    ];
    for (const read of ways) {
      let given = 0;
      let ended = false;
      const source = async function* () {
        try {
          for (; given < 50; given++) yield pattern(100);
        } finally {
          ended = given < 50;
        }
      };
      assertEquals(await read(source()), null);
      assertEquals([given, ended], drain ? [50, false] : [10, true]);
      const headers = { "content-length": "1001" };
      const stream = streamOf([pattern(1001)]);
      assertEquals(await read(new Response(stream, { headers })), null);
      assertEquals(stream.cancelledWith.length, drain ? 0 : 1);
      if (!drain) continue;
      // Who fails then has no answer coming; only the signal counts.
      const fails = new Error("gone");
      assertEquals(await read(streamOf([pattern(1001)], { fails })), null);
      const signal = AbortSignal.timeout(5);
      const endless = async function* () {
        while (true) yield pattern(100);
      };
      const error = await read(endless(), signal).catch((error) => error);
      assertStrictEquals(error, signal.reason);
    }
    unharmed(pool);
  }
  using block = pool.acquireSync();
  const wrong = { drain: 1 } as never;
  await assertRejects(() => readBody(streamOf([]), block, wrong), TypeError);
});

Deno.test("readBody() with drain lets a 413 arrive over HTTP/2", async () => {
  using pool = poolOf(1000);
  await using server = serve(async (request) => {
    using block = await pool.acquire();
    const signal = AbortSignal.timeout(10_000);
    const body = await readBody(request, block, { drain: true, signal });
    return new Response(null, { status: body === null ? 413 : 200 });
  });
  const session = http2.connect(`http://127.0.0.1:${server.addr.port}`);
  const stream = session.request({ ":method": "PUT", ":path": "/" });
  const status = new Promise((resolve, reject) => {
    stream.on("response", (headers) => resolve(headers[":status"]));
    stream.on("error", reject);
  });
  const closed = new Promise((resolve) => stream.on("close", resolve));
  stream.resume();
  stream.end(pattern(3_000_000));
  assertEquals(await status, 413);
  await closed;
  await new Promise<void>((resolve) => session.close(() => resolve()));
  unharmed(pool);
});

Deno.test({
  name:
    "readBody() of a body with a length reaches no further into a large block",
  ignore: !hasNative,
  fn: async () => {
    const size = 1024 * 1024;
    using pool = new BlockPool({ blockSize: size, maxBlocks: 1 });
    await using server = serve(async (request) => {
      using block = pool.acquireSync();
      const isUsed = request.headers.has("x-used");
      if (isUsed) block.bytes[size - 1] = 1;
      const body = (await readBody(request, block))!;
      const isAnnounced = request.headers.has("content-length");
      const isOwn = isAnnounced && !isUsed;
      assertEquals(
        body.buffer.byteLength,
        isOwn ? body.length : size,
      );
      const answer = await hashOf(body);
      // What the body does not say is not the next one's.
      new Uint8Array(body.buffer).fill(9);
      assertEquals(block.first(body.length)[0], 9);
      return new Response(answer);
    });
    using client = await Client.connect(server.addr);
    for (const length of [1, 10_000, 100_000, 700_000]) {
      for (const announced of [length, null]) {
        for (const headers of [[], ["x-used: 1"]]) {
          const body = pattern(length, length);
          const { text } = await client.upload(body, { announced, headers });
          assertEquals(text, await hashOf(body));
          using block = pool.acquireSync();
          assertEquals(block.bytes.findIndex((byte) => byte !== 0), -1);
        }
      }
    }
    assertEquals(pool.stats().abandonedBlocks, 0);
  },
});
