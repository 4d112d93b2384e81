// Acquires that wait for long: who is told, of whom, and how often.

import {
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { FakeTime } from "@std/testing/time";
import {
  type Block,
  BlockPool,
  type PoolEvent,
  type PoolOptions,
  SizeClassPool,
} from "@smriti/pool";
import { inChild } from "../support/child.ts";
import { catchErrors, catchWarnings } from "../support/console.ts";
import { lawful } from "../support/invariants.ts";
import { microtasks, rejected, takeAll } from "../support/misuse.ts";
import { canRunDeno } from "../support/platform.ts";

const ONE = { blockSize: 64, maxBlocks: 1 };

type Report = PoolEvent<"stall">["detail"];

/** A pool of which nothing is free, its clock, and what it says. */
function scene(options: Partial<PoolOptions> = {}) {
  const time = new FakeTime();
  const warnings = catchWarnings();
  const pool = new BlockPool({ ...ONE, ...options });
  const blocks = takeAll(pool);
  const reports: Report[] = [];
  const listen = () =>
    pool.addEventListener("stall", ({ detail }) => reports.push(detail));
  return {
    time,
    pool,
    blocks,
    reports,
    listen,
    warnings: warnings.lines,
    [Symbol.dispose]: () => {
      warnings[Symbol.dispose]();
      pool[Symbol.dispose]();
      time.restore();
    },
  };
}

/** Waits for a block, and gives it back at once. */
function pass(pool: BlockPool): Promise<void> {
  return pool.acquire().then((block) => block.release());
}

Deno.test("an acquire that has waited for stallMs is reported, with who holds the blocks", async () => {
  using time = new FakeTime();
  using pool = new BlockPool({
    blockSize: 64,
    maxBlocks: 3,
    name: "uploads",
    overdueMs: 1e6,
  });
  const reports: Report[] = [];
  pool.addEventListener("stall", ({ detail }) => reports.push(detail));
  const blocks: Block[] = [];
  for (const tag of ["first", undefined, "third"]) {
    blocks.push(pool.acquireSync({ tag }));
    time.tick(100);
  }
  const waits = [pass(pool)];
  time.tick(4_000);
  waits.push(pass(pool));
  time.tick(5_999);
  assertEquals(reports, []);
  time.tick(1);
  assertEquals(reports, [{
    pool: "uploads",
    waiting: 2,
    longestMs: 10_000,
    holders: [
      { tag: "first", heldMs: 10_300 },
      { tag: undefined, heldMs: 10_200 },
      { tag: "third", heldMs: 10_100 },
    ],
  }]);
  for (const block of blocks) block.release();
  await Promise.all(waits);
});

Deno.test("where the start of a lease was not noted, heldMs counts from the start of the wait", async () => {
  using stage = scene({ maxBlocks: 2, leakDetection: "off", stallMs: 500 });
  stage.listen();
  stage.time.tick(7_000);
  const wait = pass(stage.pool);
  stage.time.tick(500);
  assertEquals(stage.reports[0].holders, [
    { tag: undefined, heldMs: 500 },
    { tag: undefined, heldMs: 500 },
  ]);
  for (const block of stage.blocks) block.release();
  await wait;
});

Deno.test("a report names ten holders at most, those that hold longest", async () => {
  using time = new FakeTime();
  using warnings = catchWarnings();
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 40, overdueMs: 1e6 });
  const order = [7, 39, 0, 12, 25, 3, 31, 18];
  const blocks = Array.from(
    { length: 40 },
    () => pool.acquireSync({ tag: "old" }),
  );
  // The records stand in the order of slots: ages must not.
  for (const at of order) blocks[at].release();
  for (const at of order) {
    time.tick(10);
    blocks[at] = pool.acquireSync({ tag: `new ${at}` });
  }
  const reports: Report[] = [];
  pool.addEventListener(
    "stall",
    ({ detail }) => reports.push(detail),
    { once: true },
  );
  const wait = pass(pool);
  time.tick(10_000);
  assertEquals(
    reports[0].holders,
    new Array(10).fill({ tag: "old", heldMs: 10_080 }),
  );
  for (const block of blocks) block.release();
  await wait;

  const young = Array.from({ length: 40 }, (_, at) => {
    time.tick(1);
    return pool.acquireSync({ tag: `${at}` });
  });
  // And the next time, without a listener.
  time.tick(60_000);
  const next = pass(pool);
  time.tick(10_000);
  assertEquals(warnings.lines.length, 1);
  assertStringIncludes(
    `${warnings.lines[0]}`,
    '40 held ("0" 70039 ms, "1" 70038 ms, ',
  );
  assertStringIncludes(`${warnings.lines[0]}`, '"9" 70030 ms, 30 more)');
  for (const block of young) block.release();
  await next;
});

