// Owner words that change between a look and the swap, and come back to what they were: a generation
// goes full circle in half a second on a busy slot.

import { assert, assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { Notifier } from "../../shared/notifier.ts";
import { Clock } from "../../shared/clock.ts";
import {
  ABANDONED,
  CLOSING,
  Control,
  FREE,
  HEADER,
  HELD,
  kindOf,
  OPEN,
  SOILED,
  TRANSIT,
  USED,
  workerOf,
} from "../../shared/control.ts";
import { SharedBlockPool } from "../../shared/mod.ts";
import { SharedSlots } from "../../shared/shared_slots.ts";
import { SharedSupply } from "../../shared/shared_supply.ts";
import { numbers, sharedPool } from "./pools.ts";

/** Calls `between` before the next swap. */
function beforeSwap(between: () => void): void {
  const real = globalThis.Atomics;
  globalThis.Atomics = new Proxy(real, {
    get(atomics, name) {
      if (name === "compareExchange") {
        globalThis.Atomics = real;
        between();
      }
      return Reflect.get(atomics, name);
    },
  });
}

/** Two workers and one free slot. */
function pair() {
  const control = new Control(1);
  control.words[HEADER.TOP_WORKER] = 2;
  control.words[HEADER.TOP] = 1;
  const [sender, receiver] = [1, 2].map((id) => new SharedSlots(control, id));
  sender.open(0);
  assert(sender.take(0));
  return { control, sender, receiver };
}

Deno.test("a ticket takes no other ticket's slot, though the word is the same again", () => {
  const { control, sender, receiver } = pair();
  const serial = sender.send(0);
  beforeSwap(() => void (control.serial[0] = serial + 1));
  assertEquals(receiver.receive(0, serial), false);
  const word = control.owner[0];
  assertEquals([kindOf(word), workerOf(word)], [TRANSIT, 1]);
  assertEquals(receiver.tally.held, 0);
  // The other ticket is as good as before.
  assert(receiver.receive(0, serial + 1));
  assertEquals(kindOf(control.owner[0]), SOILED);
});

Deno.test("a ticket takes no slot that is held, though the word before and after says so", () => {
  const { control, sender, receiver } = pair();
  const held = control.owner[0];
  const serial = sender.send(0);
  const transit = control.owner[0];
  // It is held whenever the word that is to be swapped is read, and in transit in between.
  control.owner[0] = held;
  let reads = 0;
  const owner = new Proxy(control.owner, {
    get: (words, key) =>
      key === "0" ? (reads++ === 0 ? held : transit) : Reflect.get(words, key),
  });
  const real = globalThis.Atomics;
  globalThis.Atomics = new Proxy(real, {
    get: (atomics, name) => (array: unknown, ...args: unknown[]) =>
      Reflect.apply(Reflect.get(atomics, name) as () => void, atomics, [
        array === owner ? control.owner : array,
        ...args,
      ]),
  });
  try {
    const sly = new SharedSlots(
      Object.create(control, { owner: { value: owner } }),
      2,
    );
    assertEquals(sly.receive(0, serial), false);
  } finally {
    globalThis.Atomics = real;
  }
  assertEquals(control.owner[0], held);
  assertEquals(receiver.tally.held, 0);
});

Deno.test("a ticket is not recalled in another one's time", () => {
  const { control, sender, receiver } = pair();
  sender.send(0);
  control.deadline[0] = 5;
  const word = control.owner[0];
  // Adopted, and sent again, while the housekeeping did not come to it.
  beforeSwap(() => void (control.deadline[0] = 0));
  assertEquals(receiver.recall(0, word, 5), false);
  assertEquals(kindOf(control.owner[0]), TRANSIT);
  assertEquals(workerOf(control.owner[0]), 1);
  control.deadline[0] = 7;
  assert(receiver.recall(0, control.owner[0], 7));
  assertEquals(kindOf(control.owner[0]), SOILED);
});

Deno.test("an owner word tells what may have been seen of the bytes", async () => {
  const pool = sharedPool({ maxBlocks: 1 });
  const control = new Control(1, pool.handle.control);
  const kind = () => kindOf(control.owner[0]);
  const block = pool.acquireSync();
  assertEquals(kind(), HELD);
  void block.size;
  assertEquals(kind(), HELD);
  block.bytes[0] = 1;
  assertEquals(kind(), USED);
  const ticket = block.detach();
  assertEquals(kind(), TRANSIT);
  const again = pool.adopt(ticket);
  assertEquals(kind(), SOILED);
  again.release();
  assertEquals(kind(), FREE);
  const clean = pool.acquireSync();
  assertEquals(kind(), HELD);
  assertEquals(clean.bytes[0], 0);
  clean.release();
  const addressed = pool.acquireSync();
  void addressed.pointer;
  assertEquals(kind(), USED);
  addressed.release();
  const lent = pool.acquireSync();
  const gate = Promise.withResolvers<void>();
  const lend = lent.lend(gate.promise);
  assertEquals(kind(), USED);
  gate.resolve();
  await lend;
  lent.release();
  assertEquals(kind(), FREE);
  // A fresh address takes the place of the first one, and there is none for the second.
  pool.acquireSync().abandon();
  assertEquals(kind(), FREE);
  pool.acquireSync().abandon();
  assertEquals(kind(), ABANDONED);
  await pool.close();
});

Deno.test("a slot that a call has left without a lease is found, and free again", async () => {
  using time = new FakeTime();
  const pool = sharedPool({ maxBlocks: 4 });
  const { workerId, handle } = pool;
  const slots = new SharedSlots(new Control(4, handle.control), workerId);
  // As if the call had been cut short where nothing is foreseen.
  for (const slot of [0, 1, 2]) assert(slots.take(slot));
  slots.expose(1);
  assert(slots.receive(2, slots.send(2)));
  assertEquals(numbers(pool).acquiredBlocks, 3);
  time.tick(250);
  const { acquiredBlocks, abandonedBlocks } = numbers(pool);
  assertEquals([acquiredBlocks, abandonedBlocks], [0, 1]);
  const all = await pool.acquireMany(3);
  for (const { bytes } of all) assertEquals(bytes[0], 0);
  all[Symbol.dispose]();
  await pool.close();
});

Deno.test("slots that were claimed in vain are rung for", () => {
  for (const isRefused of [false, true]) {
    const control = new Control(2);
    const { words } = control;
    words[HEADER.TOP_WORKER] = 3;
    words[HEADER.TOP] = words[HEADER.COMMITTED] = 2;
    const [resizer, taker] = [1, 2].map((id) => new SharedSlots(control, id));
    for (const slot of [0, 1]) resizer.open(slot);
    const clock = new Clock(control);
    new Notifier(control, clock, 3).listen(true);
    const before = words[HEADER.EPOCH];
    const region = {
      slabSlots: 2,
      slabBytes: 4096,
      zeroesOnRecommit: true,
      decommit: () => 1,
    };
    const supply = new SharedSupply(
      control,
      resizer,
      region as never,
      new Notifier(control, clock, 1),
      () => {},
    );
    // A worker that looks for a block meanwhile finds the first slot claimed, and sleeps.
    if (!isRefused) beforeSwap(() => beforeSwap(() => void taker.take(1)));
    const { blocks } = supply.giveBack(2, Infinity);
    assertEquals(blocks, 0);
    assertEquals(kindOf(control.owner[0]), FREE);
    assert(words[HEADER.EPOCH] > before, `${isRefused}`);
  }
});

Deno.test("a release tells of itself where somebody may wait or the pool is closing, and only there", () => {
  const { control, sender: slots } = pair();
  control.words[HEADER.STATE] = OPEN;
  assertEquals(slots.push(0), false);
  assert(slots.take(0));
  const clock = new Clock(control);
  const notifier = new Notifier(control, clock, 2);
  notifier.listen(true);
  assertEquals(slots.push(0), true);
  notifier.listen(false);
  assert(slots.take(0));
  assertEquals(slots.push(0), false);
  assert(slots.take(0));
  // Those with high ids wait in other words.
  control.words[HEADER.TOP_WORKER] = 200;
  assertEquals(slots.push(0), false);
  assert(slots.take(0));
  for (const id of [40, 200]) {
    const far = new Notifier(control, clock, id);
    far.listen(true);
    assertEquals(slots.push(0), true);
    far.listen(false);
    assert(slots.take(0));
  }
  assertEquals(slots.push(0), false);
  control.words[HEADER.TOP_WORKER] = 2;
  assert(slots.take(0));
  control.words[HEADER.STATE] = CLOSING;
  assertEquals(slots.push(0), true);
});

Deno.test("a release rings for who waits in another isolate", async () => {
  const pool = sharedPool({ maxBlocks: 1 });
  const { words } = new Control(1, pool.handle.control);
  const other = SharedBlockPool.attach(pool.handle);
  const block = pool.acquireSync();
  const wait = other.acquire();
  const before = words[HEADER.EPOCH];
  block.release();
  assert(words[HEADER.EPOCH] > before);
  (await wait).release();
  other.leave();
  await pool.close();
});

Deno.test("a free slot that has lost its hint is found by whoever keeps house", async () => {
  using time = new FakeTime();
  const pool = sharedPool({ maxBlocks: 40 });
  const control = new Control(40, pool.handle.control);
  control.hints.fill(0);
  const other = SharedBlockPool.attach(pool.handle);
  time.tick(250);
  assertEquals(control.hints[0], -1);
  assertEquals(control.hints[1], 255);
  (await other.acquireMany(40))[Symbol.dispose]();
  other.leave();
  await pool.close();
});
