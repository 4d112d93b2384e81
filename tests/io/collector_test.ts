// collector(): a chain that is filled write by write, whole or not at all.

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { BlockPool, SmritiError } from "@smriti/pool";
import {
  type Collector,
  collector,
  type CollectorOptions,
} from "@smriti/pool/io";
import { getEventListeners } from "node:events";
import { everyPool } from "../support/every_pool.ts";
import { unharmed } from "../support/invariants.ts";
import { microtasks, refused, rejected, until } from "../support/misuse.ts";
import { pattern, streamOf } from "../support/uploads.ts";

const SIZE = 10;

function poolOf(maxBlocks = 8): BlockPool {
  return new BlockPool({ blockSize: SIZE, maxBlocks });
}

Deno.test("collector() makes a chain of all that was written", async () => {
  for (const pool of everyPool({ blockSize: SIZE, maxBlocks: 8 })) {
    for (const piece of [1, 3, 10, 11, 80]) {
      for (const size of [0, 1, 9, 10, 11, 35, 80]) {
        const bytes = pattern(size);
        using filling = collector(pool);
        for (let at = 0; at < size; at += piece) {
          const part = bytes.slice(at, at + piece);
          await filling.write(part);
          part.fill(0); // it is ours again
        }
        const chain = filling.finish()!;
        assertEquals(chain.byteLength, size);
        assertEquals(chain.bytes(), bytes);
        assertEquals(pool.stats().acquiredBlocks, Math.ceil(size / SIZE));
        filling[Symbol.dispose](); // does nothing any more
        chain.release();
        unharmed(pool);
      }
    }
    await pool.close();
  }
});

Deno.test("collector() keeps writes that are not awaited in their order", async () => {
  using pool = poolOf();
  using filling = collector(pool);
  const bytes = pattern(60);
  const writes = [];
  {
    const others = await pool.acquireMany(6);
    for (let at = 0; at < 60; at += 7) {
      writes.push(filling.write(bytes.slice(at, at + 7)));
    }
    assertThrows(() => filling.finish(), TypeError, "after all writes");
    others[Symbol.dispose]();
  }
  await Promise.all(writes);
  using chain = filling.finish();
  assertEquals(chain!.bytes(), bytes);
});

Deno.test("collector() refuses more than its limit at once, and then gives null, never less", async () => {
  using pool = poolOf();
  for (const limit of [0, 1, 10, 25, undefined]) {
    const most = limit ?? 80;
    {
      using filling = collector(pool, { limit });
      await filling.write(pattern(most));
      using chain = filling.finish();
      assertEquals(chain!.bytes(), pattern(most));
    }
    unharmed(pool);
    using filling = collector(pool, { limit });
    await filling.write(pattern(most >> 1));
    await assertRejects(
      () => filling.write(pattern(most - (most >> 1) + 1)),
      RangeError,
      `at most limit (${most}), got ${most + 1}`,
    );
    unharmed(pool); // nothing of it is kept
    await assertRejects(() => filling.write(pattern(1)), RangeError);
    assertEquals(filling.finish(), null);
    assertEquals(filling.finish(), null);
  }
});

Deno.test("collector() fails as its first failed write did, and keeps nothing", async () => {
  using pool = poolOf(2);
  const detached = new Uint8Array(3);
  structuredClone(detached, { transfer: [detached.buffer] });
  for (const wrong of ["a", null, detached, new Uint8ClampedArray(1), [1]]) {
    using filling = collector(pool);
    await filling.write(pattern(15));
    const error = await assertRejects(
      () => filling.write(wrong as never),
      TypeError,
      "bytes must",
    );
    unharmed(pool);
    assertStrictEquals(
      await assertRejects(() => filling.write(pattern(1))),
      error,
    );
    assertStrictEquals(assertThrows(() => filling.finish()), error);
  }
  {
    using _other = pool.acquireSync();
    using filling = collector(pool, { timeoutMs: 5 });
    await filling.write(pattern(10));
    await rejected("timeout", filling.write(pattern(1)));
    refused("timeout", () => filling.finish());
  }
  unharmed(pool);
  const closing = poolOf();
  using filling = collector(closing);
  await filling.write(pattern(10));
  const closed = closing.close();
  await rejected("closed", filling.write(pattern(1)));
  await closed;
});