Deno.test("if nobody listens a warning says who holds what, and what to do", async () => {
  using stage = scene({ name: "proxy\x1b[2J", maxBlocks: 2, stallMs: 300 });
  const { time, pool, warnings } = stage;
  const waits = Array.from({ length: 3 }, () => pass(pool));
  time.tick(300);
  assertEquals(warnings.length, 1);
  const [[text, ...rest]] = warnings;
  assertEquals(rest, []);
  assertEquals(
    text,
    'pool "proxy\\u001b[2J" is stalled: 3 waiting for a block, the longest for 300 ms; ' +
      "2 held (2 × no tag 300 ms). Tasks that hold one while they wait for another can wait " +
      "for each other for ever: acquireMany() takes all that a task needs at once.",
  );
  for (const block of stage.blocks) block.release();
  await Promise.all(waits);
});

Deno.test("two tasks that each hold a block and wait for another are told of", async () => {
  using time = new FakeTime();
  using warnings = catchWarnings();
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 8 });
  const stop = new AbortController();
  const tasks = Array.from({ length: 8 }, async (_, at) => {
    using _one = await pool.acquire({ tag: `task ${at}` });
    using _other = await pool.acquire({ signal: stop.signal });
  });
  await microtasks();
  assertEquals(lawful(pool).waiting, 8);
  time.tick(10_000);
  assertEquals(warnings.lines.length, 1);
  const [[text]] = warnings.lines;
  for (let at = 0; at < 8; at++) {
    assertStringIncludes(`${text}`, `"task ${at}" 10000 ms`);
  }
  assertStringIncludes(`${text}`, "acquireMany()");
  stop.abort();
  await Promise.allSettled(tasks);
});

Deno.test("one report an episode, whoever else comes meanwhile", async () => {
  using stage = scene({ stallMs: 1_000 });
  const { time, pool, reports, warnings } = stage;
  stage.listen();
  const waits: Promise<void>[] = [];
  for (let round = 0; round < 100; round++) {
    waits.push(pass(pool));
    time.tick(500);
  }
  assertEquals(reports.map(({ waiting }) => waiting), [2]);
  stage.blocks[0].release();
  await Promise.all(waits);
  time.tick(5_000);
  // The next one, which begins when it begins.
  using _block = pool.acquireSync({ tag: "again" });
  time.tick(350);
  const stop = new AbortController();
  const wait = pool.acquire({ signal: stop.signal });
  time.tick(999);
  assertEquals(reports.length, 1);
  time.tick(1);
  assertEquals(reports.map(({ longestMs }) => longestMs), [1_000, 1_000]);
  assertEquals(reports[1].holders[0].tag, "again");
  assertEquals(warnings, []);
  stop.abort();
  await assertRejects(() => wait);
});

Deno.test("each acquire that waits too long after all others are served is told of", async () => {
  using stage = scene({ stallMs: 1_000 });
  const { time, pool, reports } = stage;
  stage.listen();
  let [held] = stage.blocks;
  for (let round = 0; round < 20; round++) {
    const next = pool.acquire();
    time.tick(1_400);
    held.release();
    held = await next;
  }
  assertEquals(reports.length, 20);
  held.release();
});

