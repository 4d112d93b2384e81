// What a shared pool says about itself: waits that last, whom closing waits for, and how long it took
// all isolates together.

import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { type Block, type PoolEvent, SmritiError } from "@smriti/pool";
import { SharedBlockPool } from "../../shared/mod.ts";
import { numbers, sharedPool } from "./pools.ts";
import { Puppet } from "./puppet.ts";
import { catchErrors, catchWarnings } from "../support/console.ts";
import { takeAll, until } from "../support/misuse.ts";

type Report = PoolEvent<"stall">["detail"];
type All = Parameters<typeof takeAll>[0];

const total = (counts: readonly number[]) =>
  counts.reduce((sum, n) => sum + n, 0);

Deno.test("a waiter of a shared pool is reported with the holders of its isolate", async () => {
  using time = new FakeTime();
  const pool = sharedPool({ stallMs: 1_000, name: "shared" });
  const other = SharedBlockPool.attach(pool.handle);
  const reports: Report[] = [];
  const listen = ({ detail }: PoolEvent<"stall">) => reports.push(detail);
  pool.addEventListener("stall", listen);
  const here = pool.acquireSync({ tag: "mine" });
  const there = takeAll(other as unknown as All);
  const waits = [pool.acquire(), other.acquire()];
  time.tick(999);
  assertEquals(reports, []);
  using warnings = catchWarnings();
  time.tick(1);
  assertEquals(reports, [{
    pool: "shared",
    waiting: 2,
    longestMs: 1_000,
    holders: [{ tag: "mine", heldMs: 1_000 }],
  }]);
  // The other one has no listener.
  assertEquals(warnings.lines.length, 1);
  assertStringIncludes(
    `${warnings.lines[0]}`,
    "4 held (3 × no tag 1000 ms, 1 more)",
  );
  for (const block of [here, ...there]) block.release();
  for (const wait of waits) (await wait).release();
  time.tick(5_000);
  assertEquals([reports.length, warnings.lines.length], [1, 1]);
  other.leave();
  await pool.close();
});

Deno.test("a Worker that stands still says so itself, and goes on", async () => {
  const pool = sharedPool({ stallMs: 60 });
  using puppet = await Puppet.start(pool);
  const blocks = takeAll(pool as unknown as All);
  const told = new Int32Array(new SharedArrayBuffer(4));
  const stands = puppet.run(({ pool }, told) => {
    const reports: unknown[] = [];
    pool.addEventListener("stall", ({ detail }) => {
      reports.push(detail);
      Atomics.add(told, 0, 1);
    });
    pool.acquireBlocking({ timeoutMs: 60_000 }).release();
    return reports as Report[];
  }, told);
  await until(() => Atomics.load(told, 0) > 0);
  for (const block of blocks) block.release();
  const reports = await stands;
  assertEquals(reports.length, 1);
  assertEquals([reports[0].pool, reports[0].holders], ["smriti", []]);
  assert(reports[0].waiting >= 1);
  assertGreaterOrEqual(reports[0].longestMs, 60);
  const { waitMs } = numbers(pool);
  assertEquals(total(waitMs.counts), 1);
  assertGreaterOrEqual(waitMs.sum, 60);
  await pool.close();
});

Deno.test("waitMs and heldMs are those of all isolates, also of one that has left", async () => {
  using time = new FakeTime();
  const pool = sharedPool({ leakDetection: "all", maxBlocks: 1 });
  const other = SharedBlockPool.attach(pool.handle);
  for (const each of [pool, other, pool]) {
    const block = each.acquireSync();
    const wait = each.acquire();
    time.tick(30);
    block.release();
    const next = await wait;
    time.tick(400);
    next.release();
  }
  const stopped = pool.acquireSync();
  const late = other.acquire({ timeoutMs: 3 });
  time.tick(3);
  await assertRejects(() => late, SmritiError);
  // Adopted by the other one, it is another lease.
  const ticket = stopped.detach();
  const adopted = other.adopt(ticket);
  time.tick(60_001);
  adopted.release();
  const { waitMs, heldMs, waits } = numbers(pool);
  assertEquals([total(waitMs.counts), waits, waitMs.sum], [4, 4, 3 * 30 + 3]);
  assertEquals(total(heldMs.counts), 3 * 2 + 2);
  assertEquals(heldMs.sum, 3 * (30 + 400) + 3 + 60_001);
  assertEquals(heldMs.counts.at(-1), 1);
  const seen = other.stats();
  assertEquals([seen.waitMs, seen.heldMs], [waitMs, heldMs]);
  other.leave();
  assertEquals([pool.stats().waitMs, pool.stats().heldMs], [waitMs, heldMs]);
  await pool.close();
});

Deno.test("await using of a shared pool never rejects, and prints what close() would", async () => {
  using errors = catchErrors();
  const own = new Error("the program's own");
  // Reachable until the end: a block that is not is a leak, which the collector may find before `close()`.
  let held: Block | undefined;
  const scope = async () => {
    await using pool = sharedPool({ name: "small" });
    held = pool.acquireSync({ tag: "forgotten" });
    pool.close({ timeoutMs: 0 }).catch(() => {});
    throw own;
  };
  assertStrictEquals(await assertRejects(scope), own);
  assertEquals(errors.lines.length, 1);
  const [[error]] = errors.lines;
  assertInstanceOf(error, SmritiError);
  assertMatch(error.message, /"small".*"forgotten"/);
  assert(held?.released);
});

Deno.test("close() of a shared pool says once, after a second, whom it waits for", async () => {
  using time = new FakeTime();
  using warnings = catchWarnings();
  const pool = sharedPool({ name: "shared" });
  const other = SharedBlockPool.attach(pool.handle);
  const here = pool.acquireSync({ tag: "mine" });
  const there = other.acquireSync({ tag: "theirs" });
  const closed = pool.close({ timeoutMs: 60_000 });
  time.tick(999);
  assertEquals(warnings.lines, []);
  time.tick(1);
  assertEquals(warnings.lines, [[
    'close() of pool "shared" waits for 1 blocks ("mine"); ' +
    "other isolates that hold blocks or have not answered: 1",
  ]]);
  time.tick(10_000);
  here.release();
  there.release();
  time.tick(1_000);
  await closed;
  time.tick(10_000);
  assertEquals(warnings.lines.length, 1);
});
