// copy(): files and TCP connections through one block; short writes, progress,
// and who owns the block when one side fails or the signal is aborted.

import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { delay } from "@std/async";
import { BlockPool } from "@smriti/pool";
import { copy } from "@smriti/pool/io";
import { lawful, unharmed } from "../support/invariants.ts";
import { microtasks, rejected, until } from "../support/misuse.ts";
import { hasPosixShell } from "../support/platform.ts";
import { join, pattern, readerOf } from "../support/uploads.ts";
import { Fifo, wire } from "../support/connections.ts";

function poolOf(blockSize: number): BlockPool {
  return new BlockPool({ blockSize, maxBlocks: 2 });
}

/** Keeps what is written, at most `most` bytes at a time. */
function writerTo(parts: Uint8Array[], most = Infinity) {
  return {
    async write(bytes: Uint8Array): Promise<number> {
      await null;
      parts.push(bytes.slice(0, most));
      return Math.min(most, bytes.length);
    },
  };
}

Deno.test("copy() copies all bytes through a block of any size, with short reads and writes", async () => {
  for (const blockSize of [1, 7, 64]) {
    using pool = poolOf(blockSize);
    using block = pool.acquireSync();
    for (const size of [0, 1, 63, 64, 65, 200]) {
      for (const [mostRead, mostWritten] of [[99, 99], [3, 99], [99, 3]]) {
        const parts: Uint8Array[] = [];
        const reader = readerOf(pattern(size), mostRead);
        const writer = writerTo(parts, mostWritten);
        assertEquals(await copy(reader, writer, block), size);
        assertEquals(join(parts), pattern(size));
      }
    }
  }
});

Deno.test("copy() reports the bytes copied so far, and a callback that throws ends it", async () => {
  using pool = poolOf(10);
  using block = pool.acquireSync();
  const seen: number[] = [];
  const onProgress = (bytes: number) => void seen.push(bytes);
  await copy(readerOf(pattern(25)), writerTo([]), block, { onProgress });
  assertEquals(seen, [10, 20, 25]);
  const enough = new Error("enough");
  const error = await assertRejects(() =>
    copy(readerOf(pattern(25)), writerTo([]), block, {
      onProgress() {
        throw enough;
      },
    })
  );
  assertStrictEquals(error, enough);
});

Deno.test("copy() copies files and connections of every size", async () => {
  using pool = poolOf(65536);
  for (const size of [0, 1, 65535, 65536, 65537, 300_000]) {
    using block = pool.acquireSync();
    using other = pool.acquireSync();
    const [from, to] = [await Deno.makeTempFile(), await Deno.makeTempFile()];
    await Deno.writeFile(from, pattern(size));
    using net = await wire();
    const receive = async () => {
      using file = await Deno.open(to, { write: true });
      return await copy(net.peer, file, other);
    };
    const send = async () => {
      using file = await Deno.open(from);
      const sent = await copy(file, net.ours, block);
      await net.ours.closeWrite();
      return sent;
    };
    assertEquals(await Promise.all([send(), receive()]), [size, size]);
    assertEquals(await Deno.readFile(to), pattern(size));
    await Deno.remove(from);
    await Deno.remove(to);
  }
  unharmed(pool);
});

Deno.test("copy() rejects with the reason of an aborted signal; the block waits for the read", async () => {
  using pool = poolOf(64);
  using net = await wire();
  const block = pool.acquireSync();
  const aborting = new AbortController();
  const copying = copy(net.ours, writerTo([]), block, aborting);
  await delay(5);
  const reason = new Error("stop");
  aborting.abort(reason);
  assertStrictEquals(await assertRejects(() => copying), reason);
  block.release();
  assertEquals(lawful(pool).lentBlocks, 1, "the read may still write");
  net.ours.close();
  await until(() => pool.stats().lentBlocks === 0);
  unharmed(pool);

  using another = pool.acquireSync();
  const signal = AbortSignal.abort(reason);
  const reader = {
    read(): Promise<null> {
      throw new Error("must not be called");
    },
  };
  const refusal = copy(reader, writerTo([]), another, { signal });
  assertStrictEquals(await assertRejects(() => refusal), reason);
});

Deno.test("copy() may be aborted in a write that is not taken; the block waits for it", async () => {
  using pool = poolOf(65536);
  using net = await wire();
  const block = pool.acquireSync();
  const aborting = new AbortController();
  const endless = { read: (into: Uint8Array) => Promise.resolve(into.length) };
  let copied = 0;
  const copying = copy(endless, net.ours, block, {
    signal: aborting.signal,
    onProgress: (bytes) => copied = bytes,
  }).catch((error) => error);
  for (let last = -1; last !== copied;) { // until the socket is full
    last = copied;
    await delay(20);
  }
  aborting.abort("stop");
  assertEquals(await copying, "stop");
  block.release();
  assertEquals(lawful(pool).lentBlocks, 1);
  net.ours.close();
  await until(() => pool.stats().lentBlocks === 0);
  unharmed(pool);
});

