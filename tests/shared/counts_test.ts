// The counts of a shared pool: each worker's own, which others add up. No limit is broken, no acquire is
// refused and none sleeps because of one that is late or that a death has left wrong.

import { assert, assertEquals, assertGreaterOrEqual } from "@std/assert";
import { Control, HEADER, WORKER } from "../../shared/control.ts";
import { SharedBlockPool } from "../../shared/mod.ts";
import { SharedSlots } from "../../shared/shared_slots.ts";
import { numbers, PAGE, sharedPool, whole } from "./pools.ts";
import { NO_THREAD } from "./access_hooks.ts";
import { rejected } from "../support/misuse.ts";
import { provesDeath } from "../support/platform.ts";

/** A control block of so many free slots, and the workers 1, 2, … in it. */
function crew(slots: number, workers: number) {
  const control = new Control(slots);
  control.words[HEADER.TOP_WORKER] = workers;
  control.words[HEADER.TOP] = slots;
  const all = Array.from(
    { length: workers },
    (_, at) => new SharedSlots(control, at + 1),
  );
  for (let slot = 0; slot < slots; slot++) all[0].open(slot);
  return { control, all };
}

function take(slots: SharedSlots): number {
  const slot = slots.hints.find();
  assert(slots.take(slot));
  return slot;
}

/** A block goes from one worker to another, which frees it. */
function pass(from: SharedSlots, to: SharedSlots): void {
  const slot = take(from);
  assert(to.receive(slot, from.send(slot)));
  to.push(slot);
}

Deno.test("atMost() is never too low, whatever others do while it adds up", () => {
  for (const interrupted of [1, 2, 3, 4, 5, 6, 7, 8]) {
    const { control, all: [first, second, third] } = crew(16, 3);
    for (let i = 0; i < 5; i++) take(second);
    let reads = 0;
    const words = new Proxy(control.words, {
      get(words, key) {
        if (key === "subarray") return words.subarray.bind(words);
        // Blocks that are taken here and freed there would be missed if they were added up wrongly.
        if (++reads === interrupted) {
          for (let i = 0; i < 9; i++) pass(first, second);
        }
        return words[Number(key)];
      },
    });
    const real = globalThis.Atomics;
    globalThis.Atomics = new Proxy(real, {
      get: (atomics, name) => (array: unknown, ...args: unknown[]) =>
        Reflect.apply(Reflect.get(atomics, name) as () => void, atomics, [
          array === words ? control.words : array,
          ...args,
        ]),
    });
    try {
      const seen = Object.create(control, { words: { value: words } });
      const slow = new SharedSlots(seen, 3);
      reads = 0;
      assertGreaterOrEqual(slow.tally.atMost(), 5, `at read ${interrupted}`);
      assertGreaterOrEqual(reads, 6);
    } finally {
      globalThis.Atomics = real;
    }
    assertEquals(third.tally.atMost(), 5);
  }
});

Deno.test("what one worker takes and another frees is in use in between, and only then", () => {
  const { all: [first, second] } = crew(8, 2);
  const counts = () =>
    [first, second].map(({ tally }) => [tally.recount(), tally.held]);
  const slot = take(first);
  assertEquals(counts(), [[1, 1], [1, 0]]);
  const serial = first.send(slot);
  assertEquals(counts(), [[1, 0], [1, 0]]);
  assert(second.receive(slot, serial));
  assertEquals(counts(), [[1, 0], [1, 1]]);
  second.abandon(slot, true);
  assertEquals(counts(), [[1, 0], [1, 0]]);
  second.push(take(second));
  assertEquals(first.tally.countUsed(), 0);
  assertEquals(first.tally.countAbandoned(), 1);
  assertEquals(first.tally.countFree(), 7);
});

Deno.test("an estimate looks at one other worker at a time, and has soon seen all", () => {
  const { all } = crew(64, 9);
  for (const slots of all.slice(1)) take(slots);
  const [{ tally }] = all;
  let used = 0;
  for (let look = 0; look < 9; look++) {
    tally.lookOn();
    used = tally.used;
  }
  assertEquals(used, 8);
  assertEquals(tally.recount(), 8);
});

Deno.test("counts of whoever had an id before do not count for the next", () => {
  const { control, all: [first, second] } = crew(8, 2);
  take(second);
  take(second);
  const next = new SharedSlots(control, 2);
  assertEquals(next.tally.held, 0);
  assertEquals(first.tally.recount(), 2);
});

