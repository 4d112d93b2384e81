// The chain that collect() makes: its bytes as chunks, a copy, text, a stream, and
// written to what takes them.

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { delay } from "@std/async";
import { BlockPool, type Pool } from "@smriti/pool";
import { BlockChain, collect } from "@smriti/pool/io";
import { everyPool } from "../support/every_pool.ts";
import { lawful, unharmed } from "../support/invariants.ts";
import { refused, rejected, until } from "../support/misuse.ts";
import { join, pattern, serve, streamOf } from "../support/uploads.ts";

function poolOf(blockSize: number, maxBlocks = 8): BlockPool {
  return new BlockPool({ blockSize, maxBlocks });
}

async function chainOf(
  pool: Pool,
  bytes: Uint8Array,
  piece = 1000,
): Promise<BlockChain> {
  const parts = [];
  for (let at = 0; at < bytes.length; at += piece) {
    parts.push(bytes.subarray(at, at + piece));
  }
  const chain = await collect(streamOf(parts), pool);
  assertInstanceOf(chain, BlockChain);
  return chain;
}

Deno.test("BlockChain gives its bytes as views, a copy, ranges and a line for the console", async () => {
  using pool = poolOf(10);
  for (const size of [0, 1, 9, 10, 11, 20, 35]) {
    const bytes = pattern(size);
    using chain = await chainOf(pool, bytes, 7);
    assertEquals(chain.byteLength, size);
    const parts = Array.from(chain.chunks(), (chunk) => chunk.bytes);
    assertEquals(join(parts), bytes);
    assertEquals(chain.bytes(), bytes);
    const positions = [
      undefined,
      0,
      1,
      9,
      10,
      11,
      19.9,
      35,
      99,
      -1,
      -11,
      -99,
      NaN,
      Infinity,
      -Infinity,
    ];
    for (const start of positions) {
      for (const end of positions) {
        assertEquals(
          chain.slice(start, end),
          bytes.slice(start, end),
          `${size} bytes from ${start} to ${end}`,
        );
      }
    }
    assertEquals(
      Deno.inspect(chain),
      `BlockChain(${size} bytes, in ${Math.ceil(size / 10)} blocks)`,
    );
  }
});

Deno.test("BlockChain.text() puts characters together that lie across blocks", async () => {
  const text = "aäß€𝄞".repeat(20) + "e\u0301";
  const bytes = new TextEncoder().encode(text);
  for (const blockSize of [1, 2, 3, 5, 64, 1000]) {
    using pool = poolOf(blockSize, 400);
    using chain = await chainOf(pool, bytes);
    assertEquals(chain.text(), text);
  }
  using pool = poolOf(4);
  const cases = [
    [0xef, 0xbb, 0xbf, 97, 98], // byte order mark
    [97, 0xe2, 0x82], // cut
    [97, 98, 99, 0xf0, 0x9f, 97], // malformed across blocks
  ];
  for (const raw of cases) {
    const bytes = new Uint8Array(raw);
    using chain = await chainOf(pool, bytes);
    assertEquals(chain.text(), await new Response(bytes).text());
  }
});

Deno.test("BlockChain.writeTo() writes everything, whatever the writer takes at once", async () => {
  using pool = poolOf(10);
  using chain = await chainOf(pool, pattern(35));
  for (const most of [1, 3, 10, 100]) {
    const written: Uint8Array[] = [];
    const writer = {
      async write(bytes: Uint8Array) {
        await delay(0);
        written.push(bytes.slice(0, most));
        return Math.min(most, bytes.length);
      },
    };
    assertEquals(await chain.writeTo(writer), 35);
    assertEquals(join(written), pattern(35));
  }
  const path = await Deno.makeTempFile();
  {
    using file = await Deno.open(path, { write: true });
    assertEquals(await chain.writeTo(file), 35);
  }
  assertEquals(await Deno.readFile(path), pattern(35));
  await Deno.remove(path);

  const nothing = { write: () => Promise.resolve(0) };
  await assertRejects(() => chain.writeTo(nothing), Deno.errors.WriteZero);
  const odd = { write: () => Promise.resolve(11) };
  await assertRejects(() => chain.writeTo(odd), TypeError, "got 11");
  await assertRejects(() => chain.writeTo({} as never), TypeError, "writer");
  const signal = AbortSignal.abort("no");
  const error = await chain.writeTo(odd, { signal }).catch((e) => e);
  assertEquals(error, "no");
});

Deno.test("BlockChain.writeTo() may be aborted or released during a write: the block waits for it", async () => {
  for (const way of ["abort", "release"] as const) {
    using pool = poolOf(10, 2);
    const chain = await chainOf(pool, pattern(20));
    const { promise, resolve } = Promise.withResolvers<number>();
    const aborting = new AbortController();
    const writing = chain.writeTo({ write: () => promise }, aborting);
    if (way === "abort") aborting.abort("stop");
    chain.release();
    assertEquals(lawful(pool).lentBlocks, 1);
    if (way === "abort") assertEquals(await writing.catch((e) => e), "stop");
    resolve(10);
    if (way === "release") await rejected("released", writing);
    await until(() => pool.stats().lentBlocks === 0);
    unharmed(pool);
  }
});