Deno.test("copy() loses no block when a connection is closed or reset under it", async () => {
  using pool = poolOf(64);
  for (const end of ["ours", "peer"] as const) {
    using net = await wire();
    const block = pool.acquireSync();
    const copying = copy(net.ours, writerTo([]), block).catch((error) => error);
    await delay(5);
    net[end].close();
    const outcome = await copying;
    assertEquals(outcome === 0 || outcome instanceof Error, true);
    block.release();
    unharmed(pool);
  }
});

Deno.test({
  name:
    "copy() abandons the block of a file that is closed while it is read: the read goes on",
  ignore: !hasPosixShell,
  async fn() {
    using pool = poolOf(64);
    await using fifo = await Fifo.open();
    const block = pool.acquireSync();
    const copying = copy(fifo.reader, writerTo([]), block);
    copying.catch(() => {});
    await delay(20);
    fifo.reader.close();
    await assertRejects(() => copying, Deno.errors.Interrupted);
    block.release();
    assertEquals(lawful(pool).abandonedBlocks, 1);
    await fifo.say("LATE");
  },
});

Deno.test("copy() rejects with what either side fails with, or when its counts cannot be", async () => {
  using pool = poolOf(10);
  using block = pool.acquireSync();
  const fails = new Error("no");
  const failing = { read: () => Promise.reject(fails) };
  const error = await assertRejects(() => copy(failing, writerTo([]), block));
  assertStrictEquals(error, fails);
  for (const odd of [11, -1, 1.5, NaN, undefined as unknown as number]) {
    const reader = { read: () => Promise.resolve(odd) };
    await assertRejects(
      () => copy(reader, writerTo([]), block),
      TypeError,
      `reader.read() must give an integer from 0 to 10, got ${odd}`,
    );
    const writer = { write: () => Promise.resolve(odd) };
    await assertRejects(
      () => copy(readerOf(pattern(10)), writer, block),
      TypeError,
      `writer.write() must give an integer from 0 to 10, got ${odd}`,
    );
  }
  const empty = { read: () => Promise.resolve(0) };
  await assertRejects(() => copy(empty, writerTo([]), block), TypeError, "100");
  const full = { write: () => Promise.resolve(0) };
  await assertRejects(
    () => copy(readerOf(pattern(1)), full, block),
    Deno.errors.WriteZero,
  );
  let tries = 0; // some empty reads are no trouble
  const hesitant = {
    read: () => Promise.resolve(tries++ < 50 ? 0 : tries === 52 ? null : 1),
  };
  assertEquals(await copy(hesitant, writerTo([]), block), 1);
});

Deno.test("copy() rejects with released when the block goes meanwhile", async () => {
  using pool = poolOf(10);
  const block = pool.acquireSync();
  const copying = copy(readerOf(pattern(25)), writerTo([]), block);
  block.release();
  await rejected("released", copying);
  unharmed(pool);
});

Deno.test("copy() writes nothing to the next lease when the block goes before a source's bytes come", async () => {
  for (const safety of ["trust", "revoke", "strict"] as const) {
    const { promise, resolve } = Promise.withResolvers<Uint8Array>();
    const late = async function* () {
      yield await promise;
    };
    using pool = new BlockPool({ blockSize: 10, maxBlocks: 1, safety });
    const block = pool.acquireSync();
    const copying = copy(late(), writerTo([]), block);
    await microtasks(); // it waits for the source
    block.release();
    using next = pool.acquireSync();
    next.bytes.fill(1);
    resolve(new Uint8Array(10).fill(83));
    await rejected("released", copying);
    assertEquals(next.bytes, new Uint8Array(10).fill(1), safety);
  }
});

Deno.test("copy() in thousands of steps leaves nothing on the signal", async () => {
  using pool = poolOf(1);
  using block = pool.acquireSync();
  const { signal } = new AbortController();
  const writer = { write: () => Promise.resolve(1) };
  const size = await copy(readerOf(new Uint8Array(5000)), writer, block, {
    signal,
  });
  assertEquals(size, 5000);
});

Deno.test("copy() checks its arguments", async () => {
  using pool = poolOf(10);
  using block = pool.acquireSync();
  const [reader, writer] = [readerOf(pattern(1)), writerTo([])];
  const call = copy as (...args: unknown[]) => Promise<unknown>;
  const wrong: [unknown[], string][] = [
    [[writer, writer, block], "reader must be an object with a read() method"],
    [[null, writer, block], "reader must be"],
    [[reader, reader, block], "writer must be an object with a write() method"],
    [[reader, writer, {}], "block must be a Block"],
    [[reader, writer, block, { limit: 1 }], 'unknown option "limit"'],
    [[reader, writer, block, { signal: "s" }], "signal must be"],
    [[reader, writer, block, { onProgress: 1 }], "onProgress must be"],
  ];
  for (const [args, message] of wrong) {
    await assertRejects(() => call(...args), TypeError, message);
  }
  assert(!block.released);
});
