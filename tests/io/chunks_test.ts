// chunks(): a body through one block, on real uploads and files; that the window
// is one block, and is given back on every way out.

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { delay } from "@std/async";
import { markAsUntransferable } from "node:worker_threads";
import { BlockPool } from "@smriti/pool";
import { type Chunk, chunks } from "@smriti/pool/io";
import { lawful, unharmed } from "../support/invariants.ts";
import { refused, rejected, until } from "../support/misuse.ts";
import { everyPool } from "../support/every_pool.ts";
import { hasPosixShell } from "../support/platform.ts";
import { Client, join, pattern, serve, streamOf } from "../support/uploads.ts";
import { Fifo } from "../support/connections.ts";

function poolOf(blockSize: number): BlockPool {
  return new BlockPool({ blockSize, maxBlocks: 1 });
}

Deno.test("chunks() gives uploads of every size through blocks of every size", async () => {
  for (const blockSize of [1, 7, 4096, 65536, 100_000]) {
    using pool = poolOf(blockSize);
    await using server = serve(async (request) => {
      const parts: Uint8Array[] = [];
      for await (const { bytes } of chunks(request, pool)) {
        assert(bytes.length > 0 && bytes.length <= blockSize);
        assertEquals(pool.stats().acquiredBlocks, 1);
        parts.push(bytes.slice());
      }
      return new Response(join(parts));
    });
    using client = await Client.connect(server.addr);
    for (const size of [0, 1, 100, 65535, 65536, 65537, 300_000]) {
      if (size / blockSize > 70_000) continue;
      const body = pattern(size).map((byte) => byte & 0x7f); // is compared as text
      const text = new TextDecoder().decode(body);
      for (
        const sending of [{}, { announced: null, piece: 40_000, pauseMs: 2 }]
      ) {
        const answer = await client.upload(body, sending);
        assertEquals(answer.status, 200);
        assert(answer.text === text, `${size} through ${blockSize}`);
      }
    }
    unharmed(pool);
  }
});

Deno.test("chunks() needs no block for an empty body, nor before the first bytes", async () => {
  using pool = poolOf(64);
  using block = pool.acquireSync();
  for await (const _ of chunks(streamOf([]), pool)) assert(false);
  for await (const _ of chunks(new Response(), pool)) assert(false);
  const walk = chunks(streamOf([pattern(1)]), pool);
  const step = walk.next();
  await delay(1);
  assertEquals(pool.stats().waiting, 1);
  block.release();
  assertEquals((await step).value!.bytes, pattern(1));
  await walk.return!();
  unharmed(pool);
});

Deno.test("chunks() ends what a step gave out when the next one is asked for, at every level", async () => {
  for (const pool of everyPool({ blockSize: 16, maxBlocks: 1 })) {
    const kept: Chunk[] = [];
    const views: Uint8Array[] = [];
    const buffers: ArrayBuffer[] = [];
    for await (const chunk of chunks(streamOf([pattern(64)]), pool)) {
      assert(!kept.includes(chunk), "a new object each step");
      assertEquals(
        chunk.bytes,
        pattern(64).slice(16 * kept.length).slice(0, 16),
      );
      for (const one of kept) refused("released", () => one.bytes);
      assertEquals(views.map(({ length }) => length), views.map(() => 0));
      kept.push(chunk);
      views.push(chunk.bytes, chunk.bytes.subarray(3));
      buffers.push(chunk.bytes.buffer);
    }
    assertEquals(kept.length, 4);
    for (const one of kept) refused("released", () => one.bytes);
    assertEquals(views.map(({ length }) => length), views.map(() => 0));
    assert(buffers.every(({ detached }) => detached));
    unharmed(pool);
    await pool.close();
    assertEquals(pool.stats().mappedBytes, 0);
  }
});

