// collect() and the chain it makes: bodies of any length in as many blocks as it
// takes, all or nothing.

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { BlockPool } from "@smriti/pool";
import { BlockChain, collect } from "@smriti/pool/io";
import { hasNative } from "../support/platform.ts";
import { unharmed } from "../support/invariants.ts";
import { rejected, until } from "../support/misuse.ts";
import { Client, pattern, serve, streamOf } from "../support/uploads.ts";

function poolOf(blockSize: number, maxBlocks = 8): BlockPool {
  return new BlockPool({ blockSize, maxBlocks });
}

async function chainOf(
  pool: BlockPool,
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

Deno.test("collect() takes uploads of every size in as few blocks as hold them", async () => {
  for (const blockSize of [1000, 65536, 300_000]) {
    using pool = poolOf(blockSize, 400);
    const held: number[] = [];
    await using server = serve(async (request) => {
      using chain = await collect(request, pool);
      held.push(pool.stats().acquiredBlocks);
      return new Response(chain!.bytes());
    });
    using client = await Client.connect(server.addr);
    for (const size of [0, 1, 100, 999, 1000, 1001, 65536, 65537, 300_000]) {
      const body = pattern(size).map((byte) => byte & 0x7f);
      const text = new TextDecoder().decode(body);
      for (
        const sending of [
          {},
          { announced: null },
          { piece: 40_000, pauseMs: 2 },
          { announced: null, piece: 40_000, pauseMs: 2 },
        ]
      ) {
        const answer = await client.upload(body, sending);
        assert(answer.text === text, Deno.inspect({ size, sending }));
        assertEquals(held.pop(), Math.ceil(size / blockSize));
      }
    }
    unharmed(pool);
  }
});

Deno.test("collect() gives null above the limit, and all blocks and the connection are free again", async () => {
  using pool = poolOf(1000, 100);
  await using server = serve(async (request) => {
    using chain = await collect(request, pool, { limit: 2500 });
    return new Response(chain === null ? "too large" : chain.text());
  });
  using client = await Client.connect(server.addr);
  for (
    const sending of [{}, { announced: null }, {
      announced: null,
      piece: 600,
      pauseMs: 2,
    }]
  ) {
    for (const size of [2500, 2501, 50_000, 10]) {
      const body = new Uint8Array(size).fill(97);
      const { text } = await client.upload(body, sending);
      assertEquals(text, size > 2500 ? "too large" : "a".repeat(size));
      unharmed(pool);
    }
  }
});

Deno.test("collect() takes what the pool can ever give: a higher limit, or none, is that", async () => {
  for (const limit of [undefined, 300, 301, 1e9, Infinity]) {
    using pool = new BlockPool({
      blockSize: 100,
      maxBlocks: 5,
      reservedBlocks: 2,
    });
    const headers = (size: number) => ({
      headers: { "content-length": `${size}` },
    });
    for (const size of [0, 100, 299, 300, 301, 500, 501]) {
      for (const init of [{}, headers(size)]) {
        const response = new Response(streamOf([pattern(size)]), init);
        using chain = await collect(response, pool, { limit });
        const expected = size > 300 ? null : pattern(size);
        assertEquals(chain && chain.bytes(), expected);
      }
      unharmed(pool);
    }
    // Also while all of the reserve is out.
    using _out = await pool.acquireMany(5, { reserved: true });
    const large = new Response(streamOf([pattern(301)]), headers(301));
    assertEquals(await collect(large, pool, { limit }), null);
  }
});

Deno.test("collect() without a limit takes what the pool can hold and no more", async () => {
  using pool = poolOf(100, 3);
  {
    using chain = await chainOf(pool, pattern(300), 30);
    assertEquals(chain.bytes(), pattern(300));
  }
  const stream = streamOf([pattern(200), pattern(101)]);
  assertEquals(await collect(stream, pool), null);
  assertEquals(stream.cancelledWith.length, 1);
  unharmed(pool);
});

Deno.test("collect() gives everything back when the body is cut, fails or is aborted", async () => {
  using pool = poolOf(4096, 100);
  const outcomes: unknown[] = [];
  await using server = serve(async (request) => {
    const signal = AbortSignal.timeout(200);
    outcomes.push(await collect(request, pool, { signal }).catch((e) => e));
    return new Response();
  });
  for (let i = 0; i < 10; i++) {
    using client = await Client.connect(server.addr);
    await client.send(pattern(10_000 * i), {
      announced: i % 2 === 0 ? 200_000 : null,
      pauseMs: 2,
    });
    // An odd one is complete.
  }
  using stalled = await Client.connect(server.addr);
  await stalled.send(pattern(10_000), { announced: 200_000 });
  await until(() => outcomes.length === 11);
  assertEquals(
    outcomes.filter((outcome) => outcome instanceof Error).length,
    6,
  );
  const timedOut = outcomes.filter((outcome) =>
    outcome instanceof DOMException && outcome.name === "TimeoutError"
  );
  assertEquals(timedOut.length, 1);
  for (const outcome of outcomes) {
    if (outcome instanceof BlockChain) outcome.release();
  }
  unharmed(pool);

  const fails = new Error("gone");
  const stream = streamOf([pattern(10_000)], { fails });
  const error = await assertRejects(() => collect(stream, pool));
  assertStrictEquals(error, fails);
  unharmed(pool);
});

Deno.test("collect() acquires the blocks of an announced body together, in its place of the queue", async () => {
  using pool = poolOf(10, 4);
  const announced = (size: number) =>
    new Response(streamOf([pattern(size)]), {
      headers: { "content-length": String(size) },
    });
  const blocks = [pool.acquireSync(), pool.acquireSync()];
  const first = collect(announced(30), pool); // needs 3 of 4, 2 are free
  const second = collect(announced(30), pool);
  await until(() => pool.stats().waiting === 2);
  assertEquals(pool.stats().acquiredBlocks, 2); // holds none meanwhile
  for (const block of blocks) block.release();
  (await first)!.release();
  (await second)!.release();
  unharmed(pool);
});

Deno.test("collect() lets two growing bodies that wait for each other not wait for ever", async () => {
  using pool = poolOf(10, 4);
  const growing = () =>
    streamOf(Array.from({ length: 4 }, () => pattern(10)), { pauseMs: 5 });
  // Together they need 8 of 4 blocks; each gets 2 and then waits.
  const bodies = [collect(growing(), pool), collect(growing(), pool)];
  const settled = await Promise.allSettled(bodies);
  const chains = settled.filter(({ status }) => status === "fulfilled");
  assertEquals(chains.length, 1, "one gives way, the other gets through");
  const refusal = settled.find((one) => one.status === "rejected");
  await rejected("timeout", Promise.reject(refusal!.reason));
  for (const one of settled) {
    if (one.status === "fulfilled") one.value!.release();
  }
  unharmed(pool);
});

Deno.test("collect() waits for a block as long as timeoutMs and the signal allow", async () => {
  using pool = poolOf(10, 2);
  const blocks = [pool.acquireSync(), pool.acquireSync()];
  const stream = () => streamOf([pattern(5)]);
  await rejected("timeout", collect(stream(), pool, { timeoutMs: 5 }));
  const signal = AbortSignal.timeout(5);
  const error = await assertRejects(() => collect(stream(), pool, { signal }));
  assertStrictEquals(error, signal.reason);
  blocks[0].release();
  // The first block is there, the second is not.
  const two = streamOf([pattern(5), pattern(6)]);
  await rejected("timeout", collect(two, pool, { timeoutMs: 5 }));
  assertEquals(two.cancelledWith.length, 1);
  blocks[1].release();
  unharmed(pool);
});

Deno.test("collect() checks its arguments and then has touched nothing", async () => {
  using pool = poolOf(10);
  const stream = streamOf([pattern(1)]);
  const call = collect as (...args: unknown[]) => Promise<unknown>;
  const wrong: [unknown[], typeof TypeError | typeof RangeError, string][] = [
    [[1, pool], TypeError, "source must be"],
    [[stream, null], TypeError, "pool must be"],
    [[stream, pool, { max: 1 }], TypeError, "unknown option"],
    [[stream, pool, { limit: true }], TypeError, "limit must be"],
    [[stream, pool, { limit: -1 }], RangeError, "got -1"],
    [[stream, pool, { limit: 1.5 }], RangeError, "got 1.5"],
    [[stream, pool, { limit: NaN }], RangeError, "got NaN"],
    [[stream, pool, { signal: null }], TypeError, "signal must be"],
    [[stream, pool, { timeoutMs: NaN }], RangeError, "timeoutMs must be"],
  ];
  for (const [args, Kind, message] of wrong) {
    await assertRejects(() => call(...args), Kind, message);
  }
  assert(!stream.locked);
});

Deno.test({
  name: "a chain of an announced length reaches no further into its last block",
  ignore: !hasNative,
  fn: async () => {
    const size = 1024 * 1024;
    using pool = poolOf(size);
    for (const length of [1, 10_000, size, size + 700_000]) {
      const body = pattern(length, length);
      const last = length % size || size;
      for (const isAnnounced of [true, false]) {
        const headers: HeadersInit = isAnnounced
          ? { "content-length": `${length}` }
          : {};
        const collected = async () =>
          (await collect(new Response(streamOf([body]), { headers }), pool))!;
        {
          using chain = await collected();
          const views = [...chain.chunks()].map(({ bytes }) => bytes);
          const { buffer } = views.at(-1)!;
          assertEquals(buffer.byteLength, isAnnounced ? last : size);
          assertEquals(chain.bytes(), body);
          assertEquals(chain.slice(-1), body.subarray(-1));
          // What the body does not say is not the next one's.
          for (const view of views) new Uint8Array(view.buffer).fill(9);
        }
        using chain = await collected();
        assertEquals(await new Response(chain.stream()).bytes(), body);
        await until(() => pool.stats().acquiredBlocks === 0);
        using blocks = await pool.acquireMany(3);
        for (const { bytes } of blocks) {
          assertEquals(bytes.findIndex((byte) => byte !== 0), -1);
        }
      }
    }
    unharmed(pool);
  },
});
