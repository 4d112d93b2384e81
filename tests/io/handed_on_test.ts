// What is lent for a step and handed to something that queues: it must be refused
// at once, and the loop must end. (Views were sent with the bytes of a later step.)

import { assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import { deadline } from "@std/async";
import fs from "node:fs";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { BlockPool } from "@smriti/pool";
import { chunks, collect, readFrames } from "@smriti/pool/io";
import { lawful } from "../support/invariants.ts";
import { until } from "../support/misuse.ts";
import { hasDeno } from "../support/platform.ts";
import { pattern, serve, streamOf } from "../support/uploads.ts";

type Lent = AsyncIterable<unknown> | Iterable<unknown>;

/** What makes each kind of loop, on a pool that then has a block less. */
const LENT: Record<string, (pool: BlockPool) => Promise<Lent>> = {
  chunks: (pool) =>
    Promise.resolve(chunks(streamOf([pattern(100), pattern(100)]), pool)),
  readFrames(pool) {
    let at = 0;
    const read = (p: Uint8Array) => {
      p.fill(1);
      return Promise.resolve(at++ > 9 ? null : p.length);
    };
    const options = { lengthBytes: 1 } as const;
    return Promise.resolve(readFrames({ read }, pool, options));
  },
  async "chain.chunks"(pool) {
    using chain = (await collect(streamOf([pattern(100)]), pool))!;
    return [...chain.chunks()]; // released: what takes one must ask for its bytes
  },
};

// deno-lint-ignore no-explicit-any
const any = (value: unknown) => value as any;
const from = (lent: Lent) => any(ReadableStream.from(any(lent)));

/** Earlier, a body stays without an end when a chunk of it is no bytes, a string for example. */
const endsBodies = hasDeno(2, 9, 6);

interface Place {
  readonly url: string;
  readonly path: string;
}

/** Each gives a promise that must be rejected. */
const SINKS: Record<string, (lent: Lent, place: Place) => Promise<unknown>> = {
  "a fetch body": (lent, { url }) =>
    fetch(url, { method: "PUT", body: from(lent) }).then((r) => r.text()),
  "pipeTo a file": async (lent, { path }) => {
    using file = await Deno.open(path, { write: true });
    await from(lent).pipeTo(file.writable);
  },
  "pipeTo gzip": async (lent) => {
    const { readable, writable } = new CompressionStream("gzip");
    const reading = new Response(readable).bytes();
    const [piped] = await Promise.allSettled([
      from(lent).pipeTo(writable),
      reading,
    ]);
    if (piped.status === "rejected") throw piped.reason;
  },
  "pipeline to a file": (lent, { path }) =>
    pipeline(any(lent), fs.createWriteStream(path)),
  "pipeline through gzip": (lent, { path }) =>
    pipeline(any(lent), createGzip(), fs.createWriteStream(path)),
  "fs.promises.writeFile": (lent, { path }) =>
    fs.promises.writeFile(path, any(lent)),
};

/** The same; the runtime does not end the loop, so its block is healed as a leak, later. */
const DROPPING: typeof SINKS = {
  "new Response(ReadableStream.from())": (lent) =>
    new Response(from(lent)).bytes(),
  "new Response(loop)": (lent) => new Response(any(lent)).bytes(),
  "an identity transform": (lent) =>
    new Response(from(lent).pipeThrough(new TransformStream())).bytes(),
};

for (const [kind, lend] of Object.entries(LENT)) {
  for (const [name, sink] of Object.entries({ ...SINKS, ...DROPPING })) {
    const ignore = name === "a fetch body" && !endsBodies;
    const title = `${kind}: ${name} refuses what is lent for a step`;
    Deno.test(title, { ignore }, async () => {
      using pool = new BlockPool({ blockSize: 64, maxBlocks: 4 });
      await using server = serve(async (request) =>
        new Response(String((await request.bytes()).length))
      );
      const url = `http://127.0.0.1:${server.addr.port}`;
      const path = await Deno.makeTempFile();
      try {
        const outcome = await deadline(
          sink(await lend(pool), { url, path })
            .then(() => "done", (error) => error),
          30_000,
        );
        assertInstanceOf(outcome, Error);
        assertEquals((await Deno.stat(path)).size <= 10, true); // gzip's head at most
      } finally {
        await Deno.remove(path);
      }
      if (!(name in DROPPING)) {
        await until(() => lawful(pool).acquiredBlocks === 0);
      }
    });
  }

  const title = `${kind}: a served response of what is lent for a step is cut`;
  Deno.test(title, { ignore: !endsBodies }, async () => {
    using pool = new BlockPool({ blockSize: 64, maxBlocks: 4 });
    const errors: unknown[] = [];
    await using server = Deno.serve({
      hostname: "127.0.0.1",
      port: 0,
      onListen() {},
      onError(error) {
        errors.push(error);
        return new Response("failed", { status: 500 });
      },
    }, async () => new Response(from(await lend(pool))));
    const url = `http://127.0.0.1:${server.addr.port}`;
    const outcome = await fetch(url).then((r) => r.bytes()).catch((e) => e);
    assertInstanceOf(outcome, TypeError);
    assertInstanceOf(errors[0], TypeError);
    await until(() => lawful(pool).acquiredBlocks === 0);
  });
}

Deno.test("what has bytes and is taken for text says so", async () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 4 });
  using chain = (await collect(streamOf([pattern(100)]), pool))!;
  const [slice] = chain.chunks();
  const walk = chunks(streamOf([pattern(100)]), pool);
  const { value: chunk } = await walk.next();
  for (
    const [object, use] of [[chain, "chain"], [slice, "chunk"], [
      chunk,
      "chunk",
    ]] as const
  ) {
    for (
      const take of [
        () => String(object),
        () => JSON.stringify({ object }), // as Express sends what is no bytes
        () => new Response(any(object)),
        () => new Blob([any(object)]),
        () => new TextEncoder().encode(any(object)),
      ]
    ) assertThrows(take, TypeError, `a ${use} is not bytes: use ${use}.`);
  }
  await walk.return!();
});
