// What exactly a pool does when the OS refuses one thing: to map, to commit, to take memory back.

import {
  assert,
  assertEquals,
  assertGreater,
  assertInstanceOf,
  assertStringIncludes,
} from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { BlockPool, type PoolOptions, SmritiError } from "../../mod.ts";
import { type Call, FailingBackend } from "../support/failing_backend.ts";
import { gone, lawful } from "../support/invariants.ts";
import { microtasks, refused, releaseAll, takeAll } from "../support/misuse.ts";
import { hasNative } from "../support/platform.ts";
import { committed, PAGE, pagePool } from "../support/sizes.ts";

const test = (name: string, fn: () => void | Promise<void>) =>
  Deno.test({ name, fn, ignore: !hasNative });

/** Refuses these calls until told otherwise. */
function refuse(backend: FailingBackend, ...calls: Call[]): void {
  backend.fails = (call) => calls.includes(call);
}

test("new BlockPool() that gets no addresses says so and holds nothing", () => {
  using backend = new FailingBackend();
  refuse(backend, "map");
  const error = refused("out-of-memory", () => pagePool());
  assertEquals(error.cause, {
    call: "map",
    bytes: 100 * PAGE,
    error: backend.errorName(12),
  });
  assertStringIncludes(error.message, `map ${100 * PAGE} bytes`);
  assertEquals(backend.mapped, 0);
});

test("new BlockPool() that gets no memory says so and unmaps", () => {
  // Refused a whole, it asks for less to see what there is; that is not enough, either.
  for (const most of [0, 3 * PAGE, 19 * PAGE]) {
    using backend = new FailingBackend();
    backend.fails = (call, _number, size) =>
      call === "commit" && sum(backend.sizes("commit")) + size > most;
    const error = refused("out-of-memory", () => pagePool());
    const { call, bytes } = error.cause as { call: string; bytes: number };
    assertEquals([call, bytes % PAGE], ["commit", 0]);
    assertEquals([backend.mapped, backend.violations], [0, []]);
  }
});

function sum(sizes: number[]): number {
  return sizes.filter((size) => size > 0).reduce((a, b) => a + b, 0);
}

test("a refused grow takes what it can get, by halves, and tells of both", () => {
  using backend = new FailingBackend();
  using pool = pagePool();
  const told: unknown[] = [];
  pool.addEventListener("grow", ({ detail: { error, ...rest } }) => {
    assertInstanceOf(error, SmritiError);
    told.push({ ...rest, code: error.code });
  });
  backend.made.length = 0;
  backend.fails = (call) =>
    call === "commit" && backend.sizes("commit").length < 2;
  const blocks = Array.from({ length: 16 }, () => pool.acquireSync());
  assertEquals(backend.sizes("commit"), [-10 * PAGE, -5 * PAGE, 2 * PAGE]);
  assertEquals(told, [
    { pool: "smriti", blocks: 2, committedBlocks: 22, code: "out-of-memory" },
  ]);
  const { grows, growFailures } = lawful(pool);
  assertEquals([grows, growFailures, committed(pool)], [1, 1, 22]);
  releaseAll(blocks);
});

test("a grow that got nothing is told with no blocks, and counts as no grow", () => {
  using backend = new FailingBackend();
  using pool = pagePool();
  const told: [number, string | undefined][] = [];
  pool.addEventListener("grow", ({ detail: { blocks, error } }) => {
    told.push([blocks, error?.code]);
  });
  refuse(backend, "commit");
  const blocks = Array.from({ length: 16 }, () => pool.acquireSync());
  assertEquals(told, [[0, "out-of-memory"]]);
  const { grows, growFailures } = lawful(pool);
  assertEquals([grows, growFailures, committed(pool)], [0, 1, 20]);
  releaseAll(blocks);
});

