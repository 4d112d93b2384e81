// lines(): text line by line, however its bytes are cut.

import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { BlockPool, type Pool } from "@smriti/pool";
import { type LineOptions, lines } from "@smriti/pool/io";
import { everyPool } from "../support/every_pool.ts";
import { unharmed } from "../support/invariants.ts";
import { rejected } from "../support/misuse.ts";
import { Rng, seedOfRun } from "../support/rng.ts";
import { serve, streamOf } from "../support/uploads.ts";

const encoder = new TextEncoder();

/** The bytes in parts of this size. */
function* parts(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) {
    yield bytes.subarray(at, at + size);
  }
}

function linesOf(
  bytes: Uint8Array,
  size: number,
  pool: Pool,
  options?: LineOptions,
): Promise<string[]> {
  const source = streamOf([...parts(bytes, size)]);
  return Array.fromAsync(lines(source, pool, options));
}

/** By hand: what the lines of a text are. */
function expected(text: string): string[] {
  const all = text.replace(/^\ufeff/, "").split("\n");
  if (all.at(-1) === "") all.pop();
  return all.map((line, i) =>
    i < all.length - 1 || text.endsWith("\n") ? line.replace(/\r$/, "") : line
  );
}

Deno.test("lines() gives every line, wherever the bytes are cut", async () => {
  const texts = [
    "",
    "\n",
    "\r\n",
    "a",
    "a\n",
    "a\r\n",
    "a\n\n",
    "\n\na",
    "one\ntwo\r\nthree",
    "a\rb\r\r\nc\r",
    "\r\n\r\n\n",
    "aäß€𝄞\r\n𝄞€\näöü",
    "\ufeffmarked\n\ufeffnot",
    "x".repeat(100) + "\n" + "€".repeat(50) + "\r\n",
  ];
  using pool = new BlockPool({ blockSize: 200, maxBlocks: 1 });
  for (const text of texts) {
    const bytes = encoder.encode(text);
    for (const size of [1, 2, 3, 5, 64, 1000]) {
      const found = await linesOf(bytes, size, pool);
      assertEquals(found, expected(text), `${JSON.stringify(text)} by ${size}`);
    }
  }
  unharmed(pool);
});

Deno.test("lines() does not mind how small the blocks are", async () => {
  const text = "aäß€𝄞\r\nline\n\n" + "x".repeat(30) + "\nlast";
  const bytes = encoder.encode(text);
  for (const blockSize of [1, 2, 3, 7, 16]) {
    for (const pool of everyPool({ blockSize, maxBlocks: 1 })) {
      const found = await linesOf(bytes, 9, pool, { limit: 30 });
      assertEquals(found, expected(text));
      unharmed(pool);
      await pool.close();
    }
  }
});

Deno.test("lines() takes any bytes, as TextDecoder does", async () => {
  const seed = seedOfRun();
  const rng = new Rng(seed);
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  const alphabet = [
    10,
    13,
    65,
    0xe2,
    0x82,
    0xac,
    0xf0,
    0x9f,
    0xff,
    0xef,
    0xbb,
    0xbf,
  ];
  for (let round = 0; round < 300; round++) {
    const bytes = Uint8Array.from(
      { length: rng.below(120) },
      () => alphabet[rng.below(alphabet.length)],
    );
    const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
    const found = await linesOf(bytes, 1 + rng.below(20), pool, { limit: 200 });
    assertEquals(found, expected(text), `seed ${seed}`);
  }
  unharmed(pool);
});