Deno.test("collector() ends with the signal's reason, whether it writes or not", async () => {
  using pool = poolOf(2);
  const reason = new Error("stop");
  { // between writes
    const aborting = new AbortController();
    using filling = collector(pool, aborting);
    await filling.write(pattern(15));
    aborting.abort(reason);
    unharmed(pool);
    assertStrictEquals(
      await assertRejects(() => filling.write(pattern(1))),
      reason,
    );
    assertStrictEquals(assertThrows(() => filling.finish()), reason);
    assertEquals(getEventListeners(aborting.signal, "abort").length, 0);
  }
  { // waiting for a block
    using other = pool.acquireSync();
    const aborting = new AbortController();
    using filling = collector(pool, aborting);
    const writing = filling.write(pattern(15));
    await microtasks();
    aborting.abort(reason);
    assertStrictEquals(await assertRejects(() => writing), reason);
    assertEquals(other.released, false);
  }
  unharmed(pool);
  using late = collector(pool, { signal: AbortSignal.abort("no") });
  assertEquals(await late.write(pattern(1)).catch((e) => e), "no");
  // A loop of writes that need not wait lets the signal's time run out.
  const signal = AbortSignal.timeout(20);
  using filling = collector(pool, { signal });
  const endless = async () => {
    while (true) await filling.write(new Uint8Array(0));
  };
  assertStrictEquals(await assertRejects(endless), signal.reason);
  unharmed(pool);
});

Deno.test("collector() that is disposed in the middle takes no block", async () => {
  using pool = poolOf(2);
  const others = await pool.acquireMany(2);
  const filling = collector(pool);
  const writes = [filling.write(pattern(5)), filling.write(pattern(5))];
  await until(() => pool.stats().waiting === 1);
  filling[Symbol.dispose]();
  others[Symbol.dispose]();
  for (const write of writes) await rejected("released", write);
  refused("released", () => filling.finish());
  await rejected("released", filling.write(pattern(1)));
  unharmed(pool);

  // Also when it waits for others that grow.
  using small = poolOf(2);
  const limit = 2 * SIZE;
  using first = collector(small, { limit });
  await first.write(pattern(5));
  const second = collector(small, { limit });
  const writing = second.write(pattern(5));
  await microtasks();
  second[Symbol.dispose]();
  await rejected("released", writing);
  await first.write(pattern(15));
  using chain = first.finish();
  assertEquals(chain!.byteLength, 20);
});

Deno.test("collector().writable takes a pipe, and finish() waits for no half of it", async () => {
  using pool = poolOf();
  const bytes = pattern(35);
  const source = (options = {}) =>
    streamOf([bytes.slice(0, 20), bytes.slice(20)], options);
  {
    using filling = collector(pool);
    await source().pipeTo(filling.writable);
    using chain = filling.finish();
    assertEquals(chain!.bytes(), bytes);
  }
  { // several, one after another, and writes between
    using filling = collector(pool);
    await source().pipeTo(filling.writable, { preventClose: true });
    await filling.write(new Uint8Array([1]));
    await source().pipeTo(filling.writable, { preventClose: true });
    using chain = filling.finish();
    assertEquals(chain!.byteLength, 71);
  }
  { // not before its end
    using filling = collector(pool);
    const piping = source({ pauseMs: 5 }).pipeTo(filling.writable);
    await until(() => pool.stats().acquiredBlocks > 0);
    assertThrows(() => filling.finish(), TypeError, "pipe");
    await piping;
    using chain = filling.finish();
    assertEquals(chain!.bytes(), bytes);
  }
  { // nor before its beginning
    using filling = collector(pool);
    const piping = source().pipeTo(filling.writable);
    assertThrows(() => filling.finish(), TypeError, "pipe");
    await piping;
    using chain = filling.finish();
    assertEquals(chain!.bytes(), bytes);
  }
  { // nor before what a writer has queued
    using filling = collector(pool);
    const writer = filling.writable.getWriter();
    const writes = [writer.write(bytes), writer.write(bytes)];
    writer.releaseLock();
    assertThrows(() => filling.finish(), TypeError, "writes");
    await Promise.all(writes);
    using chain = filling.finish();
    assertEquals(chain!.byteLength, 70);
  }
  { // too much
    using filling = collector(pool, { limit: 30 });
    const stream = source();
    await assertRejects(() => stream.pipeTo(filling.writable), RangeError);
    assertEquals(stream.cancelledWith.length, 1);
    assertEquals(filling.finish(), null);
  }
  { // the source fails, or the pipe is aborted
    const fails = new Error("cut");
    using filling = collector(pool);
    await assertRejects(() => source({ fails }).pipeTo(filling.writable));
    assertStrictEquals(assertThrows(() => filling.finish()), fails);
    using other = collector(pool);
    await other.writable.abort();
    assertInstanceOf(assertThrows(() => other.finish()), DOMException);
  }
  unharmed(pool);
});

