// The time of a shared pool: the same for all isolates, whenever they came, and whatever the wall clock
// does.

import { assert, assertEquals, assertLess } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { between, Clock } from "../../shared/clock.ts";
import { Control, HEADER } from "../../shared/control.ts";
import { type BlockTicket, SharedBlockPool } from "../../shared/mod.ts";
import { numbers, PAGE, sharedPool, whole } from "./pools.ts";
import { Puppet } from "./puppet.ts";
import { Stage } from "./scenario.ts";
import { stepwise } from "./access_hooks.ts";
import { refused } from "../support/misuse.ts";

const HOUR = 3_600_000;

/** Sets the wall clock of this isolate so many ms ahead, until disposed. */
function jump(ms: number): Disposable {
  const { now } = Date;
  Date.now = () => now() + ms;
  return {
    [Symbol.dispose]: () => {
      Date.now = now;
    },
  };
}

/** Stands in for this isolate's monotonic clock. */
class Monotonic implements Disposable {
  ms = 1000;
  readonly #real = performance.now;

  constructor() {
    performance.now = () => this.ms;
  }

  [Symbol.dispose](): void {
    performance.now = this.#real;
  }
}

Deno.test("a clock goes on from what others have told, and catches up with them", () => {
  const control = new Control(1);
  using here = new Monotonic();
  const first = new Clock(control);
  assertEquals(first.now(), 0);
  here.ms += 5000;
  assertEquals(first.now(), 5000);
  // Another isolate, whose clock began at another time.
  here.ms = 17;
  const second = new Clock(control);
  assertEquals(second.now(), 5000);
  here.ms += 10;
  assertEquals(second.now(), 5010);
  // The first one was told nothing meanwhile, and its own time stood still.
  here.ms = 6000;
  assertEquals(first.now(), 5010);
  here.ms += 1;
  assertEquals(first.now(), 5011);
  assertEquals(control.words[HEADER.TIME], 5011);
});

Deno.test("a clock never goes back, and runs over 32 bits", () => {
  const control = new Control(1);
  control.words[HEADER.TIME] = 2 ** 31 - 10;
  using here = new Monotonic();
  const clock = new Clock(control);
  let last = clock.now();
  for (let i = 0; i < 20; i++) {
    here.ms += i % 3 === 0 ? -2 : 5;
    const now = clock.now();
    assert(between(last, now) >= 0, `${last} ${now}`);
    last = now;
  }
  assert(last < 0);
});

Deno.test("a timer that fires proves that its time has passed", () => {
  const control = new Control(1);
  using here = new Monotonic();
  const clock = new Clock(control);
  clock.tick(250);
  assertEquals(clock.now(), 250);
  here.ms += 250;
  // The same quarter of a second is not counted twice.
  assertEquals(clock.now(), 500);
  clock.tick(250);
  assertEquals(clock.now(), 500);
  here.ms += 1000;
  clock.tick(250);
  assertEquals(clock.now(), 1500);
});

for (const ms of [HOUR, -HOUR, 40 * 365 * 24 * HOUR]) {
  Deno.test(`tickets live as long as they should when the wall clock jumps by ${ms / HOUR} h`, async () => {
    using time = new FakeTime();
    const pool = sharedPool({ ticketTimeoutMs: 3000 });
    const other = SharedBlockPool.attach(pool.handle);
    const send = () => {
      const block = pool.acquireSync();
      block.bytes[0] = 7;
      return block.detach();
    };
    const [early, kept] = [send(), send()];
    time.tick(1000);
    using _ = jump(ms);
    time.tick(1000);
    // Neither sent before nor after it is one out of time.
    const late = send();
    time.tick(500);
    for (const ticket of [early, late]) {
      const block = other.adopt(ticket);
      assertEquals(block.bytes[0], 7);
      block.release();
    }
    assertEquals(numbers(pool).transitBlocks, 1);
    time.tick(2000);
    assertEquals(numbers(pool).transitBlocks, 0);
    refused("foreign-block", () => other.adopt(kept));
    other.leave();
    whole(pool);
    await pool.close();
  });

  Deno.test(`turns, growing and shrinking go on when the wall clock jumps by ${ms / HOUR} h`, async () => {
    using time = new FakeTime();
    const pool = sharedPool({
      maxBlocks: 4,
      initialBlocks: 1,
      shrinkIntervalMs: 100,
    });
    const other = SharedBlockPool.attach(pool.handle);
    const all = await pool.acquireMany(4);
    const waits = [pool.acquire(), other.acquire()];
    time.tick(100);
    using _ = jump(ms);
    time.tick(200);
    all[0].release();
    all[1].release();
    time.tick(200);
    for (const wait of waits) (await wait).release();
    all[Symbol.dispose]();
    assertEquals(numbers(pool).committedBlocks, 4);
    for (let i = 0; i < 8; i++) time.tick(100);
    assertEquals(numbers(pool).committedBlocks, 1);
    other.leave();
    await pool.close();
  });
}