Deno.test("BlockChain is released once, and then nothing of it can be used", async () => {
  using pool = poolOf(10);
  const chain = await chainOf(pool, pattern(15));
  const chunks = [...chain.chunks()];
  const views = chunks.map(({ bytes }) => bytes);
  const late = chain.chunks();
  chain.release();
  assert(chain.released);
  assertEquals(views.map(({ length }) => length), [0, 0]);
  for (const one of chunks) refused("released", () => one.bytes);
  chain[Symbol.dispose]();
  for (
    const use of [
      () => chain.release(),
      () => chain.chunks(),
      () => chain.bytes(),
      () => chain.text(),
      () => chain.slice(1, 2),
      () => late.next(),
    ]
  ) refused("released", use);
  await rejected(
    "released",
    chain.writeTo({ write: (b) => Promise.resolve(b.length) }),
  );
  assertEquals(Deno.inspect(chain), "BlockChain(15 bytes, released)");
  unharmed(pool);
});

Deno.test("BlockChain.stream() gives all bytes, and each block goes back when it was read", async () => {
  for (const pool of everyPool({ blockSize: 10, maxBlocks: 8 })) {
    for (const size of [0, 1, 9, 10, 11, 35]) {
      const chain = await chainOf(pool, pattern(size));
      const stream = chain.stream();
      assert(chain.released);
      refused("released", () => chain.stream());
      refused("released", () => chain.bytes());
      refused("released", () => chain.release());
      chain[Symbol.dispose]();
      const held = Math.ceil(size / 10);
      assertEquals(pool.stats().acquiredBlocks, held);
      const parts: Uint8Array[] = [];
      for await (const part of stream) {
        parts.push(part);
        assertEquals(pool.stats().acquiredBlocks, held - parts.length);
      }
      // Copies: they outlive the blocks.
      assertEquals(join(parts), pattern(size));
      unharmed(pool);
    }
    await pool.close();
  }
});

Deno.test("BlockChain.stream() gives slices of 64 KiB of a large block", async () => {
  using pool = poolOf(150_000);
  const chain = await chainOf(pool, pattern(200_000), 100_000);
  const sizes = (await Array.fromAsync(chain.stream())).map((s) => s.length);
  assertEquals(sizes, [65536, 65536, 18928, 50_000]);
  unharmed(pool);
});

Deno.test("BlockChain.stream() is a body for responses and requests", async () => {
  using pool = poolOf(1000, 400);
  await using server = serve(async (request) => {
    const chain = (await collect(request, pool))!;
    return new Response(chain.stream());
  });
  const url = `http://127.0.0.1:${server.addr.port}`;
  for (const size of [0, 1, 100_000, 300_000]) {
    const chain = await chainOf(pool, pattern(size));
    const answer = await fetch(url, { method: "PUT", body: chain.stream() });
    assertEquals(await answer.bytes(), pattern(size));
    unharmed(pool);
  }
  // A client that goes away takes no block along.
  const answer = await fetch(url, { method: "PUT", body: pattern(400_000) });
  await answer.body!.cancel();
  await until(() => pool.stats().acquiredBlocks === 0);
  unharmed(pool);
});

Deno.test("BlockChain.stream() gives all blocks back on cancel, abort and errors", async () => {
  for (const pool of everyPool({ blockSize: 10, maxBlocks: 8 })) {
    for (const read of [0, 1]) {
      const cancelled = (await chainOf(pool, pattern(35))).stream();
      const reader = cancelled.getReader();
      if (read > 0) await reader.read();
      await reader.cancel();
      unharmed(pool);

      const reason = new Error("stop");
      const aborting = new AbortController();
      const aborted = (await chainOf(pool, pattern(35))).stream(aborting);
      const other = aborted.getReader();
      if (read > 0) await other.read();
      aborting.abort(reason);
      assertStrictEquals(await assertRejects(() => other.read()), reason);
      unharmed(pool);
    }
    const signal = AbortSignal.abort("no");
    const late = (await chainOf(pool, pattern(35))).stream({ signal });
    assertEquals(await late.getReader().read().catch((e) => e), "no");
    unharmed(pool);
    // A signal that comes too late does nothing.
    const aborting = new AbortController();
    const whole = (await chainOf(pool, pattern(35))).stream(aborting);
    assertEquals((await new Response(whole).bytes()).length, 35);
    aborting.abort();

    const open = (await chainOf(pool, pattern(35))).stream().getReader();
    await open.read();
    await rejected("timeout", pool.close({ timeoutMs: 0 }));
    await rejected("released", open.read());
    assertEquals(lawful(pool).acquiredBlocks, 0);
  }
});

Deno.test("BlockChain.stream() checks its arguments and then has moved nothing", async () => {
  using pool = poolOf(10);
  using chain = await chainOf(pool, pattern(15));
  const call = chain.stream as (...args: unknown[]) => unknown;
  for (const wrong of [1, { signal: 1 }, { limit: 1 }]) {
    assertThrows(() => call.call(chain, wrong), TypeError);
  }
  assertEquals(chain.bytes(), pattern(15));
});

Deno.test("a chain whose stream cannot be made still has its blocks", async () => {
  await using pool = new BlockPool({ blockSize: 4096, maxBlocks: 4 });
  using chain = await collect(new Response(new Uint8Array(9000)), pool);
  // What the runtime refuses in any source of a stream.
  Object.defineProperty(Object.prototype, "type", {
    configurable: true,
    value: "no type",
  });
  try {
    assertThrows(() => chain!.stream(), TypeError);
  } finally {
    delete (Object.prototype as { type?: unknown }).type;
  }
  assertEquals(chain!.released, false);
  assertEquals((await new Response(chain!.stream()).bytes()).length, 9000);
  assertEquals(pool.stats().acquiredBlocks, 0);
});
