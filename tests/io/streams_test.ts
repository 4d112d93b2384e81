// What copy() and writeTo() write to: writers, streams and writers of streams, with
// a copy where the sink may keep what it gets.

import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { createWriteStream } from "node:fs";
import { PassThrough, Writable } from "node:stream";
import { BlockPool } from "@smriti/pool";
import { collect, copy, type Sink } from "@smriti/pool/io";
import { unharmed } from "../support/invariants.ts";
import { until } from "../support/misuse.ts";
import { hasPosixShell } from "../support/platform.ts";
import { join, pattern, streamOf } from "../support/uploads.ts";

const SIZE = 1000;
const BODY = pattern(12_345);

function poolOf(): BlockPool {
  return new BlockPool({ blockSize: SIZE, maxBlocks: 20 });
}

/** Both ways to write `BODY`. */
const WAYS: Record<
  string,
  (sink: Sink, pool: BlockPool, signal?: AbortSignal) => Promise<number>
> = {
  async copy(sink, pool, signal) {
    using block = pool.acquireSync();
    return await copy(streamOf([BODY]), sink, block, { signal });
  },
  async writeTo(sink, pool, signal) {
    using chain = (await collect(streamOf([BODY]), pool))!;
    return await chain.writeTo(sink, { signal });
  },
};

/** A stream that keeps what it is given. */
function keeping() {
  const kept: Uint8Array[] = [];
  const ended: unknown[] = [];
  const stream = new WritableStream<Uint8Array>({
    write: (bytes) => void kept.push(bytes),
    close: () => void ended.push("close"),
    abort: (reason) => void ended.push(reason),
  });
  return { kept, ended, stream };
}

for (const [name, write] of Object.entries(WAYS)) {
  Deno.test(`${name} to a stream, or its writer: copies, and it is neither locked nor closed`, async () => {
    using pool = poolOf();
    {
      const { kept, ended, stream } = keeping();
      assertEquals(await write(stream, pool), BODY.length);
      assertEquals(await write(stream, pool), BODY.length);
      assert(!stream.locked);
      assertEquals(join(kept), join([BODY, BODY]));
      assertEquals(ended, []);
      await stream.close();
    }
    {
      const { kept, ended, stream } = keeping();
      const writer = stream.getWriter();
      await writer.write(new Uint8Array([1]));
      assertEquals(await write(writer, pool), BODY.length);
      assert(stream.locked);
      assertEquals(join(kept), join([new Uint8Array([1]), BODY]));
      await writer.close();
      assertEquals(ended, ["close"]);
    }
    unharmed(pool);
  });

  Deno.test(`${name} to what the platform has: gzip, a file, a program`, async () => {
    using pool = poolOf();
    const { readable, writable } = new CompressionStream("gzip");
    const unpacked = new Response(
      readable.pipeThrough(new DecompressionStream("gzip")),
    ).bytes();
    await write(writable, pool);
    await writable.close();
    assertEquals(await unpacked, BODY);

    const path = await Deno.makeTempFile();
    const file = await Deno.open(path, { write: true });
    await write(file.writable, pool);
    await file.writable.close();
    assertEquals(await Deno.readFile(path), BODY);
    await Deno.remove(path);

    if (hasPosixShell) {
      const child = new Deno.Command("cat", { stdin: "piped", stdout: "piped" })
        .spawn();
      const said = new Response(child.stdout).bytes();
      await write(child.stdin, pool);
      await child.stdin.close();
      assertEquals(await said, BODY);
      await child.status;
    }
    unharmed(pool);
  });

  Deno.test(`${name} to a stream that fails, or takes nothing until the signal ends it`, async () => {
    using pool = poolOf();
    const reason = new Error("full");
    const failing = new WritableStream<Uint8Array>({
      write() {
        throw reason;
      },
    });
    const error = await assertRejects(() => write(failing, pool));
    assertStrictEquals(error, reason);
    assert(!failing.locked);
    unharmed(pool);

    const stalled = new WritableStream<Uint8Array>({
      write: () => new Promise(() => {}),
    });
    const aborting = new AbortController();
    const writing = write(stalled, pool, aborting.signal);
    setTimeout(() => aborting.abort(reason), 5);
    assertStrictEquals(await assertRejects(() => writing), reason);
    assert(!stalled.locked);
    unharmed(pool);
  });

  Deno.test(`${name} refuses node's streams, locked ones and those that promise nothing`, async () => {
    using pool = poolOf();
    const path = await Deno.makeTempFile();
    const file = createWriteStream(path);
    const wrong: unknown[] = [
      new Writable(),
      new PassThrough(),
      file,
      {},
      null,
      new Uint8Array(1),
    ];
    for (const sink of wrong) {
      await assertRejects(
        () => write(sink as Sink, pool),
        TypeError,
        "writer must be",
      );
    }
    await new Promise((resolve) => file.end(resolve));
    await Deno.remove(path);
    const { stream } = keeping();
    using _lock = { w: stream.getWriter(), [Symbol.dispose]() {} };
    await assertRejects(() => write(stream, pool), TypeError, "locked");
    for (const result of [true, false, undefined, 5, null, {}]) {
      const sink = { write: () => result } as unknown as Sink;
      await assertRejects(
        () => write(sink, pool),
        TypeError,
        "writer.write() must give a promise",
      );
      unharmed(pool);
    }
    // The right way for a node stream.
    const parts: Uint8Array[] = [];
    const node = new Writable({
      write(bytes, _, done) {
        parts.push(bytes);
        queueMicrotask(done);
      },
    });
    assertEquals(await write(Writable.toWeb(node) as Sink, pool), BODY.length);
    await until(() => join(parts).length === BODY.length);
    assertEquals(join(parts), BODY);
    unharmed(pool);
  });
}

Deno.test("a reader that promises nothing is refused", async () => {
  using pool = poolOf();
  using block = pool.acquireSync();
  const write = (bytes: Uint8Array) => Promise.resolve(bytes.length);
  for (const result of [0, 5, null, undefined, new Uint8Array(3)]) {
    const reader = { read: () => result } as never;
    await assertRejects(
      () => copy(reader, { write }, block),
      TypeError,
      "reader.read() must give a promise",
    );
  }
});