Deno.test("who comes later counts a ticket's time from when it was first seen, as all do", async () => {
  using time = new FakeTime();
  const pool = sharedPool({ ticketTimeoutMs: 2000 });
  const ticket = pool.acquireSync().detach();
  time.tick(1500);
  const late = SharedBlockPool.attach(pool.handle);
  pool.leave();
  time.tick(1000);
  refused("foreign-block", () => late.adopt(ticket));
  whole(late);
  await late.close();
});

Deno.test("a ticket of a slot that was sent before has a time of its own", async () => {
  using time = new FakeTime();
  const pool = sharedPool({ maxBlocks: 1, ticketTimeoutMs: 1000 });
  const first = pool.acquireSync().detach();
  time.tick(900);
  const second = pool.adopt(first).detach();
  time.tick(900);
  pool.adopt(second).release();
  whole(pool);
  await pool.close();
});

Deno.test({
  name:
    "a ticket of the longest time is not over when two look after it at once",
  // The actors' timers are left to this isolate.
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    for (let step = 0, goesOn = true; goesOn; step++) {
      using here = new Monotonic();
      const stage = new Stage({ ticketTimeoutMs: 2 ** 31 - 1 });
      stage.sit();
      const neighbour = stage.neighbour();
      const ticket = stage.pool.acquireSync().detach();
      goesOn = false;
      stepwise(() => stage.actor.keepHouse(), (at) => {
        if (at !== step) return;
        goesOn = true;
        here.ms += 10;
        neighbour.keepHouse();
      });
      stage.pool.adopt(ticket).release();
      neighbour.end();
      stage.actor.end();
      await stage.end();
    }
  },
});

Deno.test("tickets reach a Worker whose wall clock is an hour ahead", async () => {
  const pool = sharedPool({ ticketTimeoutMs: 5000 });
  using puppet = await Puppet.start(pool);
  const tickets = [1, 2, 3].map((n) => {
    const block = pool.acquireSync();
    block.bytes[0] = n;
    return block.detach();
  });
  const seen = await puppet.run(async ({ pool }, tickets: BlockTicket[]) => {
    const { now } = Date;
    Date.now = () => now() + 3_600_000;
    // Its housekeeping has been round.
    await new Promise((resolve) => setTimeout(resolve, 600));
    return tickets.map((ticket) => {
      const block = pool.adopt(ticket);
      const [first] = block.bytes;
      block.release();
      return first;
    });
  }, tickets);
  assertEquals(seen, [1, 2, 3]);
  await pool.close();
});

/** How reports tell for how long an acquire has waited: nothing depends on it. */
const TELLING = /\bsince: Date\.now\(\)|\bDate\.now\(\) - [\w.#]+\.since\b/g;

Deno.test("the wall clock decides nothing in a shared pool", async () => {
  for (const path of ["../../shared/", "../../shared/join/"]) {
    const folder = new URL(path, import.meta.url);
    for await (const { name, isFile } of Deno.readDir(folder)) {
      if (!isFile) continue;
      const source = await Deno.readTextFile(new URL(name, folder));
      assert(!/\bDate\b/.test(source.replaceAll(TELLING, "")), name);
    }
  }
});

Deno.test("a housekeeping that takes long makes the pool shrink no later", async () => {
  using time = new FakeTime();
  using here = new Monotonic();
  await using pool = sharedPool({
    blockSize: PAGE,
    maxBlocks: 20,
    initialBlocks: 1,
    shrinkIntervalMs: 1000,
    pressureTrim: false,
  });
  const blocks = await pool.acquireMany(12);
  const { committedBlocks } = numbers(pool);
  // Those at these times take 20 ms before they look at the size.
  const slow = [1250, 1750];
  let asked = 0;
  performance.now = () =>
    here.ms + (asked++ > 0 && slow.includes(here.ms) ? 20 : 0);
  const housekeeping = () => {
    here.ms += 250;
    asked = 0;
    time.tick(250);
  };
  housekeeping();
  for (const block of blocks) block.release();
  for (let look = 0; look < 6; look++) housekeeping();
  assertLess(numbers(pool).committedBlocks, committedBlocks);
});
