// What a person sees who prints a pool: one line, or with dump() a table of slots.

import {
  assert,
  assertEquals,
  assertLess,
  assertMatch,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { BlockPool, type SlotInfo } from "@smriti/pool";
import { survives } from "../support/child.ts";
import { takeAll } from "../support/misuse.ts";
import { canRunDeno } from "../support/platform.ts";

/** The lines of a dump after its first, as columns. */
function rows(pool: BlockPool): string[][] {
  return pool.dump().split("\n").slice(1).map((line) =>
    line.trim().split(/ {2,}/)
  );
}

Deno.test("a pool prints as one line with its name, its blocks and its limit", async () => {
  const pool = new BlockPool({
    blockSize: 4096,
    maxBlocks: 20,
    initialBlocks: 10,
    name: "uploads",
  });
  const block = pool.acquireSync();
  const line = 'BlockPool("uploads", 1 of 10 blocks acquired, ' +
    `at most 20 × 4096 bytes, ${pool.backend})`;
  assertEquals(Deno.inspect(pool), line);
  assertEquals(Deno.inspect(pool, { colors: true, depth: 0 }), line);
  assertEquals(
    Deno.inspect({ pool }, { breakLength: 200 }),
    `{ pool: ${line} }`,
  );

  block.release();
  await pool.close();
  assertMatch(
    Deno.inspect(pool),
    /^BlockPool\("uploads", 0 of 0 .*, closed\)$/,
  );
});

Deno.test({
  name: "console.log(pool) prints that line",
  ignore: !canRunDeno,
  async fn() {
    const [line] = await survives(({ BlockPool }) => {
      console.log(
        new BlockPool({ blockSize: 1, maxBlocks: 5, backend: "heap" }),
      );
    });
    assertEquals(
      line,
      'BlockPool("smriti", 0 of 5 blocks acquired, at most 5 × 1 bytes, heap)',
    );
  },
});

Deno.test("a pool's line stays one line whatever the pool is called", () => {
  for (const name of ["", "\n\x1b[31m", '"quoted"', "x".repeat(10_000)]) {
    using pool = new BlockPool({ blockSize: 64, maxBlocks: 1, name });
    const line = Deno.inspect(pool);
    // deno-lint-ignore no-control-regex -- these are what must not come through
    assert(!/[\x00-\x1f]/.test(line), JSON.stringify(line));
  }
});

Deno.test("slots() and dump() tell the state of every slot", async () => {
  using pool = new BlockPool({
    blockSize: 4096,
    maxBlocks: 20,
    initialBlocks: 8,
    safety: "strict", // so that a released block is in quarantine
  });
  const [acquired, lent, abandoned, released] = [1, 2, 3, 4].map((n) =>
    pool.acquireSync({ tag: `number ${n}` })
  );
  const settle = Promise.withResolvers<void>();
  const reading = lent.lend(() => settle.promise);
  abandoned.abandon();
  released.bytes[0] = 1;
  released.release();

  const states = Object.groupBy(pool.slots(), ({ state }) => state);
  const counts = Object.fromEntries(
    Object.entries(states).map(([state, slots]) => [state, slots.length]),
  );
  const stats = pool.stats();
  assertEquals(counts, {
    acquired: stats.acquiredBlocks - stats.lentBlocks,
    lent: stats.lentBlocks,
    abandoned: stats.abandonedBlocks,
    quarantined: stats.quarantinedBlocks,
    free: stats.freeBlocks,
  });
  const tags = ({ state }: SlotInfo) => states[state]?.map(({ tag }) => tag);
  assertEquals(tags({ state: "acquired" } as SlotInfo), ["number 1"]);
  assertEquals(tags({ state: "lent" } as SlotInfo), ["number 2"]);
  assertEquals(tags({ state: "free" } as SlotInfo), Array(5).fill(undefined));
  // The record of a slot given up is dropped with it.
  assertEquals(tags({ state: "abandoned" } as SlotInfo), [undefined]);
  assertEquals(stats.committedBlocks, 8);

  assert(pool.dump().startsWith(Deno.inspect(pool) + "\n"));
  assertEquals(
    rows(pool).map(([where, state]) => [where, state]),
    [
      ["0", "acquired"],
      ["1", "lent"],
      ["2", "abandoned"],
      ["3", "quarantined"],
      ["4–8", "free"],
    ],
  );
  assertStringIncludes(pool.dump(), '"number 1"');
  settle.resolve();
  await reading;
  acquired.release();
  lent.release();
});

Deno.test("slots() and dump() tell abandoned slots of every range, in one row where they are side by side", () => {
  using pool = new BlockPool({
    blockSize: 4096,
    maxBlocks: 4,
    maxAbandonedBytes: Infinity,
    leakDetection: "off",
  });
  using _kept = pool.acquireSync({ tag: "kept" });
  for (let i = 0; i < 20; i++) pool.acquireSync({ tag: `gone ${i}` }).abandon();
  assertEquals(rows(pool), [
    ["0", "acquired", '"kept"'],
    ["1–20", "abandoned"],
    ["21–22", "free"],
  ]);
  const others = takeAll(pool);
  assertEquals(rows(pool).at(-1), ["21–23", "acquired"]);
  for (const block of others) block.release();
});

Deno.test("slots() tells what was given back as uncommitted", () => {
  using pool = new BlockPool({
    blockSize: 4096,
    maxBlocks: 10,
    initialBlocks: 2,
  });
  for (const block of takeAll(pool)) block.release();
  pool.trim();
  const states = pool.slots().map(({ state }) => state);
  assertEquals(states, [
    ...Array(2).fill("free"),
    ...Array(8).fill("uncommitted"),
  ]);
  assertEquals(rows(pool), [["0–1", "free"], ["2–9", "uncommitted"]]);
});

Deno.test("dump() tells tag, age and the place that acquired, as far as watched", async () => {
  using pool = new BlockPool({
    blockSize: 64,
    maxBlocks: 4,
    leakDetection: "all",
  });
  function handlerOfRequests() {
    return pool.acquireSync({ tag: "a\nb" });
  }
  using _block = handlerOfRequests();
  await new Promise((resolve) => setTimeout(resolve, 20));
  const [[where, state, tag, age, place]] = rows(pool);
  assertEquals([where, state, tag], ["0", "acquired", '"a\\nb"']);
  assertMatch(age, /^\d+ ms$/);
  assert(parseInt(age) >= 19 && parseInt(age) < 10_000, age);
  assertMatch(place, /handlerOfRequests.*inspect_test\.ts:\d+/);
});

Deno.test("dump() keeps its columns, whatever the tags", () => {
  using pool = new BlockPool({
    blockSize: 64,
    maxBlocks: 8,
    initialBlocks: 8,
    leakDetection: "all",
  });
  const tags = ["a", undefined, "somewhat longer", "x".repeat(5_000)];
  const blocks = tags.map((tag) => pool.acquireSync({ tag }));
  pool.acquireSync({ tag: "gone" }).abandon();
  const lines = pool.dump().split("\n").slice(1, 1 + tags.length);
  for (const end of [" ms", "inspect_test.ts"]) {
    const columns = new Set(lines.map((line) => line.indexOf(end)));
    assertEquals(columns.size, 1, lines.join("\n"));
  }
  assertStringIncludes(lines[2], '"somewhat longer"');
  // Cut, so that the rest of the line can be seen.
  assertLess(Math.max(...lines.map((line) => line.indexOf(" ms"))), 90);
  for (const block of blocks) block.release();
});

Deno.test("what controls a terminal is not shown as it is", () => {
  using pool = new BlockPool({
    blockSize: 64,
    maxBlocks: 2,
    name: "\x9b31m\u2028\u202e\x7f",
  });
  using block = pool.acquireSync({ tag: "\x9b31m\u2028\u202e\x7f" });
  for (const told of [pool.dump(), Deno.inspect(pool), Deno.inspect(block)]) {
    assert(!/[\x7f-\x9f\u2028\u202e]/.test(told), JSON.stringify(told));
    assertStringIncludes(told, "\\u009b31m\\u2028\\u202e\\u007f");
  }
});

Deno.test("dump() tells of a free slot nothing of the lease before", () => {
  using pool = new BlockPool({
    blockSize: 64,
    maxBlocks: 4,
    leakDetection: "all",
  });
  pool.acquireSync({ tag: "a secret" }).release();
  assert(!pool.dump().includes("secret"));
  assertEquals(pool.slots()[0].tag, undefined);
  assertEquals(pool.slots()[0].stack, undefined);
});

Deno.test("dump() of a large pool stays short enough to read", () => {
  using pool = new BlockPool({
    blockSize: 64,
    maxBlocks: 10_000,
    leakDetection: "off",
  });
  const blocks = takeAll(pool);
  assertEquals(rows(pool), [["0–9999", "acquired"]]);
  blocks.forEach((block, i) => i % 2 === 0 && block.release());
  const lines = pool.dump().split("\n");
  assertLess(lines.length, 1_100);
  assertStringIncludes(lines.at(-1)!, "and so on from slot");
  for (const block of blocks) block[Symbol.dispose]();
  assertEquals(rows(pool), [["0–9999", "free"]]);
});

Deno.test("a block that is turned into a string or a number throws and says block.bytes", () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 2 });
  const held = pool.acquireSync({ tag: "a" });
  const ended = pool.acquireSync();
  ended.release();
  for (const block of [held, ended]) {
    // deno-lint-ignore no-explicit-any
    const any = block as any;
    const ways: Record<string, () => unknown> = {
      template: () => `${block}`,
      String: () => String(block),
      toString: () => block.toString(),
      toLocaleString: () => any.toLocaleString(),
      concatenation: () => "body: " + any,
      sum: () => any + 1,
      number: () => +any,
      comparison: () => any > 5,
      "loose equality": () => any == "x",
      join: () => [block].join(),
      key: () => new Map<string, number>()[any as keyof Map<string, number>],
      Response: () => new Response(any),
      Request: () =>
        new Request("http://localhost/", { method: "POST", body: any }),
      Blob: () => new Blob([any]),
      TextEncoder: () => new TextEncoder().encode(any),
      URLSearchParams: () => new URLSearchParams({ a: any }),
      "console.log, %s": () => console.log("%s", block),
    };
    for (const [way, turn] of Object.entries(ways)) {
      assertThrows(turn, TypeError, "block.bytes", way);
    }
  }
  assertEquals(held.released, false);
  held.release();
});

Deno.test("a block is shown, compared and sent as before", () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 2 });
  using one = pool.acquireSync({ tag: "one" });
  using other = pool.acquireSync();
  const line = 'Block(64 bytes "one", held)';
  assertEquals(Deno.inspect(one), line);
  assertEquals(Deno.inspect([one, { one }]), `[ ${line}, { one: ${line} } ]`);
  assertEquals(JSON.stringify({ one }), '{"one":{}}');
  assertEquals(structuredClone({ one }), { one: {} } as never);
  assertEquals(Object.prototype.toString.call(one), "[object Object]");
  assertEquals([Boolean(one), one === one, typeof one], [true, true, "object"]);
  const map = new Map([[one, 1], [other, 2]]);
  assertEquals([map.get(one), map.get(other), [one, other].indexOf(other)], [
    1,
    2,
    1,
  ]);
  const error = assertThrows(() => assertEquals({ a: one }, { a: 1 } as never));
  assertStringIncludes(`${error}`, line);
  assertStringIncludes(Deno.inspect(new Error("x", { cause: one })), line);
});
