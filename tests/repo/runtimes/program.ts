// The whole API on heap memory, with nothing of Deno's: `tests/repo/runtimes_test.ts` runs this on Node, Bun
// and Deno. Real sockets, files and streams of the runtime; ends with the number of checks.

import assert from "node:assert/strict";
import { once } from "node:events";
import { open } from "node:fs/promises";
import * as http from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import * as library from "../../../mod.ts";
import * as io from "../../../io/mod.ts";
import { toPrometheus } from "../../../otel/mod.ts";
import { runtime } from "../../../pool/runtime.ts";

const { BlockPool, SizeClassPool, SmritiError } = library;
const [name, version] = runtime();
const ONE = { blockSize: 1024, maxBlocks: 4, initialBlocks: 1 } as const;
const HEAP = { ...ONE, backend: "heap" } as const;

/** Methods and getters of ours that were used, and those there are. */
const used = new Set<string>();
const all = new Set<string>();

/** Notes every use of what a prototype has. */
function watch(what: string, prototype: object, but: string[] = []): void {
  for (const key of Reflect.ownKeys(prototype)) {
    const label = `${what}.${String(key)}`;
    if (key === "constructor" || but.includes(String(key))) continue;
    const property = Reflect.getOwnPropertyDescriptor(prototype, key)!;
    const kind = property.get === undefined ? "value" : "get";
    const real = property[kind];
    if (typeof real !== "function") continue;
    all.add(label);
    Object.defineProperty(prototype, key, {
      ...property,
      [kind](this: unknown, ...args: unknown[]) {
        used.add(label);
        return Reflect.apply(real, this, args);
      },
    });
  }
}

const SHOWN = [
  "Symbol(nodejs.util.inspect.custom)",
  "Symbol(Deno.customInspect)",
  "Symbol(Symbol.toPrimitive)",
];
watch("BlockPool", BlockPool.prototype, SHOWN);
watch("SizeClassPool", SizeClassPool.prototype, SHOWN);
{
  const pool = new BlockPool(HEAP);
  const block = pool.acquireSync();
  watch("Block", Object.getPrototypeOf(block), [
    ...SHOWN,
    "toString",
    "valueOf",
  ]);
  block.release();
  await pool.close();
}

let passed = 0;
async function check(what: string, fn: () => unknown): Promise<void> {
  try {
    await fn();
    passed++;
  } catch (error) {
    console.error(`failed on ${name}: ${what}\n`, error);
    process.exitCode = 1;
  }
}