test("the threshold leaves a refusing OS in peace for 100 ms", () => {
  using time = new FakeTime();
  using backend = new FailingBackend();
  using pool = pagePool();
  const blocks = Array.from({ length: 15 }, () => pool.acquireSync());
  refuse(backend, "commit");
  const asked = () => {
    backend.made.length = 0;
    pool.acquireSync().release();
    return backend.made.length > 0;
  };
  assertEquals([asked(), asked()], [true, false]);
  time.tick(99);
  assertEquals(asked(), false);
  time.tick(1);
  assertEquals([asked(), asked()], [true, false]);
  releaseAll(blocks);
});

test("a caller for whom no block is free asks the OS all the same", () => {
  using backend = new FailingBackend();
  using pool = pagePool();
  refuse(backend, "commit");
  const blocks = takeAll(pool);
  assertEquals(blocks.length, 20);
  const { growFailures } = lawful(pool);
  refused("exhausted", () => pool.acquireSync());
  assertEquals(lawful(pool).growFailures, growFailures + 1);
  refuse(backend);
  blocks.push(pool.acquireSync());
  assertEquals(committed(pool), 30);
  releaseAll(blocks);
});

test("those who wait for a refusing OS are served when it relents, without a release", async () => {
  using time = new FakeTime();
  using backend = new FailingBackend();
  using pool = pagePool();
  refuse(backend, "commit");
  const blocks = takeAll(pool);
  const waiting = [pool.acquire(), pool.acquireMany(3), pool.acquire()];
  const served: number[] = [];
  waiting.forEach((wait, i) => wait.then(() => served.push(i)));
  time.tick(1000);
  await microtasks();
  assertEquals([served, lawful(pool).waiting], [[], 3]);
  refuse(backend);
  time.tick(100);
  await microtasks();
  assertEquals([served.toSorted(), lawful(pool).waiting], [[0, 1, 2], 0]);
  for (const wait of await Promise.all(waiting)) {
    if (Array.isArray(wait)) releaseAll(wait);
    else wait.release();
  }
  releaseAll(blocks);
});

test("nobody asks a refusing OS again when nobody waits any more", async () => {
  using time = new FakeTime();
  using backend = new FailingBackend();
  using pool = pagePool();
  refuse(backend, "commit");
  const blocks = takeAll(pool);
  const wait = pool.acquire({ timeoutMs: 150 });
  wait.catch(() => {});
  time.tick(150);
  await microtasks();
  backend.made.length = 0;
  time.tick(10_000);
  assertEquals(backend.sizes("commit"), []);
  releaseAll(blocks);
});

test("a refused trim() leaves usable blocks of zeroes, and works later", () => {
  for (const safety of ["trust", "revoke"] as const) {
    using backend = new FailingBackend();
    using pool = pagePool({ safety });
    const blocks = takeAll(pool);
    for (const { bytes } of blocks) bytes.fill(7);
    releaseAll(blocks);
    refuse(backend, "decommit");
    assertEquals([pool.trim(), committed(pool)], [0, 100]);
    const { growFailures, shrinks } = lawful(pool);
    assertEquals([growFailures, shrinks], [1, 0]);
    blocks.push(...takeAll(pool));
    assertEquals(blocks.length, 100);
    assert(blocks.every(({ bytes }) => bytes.every((byte) => byte === 0)));
    releaseAll(blocks);
    refuse(backend);
    assertEquals(pool.trim(), 80 * PAGE);
  }
});

test("a trim() refused half-way gives back what went before", () => {
  using backend = new FailingBackend();
  using pool = pagePool();
  const blocks = takeAll(pool);
  // A block in use splits the free ones into two runs.
  const [kept] = blocks.splice(60, 1);
  releaseAll(blocks);
  backend.made.length = 0;
  backend.fails = (call) => call === "decommit" && backend.made.length > 0;
  assertEquals(pool.trim(), 39 * PAGE);
  const { growFailures, shrinks } = lawful(pool);
  assertEquals([committed(pool), growFailures, shrinks], [61, 1, 1]);
  kept.release();
});

