// The counts of a shared pool that a death between a count and its slot has left wrong, and those of a
// pool that is used by many at once: nobody may be refused for nothing, for good.

import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertLessOrEqual,
} from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { Control, HEADER } from "../shared/control.ts";
import { type BlockTicket, SharedBlockPool } from "../shared/mod.ts";
import { SharedSlots } from "../shared/shared_slots.ts";
import { numbers, sharedPool, whole } from "./shared/pools.ts";

/** How often an isolate looks after the pool. */
const HOUSEKEEPING_MS = 250;

for (
  const [word, by] of [["TICKETS", 1], ["TICKETS", -1], [
    "ABANDONED",
    1,
  ]] as const
) {
  Deno.test(`a count that a death left wrong is set right by whoever is left: ${word} ${by}`, async () => {
    using time = new FakeTime();
    const pool = sharedPool({ maxBlocks: 8 });
    const other = SharedBlockPool.attach(pool.handle);
    const { words } = new Control(8, pool.handle.control);
    Atomics.add(words, HEADER[word], by);
    // Whoever has seen the death goes, and tickets come and go meanwhile.
    time.tick(HOUSEKEEPING_MS);
    other.leave();
    const tickets: BlockTicket[] = [];
    for (let i = 0; i < 20; i++) {
      for (const ticket of tickets.splice(0)) pool.adopt(ticket).release();
      for (let n = 0; n < i % 3; n++) tickets.push(pool.acquireSync().detach());
      time.tick(HOUSEKEEPING_MS);
    }
    for (const ticket of tickets.splice(0)) pool.adopt(ticket).release();
    time.tick(5 * HOUSEKEEPING_MS);
    assertEquals([words[HEADER.TICKETS], words[HEADER.ABANDONED]], [0, 0]);
    const all = await pool.acquireMany(8);
    assertEquals(numbers(pool).acquiredBlocks, 8);
    for (const block of all) block.release();
    whole(pool);
    await pool.close();
  });
}

Deno.test("a block on its way is counted once in each place, however long counting takes", () => {
  const control = new Control(64);
  control.words[HEADER.TOP_WORKER] = 3;
  const [receiver, sender] = [1, 2].map((id) => new SharedSlots(control, id));
  for (let slot = 0; slot < 64; slot++) sender.open(slot);
  const moved = 10;
  const handOver = () => {
    const slots = Array.from({ length: moved }, () => sender.pop());
    const serials = slots.map((slot) => sender.send(slot, 0));
    sender.sent(moved);
    for (const [at, slot] of slots.entries()) {
      assert(receiver.receive(slot, serials[at]));
    }
    receiver.received(moved);
    for (const slot of slots) receiver.push(slot);
  };
  // Between any two of its reads the others are busy, as if this thread had lost the processor.
  const words = new Proxy(control.words, {
    get(words, key) {
      for (let i = 0; i < 100; i++) handOver();
      return words[Number(key)];
    },
  });
  const slow = Object.create(control, { words: { value: words } });
  const { used } = new SharedSlots(slow, 3);
  assertGreaterOrEqual(used, 0);
  assertLessOrEqual(used, 3 * moved);
  assertEquals(sender.used, 0);
});
