// What listeners are told, when, and that nothing they do can hurt the pool.

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStrictEquals,
} from "@std/assert";
import { FakeTime } from "@std/testing/time";
import {
  type Block,
  BlockPool,
  type PoolEvent,
  type PoolEventType,
  type PoolOptions,
} from "../../mod.ts";
import { Events } from "../../pool/events.ts";
import { catchErrors } from "../support/console.ts";
import { gone, lawful } from "../support/invariants.ts";
import { microtasks, rejected, takeAll } from "../support/misuse.ts";

/** A pool of 20 pages that grows from 10 by 2, at the 8th block. */
function made(options: Partial<PoolOptions> = {}): BlockPool {
  return new BlockPool({
    blockSize: 16_384,
    maxBlocks: 20,
    initialBlocks: 10,
    name: "uploads",
    ...options,
  });
}

function take(pool: BlockPool, count: number): Block[] {
  return Array.from({ length: count }, () => pool.acquireSync());
}

/** Notes every event of the pool, in order. */
function listen(pool: BlockPool): [PoolEventType, unknown][] {
  const heard: [PoolEventType, unknown][] = [];
  const types: PoolEventType[] = [
    "grow",
    "shrink",
    "exhausted",
    "leak",
    "overdue",
    "close",
  ];
  for (const type of types) {
    pool.addEventListener(type, (event: PoolEvent) => {
      assertInstanceOf(event, CustomEvent);
      assertEquals(event.type, type);
      heard.push([type, event.detail]);
    });
  }
  return heard;
}

Deno.test("grow tells how many blocks came and how many there are, afterwards", () => {
  using pool = made();
  const heard = listen(pool);
  let committed = 0;
  pool.addEventListener("grow", () => {
    committed = lawful(pool).committedBlocks;
  });
  const blocks = take(pool, 7);
  assertEquals(heard, []);
  blocks.push(...take(pool, 1));
  assertEquals(heard, [
    ["grow", { pool: "uploads", blocks: 2, committedBlocks: 12 }],
  ]);
  assertEquals(committed, 12);
  for (const block of blocks) block.release();
});

Deno.test("shrink tells what trim() gave back", () => {
  using pool = made();
  for (const block of takeAll(pool)) block.release();
  const heard = listen(pool);
  assertEquals(pool.trim(), 10 * 16_384);
  const detail = {
    pool: "uploads",
    blocks: 10,
    committedBlocks: 10,
    bytes: 163_840,
  };
  assertEquals(heard, [["shrink", detail]]);
  assertEquals(pool.trim(), 0);
  assertEquals(heard.length, 1, "nothing was given back");
});

Deno.test("shrink is told when the timer shrinks the pool", () => {
  using time = new FakeTime();
  using pool = made();
  for (const block of takeAll(pool)) block.release();
  const heard = listen(pool);
  time.tick(60_000);
  const detail = { pool: "uploads", blocks: 2, committedBlocks: 18 };
  assertEquals(heard, [["shrink", { ...detail, bytes: 2 * 16_384 }]]);
});

Deno.test("exhausted is told for every acquire refused, in every way", async () => {
  using pool = made({ maxBlocks: 3, initialBlocks: 3, maxWaiting: 1 });
  const blocks = take(pool, 3);
  const heard = listen(pool);
  pool.tryAcquire();
  await rejected("exhausted", Promise.try(() => pool.acquireSync()));
  await rejected("exhausted", pool.acquireMany(4));
  const waiting = pool.acquire();
  await rejected("exhausted", pool.acquire());
  const told = (waiting: number) => [
    "exhausted",
    { pool: "uploads", acquiredBlocks: 3, waiting },
  ];
  assertEquals(heard, [told(0), told(0), told(0), told(1)] as typeof heard);
  assertEquals(lawful(pool).exhaustions, 4);
  blocks.shift()!.release();
  (await waiting).release();
  for (const block of blocks) block.release();
});

Deno.test("a timeout or an abort is not an exhaustion", async () => {
  using pool = made({ maxBlocks: 1, initialBlocks: 1 });
  using _block = pool.acquireSync();
  const heard = listen(pool);
  await rejected("timeout", pool.acquire({ timeoutMs: 0 }));
  await pool.acquire({ signal: AbortSignal.abort(0) }).catch(() => {});
  assertEquals([heard, lawful(pool).exhaustions], [[], 0]);
});

