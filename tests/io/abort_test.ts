// Signals: one listener however many operations share one, and time for it to fire
// however ready a source is.

import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { getEventListeners } from "node:events";
import { setImmediate } from "node:timers";
import { BlockPool } from "@smriti/pool";
import { chunks, collect, copy, readBody, readFrames } from "@smriti/pool/io";
import { unharmed } from "../support/invariants.ts";
import { microtasks } from "../support/misuse.ts";
import { pattern, streamOf } from "../support/uploads.ts";

const SIZE = 1024;

/** Sources that are always ready, of chunks as long as that; the last one throws. */
const READY: Record<string, (size: number) => AsyncIterable<Uint8Array>> = {
  async *generator(size) {
    for (let i = 0; i < 1e7; i++) yield new Uint8Array(size);
    throw new Error("no timer had a turn");
  },
  stream(size) {
    let left = 1e7;
    return new ReadableStream({
      pull(controller) {
        if (left-- === 0) throw new Error("no timer had a turn");
        controller.enqueue(new Uint8Array(size));
      },
    });
  },
};

/** What goes on as long as its source does. */
const ENDLESS: Record<
  string,
  (
    source: (size: number) => AsyncIterable<Uint8Array>,
    pool: BlockPool,
    signal: AbortSignal,
  ) => Promise<unknown>
> = {
  async readBody(source, pool, signal) {
    using block = pool.acquireSync();
    await readBody(source(0), block, { signal });
  },
  async collect(source, pool, signal) {
    await collect(source(0), pool, { signal });
  },
  async chunks(source, pool, signal) {
    for await (const _ of chunks(source(100), pool, { signal }));
  },
  async readFrames(source, pool, signal) {
    const options = { lengthBytes: 1, signal } as const;
    for await (const _ of readFrames(source(100), pool, options));
  },
  async copy(source, pool, signal) {
    using block = pool.acquireSync();
    const write = (bytes: Uint8Array) => Promise.resolve(bytes.length);
    await copy(source(100), { write }, block, { signal });
  },
  async "copy, a byte a write"(_, pool, signal) {
    using block = pool.acquireSync();
    const read = (bytes: Uint8Array) => Promise.resolve(bytes.length);
    await copy({ read }, { write: () => Promise.resolve(1) }, block, {
      signal,
    });
  },
  async "chain.writeTo"(_, pool, signal) {
    // Each of them is over long before a turn is due.
    using chain = (await collect(streamOf([pattern(50)]), pool))!;
    const write = () => Promise.resolve(1);
    while (true) await chain.writeTo({ write }, { signal });
  },
};

for (const [name, run] of Object.entries(ENDLESS)) {
  for (const [kind, source] of Object.entries(READY)) {
    Deno.test(`${name}: a ${kind} that is always ready lets the signal's time run out`, async () => {
      using pool = new BlockPool({ blockSize: SIZE, maxBlocks: 4 });
      const signal = AbortSignal.timeout(20);
      const error = await run(source, pool, signal).catch((error) => error);
      assertStrictEquals(error, signal.reason);
      unharmed(pool);
    });
  }
}

Deno.test("a signal has one listener for all operations, and none afterwards", async () => {
  using pool = new BlockPool({ blockSize: SIZE, maxBlocks: 40 });
  const aborting = new AbortController();
  const { signal } = aborting;
  const listeners = () => getEventListeners(signal, "abort").length;
  const stalled = () =>
    new ReadableStream<Uint8Array>({ pull: () => new Promise(() => {}) });
  const running: Promise<unknown>[] = [];
  const caught = (one: Promise<unknown>) => one.catch((error) => error);
  const options = { lengthBytes: 1, signal } as const;
  for (let i = 0; i < 10; i++) {
    running.push(
      caught(readBody(stalled(), pool.acquireSync(), { signal })),
      caught(collect(stalled(), pool, { signal })),
      caught(chunks(stalled(), pool, { signal }).next()),
      caught(readFrames(stalled(), pool, options).next()),
    );
  }
  await microtasks();
  assertEquals(listeners(), 1);
  // Those that end meanwhile take nothing along.
  using block = pool.acquireSync();
  await readBody(streamOf([pattern(10)]), block, { signal });
  const fails = new Error();
  await readBody(streamOf([], { fails }), block, { signal }).catch(() => {});
  assertEquals(listeners(), 1);

  const reason = new Error("the server stops");
  aborting.abort(reason);
  for (const one of running) assertStrictEquals(await one, reason);
  assertEquals(listeners(), 0);
});

async function* small(count: number): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < count; i++) yield new Uint8Array(4).fill(3);
}

Deno.test("an operation on a busy event loop does not wait for a turn at every few steps", async () => {
  await using pool = new BlockPool({ blockSize: 4096, maxBlocks: 4 });
  const { now } = performance;
  let clock = now.call(performance);
  let turns = 0;
  let isOver = false;
  performance.now = () => clock;
  // What else the server does takes 11 ms in each turn of the event loop.
  const others = (async () => {
    while (!isOver) {
      await new Promise((resolve) => setImmediate(resolve));
      turns++;
      clock += 11;
    }
  })();
  try {
    let frames = 0;
    for await (
      const _ of readFrames(small(1000), pool, { lengthBytes: 1 })
    ) {
      if (++frames === 20) clock += 11;
    }
    assertEquals(frames, 1000);
    assert(turns < 10, `${turns} turns`);
  } finally {
    isOver = true;
    performance.now = now;
    await others;
  }
});
