// The queue of waiters alone: order, bounds, and every way out of it.

import {
  assert,
  assertEquals,
  assertExists,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { getEventListeners } from "node:events";
import { type AcquireRequest, Channel } from "../../pool/channel.ts";
import { OwnDurations } from "../../pool/histogram.ts";
import { SmritiError } from "../../pool/errors.ts";
import { Rng, seedOfRun } from "../support/rng.ts";

const PLAIN: AcquireRequest = {
  count: undefined,
  reserved: false,
  tag: undefined,
  signal: undefined,
  timeoutMs: undefined,
};

/** Queues a waiter whose outcome goes into the log. */
function join(
  channel: Channel<string>,
  log: string[],
  name: string,
  request: Partial<AcquireRequest> = {},
): Promise<void> {
  return channel.wait({ ...PLAIN, tag: name, ...request }).then(
    (item) => void log.push(`${name} got ${item}`),
    (reason) => void log.push(`${name}: ${reason?.code ?? reason}`),
  );
}

function serveHead(channel: Channel<string>, item: string): void {
  assertExists(channel.head);
  channel.serve(channel.head, item);
}

function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

Deno.test("serve() from the head gives items in the order of arrival", async () => {
  const channel = new Channel<string>(9);
  const log: string[] = [];
  for (const name of ["a", "b", "c"]) join(channel, log, name);
  assertEquals(channel.waiting, 3);
  for (const item of ["1", "2", "3"]) serveHead(channel, item);
  assertEquals([channel.waiting, channel.head], [0, undefined]);
  await settled();
  assertEquals(log, ["a got 1", "b got 2", "c got 3"]);
});

Deno.test("head is a reserved waiter as long as there is one", () => {
  const channel = new Channel<string>(9);
  const log: string[] = [];
  join(channel, log, "a");
  join(channel, log, "urgent a", { reserved: true });
  join(channel, log, "urgent b", { reserved: true });
  const order: unknown[] = [];
  while (channel.head !== undefined) {
    order.push(channel.head.request.tag);
    serveHead(channel, "");
  }
  assertEquals(order, ["urgent a", "urgent b", "a"]);
});

Deno.test("isAhead() holds a reserved asker back for reserved waiters only", () => {
  const channel = new Channel<string>(9);
  const both = () => [channel.isAhead(false), channel.isAhead(true)];
  assertEquals(both(), [false, false]);
  join(channel, [], "a");
  assertEquals(both(), [true, false]);
  join(channel, [], "urgent", { reserved: true });
  assertEquals(both(), [true, true]);
  serveHead(channel, "");
  assertEquals(both(), [true, false]);
});

Deno.test("full is true from the limit on, and at once with a limit of 0", () => {
  assert(new Channel<string>(0).full);
  const channel = new Channel<string>(2);
  join(channel, [], "a");
  assert(!channel.full);
  join(channel, [], "b", { reserved: true });
  assert(channel.full);
  serveHead(channel, "");
  assert(!channel.full);
});

Deno.test("serve() answers a waiter that has left the queue", () => {
  const channel = new Channel<object>(2);
  channel.wait(PLAIN);
  assertExists(channel.head);
  const looked: unknown[] = [];
  // Resolving a promise looks for a method, and may so run code that asks again.
  channel.serve(channel.head, {
    get then() {
      looked.push(channel.waiting, channel.head);
      return undefined;
    },
  });
  assertEquals(looked, [0, undefined]);
});

Deno.test("a timeout rejects, tells onLeave, and lets those behind move up", async () => {
  using time = new FakeTime();
  const left: boolean[] = [];
  const channel = new Channel<string>(9, (timedOut) => left.push(timedOut));
  const log: string[] = [];
  join(channel, log, "a", { timeoutMs: 50 });
  join(channel, log, "b", { timeoutMs: 20 });
  join(channel, log, "c");
  time.tick(19);
  assertEquals([channel.waiting, left], [3, []]);
  time.tick(1);
  assertEquals([channel.waiting, left], [2, [true]]);
  time.tick(30);
  assertEquals([channel.waiting, left], [1, [true, true]]);
  serveHead(channel, "1");
  await time.runMicrotasks();
  assertEquals(log, ["b: timeout", "a: timeout", "c got 1"]);
});

Deno.test("a timeout after the waiter was served does nothing", () => {
  using time = new FakeTime();
  const left: boolean[] = [];
  const channel = new Channel<string>(9, (timedOut) => left.push(timedOut));
  join(channel, [], "a", { timeoutMs: 50 });
  serveHead(channel, "1");
  time.tick(1000);
  assertEquals([channel.waiting, left], [0, []]);
});

Deno.test("a timeout's error says how long was waited", async () => {
  using time = new FakeTime();
  const channel = new Channel<string>(9);
  const promise = channel.wait({ ...PLAIN, timeoutMs: 7 });
  time.tick(7);
  const error = await assertRejects(() => promise, SmritiError, "7 ms");
  assertEquals(error.code, "timeout");
});

Deno.test("an abort rejects all waiters of the signal with its reason, in order", async () => {
  const left: boolean[] = [];
  const channel = new Channel<string>(9, (timedOut) => left.push(timedOut));
  const log: string[] = [];
  const { signal, ...controller } = abortable();
  join(channel, log, "a", { signal });
  join(channel, log, "b");
  join(channel, log, "c", { signal, reserved: true });
  join(channel, log, "d", { signal });
  controller.abort("enough");
  assertEquals([channel.waiting, left], [1, [false]]);
  assertStrictEquals(channel.head?.request.tag, "b");
  await settled();
  assertEquals(log, ["a: enough", "c: enough", "d: enough"]);
});

Deno.test("a signal has one listener while anybody waits with it, and none after", () => {
  const channel = new Channel<string>(9);
  const { signal, abort } = abortable();
  const listeners = () => getEventListeners(signal, "abort").length;
  for (const name of ["a", "b", "c"]) join(channel, [], name, { signal });
  assertEquals(listeners(), 1);
  serveHead(channel, "");
  serveHead(channel, "");
  assertEquals(listeners(), 1);
  serveHead(channel, "");
  assertEquals(listeners(), 0);
  join(channel, [], "d", { signal });
  assertEquals(listeners(), 1);
  abort(0);
  assertEquals(listeners(), 0);
});

Deno.test("a waiter served in the same tick as its abort keeps what it got", async () => {
  const channel = new Channel<string>(9);
  const log: string[] = [];
  const { signal, abort } = abortable();
  join(channel, log, "a", { signal });
  serveHead(channel, "1");
  abort("late");
  await settled();
  assertEquals(log, ["a got 1"]);
});

Deno.test("reject() ends the hopeless only, reserved first, and counts them", async () => {
  const channel = new Channel<string>(9);
  const log: string[] = [];
  const { signal } = abortable();
  join(channel, log, "a", { count: 5, signal });
  join(channel, log, "b", { count: 2 });
  join(channel, log, "c", { count: 6, reserved: true });
  join(channel, log, "d", { count: 7, timeoutMs: 1000 });
  const tooMany = ({ count = 1 }: AcquireRequest) => count > 4;
  assertEquals(channel.reject(() => "no", tooMany), 3);
  assertEquals(channel.reject(() => "no", tooMany), 0);
  assertEquals(channel.waiting, 1);
  assertEquals(getEventListeners(signal, "abort").length, 0);
  serveHead(channel, "1");
  await settled();
  assertEquals(log, ["c: no", "a: no", "d: no", "b got 1"]);
});

Deno.test("the queue agrees with two arrays after any joins, exits and services", async () => {
  const seed = seedOfRun();
  const rng = new Rng(seed);
  const waits = new OwnDurations();
  const channel = new Channel<string>(200, () => {}, waits);
  const log: string[] = [];
  const expected: string[] = [];
  const urgent: string[] = [];
  const normal: string[] = [];
  const controllers = new Map<string, AbortController>();
  for (let step = 0; step < 4000; step++) {
    const where = `step ${step}, SMRITI_SEED=${seed}`;
    const all = [...urgent, ...normal];
    const what = rng.below(3);
    if (what === 0 && !channel.full) {
      const controller = new AbortController();
      const reserved = rng.chance(0.3);
      const name = `${step}`;
      join(channel, log, name, { reserved, signal: controller.signal });
      controllers.set(name, controller);
      (reserved ? urgent : normal).push(name);
    } else if (what === 1 && all.length > 0) {
      // From anywhere in the queue.
      const name = rng.pick(all);
      controllers.get(name)!.abort("gone");
      const queue = urgent.includes(name) ? urgent : normal;
      queue.splice(queue.indexOf(name), 1);
      expected.push(`${name}: gone`);
    } else if (what === 2 && all.length > 0) {
      serveHead(channel, "1");
      expected.push(`${(urgent.length > 0 ? urgent : normal).shift()} got 1`);
    }
    assertEquals(channel.waiting, urgent.length + normal.length, where);
    assertEquals(channel.head?.request.tag, urgent[0] ?? normal[0], where);
    // Names are numbers of steps.
    const first = Math.min(+(urgent[0] ?? Infinity), +(normal[0] ?? Infinity));
    assertEquals(Number(channel.oldest?.request.tag ?? Infinity), first, where);
  }
  channel.reject(() => "end", () => true);
  assertEquals([channel.came, channel.oldest], [controllers.size, undefined]);
  const { counts } = waits.snapshot();
  assertEquals(counts.reduce((sum, count) => sum + count, 0), channel.came);
  await settled();
  for (const name of [...urgent, ...normal]) expected.push(`${name}: end`);
  // Served and rejected promises run their reactions after different numbers of microtasks.
  assertEquals(log.toSorted(), expected.toSorted(), `SMRITI_SEED=${seed}`);
});

/** A signal and its own abort, without the controller's `this`. */
function abortable() {
  const controller = new AbortController();
  return {
    signal: controller.signal,
    abort: (reason: unknown) => controller.abort(reason),
  };
}
