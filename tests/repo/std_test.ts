// Proves that the stand-ins in tests/std/ do what the tests expect of the real
// @std packages, and is written to pass against those, too.

import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertExists,
  assertGreater,
  assertGreaterOrEqual,
  assertInstanceOf,
  AssertionError,
  assertLess,
  assertLessOrEqual,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
  fail,
  unreachable,
} from "@std/assert";
import { deadline, delay } from "@std/async";
import { FakeTime } from "@std/testing/time";

Deno.test("the assertions pass on what holds", () => {
  assert(true);
  assertEquals({ a: [1, new Uint8Array(2)] }, { a: [1, new Uint8Array(2)] });
  assertNotEquals([1], [2]);
  assertStrictEquals("a", "a");
  assertMatch("slab 12", /\d+/);
  assertStringIncludes("a lent block", "lent");
  assertGreater(2, 1);
  assertGreaterOrEqual(2n, 2n);
  assertLess(1, 2);
  assertLessOrEqual(1, 1);
  assertAlmostEquals(0.1 + 0.2, 0.3);
});

Deno.test("the assertions throw on what does not hold", () => {
  const failing = [
    () => assert(0),
    () => assertEquals<unknown>({ a: 1 }, { a: 2 }),
    () => assertNotEquals([1], [1]),
    () => assertStrictEquals({}, {}),
    () => assertExists(null),
    () => assertInstanceOf([], Map),
    () => assertMatch("a", /b/),
    () => assertStringIncludes("a", "b"),
    () => assertGreater(1, 1),
    () => assertGreaterOrEqual(1, 2),
    () => assertLess(1, 1),
    () => assertLessOrEqual(2, 1),
    () => assertAlmostEquals(1, 2),
    () => assertThrows(() => {}),
    () => assertThrows(() => fail("other"), AssertionError, "this"),
    () => fail(),
    () => unreachable(),
  ];
  for (const check of failing) assertThrows(check, AssertionError);
});

// What this proves, it proves when it is type-checked.
Deno.test("the assertions narrow types", () => {
  const value: unknown = JSON.parse("[1]");
  assertInstanceOf(value, Array);
  assertEquals(value.length, 1);
  const text: unknown = "four";
  assert(typeof text === "string");
  assertEquals(text.length, 4);
  const found = [1].find((n) => n === 1);
  assertExists(found);
  assertEquals(found.toFixed(0), "1");
});

Deno.test("assertThrows() and assertRejects() hand the error back", async () => {
  const thrown = assertThrows(
    () => {
      throw new RangeError("too large", { cause: 7 });
    },
    RangeError,
    "too",
  );
  assertEquals(thrown.cause, 7);
  const rejected = await assertRejects(
    () => Promise.reject(new TypeError("not so")),
    TypeError,
    "not",
  );
  assertEquals(rejected.message, "not so");
  await assertRejects(
    () => assertRejects(() => Promise.resolve()),
    AssertionError,
  );
});

Deno.test("delay() waits, and stops when its signal aborts", async () => {
  await delay(1);
  const reason = new Error("enough");
  const signal = AbortSignal.abort(reason);
  assertStrictEquals(
    await assertRejects(() => delay(60_000, { signal })),
    reason,
  );
});

Deno.test("deadline() gives the value, or rejects when it is late", async () => {
  assertEquals(await deadline(Promise.resolve(1), 60_000), 1);
  using time = new FakeTime();
  const late = deadline(new Promise(() => {}), 10);
  time.tick(10);
  const error = await assertRejects(() => late, DOMException);
  assertEquals(error.name, "TimeoutError");
});

Deno.test("FakeTime moves Date and timers only when told", async () => {
  using time = new FakeTime(1_000);
  const log: string[] = [];
  const note = (what: string) => log.push(`${what} at ${Date.now()}`);

  setTimeout(note, 30, "timeout");
  const interval = setInterval(note, 20, "interval");
  clearTimeout(setTimeout(note, 10, "cleared"));
  AbortSignal.timeout(25).addEventListener("abort", () => note("abort"));
  await time.runMicrotasks();
  assertEquals(log, []);

  time.tick(50);
  clearInterval(interval);
  time.tick(50);
  assertEquals(log, [
    "interval at 1020",
    "abort at 1025",
    "timeout at 1030",
    "interval at 1040",
  ]);
  assertEquals(time.start, 1_000);
  assertEquals(time.now, 1_100);
  assertEquals(new Date().getTime(), 1_100);

  time.now = 1_500;
  assertEquals(Date.now(), 1_500);
  assertThrows(() => time.now = 1);
});

Deno.test("FakeTime.tickAsync() lets promises run first", async () => {
  using time = new FakeTime();
  let woken = 0;
  (async () => {
    await Promise.resolve();
    await delay(10);
    woken++;
    await delay(10);
    woken++;
  })();
  await time.tickAsync(10);
  await time.tickAsync(10);
  await time.runMicrotasks();
  assertEquals(woken, 2);
});

Deno.test("FakeTime takes the timers that Deno.unrefTimer() is given", () => {
  using time = new FakeTime();
  let fired = 0;
  const timer = setInterval(() => fired++, 10);
  Deno.unrefTimer(timer);
  Deno.refTimer(timer);
  time.tick(30);
  clearInterval(timer);
  assertEquals(fired, 3);
});

Deno.test("FakeTime.restore() brings real time back, once", async () => {
  const real = [Date, setTimeout, setInterval, AbortSignal.timeout];
  const time = new FakeTime("2001-09-09T01:46:40Z");
  assertEquals(Date.now(), 1e12);
  assertThrows(() => new FakeTime());
  setTimeout(() => fail("a dropped timer ran"), 1);
  time.restore();
  assertThrows(() => time.restore());
  assertEquals([Date, setTimeout, setInterval, AbortSignal.timeout], real);
  assertGreater(Date.now(), 1e12);
  await delay(5);
});