Deno.test("overdue is told once for a lease, with its tag and its age", () => {
  using time = new FakeTime();
  using pool = made({ overdueMs: 1000, leakDetection: "off" });
  const heard = listen(pool);
  using _late = pool.acquireSync({ tag: "report" });
  time.tick(400);
  pool.acquireSync({ tag: "quick" }).release();
  time.tick(599);
  assertEquals(heard, []);
  time.tick(5000);
  assertEquals(heard.length, 1);
  const [type, detail] = heard[0];
  assertEquals(type, "overdue");
  const { heldMs, ...rest } = detail as { heldMs: number };
  // It is looked for twice in that time.
  assert(heldMs >= 1000 && heldMs <= 1500, `${heldMs} ms`);
  assertEquals(rest, { pool: "uploads", tag: "report", stack: undefined });
});

Deno.test("close is told once, when the last block is back", async () => {
  const pool = made();
  const heard = listen(pool);
  const block = pool.acquireSync();
  const closing = pool.close();
  assertEquals(heard, []);
  block.release();
  await closing;
  await pool.close();
  const detail = { pool: "uploads", abandonedBlocks: 0, mappedBytes: 0 };
  assertEquals(heard, [["close", detail]]);
});

Deno.test("close tells what had to stay mapped", async () => {
  const pool = made();
  pool.acquireSync().abandon();
  const heard = listen(pool);
  await pool.close();
  const { mappedBytes } = lawful(pool);
  assert(mappedBytes > 0);
  const detail = { pool: "uploads", abandonedBlocks: 1, mappedBytes };
  assertEquals(heard, [["close", detail]]);
});

Deno.test("a listener may be an object with handleEvent, and is added only once", () => {
  using pool = made({ maxBlocks: 1, initialBlocks: 1 });
  using _block = pool.acquireSync();
  const listener = {
    heard: 0,
    handleEvent(event: PoolEvent<"exhausted">) {
      assertStrictEquals(this, listener);
      this.heard += event.detail.acquiredBlocks;
    },
  };
  pool.addEventListener("exhausted", listener);
  pool.addEventListener("exhausted", listener, { once: true });
  pool.tryAcquire();
  pool.tryAcquire();
  assertEquals(listener.heard, 2);
  pool.removeEventListener("exhausted", listener);
  pool.removeEventListener("exhausted", listener);
  pool.tryAcquire();
  assertEquals(listener.heard, 2);
});

Deno.test("once ends a listener before it is called", () => {
  using pool = made({ maxBlocks: 1, initialBlocks: 1 });
  using _block = pool.acquireSync();
  let heard = 0;
  const listener = () => {
    heard++;
    pool.tryAcquire(); // Sends the same event again, meanwhile.
  };
  pool.addEventListener("exhausted", listener, { once: true });
  pool.tryAcquire();
  pool.tryAcquire();
  assertEquals([heard, lawful(pool).exhaustions], [1, 3]);
});

Deno.test("a signal ends a listener, also before it was added", () => {
  using pool = made({ maxBlocks: 1, initialBlocks: 1 });
  using _block = pool.acquireSync();
  const heard: string[] = [];
  const controller = new AbortController();
  const { signal } = controller;
  pool.addEventListener("exhausted", () => heard.push("live"), { signal });
  pool.addEventListener("exhausted", () => heard.push("dead"), {
    signal: AbortSignal.abort(),
  });
  pool.tryAcquire();
  controller.abort();
  pool.tryAcquire();
  assertEquals(heard, ["live"]);
});

/** `Events` alone, with a way to send. */
function sender() {
  const events = new Events();
  const send = () =>
    events.emit("close", () => ({
      pool: "",
      abandonedBlocks: 0,
      mappedBytes: 0,
    }));
  return { events, send };
}

Deno.test("no event is built when nobody listens", () => {
  const { events } = sender();
  const never = () => assert(false, "detail was made");
  events.emit("leak", never as never);
  const listener = () => {};
  events.add("leak", listener);
  events.remove("leak", listener);
  events.emit("leak", never as never);
  assertEquals(events.errors, 0);
});