Deno.test("a pool that serves steadily is no stall, however long the queue lasts", async () => {
  using stage = scene({ stallMs: 1_000 });
  const { time, pool, reports, warnings } = stage;
  stage.listen();
  let [held] = stage.blocks;
  const queue = [pool.acquire(), pool.acquire()];
  for (let round = 0; round < 200; round++) {
    queue.push(pool.acquire());
    time.tick(330);
    held.release();
    held = await queue.shift()!;
  }
  assertEquals(pool.stats().waiting, 2);
  assertEquals([reports, warnings], [[], []]);
  held.release();
  for (const wait of queue) (await wait).release();
});

Deno.test("a waiter that others overtake is not overlooked", async () => {
  using stage = scene({ stallMs: 1_000 });
  const { time, pool, reports } = stage;
  stage.listen();
  let [held] = stage.blocks;
  const patient = pass(pool);
  for (let round = 0; round < 10; round++) {
    const urgent = pool.acquire({ reserved: true });
    time.tick(100);
    held.release();
    held = await urgent;
  }
  assertEquals(reports.map(({ longestMs }) => longestMs), [1_000]);
  held.release();
  await patient;
});

Deno.test("warnings of one pool are a minute apart, and none is left out", async () => {
  using stage = scene({ stallMs: 1_000 });
  const { time, pool, warnings } = stage;
  let [held] = stage.blocks;
  /** An acquire waits for so long. */
  const stall = async (ms: number) => {
    const next = pool.acquire();
    time.tick(ms);
    held.release();
    held = await next;
    time.tick(1_000);
  };
  for (let round = 0; round < 10; round++) await stall(2_000);
  assertEquals(warnings.length, 1);
  // This one lasts until a minute is over since the first.
  await stall(40_000);
  assertEquals(warnings.length, 2);
  time.tick(60_000);
  assertEquals(warnings.length, 2);
  held.release();
});

Deno.test("stallMs: Infinity says nothing, ever", async () => {
  using stage = scene({ stallMs: Infinity });
  stage.listen();
  const wait = pass(stage.pool);
  stage.time.tick(3_600_000);
  assertEquals([stage.reports, stage.warnings], [[], []]);
  stage.blocks[0].release();
  await wait;
});

Deno.test("a wall clock that is set says nothing about who has waited", async () => {
  for (const [step, late] of [[3_600_000, 0], [-3_600_000, 600]]) {
    using stage = scene({ stallMs: 1_000 });
    const { time, pool, reports } = stage;
    stage.listen();
    const { now } = Date;
    try {
      if (late > 0) {
        // A look is due, but at another one.
        const before = pool.acquire();
        time.tick(600);
        stage.blocks[0].release();
        stage.blocks[0] = await before;
      }
      const wait = pass(pool);
      time.tick(1);
      Date.now = () => now() + step;
      time.tick(998);
      assertEquals(reports, []);
      time.tick(1 + late);
      assertEquals(reports.length, 1);
      stage.blocks[0].release();
      await wait;
    } finally {
      Date.now = now;
    }
  }
});

Deno.test("an acquire that could not begin to wait makes no stall of the next one", async () => {
  using stage = scene({ stallMs: 1_000 });
  const { time, pool, reports } = stage;
  stage.listen();
  const { setTimeout } = globalThis;
  globalThis.setTimeout = (() => {
    throw new Error("no timer today");
  }) as unknown as typeof setTimeout;
  try {
    await assertRejects(
      () => pool.acquire({ timeoutMs: 5 }),
      Error,
      "no timer",
    );
  } finally {
    globalThis.setTimeout = setTimeout;
  }
  time.tick(900);
  const wait = pass(pool);
  time.tick(999);
  assertEquals(reports, []);
  time.tick(1);
  assertEquals(reports.map(({ longestMs }) => longestMs), [1_000]);
  stage.blocks[0].release();
  await wait;
});

Deno.test("closing ends a stall; nobody is told of it afterwards", async () => {
  using stage = scene({ stallMs: 1_000 });
  const { time, pool, reports } = stage;
  stage.listen();
  const waits = [pool.acquire(), pool.acquire()];
  time.tick(999);
  pool[Symbol.dispose]();
  for (const wait of waits) await rejected("closed", wait);
  time.tick(10_000);
  assertEquals(reports, []);
  stage.blocks[0].release();
});

