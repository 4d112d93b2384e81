// A shared pool that is closed, or left by the last one, at any access that another one makes: nothing is
// given out any more, whoever is in has memory, and the pool ends.

import { assert, assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import type { Block } from "@smriti/pool";
import { GONE, HEADER, isHeldBy, UNMAPPED } from "../shared/control.ts";
import { SharedBlockPool } from "../shared/mod.ts";
import { ACTS } from "./shared/acts.ts";
import { Stage } from "./shared/stage.ts";
import { stepwise } from "./shared/steps.ts";

/** What takes blocks, and in which words the pool says that it is closed. */
const TAKES = [
  "acquire",
  "acquire that grows",
  "acquire above a reserve",
  "acquire of what was given back last",
  "acquireMany",
  "adopt",
  "adoptMany",
];

for (const name of TAKES) {
  const { options, before, act } = ACTS[name];
  Deno.test({
    name:
      `a pool closed at any access of ${name} gives nothing any more, and ends`,
    // The actor's timers are the test's.
    sanitizeResources: false,
    sanitizeOps: false,
    fn: async () => {
      using time = new FakeTime();
      for (let step = 0, goesOn = true; goesOn; step++) {
        const stage = new Stage({ ...options, ticketTimeoutMs: 10_000 });
        const { pool, control } = stage;
        stage.sit();
        stage.actor.as(() => before?.(stage));
        for (const block of stage.ours.splice(0)) block.release();
        const where = `closed before access ${step} of ${name}`;
        goesOn = false;
        let isClosed = false;
        let had = 0;
        const holds = () =>
          stage.owners.filter((word) => isHeldBy(word, stage.id)).length;
        try {
          stepwise(() => stage.actor.as(() => act(stage)), (at) => {
            if (at !== step) return;
            goesOn = true;
            had = holds();
            pool.close().then(() => isClosed = true);
          });
        } catch (error) {
          assertEquals((error as { code?: string }).code, "closed", where);
        }
        // What it held already it may keep, and a batch of tickets goes whole.
        if (goesOn && !name.startsWith("adopt")) {
          assert(holds() <= had, `${where}: ${holds()} instead of ${had}`);
        }
        for (let turn = 0; turn < 5; turn++) await time.tickAsync(20);
        assertEquals(isClosed, goesOn && holds() === 0, where);
        for (const block of stage.held) block.release();
        // What acquireMany() gave, or took and has not given back.
        if (stage.held.length === 0) stage.seat.leave();
        if (!goesOn) pool.close().then(() => isClosed = true);
        for (let turn = 0; turn < 5; turn++) await time.tickAsync(20);
        assert(isClosed, where);
        assertEquals(control.words[HEADER.MAPPING], UNMAPPED, where);
      }
    },
  });
}

Deno.test({
  name:
    "whoever comes while the last one leaves is in, or is told that the pool is closed",
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    using time = new FakeTime();
    const met = { in: 0, closed: 0 };
    for (let step = 0, goesOn = true; goesOn; step++) {
      const stage = new Stage();
      const { pool, control } = stage;
      stage.sit();
      pool.leave();
      const where = `before access ${step}`;
      goesOn = false;
      let late: SharedBlockPool | undefined;
      let block: Block | undefined;
      stepwise(() => stage.actor.as(() => stage.seat.leave()), (at) => {
        if (at !== step) return;
        goesOn = true;
        try {
          late = SharedBlockPool.attach(pool.handle);
          block = late.tryAcquire();
          block?.bytes.fill(1);
          met.in++;
        } catch (error) {
          assertEquals((error as { code?: string }).code, "closed", where);
          met.closed++;
        }
      });
      if (late !== undefined) {
        assert(control.state < GONE, where);
        // It may have been closed by the one that left, and goes on with what it has.
        assertEquals(block?.bytes[0] ?? 1, 1, where);
        block?.release();
        late.leave();
      }
      await time.tickAsync(20);
      assertEquals(control.state, GONE, where);
      assertEquals(control.words[HEADER.MAPPING], UNMAPPED, where);
    }
    assert(met.in > 0 && met.closed > 0, Deno.inspect(met));
  },
});