function code(expected: string): (error: unknown) => boolean {
  return (error) => {
    assert(error instanceof SmritiError, String(error));
    assert.equal(error.code, expected, error.message);
    return true;
  };
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const utf8 = (words: string) => new TextEncoder().encode(words);
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

await check(
  "native memory is unsupported but on Deno, and the error names what works",
  () => {
    if (name === "Deno") return;
    const unsupported = (act: () => unknown) =>
      assert.throws(act, (error: Error) => {
        assert.match(error.message, /"heap" and "auto"/);
        return code("unsupported")(error);
      });
    unsupported(() => new BlockPool(ONE));
    unsupported(() => new BlockPool({ ...ONE, backend: "native" }));
    unsupported(() => BlockPool.footprint(ONE));
    unsupported(() => new SizeClassPool([HEAP, { ...ONE, blockSize: 9 }]));
  },
);

await check("auto is the heap where nothing else is to be had", async () => {
  await using pool = new BlockPool({ ...ONE, backend: "auto" });
  assert.equal(pool.backend, name === "Deno" ? pool.backend : "heap");
  const { initialBytes, mostBytes } = BlockPool.footprint({
    ...ONE,
    backend: "auto",
  });
  assert(initialBytes <= mostBytes);
});

await check("memoryLimit() knows the machine", () => {
  const limit = library.memoryLimit();
  if (name !== "Deno") assert(limit !== undefined && limit.bytes > 2 ** 26);
});

for (const safety of ["trust", "revoke", "strict"] as const) {
  await check(`a pool lives its life: ${safety}`, async () => {
    const pool = new BlockPool({
      ...HEAP,
      safety,
      name: "life",
      maxBlocks: 64,
      initialBlocks: 8,
    });
    const told: string[] = [];
    const listener = (event: library.PoolEvent) => void told.push(event.type);
    for (const type of ["grow", "shrink", "exhausted", "close"] as const) {
      pool.addEventListener(type, listener);
    }
    pool.addEventListener("stall", listener);
    pool.removeEventListener("stall", listener);
    assert.deepEqual(
      [pool.blockSize, pool.maxBlocks, pool.backend, pool.name, pool.closed],
      [1024, 64, "heap", "life", false],
    );
    const block = await pool.acquire({ tag: "one", timeoutMs: 1000 });
    const kept = block.bytes;
    assert.deepEqual([block.size, block.tag, block.released, kept.length], [
      1024,
      "one",
      false,
      1024,
    ]);
    assert.throws(() => block.pointer, code("unsupported"));
    kept.fill(7);
    assert.deepEqual([...block.first(2)], [7, 7]);
    assert.equal(await block.lend((bytes) => Promise.resolve(bytes[9])), 7);
    pool.release(block);
    assert.equal(block.released, true);
    assert.throws(() => block.bytes, code("released"));
    assert.throws(() => block.release(), code("released"));
    if (safety !== "trust") assert.equal(kept.length, 0);
    const blocks: library.Block[] = [];
    for (let each; (each = pool.tryAcquire()) !== undefined;) {
      assert(
        each.bytes.every((byte) => byte === 0),
        "an earlier lease's bytes",
      );
      each.bytes.fill(1);
      blocks.push(each);
    }
    assert(blocks.length >= 56 && blocks.length <= 64, `${blocks.length}`);
    assert.throws(() => pool.acquireSync(), code("exhausted"));
    await assert.rejects(pool.acquire({ timeoutMs: 5 }), code("timeout"));
    const signal = AbortSignal.abort(new Error("enough"));
    await assert.rejects(pool.acquire({ signal }), /enough/);
    const waits = pool.acquireMany(3, { reserved: true });
    for (const each of blocks.splice(0, 20)) each[Symbol.dispose]();
    (await waits)[Symbol.dispose]();
    for (const each of blocks) each.release();
    assert.equal(await pool.use((each) => each.bytes.length), 1024);
    assert(pool.slots().length > 0 && pool.dump().includes("free"));
    const { committedBlocks, freeBlocks, acquiredBlocks, quarantinedBlocks } =
      pool.stats();
    assert.equal(
      committedBlocks,
      freeBlocks + acquiredBlocks + quarantinedBlocks,
    );
    assert(pool.trim() > 0);
    assert.match(toPrometheus(pool.stats()), /smriti_pool_/);
    pool.seal();
    await pool.close();
    assert.deepEqual([
      pool.closed,
      pool.stats().committedBlocks,
      pool.stats().mappedBytes,
    ], [true, 0, 0]);
    assert.throws(() => pool.tryAcquire(), code("closed"));
    for (const type of ["grow", "shrink", "exhausted", "close"]) {
      assert(told.includes(type), `${type} was not told`);
    }
  });
}

await check(
  "buffers that leave are healed, taken back or cost an address",
  async () => {
    await using pool = new BlockPool(HEAP);
    const block = pool.acquireSync();
    block.bytes[0] = 5;
    const out = structuredClone(block.bytes, {
      transfer: [block.bytes.buffer],
    });
    block.reattach(out);
    assert.equal(block.bytes[0], 5);
    block.release();
    const gone = pool.acquireSync();
    structuredClone(gone.bytes, { transfer: [gone.bytes.buffer] });
    gone.release();
    pool.acquireSync().abandon();
    assert.equal(pool.stats().abandonedBlocks, 2);
    assert.equal(pool.stats().capacityBlocks, 4);
    using own = pool.acquireSync();
    assert.throws(() => own.detach(), code("unsupported"));
  },
);

await check("a block is no text, and shows what it is", async () => {
  await using pool = new BlockPool(HEAP);
  using block = pool.acquireSync();
  assert.throws(() => `${block}`, TypeError);
  assert.match((await import("node:util")).inspect(pool), /BlockPool\(/);
});

await check(
  "the pool shrinks by the clock, and reports stalls and overdue blocks",
  async () => {
    await using pool = new BlockPool({
      ...HEAP,
      maxBlocks: 100,
      shrinkIntervalMs: 20,
      stallMs: 20,
      overdueMs: 20,
    });
    const told = new Set<string>();
    for (const type of ["shrink", "stall", "overdue"] as const) {
      pool.addEventListener(type, ({ type }) => void told.add(type));
    }
    const blocks = await pool.acquireMany(100);
    const waits = pool.acquire();
    await sleep(100);
    blocks[Symbol.dispose]();
    (await waits).release();
    for (let turn = 0; turn < 100 && told.size < 3; turn++) await sleep(20);
    assert.deepEqual([...told].sort(), ["overdue", "shrink", "stall"]);
  },
);

await check("wrong options are refused, and name the option", () => {
  assert.throws(
    () => new BlockPool({ ...HEAP, maxBlocks: 0 }),
    /maxBlocks must be/,
  );
  assert.throws(
    () => new BlockPool({ ...HEAP, more: 1 } as never),
    /unknown option "more"/,
  );
});

await check("size classes", async () => {
  const pool = new SizeClassPool([HEAP, {
    ...HEAP,
    blockSize: 64,
    maxBlocks: 1,
  }]);
  using small = await pool.acquire(10);
  const upgraded = pool.tryAcquire(10, { upgrade: true })!;
  assert.deepEqual([small.size, upgraded.size, pool.closed], [64, 1024, false]);
  pool.release(upgraded);
  assert.deepEqual(pool.stats().map(({ upgrades }) => upgrades), [0, 1]);
  assert(pool.trim() >= 0);
  pool.seal();
  small.release();
  await pool.close();
  new SizeClassPool([HEAP])[Symbol.dispose]();
  await new SizeClassPool([HEAP])[Symbol.asyncDispose]();
});

// From here on with bodies, connections and files of the runtime.

/** A server of node's for the length of `fn`. */
async function served(
  listener: http.RequestListener,
  fn: (url: string) => Promise<void>,
): Promise<void> {
  const server = http.createServer(listener).listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    await fn(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const BODY = Array.from({ length: 500 }, (_, i) => `line ${i}`).join("\n");
const LARGE = { ...HEAP, blockSize: 4096, maxBlocks: 16 };
const exported = new Set(
  Object.keys(io).filter((key) => key[0] === key[0]!.toLowerCase()),
);

await check(
  "readBody, of a request of node:http and of a Request",
  async () => {
    exported.delete("readBody");
    await using pool = new BlockPool({ ...LARGE, blockSize: 8192 });
    const answer = async (
      req: http.IncomingMessage,
      res: http.ServerResponse,
    ) => {
      using block = await pool.acquire();
      const body = await io.readBody(req, block, { limit: 8000 });
      res.end(body === null ? "too large" : text(body));
    };
    await served((req, res) => void answer(req, res), async (url) => {
      const post = async (body: string) =>
        await (await fetch(url, { method: "POST", body })).text();
      assert.equal(await post(BODY), BODY);
      assert.equal(await post("x".repeat(8001)), "too large");
    });
    using block = pool.acquireSync();
    const request = new Request("http://localhost/", {
      method: "POST",
      body: BODY,
    });
    assert.equal(text((await io.readBody(request, block))!), BODY);
    const response = new Response(BODY);
    assert.equal(text((await io.readBody(response, block))!), BODY);
  },
);

await check("collect, and what chains can do", async () => {
  exported.delete("collect");
  await using pool = new BlockPool(LARGE);
  const answer = async (
    req: http.IncomingMessage,
    res: http.ServerResponse,
  ) => {
    using chain = (await io.collect(req, pool))!;
    res.end(chain.text());
  };
  await served((req, res) => void answer(req, res), async (url) => {
    const body = new Blob([BODY, BODY]).stream();
    const init = { method: "POST", body, duplex: "half" } as RequestInit;
    assert.equal(await (await fetch(url, init)).text(), BODY + BODY);
  });
  const chain = (await io.collect(new Response(BODY), pool))!;
  assert.equal(text(chain.bytes()), BODY);
  assert.equal(text(chain.slice(5, 9)), BODY.slice(5, 9));
  assert.equal(
    [...chain.chunks()].reduce((sum, { bytes }) => sum + bytes.length, 0),
    BODY.length,
  );
  assert.equal(await new Response(chain.stream()).text(), BODY);
  const again = (await io.collect(new Response(BODY), pool))!;
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const [read] = await Promise.all([
    new Response(readable).text(),
    again.writeTo(writable).then(() => writable.close()),
  ]);
  assert.equal(read, BODY);
  again.release();
  assert.equal(pool.stats().acquiredBlocks, 0);
});

await check("chunks and lines, of streams and generators", async () => {
  exported.delete("chunks");
  exported.delete("lines");
  await using pool = new BlockPool(LARGE);
  let sum = "";
  for await (const { bytes } of io.chunks(new Response(BODY), pool)) {
    sum += text(bytes);
  }
  assert.equal(sum, BODY);
  async function* pieces() {
    for (const piece of BODY.match(/[^]{1,77}/g)!) {
      yield await Promise.resolve(utf8(piece));
    }
  }
  const found: string[] = [];
  for await (const line of io.lines(pieces(), pool)) found.push(line);
  assert.deepEqual(found, BODY.split("\n"));
  assert.equal(pool.stats().acquiredBlocks, 0);
});

await check("collector", async () => {
  exported.delete("collector");
  await using pool = new BlockPool(LARGE);
  const parts = io.collector(pool, { limit: 50_000 });
  await parts.write(utf8("one "));
  await new Response("two").body!.pipeTo(parts.writable, {
    preventClose: true,
  });
  using chain = parts.finish()!;
  assert.equal(chain.text(), "one two");
});

/** What has read() and write() as Deno's have, over a file of node's. */
async function fileOf(path: string) {
  const file = await open(path);
  return {
    close: () => file.close(),
    read: async (p: Uint8Array) =>
      (await file.read(p, 0, p.length)).bytesRead || null,
  };
}

const SELF = fileURLToPath(import.meta.url);

await check("copy, of a file, and a file by lend", async () => {
  exported.delete("copy");
  await using pool = new BlockPool(LARGE);
  using block = pool.acquireSync();
  const from = await fileOf(SELF);
  let length = 0;
  const write = (p: Uint8Array) =>
    Promise.resolve((length += p.length, p.length));
  const copied = await io.copy(from, { write }, block);
  assert.equal(length, copied);
  await from.close();
  const file = await open(SELF);
  const { bytesRead } = await block.lend((bytes) => file.read(bytes, 0, 10, 0));
  assert.equal(text(block.bytes.subarray(0, bytesRead)), "// The who");
  await file.close();
});

/** Bytes in pieces of no length in particular. */
function readerOf(bytes: Uint8Array) {
  let at = 0;
  return {
    read(p: Uint8Array): Promise<number | null> {
      const piece = bytes.subarray(at, at + Math.min(p.length, 100));
      p.set(piece);
      at += piece.length;
      return Promise.resolve(piece.length || null);
    },
  };
}

await check("readFrames and bufferedReader", async () => {
  exported.delete("readFrames");
  exported.delete("bufferedReader");
  await using pool = new BlockPool(LARGE);
  const frames = utf8("\x00\x03one\x00\x00\x00\x05three");
  const found: string[] = [];
  for await (
    const { bytes } of io.readFrames(readerOf(frames), pool, { lengthBytes: 2 })
  ) {
    found.push(text(bytes));
  }
  assert.deepEqual(found, ["one", "", "three"]);
  const headed = io.readFrames(readerOf(utf8("3abc0")), pool, {
    header: 1,
    length: ([digit]) => digit! - 48,
  });
  const more: string[] = [];
  for await (const { head, bytes } of headed) {
    more.push(text(head) + text(bytes));
  }
  assert.deepEqual(more, ["3abc", "0"]);
  await assert.rejects(async () => {
    for await (
      const _ of io.readFrames(readerOf(utf8("\x00\x09one")), pool, {
        lengthBytes: 2,
      })
    );
  }, { name: "UnexpectedEof" });
  using reader = io.bufferedReader(readerOf(utf8("GET /\r\nrest of it")), pool);
  assert.equal(await reader.readLine(), "GET /");
  assert(await reader.fill(4));
  assert.deepEqual([
    text(reader.peek(2)),
    text(reader.take(4)),
    reader.indexOf(111),
  ], ["re", "rest", 1]);
  await reader.fill(6);
  assert.equal(text(reader.rest()), " of it");
});

await check("pools end by using, too, and say what is out", async () => {
  const { error, warn } = console;
  const lines: unknown[] = [];
  console.error = console.warn = (...line) => void lines.push(line);
  try {
    let kept: library.Block | undefined;
    {
      using pool = new BlockPool(HEAP);
      kept = pool.acquireSync();
    }
    kept.release();
    const pool = new BlockPool(HEAP);
    pool.acquireSync({ tag: "mine" });
    await assert.rejects(pool.close({ timeoutMs: 5 }), /"mine"/);
    await new BlockPool(HEAP)[Symbol.asyncDispose]();
  } finally {
    Object.assign(console, { error, warn });
  }
  assert.deepEqual(lines, []);
});

await check("all there is was used", () => {
  assert.deepEqual([...all].filter((label) => !used.has(label)), []);
  assert.deepEqual([...exported], []);
});

console.log(`${passed} checks passed on ${name} ${version}`);