Deno.test("chunks() fails when a step's buffer was transferred, and its block is lent to no other", async () => {
  for (const pool of everyPool({ blockSize: 16, maxBlocks: 2 })) {
    let taken!: Uint8Array;
    const loop = async () => {
      for await (const { bytes } of chunks(streamOf([pattern(64)]), pool)) {
        taken = new Uint8Array(structuredClone(bytes.buffer, {
          transfer: [bytes.buffer],
        }));
      }
    };
    await rejected("lent", loop());
    {
      using other = pool.acquireSync();
      other.bytes.fill(9);
      assertEquals(taken, pattern(16));
    }
    assertEquals(lawful(pool).acquiredBlocks, 0);
    await pool.close();
  }
});

Deno.test("chunks() cancels and releases on break, return and throw", async () => {
  for (const byob of [true, false]) {
    using pool = poolOf(16);
    const source = () => streamOf([pattern(10), pattern(10)], { byob });

    const broken = source();
    for await (const _ of chunks(broken, pool)) break;
    unharmed(pool);

    const thrown = source();
    const reason = new Error("parser");
    const error = await assertRejects(async () => {
      for await (const _ of chunks(thrown, pool)) throw reason;
    });
    assertStrictEquals(error, reason);
    unharmed(pool);

    const returned = source();
    const walk = chunks(returned, pool);
    await walk.next();
    await walk.return!();
    assertEquals((await walk.next()).done, true);
    unharmed(pool);

    for (const { cancelledWith, locked } of [broken, thrown, returned]) {
      assertEquals([cancelledWith.length, locked], [1, false]);
    }
    // One that is not walked takes nothing.
    const idle = source();
    chunks(idle, pool);
    assert(!idle.locked);
  }
});

Deno.test("chunks() lets the connection live on after a break", async () => {
  using pool = poolOf(65536);
  await using server = serve(async (request) => {
    for await (const { bytes } of chunks(request, pool)) {
      return new Response(String(bytes[0]));
    }
    return new Response("empty");
  });
  using client = await Client.connect(server.addr);
  for (let i = 0; i < 3; i++) {
    const body = pattern(100_000, i + 1);
    const { text } = await client.upload(body, { piece: 50_000, pauseMs: 2 });
    assertEquals(text, String(body[0]));
  }
  unharmed(pool);
});

Deno.test("chunks() fails when the upload is cut or shorter than announced", async () => {
  using pool = poolOf(4096);
  const outcomes: unknown[] = [];
  await using server = serve(async (request) => {
    let size = 0;
    try {
      for await (const { bytes } of chunks(request, pool)) size += bytes.length;
      outcomes.push(size);
    } catch (error) {
      outcomes.push(error);
    }
    return new Response();
  });
  for (let i = 0; i < 10; i++) {
    using client = await Client.connect(server.addr);
    await client.send(pattern(10_000 * i), { announced: 200_000, pauseMs: 2 });
  }
  await until(() => outcomes.length === 10);
  for (const outcome of outcomes) assertInstanceOf(outcome, Error);
  await until(() => pool.stats().acquiredBlocks === 0);
  unharmed(pool);

  const headers = { "content-length": "11" };
  const response = new Response(streamOf([pattern(10)]), { headers });
  await assertRejects(async () => {
    for await (const _ of chunks(response, pool));
  }, Deno.errors.UnexpectedEof);
  unharmed(pool);
});

Deno.test("chunks() ends with the signal's reason while it reads, waits or is between steps", async () => {
  using pool = poolOf(16);
  const reason = new Error("stop");
  const aborting = () => {
    const controller = new AbortController();
    return { controller, options: { signal: controller.signal } };
  };
  { // a read under way
    const { controller, options } = aborting();
    const stream = streamOf([pattern(1)], { pauseMs: 60 });
    const step = chunks(stream, pool, options).next();
    setTimeout(() => controller.abort(reason), 5);
    assertStrictEquals(await assertRejects(() => step), reason);
    assertEquals(stream.cancelledWith.length, 1);
    await delay(70); // the stream's own timer
  }
  { // waiting for a block
    using block = pool.acquireSync();
    const { controller, options } = aborting();
    const stream = streamOf([pattern(1)]);
    const step = chunks(stream, pool, options).next();
    setTimeout(() => controller.abort(reason), 5);
    assertStrictEquals(await assertRejects(() => step), reason);
    assertEquals(stream.cancelledWith.length, 1);
    assertEquals(block.released, false);
  }
  { // between steps, with bytes at hand
    const { controller, options } = aborting();
    const walk = chunks(streamOf([pattern(32)]), pool, options);
    await walk.next();
    controller.abort(reason);
    assertStrictEquals(await assertRejects(() => walk.next()), reason);
  }
  unharmed(pool);
});