Deno.test("a listener may do anything with the stalled pool", async () => {
  const deeds: Record<string, (pool: BlockPool, held: Block) => unknown> = {
    close: (pool) => void pool.close({ timeoutMs: 0 }).catch(() => {}),
    dispose: (pool) => pool[Symbol.dispose](),
    release: (_, held) => held.release(),
    abandon: (_, held) => held.abandon(),
    "wait, too": (pool) => void pool.acquire().catch(() => {}),
    throw: () => {
      throw new Error("from a listener");
    },
    reject: () => Promise.reject(new Error("from a listener")),
    "change the report": () => {},
  };
  for (const [name, deed] of Object.entries(deeds)) {
    using stage = scene({ stallMs: 100 });
    using errors = catchErrors();
    const { time, pool, blocks, warnings } = stage;
    let told = 0;
    pool.addEventListener("stall", ({ detail }) => {
      told++;
      if (name === "change the report") detail.holders.length = 0;
      return deed(pool, blocks[0]) as undefined;
    });
    const wait = pass(pool).catch(({ code }) => code);
    time.tick(100);
    time.tick(1_000);
    await microtasks();
    const fails = name === "throw" || name === "reject";
    assertEquals(pool.stats().listenerErrors, fails ? 1 : 0, name);
    assertEquals(errors.lines.length, fails ? 1 : 0, name);
    assertEquals([told, warnings.length], [1, 0], name);
    blocks[0][Symbol.dispose]();
    lawful(pool);
    pool[Symbol.dispose]();
    await wait;
  }
});

Deno.test("a console that throws does not stop the pool from looking", async () => {
  using stage = scene({ stallMs: 100 });
  const { time, pool } = stage;
  let tried = 0;
  console.warn = () => {
    tried++;
    throw new Error("no console today");
  };
  const wait = pass(pool);
  time.tick(100);
  time.tick(70_000);
  stage.blocks[0].release();
  await wait;
  assertEquals(tried, 1);
});

Deno.test("20 000 waiters and as many holders stall once", async () => {
  const count = 20_000;
  using stage = scene({
    maxBlocks: count,
    maxWaiting: count,
    stallMs: 1_000,
    backend: "heap",
  });
  const { time, pool, reports } = stage;
  stage.listen();
  const waits = Array.from({ length: count }, () => pass(pool));
  time.tick(1_000);
  assertEquals(reports.map(({ waiting }) => waiting), [count]);
  assertEquals(reports[0].holders.length, 10);
  for (const block of stage.blocks) block.release();
  await Promise.all(waits);
  assertEquals(lawful(pool).waiting, 0);
});

Deno.test("each class of a SizeClassPool says for itself", async () => {
  using time = new FakeTime();
  using warnings = catchWarnings();
  using pool = new SizeClassPool([
    { blockSize: 64, maxBlocks: 1, stallMs: 100 },
    { blockSize: 256, maxBlocks: 1, stallMs: 100, name: "large" },
  ]);
  using _block = await pool.acquire(65, { tag: "report" });
  const wait = pool.acquire(100);
  time.tick(100);
  assertEquals(warnings.lines.length, 1);
  assertMatch(`${warnings.lines[0]}`, /^pool "large" .*"report" 100 ms/);
  pool[Symbol.dispose]();
  await rejected("closed", wait);
});

Deno.test("a look that is due is no timer that a test has left over", async () => {
  // In real time: the test runner would complain.
  using pool = new BlockPool(ONE);
  const block = pool.acquireSync();
  const wait = pass(pool);
  block.release();
  await wait;
});

Deno.test({
  name: "a program is not kept from ending by what it waited for",
  ignore: !canRunDeno,
}, async () => {
  const { code, stdout, stderr } = await inChild(async ({ BlockPool }) => {
    const pool = new BlockPool({
      blockSize: 64,
      maxBlocks: 1,
      stallMs: 20_000,
      backend: "auto",
    });
    const block = pool.acquireSync();
    const wait = pool.acquire();
    block.release();
    (await wait).release();
    const done = performance.now();
    addEventListener("unload", () => {
      if (performance.now() - done > 10_000) console.log("it was kept");
    });
  });
  assertEquals([code, stdout], [0, "the child came to its end\n"], stderr);
});
