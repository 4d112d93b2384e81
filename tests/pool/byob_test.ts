// BYOB reads through lend(): the stream takes the block's buffer along and gives
// it back in its result, on real sockets and real uploads.

import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { delay } from "@std/async";
import { type Block, BlockPool } from "@smriti/pool";
import { say, wire } from "../support/connections.ts";
import { lawful } from "../support/invariants.ts";
import { addressOf, refused } from "../support/misuse.ts";

const ONE = { blockSize: 64, maxBlocks: 1 };
const PAGE = { blockSize: 4096, maxBlocks: 1 };

function abandoned(pool: BlockPool): number {
  return lawful(pool).abandonedBlocks;
}

Deno.test("a BYOB read of a socket through lend() comes back by itself", async () => {
  using pool = new BlockPool(ONE);
  using net = await wire();
  const block = pool.acquireSync();
  const address = addressOf(block.bytes);
  const reader = net.ours.readable.getReader({ mode: "byob" });
  const ways: ((bytes: Uint8Array<ArrayBuffer>) => Promise<unknown>)[] = [
    (bytes) => reader.read(bytes),
    (bytes) => reader.read(bytes.subarray(8, 24)),
    (bytes) => reader.read(bytes).then(({ value }) => value),
    // Neither the result nor the view in it: the function takes it back.
    async (bytes) => {
      const { value } = await reader.read(bytes);
      block.reattach(value!);
      return value!.length;
    },
  ];
  for (const way of ways) {
    const read = block.lend(way);
    refused("lent", () => block.bytes);
    refused("lent", () => block.pointer);
    await say(net.peer, "hello");
    await read;
    assertEquals(addressOf(block.bytes), address);
    assert(new TextDecoder().decode(block.bytes).includes("hello"));
  }
  // The end of the stream gives an empty view of the same memory.
  net.peer.close();
  const { done, value } = await block.lend((bytes) => reader.read(bytes));
  assertEquals([done, value?.length], [true, 0]);
  assertStrictEquals(value!.buffer, block.bytes.buffer);
  block.release();
  assertEquals(abandoned(pool), 0);
});

Deno.test("a BYOB read whose result is dropped leaves the block abandoned", async () => {
  using pool = new BlockPool(ONE);
  using net = await wire();
  const block = pool.acquireSync();
  const reader = net.ours.readable.getReader({ mode: "byob" });
  const read = block.lend(async (bytes) => void await reader.read(bytes));
  await say(net.peer, "hello");
  await read;
  assertEquals(block.bytes.length, 64);
  block.release();
  assertEquals(abandoned(pool), 1);
});

Deno.test("a BYOB read that ends after release() frees the block and its view dies", async () => {
  using pool = new BlockPool(ONE);
  using net = await wire();
  const block = pool.acquireSync();
  const address = addressOf(block.bytes);
  const reader = net.ours.readable.getReader({ mode: "byob" });
  const read = block.lend((bytes) => reader.read(bytes));
  block.release();
  await say(net.peer, "late");
  const { value } = await read;
  assertEquals(value!.length, 0);
  using next = pool.acquireSync();
  assertEquals(addressOf(next.bytes), address);
  assertEquals(next.bytes, new Uint8Array(64));
});

Deno.test("a BYOB read cut by conn.close() keeps the block with socket, loses it without", async () => {
  for (const socket of [true, false]) {
    using pool = new BlockPool(ONE);
    using net = await wire();
    const block = pool.acquireSync();
    const address = addressOf(block.bytes);
    const reader = net.ours.readable.getReader({ mode: "byob" });
    const read = block.lend((bytes) => reader.read(bytes), { socket });
    await delay(2);
    net.ours.close();
    await assertRejects(() => read, Deno.errors.Interrupted);
    if (socket) assertEquals(addressOf(block.bytes), address);
    block.release();
    assertEquals(abandoned(pool), socket ? 0 : 1);
  }
});

/** A server whose handler is `read`, and a client that begins an upload of 26 bytes. */
async function upload(
  read: (request: Request) => Promise<void>,
  client: (conn: Deno.TcpConn) => Promise<void>,
): Promise<void> {
  const done = Promise.withResolvers<void>();
  const listen = { hostname: "127.0.0.1", port: 0, onListen() {} };
  await using server = Deno.serve(listen, async (request) => {
    await read(request).then(done.resolve, done.reject);
    return new Response("done");
  });
  const { hostname, port } = server.addr;
  using conn = await Deno.connect({ hostname, port });
  await say(
    conn,
    "POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 26\r\n\r\nabcdefghij",
  );
  await client(conn);
  await done.promise;
}

/** The next piece of an upload, read in place. */
async function next(
  block: Block,
  reader: ReadableStreamBYOBReader,
  socket: boolean,
): Promise<string | undefined> {
  const { done, value } = await block.lend(
    (bytes) => reader.read(bytes),
    { socket },
  );
  if (value !== undefined) assertStrictEquals(value.buffer, block.bytes.buffer);
  return done ? undefined : new TextDecoder().decode(value);
}

Deno.test("BYOB reads of a request body arrive in the block and end with it whole", async () => {
  using pool = new BlockPool(PAGE);
  const block = pool.acquireSync();
  const address = addressOf(block.bytes);
  const begun = Promise.withResolvers<void>();
  let body = "";
  await upload(async (request) => {
    const reader = request.body!.getReader({ mode: "byob" });
    for (let text; (text = await next(block, reader, true)) !== undefined;) {
      body += text;
      assertEquals(addressOf(block.bytes), address);
      begun.resolve();
    }
  }, async (conn) => {
    // The rest comes later, or the body would be buffered and no byte stream.
    await begun.promise;
    await say(conn, "klmnopqrstuvwxyz");
  });
  assertEquals(body, "abcdefghijklmnopqrstuvwxyz");
  block.release();
  assertEquals([abandoned(pool), pool.stats().freeBlocks], [0, 1]);
});

Deno.test("an upload that is cut keeps the block with socket, loses it without", async () => {
  for (const socket of [true, false]) {
    using pool = new BlockPool(PAGE);
    const block = pool.acquireSync();
    const address = addressOf(block.bytes);
    const begun = Promise.withResolvers<void>();
    await upload(async (request) => {
      const reader = request.body!.getReader({ mode: "byob" });
      assertEquals(await next(block, reader, socket), "abcdefghij");
      begun.resolve();
      await assertRejects(() => next(block, reader, socket));
    }, async (conn) => {
      await begun.promise;
      conn.close();
    });
    assertEquals(addressOf(block.bytes), address);
    block.release();
    // Without the word of its user, it is not known where the buffer is.
    assertEquals(abandoned(pool), socket ? 0 : 1);
  }
});

// A cancelled BYOB read ends with `{ done: true, value: undefined }` and without the buffer; on a socket
// nothing writes to it any more.

Deno.test("a BYOB read of a socket that is cancelled gives the block back", async () => {
  using pool = new BlockPool(ONE);
  using net = await wire();
  const block = pool.acquireSync();
  const reader = net.ours.readable.getReader({ mode: "byob" });
  const read = block.lend((bytes) => reader.read(bytes), { socket: true });
  await delay(2);
  await reader.cancel();
  assertEquals(await read, { done: true, value: undefined });
  block.release();
  assertEquals(abandoned(pool), 0);
});
