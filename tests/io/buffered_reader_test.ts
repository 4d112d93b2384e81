// bufferedReader(): looking at what has arrived before it is taken, lines, and what
// is left over handed on.

import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { delay } from "@std/async";
import { BlockPool } from "@smriti/pool";
import { bufferedReader } from "@smriti/pool/io";
import { Readable } from "node:stream";
import { everyPool } from "../support/every_pool.ts";
import { lawful, unharmed } from "../support/invariants.ts";
import { microtasks, refused, rejected, until } from "../support/misuse.ts";
import { Rng, seedOfRun } from "../support/rng.ts";
import { join, pattern, readerOf, streamOf } from "../support/uploads.ts";
import { say, wire } from "../support/connections.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

function poolOf(blockSize: number, maxBlocks = 2): BlockPool {
  return new BlockPool({ blockSize, maxBlocks });
}

Deno.test("bufferedReader() gives all bytes in order, whatever is asked for", async () => {
  const seed = seedOfRun();
  const rng = new Rng(seed);
  for (const blockSize of [1, 3, 16, 100]) {
    for (const piece of [1, 5, Infinity]) {
      using pool = poolOf(blockSize);
      const bytes = pattern(500, rng.below(256));
      using reader = bufferedReader(readerOf(bytes, piece), pool);
      let at = 0;
      while (at < bytes.length) {
        const size = rng.below(blockSize + 1);
        if (!await reader.fill(size)) {
          assert(reader.available < size, `seed ${seed}`);
          assertEquals(at + reader.available, bytes.length, `seed ${seed}`);
          const last = reader.take(reader.available);
          assertEquals(last, bytes.slice(at), `seed ${seed}`);
          break;
        }
        assertEquals(reader.peek(size), bytes.slice(at, at + size));
        const byte = bytes[(at + rng.below(size + 1)) % bytes.length];
        const seen = bytes.slice(at, at + reader.available);
        assertEquals(reader.indexOf(byte), seen.indexOf(byte));
        assertEquals(reader.take(size), bytes.slice(at, at + size));
        at += size;
      }
      assertEquals(await reader.fill(1), false);
      assertEquals(reader.available, 0);
    }
  }
});

Deno.test("bufferedReader() ends what a call gave with the next one, at every level", async () => {
  for (const pool of everyPool({ blockSize: 16, maxBlocks: 2 })) {
    const bytes = encoder.encode("0123456789\nabcdefghij\n".repeat(9));
    const reader = bufferedReader(readerOf(bytes), pool);
    const views: Uint8Array[] = [];
    const given = (view: Uint8Array, text: string) => {
      assertEquals(decoder.decode(view), text);
      assertEquals(views.map(({ length }) => length), views.map(() => 0));
      views.push(view, view.subarray(1));
    };
    await reader.fill(4);
    given(reader.peek(3), "012");
    given(reader.take(2), "01");
    given(reader.take(2), "23");
    assertEquals(reader.indexOf(10), 6);
    given(reader.peek(1), "4");
    assertEquals(await reader.readLine(), "456789");
    given((await reader.fill(10), reader.take(10)), "abcdefghij");
    const rest = reader.rest();
    assertEquals(views.map(({ length }) => length), views.map(() => 0));
    assert(rest.length > 0);
    reader[Symbol.dispose]();
    assertEquals(rest[0], 10, "it is the caller's own");
    unharmed(pool);
    await pool.close();
    assertEquals(pool.stats().mappedBytes, 0);
  }
});

Deno.test("bufferedReader() hands on what is left over: STARTTLS", async () => {
  using pool = poolOf(1024);
  using net = await wire();
  const server = async () => {
    using reader = bufferedReader(net.ours, pool);
    assertEquals(await reader.readLine(), "STARTTLS");
    const rest = reader.rest();
    unharmed(pool);
    // From here on the connection is read without it.
    const more = new Uint8Array(100);
    const size = await net.ours.read(more);
    return join([rest, more.subarray(0, size!)]);
  };
  const serving = server();
  await say(net.peer, "STARTTLS\r\nclient hello, ");
  await delay(20);
  await say(net.peer, "and more");
  const all = decoder.decode(await serving);
  assert("client hello, and more".startsWith(all) && all.length > 13, all);
});