Deno.test("what can never be met follows the capacity, for who asks and who waits", async () => {
  const pool = sharedPool({ maxBlocks: 3, maxAbandonedBytes: 2 * PAGE });
  const other = SharedBlockPool.attach(pool.handle);
  for (const kept of [1, 2, 3]) {
    const held = pool.acquireSync();
    const waits = other.acquireMany(3);
    const outcome = waits.then(() => "served", ({ code }) => code);
    assertEquals(numbers(pool).waiting, 1);
    held.abandon();
    const lost = kept === 3 ? 1 : 0;
    assertEquals(numbers(pool).capacityBlocks, 3 - lost);
    assertEquals(await outcome, lost === 0 ? "served" : "exhausted");
    if (lost === 0) (await waits)[Symbol.dispose]();
  }
  await rejected("exhausted", pool.acquireMany(3));
  (await other.acquireMany(2))[Symbol.dispose]();
  other.leave();
  await pool.close();
});

Deno.test({
  name:
    "a count that a death has left wrong is set right when the dead is reclaimed",
  ignore: !provesDeath,
  // A Worker that has died leaves timers that do not fire; here they are left to this isolate.
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    for (const [word, by] of [["TAKES", 3], ["FREES", -1]] as const) {
      const pool = sharedPool({ maxBlocks: 8, reservedBlocks: 3 });
      const dead = SharedBlockPool.attach(pool.handle);
      dead.acquireSync();
      const control = new Control(8, pool.handle.control);
      // It has said what it would take, or freed one and not yet said so.
      control.words[control.at(dead.workerId, WORKER[word])] += by;
      control.words[control.at(dead.workerId, WORKER.THREAD)] = NO_THREAD;
      assertEquals(pool.reclaim({}), 1);
      const all = Array.from({ length: 8 }, () => pool.tryAcquire());
      assertEquals(all.filter((block) => block !== undefined).length, 5);
      for (const block of all) block?.release();
      whole(pool);
      await pool.close();
    }
  },
});

Deno.test("who meets others that only say what they will take tries again before it is refused", async () => {
  const pool = sharedPool({ maxBlocks: 8, reservedBlocks: 3 });
  const other = SharedBlockPool.attach(pool.handle);
  const control = new Control(8, pool.handle.control);
  const at = control.at(other.workerId, WORKER.TAKES);
  const held = Array.from({ length: 4 }, () => pool.acquireSync());
  // Another one is about to take the last block above the reserve, and does not.
  control.words[at]++;
  const { random } = Math;
  Math.random = () => {
    control.words[at]--;
    Math.random = random;
    return 0;
  };
  try {
    held.push(pool.acquireSync());
  } finally {
    Math.random = random;
  }
  assertEquals(pool.tryAcquire(), undefined);
  for (const block of held) block.release();
  other.leave();
  whole(pool);
  await pool.close();
});

Deno.test("nobody waits because of a count of blocks in use that is too high", async () => {
  const pool = sharedPool({ maxBlocks: 4, initialBlocks: 1 });
  const other = SharedBlockPool.attach(pool.handle);
  const control = new Control(4, pool.handle.control);
  const at = control.at(other.workerId, WORKER.TAKES);
  control.words[at] += 4;
  const blocks = await pool.acquireMany(3, { timeoutMs: 0 });
  assertEquals(blocks.length, 3);
  blocks[Symbol.dispose]();
  control.words[at] -= 4;
  other.leave();
  whole(pool);
  await pool.close();
});

Deno.test("a Worker grows ahead by the size that others have given the pool", async () => {
  // Whole pages also where these have 64 KiB.
  const blockSize = 4 * PAGE;
  const pool = sharedPool({ blockSize, maxBlocks: 100, initialBlocks: 10 });
  const other = SharedBlockPool.attach(pool.handle);
  // It has been busy, and full: nothing but its size can be news.
  (await other.acquireMany(100))[Symbol.dispose]();
  for (let i = 0; i < 3; i++) pool.acquireSync().release();
  assertEquals(other.trim(), 90 * blockSize);
  for (let i = 0; i < 3; i++) other.acquireSync().release();
  assertEquals(numbers(pool).committedBlocks, 10);
  const blocks = Array.from({ length: 9 }, () => pool.acquireSync());
  assert(numbers(pool).committedBlocks > 10);
  for (const block of blocks) block.release();
  other.leave();
  whole(pool);
  await pool.close();
});
