// A shared pool that is closed, or left by the last one, at any access that another one makes: nothing is
// given out any more, attached workers have memory, and the pool ends.

import { assert, assertEquals, assertMatch, fail } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import type { Block } from "@smriti/pool";
import {
  Control,
  GONE,
  HEADER,
  isHeldBy,
  OPEN,
  UNMAPPED,
  WORKER,
} from "../../shared/control.ts";
import { SharedShutdown } from "../../shared/shutdown.ts";
import { SharedBlockPool } from "../../shared/mod.ts";
import { fillSharedOptions } from "../../shared/options.ts";
import { WorkerRegistry } from "../../shared/worker_registry.ts";
import { SharedRegion } from "../../shared/shared_region.ts";
import { Ledger } from "../../pool/ledger.ts";
import { PAGE, sharedPool } from "./pools.ts";
import { ACTS } from "./operations.ts";
import { Stage } from "./scenario.ts";
import { stepwise } from "./access_hooks.ts";

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
        if (stage.held.length === 0) stage.attachment.leave();
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
      stepwise(() => stage.actor.as(() => stage.attachment.leave()), (at) => {
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

Deno.test({
  name:
    "the last one leaves while another comes: that one is in, or is told that the pool is closed",
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    using time = new FakeTime();
    const met = { in: 0, closed: 0 };
    for (let step = 0, goesOn = true; goesOn; step++) {
      const stage = new Stage();
      const { pool, control } = stage;
      const where = `before access ${step}`;
      goesOn = false;
      try {
        stepwise(() => stage.sit(), (at) => {
          if (at !== step) return;
          goesOn = true;
          pool.leave();
        });
        assert(control.state < GONE, where);
        met.in++;
        stage.attachment.leave();
      } catch (error) {
        assertEquals((error as { code?: string }).code, "closed", where);
        met.closed++;
      }
      pool.leave();
      await time.tickAsync(20);
      assertEquals(control.state, GONE, where);
      assertEquals(control.words[HEADER.MAPPING], UNMAPPED, where);
    }
    assert(met.in > 0 && met.closed > 0, Deno.inspect(met));
  },
});

Deno.test({
  name: "a pool that its maker leaves ends, though who just comes cannot stay",
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    using time = new FakeTime();
    const { timeout } = AbortSignal;
    for (let step = 0, goesOn = true; goesOn; step++) {
      const stage = new Stage();
      goesOn = false;
      AbortSignal.timeout = () => {
        throw new RangeError("refused");
      };
      try {
        stepwise(() => stage.sit(), (at) => {
          if (at !== step) return;
          goesOn = true;
          stage.pool.leave();
        });
        fail("it has attached");
      } catch (error) {
        assertMatch(String(error), /refused|closed/);
      } finally {
        AbortSignal.timeout = timeout;
      }
      stage.pool.leave();
      await time.tickAsync(20);
      const where = `before access ${step}`;
      assertEquals(stage.control.state, GONE, where);
      assertEquals(stage.control.words[HEADER.MAPPING], UNMAPPED, where);
    }
  },
});

/** A pool that its maker has left, which is about to end it, and another one that comes and goes. */
function left() {
  const options = fillSharedOptions({ blockSize: PAGE, maxBlocks: 2 });
  const control = new Control(2);
  control.words[HEADER.STATE] = OPEN;
  const region = new SharedRegion(options);
  region.follow(control);
  const ledger = Ledger.alone(2);
  const registry = new WorkerRegistry(control);
  const end = (id: number) =>
    new SharedShutdown(control, region, ledger, registry, id).tryEnd();
  const maker = registry.enter();
  registry.rest(maker);
  let guest = 0;
  return {
    control,
    come: () => void (guest = registry.enter()),
    go: () => {
      if (guest === 0) return;
      registry.rest(guest);
      end(guest);
      registry.exit(guest);
      guest = 0;
    },
    leave: () => {
      end(maker);
      registry.exit(maker);
    },
  };
}

Deno.test("a pool ends whenever another one comes and goes while its maker leaves", () => {
  for (let came = 0, count = 1; came < count; came++) {
    for (let went = came; went <= count; went++) {
      const { control, come, go, leave } = left();
      count = stepwise(leave, (at) => {
        if (at === came) come();
        if (at === went) go();
      });
      go();
      const where = `came before access ${came}, went before ${went}`;
      assertEquals(control.state, GONE, where);
      assertEquals(control.words[HEADER.ENDER], 0, where);
      assertEquals(control.words[HEADER.MAPPING], UNMAPPED, where);
    }
  }
});

Deno.test("an isolate that holds a block does not rest, whatever its counts say", async () => {
  using time = new FakeTime();
  const pool = sharedPool();
  const other = SharedBlockPool.attach(pool.handle);
  const block = other.acquireSync();
  block.bytes[0] = 1;
  const { words, at } = countsOf(pool, other);
  words[at]--;
  let isClosed = false;
  pool.close().then(() => isClosed = true);
  for (let turn = 0; turn < 5; turn++) await time.tickAsync(250);
  assert(!isClosed);
  assertEquals(block.bytes[0], 1);
  words[at]++;
  block.release();
  await time.tickAsync(500);
  assert(isClosed);
});

/** Where it stands how many slots an attachment has taken. */
function countsOf(pool: SharedBlockPool, { workerId }: SharedBlockPool) {
  const control = new Control(pool.maxBlocks, pool.handle.control);
  return { words: control.words, at: control.at(workerId, WORKER.TAKES) };
}
