// Reports about blocks that are held for too long.

import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertLessOrEqual,
  assertStringIncludes,
} from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { BlockPool, type PoolEvent, type PoolOptions } from "@smriti/pool";
import { catchWarnings } from "../support/console.ts";
import { takeAll } from "../support/misuse.ts";

/** A pool that finds 1 000 ms too long, and its reports. */
function watched(options: Partial<PoolOptions> = {}) {
  const pool = new BlockPool({
    blockSize: 64,
    maxBlocks: 4,
    overdueMs: 1_000,
    ...options,
  });
  const reports: PoolEvent<"overdue">["detail"][] = [];
  pool.addEventListener("overdue", ({ detail }) => reports.push(detail));
  return { pool, reports, [Symbol.dispose]: () => pool[Symbol.dispose]() };
}

Deno.test("a block held too long is reported once, with its tag and age", () => {
  using time = new FakeTime();
  using watch = watched({ name: "uploads" });
  const { pool, reports } = watch;
  using _block = pool.acquireSync({ tag: "request 7" });
  time.tick(999);
  assertEquals(reports.length, 0);
  time.tick(501);
  assertEquals(reports.length, 1);
  const [{ heldMs, tag, pool: name }] = reports;
  assertEquals([tag, name], ["request 7", "uploads"]);
  // It is looked at twice per limit.
  assertGreaterOrEqual(heldMs, 1_000);
  assertLessOrEqual(heldMs, 1_500);
  time.tick(10_000);
  assertEquals(reports.length, 1);
});

Deno.test("a block released in time is never reported, however busy it is", () => {
  using time = new FakeTime();
  using watch = watched();
  const { pool, reports } = watch;
  for (let round = 0; round < 50; round++) {
    for (const block of takeAll(pool)) block.release();
    using _block = pool.acquireSync();
    time.tick(900);
  }
  assertEquals(reports, []);
});

Deno.test("each lease is reported anew, and only those held too long", () => {
  using time = new FakeTime();
  using watch = watched();
  const { pool, reports } = watch;
  for (const tag of ["first", "second"]) {
    using _slow = pool.acquireSync({ tag });
    time.tick(1_000);
    using _quick = pool.acquireSync({ tag: "quick" });
    time.tick(500);
  }
  assertEquals(reports.map(({ tag }) => tag), ["first", "second"]);
});

Deno.test("the age of a block counts from its hand-off, not from the wait", async () => {
  using time = new FakeTime();
  using watch = watched({ maxBlocks: 1 });
  const { pool, reports } = watch;
  const block = pool.acquireSync({ tag: "holder" });
  const waiter = pool.acquire({ tag: "waiter" });
  time.tick(1_500);
  block.release();
  using _served = await waiter;
  time.tick(999);
  assertEquals(reports.map(({ tag }) => tag), ["holder"]);
  time.tick(501);
  assertEquals(reports.map(({ tag }) => tag), ["holder", "waiter"]);
});

Deno.test("a released block that is still lent is not overdue: its owner let go", async () => {
  using time = new FakeTime();
  using watch = watched();
  const { pool, reports } = watch;
  const gate = Promise.withResolvers<void>();
  const block = pool.acquireSync();
  const lent = block.lend(gate.promise);
  block.release();
  time.tick(5_000);
  assertEquals(reports, []);
  gate.resolve();
  await lent;
});

Deno.test("a report says where the block was acquired if the lease is watched", () => {
  using time = new FakeTime();
  for (const leakDetection of ["all", "off"] as const) {
    using watch = watched({ leakDetection });
    const { pool, reports } = watch;
    using _block = pool.acquireSync();
    time.tick(1_500);
    const { stack } = reports[0];
    if (leakDetection === "off") {
      assertEquals(stack, undefined);
    } else {
      assert(stack !== undefined);
      assertStringIncludes(stack, "overdue_test.ts");
      // The pool's own lines do not help.
      assert(!stack.includes(import.meta.resolve("../../pool/")), stack);
    }
  }
});

Deno.test("close() ends the reports and leaves no timer behind", async () => {
  {
    using time = new FakeTime();
    using _warnings = catchWarnings();
    const { pool, reports } = watched();
    const block = pool.acquireSync();
    const closed = pool.close();
    time.tick(5_000);
    assertEquals(reports, []);
    block.release();
    await closed;
  }
  // In real time: the test runner complains about a timer that is still there.
  const { pool } = watched({ overdueMs: 60_000 });
  await pool.close();
});