Deno.test("lines() refuses a line that is longer than limit, after those before it", async () => {
  using pool = new BlockPool({ blockSize: 50, maxBlocks: 1 });
  for (const limit of [0, 1, 10, 49, 50, 51, 120, undefined]) {
    const most = limit ?? 50;
    for (const end of ["\n", "\r\n", ""]) {
      for (const size of [1, 7, 1000]) {
        const fits = "\n" + "x".repeat(most) + end;
        const bytes = encoder.encode(fits);
        const found = await linesOf(bytes, size, pool, { limit });
        const all = expected(fits);
        assertEquals(found, all, `${most} by ${size}`);

        const long = encoder.encode("\n" + "x".repeat(most + 1) + end);
        const before: string[] = [];
        const walk = lines(streamOf([...parts(long, size)]), pool, { limit });
        await assertRejects(
          async () => {
            for await (const line of walk) before.push(line);
          },
          Deno.errors.InvalidData,
          `longer than the limit of ${most} bytes`,
        );
        assertEquals(before, [""]);
        unharmed(pool);
      }
    }
  }
  // In bytes, not in characters.
  const euros = encoder.encode("€€€€\n");
  assertEquals(await linesOf(euros, 5, pool, { limit: 12 }), ["€€€€"]);
  await assertRejects(() => linesOf(euros, 5, pool, { limit: 11 }));
  // Also one that never ends is found out as soon as it is too long.
  let given = 0;
  const endless = async function* () {
    for (; given < 1000; given++) yield new Uint8Array(10).fill(65);
  };
  const walk = lines(endless(), pool, { limit: 95 });
  await assertRejects(() => walk.next(), Deno.errors.InvalidData);
  assertEquals(given, 9);
  unharmed(pool);
});

Deno.test("lines() reads an upload, and fails when it is cut", async () => {
  using pool = new BlockPool({ blockSize: 4096, maxBlocks: 4 });
  await using server = serve(async (request) => {
    let sum = 0;
    for await (const line of lines(request, pool)) sum += JSON.parse(line).n;
    return new Response(String(sum));
  });
  const url = `http://127.0.0.1:${server.addr.port}`;
  const body = Array.from({ length: 5000 }, (_, n) => JSON.stringify({ n }))
    .join("\r\n");
  const answer = await fetch(url, { method: "POST", body });
  assertEquals(await answer.text(), String(5000 * 4999 / 2));
  const headers = { "content-length": "9" };
  const cut = new Response(streamOf([encoder.encode("a\nb")]), { headers });
  await assertRejects(
    () => Array.fromAsync(lines(cut, pool)),
    Deno.errors.UnexpectedEof,
  );
  unharmed(pool);
});

Deno.test("lines() cancels and releases on every way out, and ends with the signal", async () => {
  using pool = new BlockPool({ blockSize: 16, maxBlocks: 1 });
  const source = () => streamOf([encoder.encode("a\nb\nc\n".repeat(9))]);
  const broken = source();
  for await (const _ of lines(broken, pool)) break;
  unharmed(pool);
  const thrown = source();
  await assertRejects(async () => {
    for await (const _ of lines(thrown, pool)) throw new Error();
  });
  unharmed(pool);
  const reason = new Error("stop");
  const aborting = new AbortController();
  const stopped = source();
  const walk = lines(stopped, pool, aborting);
  await walk.next();
  aborting.abort(reason);
  assertStrictEquals(await assertRejects(() => walk.next()), reason);
  for (const { cancelledWith, locked } of [broken, thrown, stopped]) {
    assertEquals([cancelledWith.length, locked], [1, false]);
  }
  using _block = pool.acquireSync();
  await rejected("timeout", lines(source(), pool, { timeoutMs: 1 }).next());
});

Deno.test("lines() that are always there let the signal's time run out", async () => {
  using pool = new BlockPool({ blockSize: 1000, maxBlocks: 1 });
  const endless = async function* () {
    while (true) yield new Uint8Array(1000).fill(10);
  };
  const signal = AbortSignal.timeout(20);
  const error = await assertRejects(async () => {
    for await (const _ of lines(endless(), pool, { signal }));
  });
  assertStrictEquals(error, signal.reason);
  unharmed(pool);
});

Deno.test("lines() checks its arguments at once", () => {
  using pool = new BlockPool({ blockSize: 16, maxBlocks: 1 });
  const stream = streamOf([]);
  const call = lines as (...args: unknown[]) => unknown;
  const wrong: [unknown[], typeof TypeError | typeof RangeError, string][] = [
    [["text", pool], TypeError, "source must be"],
    [[stream], TypeError, "pool must be"],
    [[stream, pool, { max: 1 }], TypeError, 'unknown option "max"'],
    [[stream, pool, { limit: "1" }], TypeError, "limit must be"],
    [[stream, pool, { limit: -1 }], RangeError, "got -1"],
    [[stream, pool, { limit: 2 ** 28 + 1 }], RangeError, "268435456"],
    [[stream, pool, { timeoutMs: -1 }], RangeError, "got -1"],
  ];
  for (const [args, Kind, message] of wrong) {
    assertThrows(() => call(...args), Kind, message);
  }
  assert(!stream.locked);
});