Deno.test("a listener may add and remove others while it is called", () => {
  const { events, send } = sender();
  const heard: string[] = [];
  const added = () => heard.push("added");
  const removed = () => heard.push("removed");
  const first = () => {
    heard.push("first");
    events.remove("close", first);
    events.remove("close", removed);
    events.add("close", added);
  };
  events.add("close", first);
  events.add("close", removed);
  events.add("close", () => heard.push("last"));
  send();
  assertEquals(heard.splice(0), ["first", "last"]);
  send();
  assertEquals(heard, ["last", "added"]);
});

Deno.test("a listener that throws is counted, shown, and skips nobody", () => {
  using errors = catchErrors();
  using pool = made({ maxBlocks: 1, initialBlocks: 1 });
  using _block = pool.acquireSync();
  const failure = new Error("listener");
  let heard = 0;
  pool.addEventListener("exhausted", () => {
    throw failure;
  });
  pool.addEventListener("exhausted", () => heard++);
  assertEquals(pool.tryAcquire(), undefined);
  assertEquals(pool.tryAcquire(), undefined);
  assertEquals([heard, lawful(pool).listenerErrors], [2, 2]);
  assertEquals(errors.lines, [
    ['a listener for "exhausted" failed:', failure],
    ['a listener for "exhausted" failed:', failure],
  ]);
});

Deno.test("an async listener that rejects is counted and shown, too", async () => {
  using errors = catchErrors();
  using pool = made({ maxBlocks: 1, initialBlocks: 1 });
  using _block = pool.acquireSync();
  const failure = new Error("later");
  pool.addEventListener("exhausted", async () => {
    await Promise.resolve();
    throw failure;
  });
  pool.tryAcquire();
  assertEquals(lawful(pool).listenerErrors, 0);
  await microtasks();
  assertEquals(lawful(pool).listenerErrors, 1);
  assertEquals(errors.lines, [['a listener for "exhausted" failed:', failure]]);
});

Deno.test("an object without handleEvent is a listener that fails", () => {
  using errors = catchErrors();
  const { events, send } = sender();
  events.add("close", {} as never);
  send();
  assertEquals([events.errors, errors.lines.length], [1, 1]);
});

Deno.test("an abort does not end a listener that was added anew without its signal", () => {
  const { events, send } = sender();
  const controller = new AbortController();
  let heard = 0;
  const listener = () => heard++;
  events.add("close", listener, { signal: controller.signal });
  events.remove("close", listener);
  events.add("close", listener);
  controller.abort();
  send();
  assertEquals(heard, 1);
});

// A listener whose own calls bring about what it listens for is not called again inside itself: that would
// not end before the stack does.

Deno.test("an exhausted listener that asks again is told once per refusal from outside", async () => {
  const pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  const block = pool.acquireSync();
  let told = 0;
  pool.addEventListener("exhausted", () => {
    told++;
    assertEquals(pool.tryAcquire(), undefined);
  });
  for (let ask = 1; ask <= 3; ask++) {
    assertEquals(pool.tryAcquire(), undefined);
    assertEquals(told, ask);
  }
  const { exhaustions, listenerErrors } = lawful(pool);
  // Each refusal is counted, those that the listener met too.
  assertEquals([exhaustions, listenerErrors], [6, 0]);
  block.release();
  await pool.close();
  gone(pool);
});

Deno.test("listeners that undo each other's grow and shrink come to an end", () => {
  using pool = new BlockPool({
    blockSize: 16_384,
    maxBlocks: 20,
    initialBlocks: 1,
  });
  const told: string[] = [];
  pool.addEventListener("grow", () => {
    told.push("grow");
    pool.trim();
  });
  pool.addEventListener("shrink", () => {
    told.push("shrink");
    for (const block of takeAll(pool)) block.release();
    pool.trim();
  });
  const blocks: Block[] = takeAll(pool);
  assertEquals(blocks.length > 0, true);
  for (const block of blocks) block.release();
  pool.trim();
  assertEquals(lawful(pool).listenerErrors, 0);
  assertEquals(told.slice(0, 2), ["grow", "shrink"]);
});