test("a refused shrink is tried again at the next interval", () => {
  using time = new FakeTime();
  using backend = new FailingBackend();
  using pool = pagePool();
  releaseAll(takeAll(pool));
  refuse(backend, "decommit");
  time.tick(60_000);
  assertEquals(committed(pool), 100);
  refuse(backend);
  time.tick(60_000);
  assertEquals(committed(pool), 90);
});

test("close() resolves when the OS keeps the addresses, and mappedBytes says so", async () => {
  using backend = new FailingBackend();
  const pool = pagePool();
  releaseAll(takeAll(pool));
  refuse(backend, "decommit", "unmap");
  let told = 0;
  pool.addEventListener("close", ({ detail }) => told = detail.mappedBytes);
  await pool.close();
  const { mappedBytes, committedBytes, abandonedBytes } = lawful(pool);
  // Neither addresses nor pages went back.
  const all = 100 * PAGE;
  assertEquals([mappedBytes, abandonedBytes, told], [all, all, all]);
  assertEquals(committedBytes, 0);
});

test("strict keeps a block in quarantine that the OS will not make accessible", async () => {
  using backend = new FailingBackend();
  const options: PoolOptions = {
    blockSize: PAGE,
    maxBlocks: 1,
    safety: "strict",
  };
  const pool = new BlockPool(options);
  const block = pool.acquireSync();
  block.bytes.fill(7);
  block.release();
  refuse(backend, "protect");
  assertEquals(pool.tryAcquire(), undefined);
  assertEquals(lawful(pool).quarantinedBlocks, 1);
  refuse(backend);
  const again = pool.acquireSync();
  assert(again.bytes.every((byte) => byte === 0));
  again.release();
  refuse(backend, "protect");
  await pool.close();
  gone(pool);
  assertEquals([backend.mapped, backend.violations], [0, []]);
});

// The pages of a closed pool that cannot be unmapped are given back where they are.

/** Closes a pool with a block out meanwhile, under an OS that refuses these calls from then on. */
async function closedUnder(refuses: Call[]) {
  using backend = new FailingBackend();
  const pool = new BlockPool({
    blockSize: 16_384,
    maxBlocks: 8,
    initialBlocks: 4,
    name: "stuck",
  });
  const blocks = takeAll(pool);
  for (const block of blocks) block.bytes.fill(1);
  const last = blocks.pop()!;
  for (const block of blocks) block.release();
  backend.fails = (call) => refuses.includes(call);
  const before = backend.made.length;
  const ends: unknown[] = [];
  pool.addEventListener("close", ({ detail }) => ends.push(detail));
  const closing = pool.close();
  last.release();
  await closing;
  assertEquals(backend.violations, []);
  assertEquals(backend.mapped, 1);
  return { stats: lawful(pool), ends, made: backend.made.slice(before) };
}

Deno.test({
  name:
    "a pool that the OS will not unmap gives its pages back and still closes",
  ignore: !hasNative,
}, async () => {
  const { stats, ends, made } = await closedUnder(["unmap"]);
  assertEquals(made.map(({ call }) => call).slice(-2), ["unmap", "decommit"]);
  assert(made.at(-1)!.size >= 8 * 16_384, "all of them");
  assertEquals([stats.committedBlocks, stats.committedBytes], [0, 0]);
  assertGreater(stats.mappedBytes, 0);
  const { mappedBytes } = stats;
  assertEquals(ends, [{ pool: "stuck", abandonedBlocks: 0, mappedBytes }]);
});

Deno.test({
  name:
    "a pool that the OS takes nothing back from says how much it still holds",
  ignore: !hasNative,
}, async () => {
  const { stats } = await closedUnder(["unmap", "decommit"]);
  // These blocks cannot be had any more: given up for good, and their bytes stay behind.
  assertEquals([stats.committedBlocks, stats.abandonedBlocks], [0, 8]);
  assertEquals([stats.committedBytes, stats.abandonedBytes], [0, 8 * 16_384]);
  assertGreater(stats.mappedBytes, 0);
});