Deno.test("collector().writable ends a pipe from a source that stalls", async () => {
  using pool = poolOf();
  const why = new Error("enough");
  const ends: Record<string, (ac: AbortController, c: Collector) => void> = {
    abort: (ac) => ac.abort(why),
    dispose: (_, c) => c[Symbol.dispose](),
  };
  for (const [name, end] of Object.entries(ends)) {
    for (const first of [[], [new Uint8Array(5)]]) {
      const ac = new AbortController();
      const filling = collector(pool, { signal: ac.signal });
      const cancelled: unknown[] = [];
      const stalls = new ReadableStream<Uint8Array>({
        start: (controller) =>
          first.forEach((each) => controller.enqueue(each)),
        pull: () => new Promise(() => {}),
        cancel: (reason) => void cancelled.push(reason),
      });
      const piping = stalls.pipeTo(filling.writable);
      await until(() => pool.stats().acquiredBlocks === first.length);
      end(ac, filling);
      const error = await assertRejects(() => piping);
      if (name === "abort") assertStrictEquals(error, why);
      else assertInstanceOf(error, SmritiError);
      assertStrictEquals(cancelled[0], error);
      unharmed(pool);
    }
  }
  const finished = collector(pool);
  finished.finish()![Symbol.dispose]();
  await rejected("released", new Response("x").body!.pipeTo(finished.writable));
});

Deno.test("collector() checks its arguments at once", () => {
  using pool = poolOf();
  const call = collector as (...args: unknown[]) => unknown;
  const wrong: [unknown[], typeof TypeError | typeof RangeError, string][] = [
    [[], TypeError, "pool must be"],
    [[pool, 1], TypeError, "options must be"],
    [[pool, { limits: 1 }], TypeError, 'unknown option "limits"'],
    [[pool, { limit: "1" }], TypeError, 'got "1"'],
    [[pool, { limit: -1 }], RangeError, "got -1"],
    [[pool, { signal: {} }], TypeError, "signal must be"],
    [[pool, { timeoutMs: -1 }], RangeError, "got -1"],
  ];
  for (const [args, Kind, message] of wrong) {
    assertThrows(() => call(...args), Kind, message);
  }
  const options: CollectorOptions = { limit: Infinity, signal: undefined };
  using filling = collector(pool, options);
  assert(!filling.writable.locked);
  assertEquals(filling.finish()?.byteLength, 0);
});

Deno.test("a collector that ends in any turn after its block has come gives the block back", async () => {
  for (const limit of [undefined, SIZE, 3 * SIZE]) {
    for (let turns = 0; turns < 30; turns++) {
      using pool = poolOf(3);
      const held = await pool.acquireMany(3);
      const filling = collector(pool, { limit });
      const writing = filling.write(pattern(2 * SIZE)).catch(() => {});
      await microtasks();
      for (const block of held) block.release();
      for (let turn = 0; turn < turns; turn++) await null;
      filling[Symbol.dispose]();
      await writing;
      await microtasks();
      unharmed(pool);
    }
  }
});