Deno.test("bufferedReader() gives a stream back as it was left, with all that has arrived", async () => {
  using pool = poolOf(16);
  for (const byob of [true, false]) {
    const bytes = pattern(200);
    const stream = streamOf([bytes.slice(0, 100), bytes.slice(100)], { byob });
    const reader = bufferedReader(stream, pool);
    await reader.fill(10);
    assertEquals(reader.take(10), bytes.slice(0, 10));
    const parts: Uint8Array[] = [reader.rest()];
    assert(!stream.locked);
    assertEquals(stream.cancelledWith, []);
    for await (const part of stream) parts.push(part);
    assertEquals(join(parts), bytes.slice(10));
    unharmed(pool);
  }
  const generator = (async function* () {
    yield pattern(100);
    yield pattern(7);
  })();
  const reader = bufferedReader(generator, pool);
  await reader.fill(1);
  assertEquals(reader.rest(), pattern(100));
  assertEquals((await generator.next()).value, pattern(7));
  // A node stream flows again.
  const flowing = new Readable({ read() {} });
  flowing.push("line\nleft");
  const lineReader = bufferedReader(flowing, pool);
  assertEquals(await lineReader.readLine(), "line");
  assertEquals(decoder.decode(lineReader.rest()), "left");
  assertEquals(flowing.listenerCount("readable"), 0);
  const { promise: more, resolve } = Promise.withResolvers<unknown>();
  flowing.on("data", resolve);
  flowing.push("more");
  assertEquals(String(await more), "more");
  flowing.destroy();
  // Disposed without it, the source is cancelled.
  const stream = streamOf([pattern(100)]);
  {
    using other = bufferedReader(stream, pool);
    await other.fill(1);
  }
  assertEquals([stream.cancelledWith.length, stream.locked], [1, false]);
  const readable = Readable.from([pattern(100)]);
  {
    using other = bufferedReader(readable, pool);
    await other.fill(1);
  }
  await until(() => readable.destroyed);
  unharmed(pool);
});

Deno.test("bufferedReader().readLine() gives lines of any kind, and the last one without an end", async () => {
  for (const blockSize of [8, 9, 16, 100]) {
    using pool = poolOf(blockSize);
    for (const piece of [1, 2, 3, Infinity]) {
      const text = "one\r\n\n\r\ntwo\n€€\r\n\rx\n" + "last";
      using reader = bufferedReader(
        readerOf(encoder.encode(text), piece),
        pool,
      );
      const found = [];
      for (let line; (line = await reader.readLine()) !== null;) {
        found.push(line);
      }
      assertEquals(found, ["one", "", "", "two", "€€", "\rx", "last"]);
      assertEquals(await reader.readLine(), null);
    }
    unharmed(pool);
  }
});

Deno.test("bufferedReader().readLine() refuses what is longer than limit or a block, at once", async () => {
  using pool = poolOf(16);
  const line = (text: string, limit?: number) => {
    const reader = bufferedReader(readerOf(encoder.encode(text), 3), pool);
    return reader.readLine({ limit }).finally(() => reader[Symbol.dispose]());
  };
  for (const end of ["\n", "\r\n", ""]) {
    assertEquals(await line("12345" + end, 5), "12345");
    await assertRejects(
      () => line("123456" + end, 5),
      Deno.errors.InvalidData,
      "longer than the limit of 5 bytes",
    );
  }
  assertEquals(await line("1234\r", 5), "1234\r", "a CR alone is no end");
  await assertRejects(() => line("12345\r", 5), Deno.errors.InvalidData);
  assertEquals(await line("\n", 0), "");
  await assertRejects(() => line("1\n", 0), Deno.errors.InvalidData);
  assertEquals((await line("x".repeat(14) + "\r\n"))!.length, 14);
  await assertRejects(
    () => line("x".repeat(16)),
    Deno.errors.InvalidData,
    "a line and its end are longer than 16 bytes",
  );
  // It does not wait for what cannot make it shorter.
  using net = await wire();
  using reader = bufferedReader(net.ours, pool);
  await say(net.peer, "123456");
  await assertRejects(
    () => reader.readLine({ limit: 5 }),
    Deno.errors.InvalidData,
  );
});