Deno.test("chunks() waits for a block as long as timeoutMs, then cancels the body", async () => {
  using pool = poolOf(16);
  using block = pool.acquireSync();
  for (const timeoutMs of [0, 5]) {
    const stream = streamOf([pattern(1)]);
    const step = chunks(stream, pool, { timeoutMs }).next();
    await rejected("timeout", step);
    assertEquals(stream.cancelledWith.length, 1);
  }
  assertEquals(block.released, false);
});

Deno.test("chunks() fails with closed when the pool closes meanwhile", async () => {
  const pool = poolOf(16);
  const walk = chunks(streamOf([pattern(64)]), pool);
  await walk.next();
  await rejected("timeout", pool.close({ timeoutMs: 0 }));
  await rejected("released", walk.next());
  await rejected("closed", chunks(streamOf([pattern(1)]), pool).next());
});

Deno.test({
  name:
    "chunks() walks over files and pipes, and may be aborted in a read that cannot be",
  ignore: !hasPosixShell,
  async fn() {
    using pool = poolOf(1000);
    const file = await Deno.open("README.md");
    const parts = [];
    for await (const { bytes } of chunks(file.readable, pool)) {
      parts.push(bytes.slice());
    }
    assertEquals(join(parts), await Deno.readFile("README.md"));

    await using fifo = await Fifo.open();
    const { readable } = fifo.reader;
    const signal = AbortSignal.timeout(20);
    await assertRejects(() => chunks(readable, pool, { signal }).next());
    using next = pool.acquireSync();
    await fifo.say("LATE");
    await delay(50);
    assert(next.bytes.every((byte) => byte === 0));
    next.release();
    unharmed(pool);
  },
});

Deno.test("chunks() checks its arguments at once", () => {
  using pool = poolOf(16);
  const stream = streamOf([]);
  const call = chunks as (...args: unknown[]) => unknown;
  const wrong: [unknown[], typeof TypeError | typeof RangeError, string][] = [
    [[null, pool], TypeError, "source must be"],
    [[stream], TypeError, "pool must be a pool of blocks of one size"],
    [[stream, {}], TypeError, "got Object"],
    [[stream, pool, { limit: 1 }], TypeError, 'unknown option "limit"'],
    [[stream, pool, { signal: 1 }], TypeError, "signal must be"],
    [[stream, pool, { timeoutMs: "1" }], TypeError, "timeoutMs must be"],
    [[stream, pool, { timeoutMs: -1 }], RangeError, "got -1"],
    [[stream, pool, { timeoutMs: 2 ** 31 }], RangeError, "2147483647"],
  ];
  for (const [args, Kind, message] of wrong) {
    assertThrows(() => call(...args), Kind, message);
  }
  using block = pool.acquireSync();
  block.release();
  refused("released", () => block.bytes);
});

Deno.test("chunks() loses no block whose buffer cannot be moved", async () => {
  for (const pool of everyPool({ blockSize: 16, maxBlocks: 2 })) {
    // Marked in an earlier lease, or in a step.
    using block = pool.acquireSync();
    markAsUntransferable(block.bytes.buffer);
    block.release();
    const loop = async () => {
      for await (const { bytes } of chunks(streamOf([pattern(64)]), pool)) {
        markAsUntransferable(bytes.buffer);
      }
    };
    await assertRejects(loop);
    assertEquals(lawful(pool).acquiredBlocks, 0, pool.name);
    await pool.close().catch(() => {}); // it says what it could not unmap
  }
});