Deno.test("bufferedReader() takes one call at a time, and none after its end", async () => {
  using pool = poolOf(16);
  using net = await wire();
  const reader = bufferedReader(net.ours, pool);
  const filling = reader.fill(3);
  for (
    const call of [
      () => reader.peek(0),
      () => reader.take(0),
      () => reader.indexOf(1),
      () => reader.rest(),
    ]
  ) assertThrows(call, TypeError, "one call at a time");
  await assertRejects(() => reader.fill(1), TypeError, "one call at a time");
  await assertRejects(() => reader.readLine(), TypeError, "one call");
  await say(net.peer, "abc");
  assert(await filling);
  assertThrows(
    () => reader.take(4),
    RangeError,
    "what is available (3), got 4",
  );
  reader[Symbol.dispose]();
  reader[Symbol.dispose]();
  for (
    const call of [
      () => reader.peek(0),
      () => reader.take(0),
      () => reader.indexOf(1),
      () => reader.rest(),
    ]
  ) refused("released", call);
  await rejected("released", reader.fill(1));
  await rejected("released", reader.readLine());
  unharmed(pool);
});

Deno.test("bufferedReader() loses no block when it is aborted or disposed in the middle of a read", async () => {
  for (const pool of everyPool({ blockSize: 16, maxBlocks: 2 })) {
    const reason = new Error("stop");
    for (const way of ["abort", "dispose"]) {
      using net = await wire();
      const aborting = new AbortController();
      const reader = bufferedReader(net.ours, pool, aborting);
      await say(net.peer, "abc");
      await reader.fill(3);
      const kept = reader.peek(3);
      const filling = reader.fill(4).catch((error) => error);
      assertEquals(kept.length, 0);
      await until(() => lawful(pool).lentBlocks === 1);
      if (way === "abort") {
        aborting.abort(reason);
        assertStrictEquals(await filling, reason);
      }
      reader[Symbol.dispose]();
      assertEquals(lawful(pool).lentBlocks, 1, "the read may still write");
      net.ours.close();
      await until(() => pool.stats().lentBlocks === 0);
      await filling;
      unharmed(pool);
    }
    // Also while it waits for its block.
    const blocks = await pool.acquireMany(2);
    const waiting = bufferedReader(readerOf(pattern(3)), pool);
    const filling = waiting.fill(1);
    await until(() => pool.stats().waiting === 1);
    waiting[Symbol.dispose]();
    blocks[Symbol.dispose]();
    await rejected("released", filling);
    const late = bufferedReader(readerOf(pattern(3)), pool, { timeoutMs: 0 });
    const others = await pool.acquireMany(2);
    await rejected("timeout", late.fill(1));
    late[Symbol.dispose]();
    others[Symbol.dispose]();
    unharmed(pool);
    const open = bufferedReader(readerOf(pattern(30)), pool);
    await open.fill(1);
    await rejected("timeout", pool.close({ timeoutMs: 0 }));
    refused("released", () => open.take(1));
    open[Symbol.dispose]();
  }
});

Deno.test("bufferedReader() fails when what it gave was transferred", async () => {
  for (const pool of everyPool({ blockSize: 16, maxBlocks: 2 })) {
    const reader = bufferedReader(readerOf(pattern(30)), pool);
    await reader.fill(8);
    const { buffer } = reader.take(4);
    const taken = structuredClone(buffer, { transfer: [buffer] });
    refused("lent", () => reader.take(4));
    reader[Symbol.dispose]();
    {
      using other = pool.acquireSync();
      other.bytes.fill(9);
      assertEquals(new Uint8Array(taken).subarray(0, 4), pattern(4));
    }
    assertEquals(lawful(pool).acquiredBlocks, 0);
    await pool.close();
  }
});

Deno.test("bufferedReader() checks its arguments", async () => {
  using pool = poolOf(16);
  const call = bufferedReader as (...args: unknown[]) => unknown;
  const wrong: [unknown[], string][] = [
    [[{}, pool], "reader must be"],
    [[readerOf(pattern(1))], "pool must be"],
    [[readerOf(pattern(1)), pool, { limit: 1 }], "unknown option"],
    [[readerOf(pattern(1)), pool, { signal: 1 }], "signal must be"],
  ];
  for (const [args, message] of wrong) {
    assertThrows(() => call(...args), TypeError, message);
  }
  using reader = bufferedReader(readerOf(pattern(30)), pool);
  for (
    const [n, Kind] of [
      [-1, RangeError],
      [1.5, RangeError],
      [17, RangeError],
      ["1", TypeError],
      [undefined, TypeError],
    ] as const
  ) {
    await assertRejects(() => reader.fill(n as number), Kind, "n must be");
    assertThrows(() => reader.take(n as number), Kind, "n must be");
    assertThrows(() => reader.peek(n as number), Kind, "n must be");
  }
  for (const byte of [-1, 256, NaN]) {
    assertThrows(() => reader.indexOf(byte), RangeError, "byte must be");
  }
  await assertRejects(() => reader.readLine({ limit: 17 }), RangeError);
  await assertRejects(() => reader.readLine({ max: 1 } as never), TypeError);
  assert(await reader.fill(1), "none of it did anything");
});

Deno.test("bufferedReader() disposed while a source is waited for writes nothing to the next lease", async () => {
  for (const safety of ["trust", "revoke", "strict"] as const) {
    const { promise, resolve } = Promise.withResolvers<Uint8Array>();
    const late = async function* () {
      yield await promise;
    };
    using pool = new BlockPool({ blockSize: 10, maxBlocks: 1, safety });
    const reader = bufferedReader(late(), pool);
    const filling = reader.fill(1);
    await until(() => pool.stats().acquiredBlocks === 1);
    await microtasks(); // it waits for the source
    reader[Symbol.dispose]();
    using next = pool.acquireSync();
    next.bytes.fill(1);
    resolve(new Uint8Array(10).fill(83));
    await rejected("released", filling);
    assertEquals(next.bytes, new Uint8Array(10).fill(1), safety);
  }
});

Deno.test("bufferedReader() disposed while a body is waited for does not say that the body has ended", async () => {
  await using pool = new BlockPool({ blockSize: 4096, maxBlocks: 1 });
  const kinds: Record<string, () => ReadableStream | Request> = {
    stream: () => new ReadableStream(),
    "stream of bytes": () => new ReadableStream({ type: "bytes" }),
    request: () =>
      new Request("http://localhost", {
        method: "POST",
        body: new ReadableStream(),
      }),
  };
  for (const make of Object.values(kinds)) {
    for (const read of ["fill", "readLine"] as const) {
      const reader = bufferedReader(make(), pool);
      const reading = read === "fill" ? reader.fill(1) : reader.readLine();
      const failed = rejected("released", reading);
      await microtasks();
      reader[Symbol.dispose]();
      await failed;
    }
  }
  // And while a block is waited for.
  const only = pool.acquireSync();
  const reader = bufferedReader(new ReadableStream(), pool);
  const failed = rejected("released", reader.fill(1));
  reader[Symbol.dispose]();
  only.release();
  await failed;
  assertEquals(lawful(pool).acquiredBlocks, 0);
});
