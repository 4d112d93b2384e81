// Seats of a shared pool: who has one, whose death frees it, and what is taken for a pool that is none.

import { assert, assertEquals, assertThrows } from "@std/assert";
import type { Backend, Threads } from "../../ffi/backend.ts";
import { Control, HEADER, WORKER } from "../../shared/control.ts";
import { SharedBlockPool, type SharedPoolHandle } from "../../shared/mod.ts";
import { WorkerRegistry } from "../../shared/worker_registry.ts";
import { native, replacing } from "./backends.ts";
import { numbers, sharedPool, whole } from "./pools.ts";
import { Puppet } from "./puppet.ts";
import { gone } from "../support/invariants.ts";
import { refused, until } from "../support/misuse.ts";
import { provesDeath } from "../support/platform.ts";

/** This system with other threads. */
function withThreads(threads: Threads | undefined): Disposable {
  const real = native();
  return replacing(
    new Proxy(real, {
      get: (backend, name) => {
        if (name === "threads") return threads;
        const value = Reflect.get(backend, name, backend);
        return typeof value === "function" ? value.bind(backend) : value;
      },
    }) as Backend,
  );
}

Deno.test("attach() refuses a copy of the control block, by which a block would have two owners", async () => {
  const pool = sharedPool();
  const { handle } = pool;
  const copy: SharedPoolHandle = {
    ...handle,
    control: handle.control.slice(0),
  };
  const error = assertThrows(() => SharedBlockPool.attach(copy), TypeError);
  assert(error.message.includes("copy"), error.message);
  // A clone, as a message is one, is of the very same memory.
  SharedBlockPool.attach(structuredClone(handle)).leave();
  using puppet = await Puppet.start(pool);
  assertEquals(await puppet.run(({ pool }) => pool.workerId), 2);
  assertEquals(numbers(pool).attachedWorkers, 2);
  await pool.close();
});

Deno.test({
  name:
    "an attachment whose thread's number was given to another thread is found out",
  ignore: !provesDeath || native().threads?.birth === undefined,
  fn: async () => {
    const pool = sharedPool({ shrinkIntervalMs: 5 });
    const puppets = [await Puppet.start(pool), await Puppet.start(pool)];
    const control = new Control(4, pool.handle.control);
    const born = puppets.map(({ id }) => control.at(id, WORKER.BORN));
    for (const at of born) assert(control.words[at] !== 0);
    await puppets[1].run(({ pool, held }) => {
      held.push(pool.acquireSync());
    });
    assertEquals(pool.reclaim({}), 0);
    // Its thread runs, and is not the one that took the attachment.
    control.words[born[1]]++;
    await until(() => numbers(pool).attachedWorkers === 2);
    assertEquals(numbers(pool).acquiredBlocks, 0);
    // The other one has its attachment.
    await puppets[0].run(({ pool }) => pool.acquireSync().release());
    for (const puppet of puppets) puppet.kill();
    await pool.close();
  },
});

Deno.test("nothing is taken from who comes while it is asked whether the one before has died", () => {
  const control = new Control(4);
  let ask = (): boolean => true;
  let mine = 1;
  let next = 3;
  const threads: Threads = { current: () => mine, isAlive: () => ask() };
  using _ = withThreads(threads);
  const registry = new WorkerRegistry(control);
  const me = registry.enter();
  mine = 2;
  const other = registry.enter();
  // While the OS is asked about its thread it leaves and ends, and another one takes its place.
  let turns = 0;
  ask = () => {
    if (turns++ === 0) {
      registry.exit(other);
      mine = next++;
      assertEquals(registry.enter(), other);
    }
    return false;
  };
  assertEquals(registry.dead(me), []);
  assertEquals(turns, 1);
  turns = 0;
  assertEquals(registry.beginReclaim(other, me), false);
  const at = control.at(other, WORKER.RECLAIMER);
  assertEquals(control.words[at], 0);
});

Deno.test("where a thread has no number nobody takes it for dead", () => {
  const control = new Control(4);
  using _ = withThreads({
    current: () => 0,
    isAlive: (thread) => thread === 0,
  });
  const registry = new WorkerRegistry(control);
  const [me, other] = [registry.enter(), registry.enter()];
  assertEquals(registry.others(me), [other]);
  assertEquals(registry.dead(me), []);
  // But if the caller says so.
  assertEquals(registry.beginReclaim(other, me), true);
});

Deno.test("where nothing proves a death, the word that one has stopped takes nothing from another", async () => {
  using _ = withThreads(undefined);
  const pool = sharedPool({ maxBlocks: 8 });
  const first = SharedBlockPool.attach(pool.handle);
  const { workerId } = first;
  first.leave();
  assertEquals(pool.reclaim(workerId), 0);
  // Those who come next have other ids, until all were had.
  const seen = new Set([pool.workerId, workerId]);
  for (let i = 2; i < 254; i++) {
    const next = SharedBlockPool.attach(pool.handle);
    assert(!seen.has(next.workerId), `${next.workerId}`);
    seen.add(next.workerId);
    const block = next.acquireSync();
    assertEquals(pool.reclaim(workerId), 0);
    block.release();
    next.leave();
  }
  // Its word about one that is there is believed.
  const last = SharedBlockPool.attach(pool.handle);
  last.acquireSync();
  assertEquals(pool.reclaim(last.workerId), 1);
  assertEquals(numbers(pool).attachedWorkers, 1);
  whole(pool);
  await pool.close();
});

Deno.test({
  name: "two who find a Worker dead at once take what it held once",
  ignore: !provesDeath,
  fn: async () => {
    const pool = sharedPool({ maxBlocks: 64, shrinkIntervalMs: 1 });
    using first = await Puppet.start(pool);
    using second = await Puppet.start(pool);
    for (let round = 0; round < 10; round++) {
      const doomed = await Puppet.start(pool);
      await doomed.run(({ pool, held }) => {
        for (let i = 0; i < 20; i++) held.push(pool.acquireSync());
      });
      doomed.kill();
      await until(() => numbers(pool).attachedWorkers === 3);
      whole(pool);
    }
    for (const puppet of [first, second]) {
      await puppet.run(({ pool }) => pool.leave());
    }
    await pool.close();
    gone(pool);
  },
});

Deno.test({
  name: "the 255th is exhausted, and one that has died makes room",
  ignore: !provesDeath,
  fn: async () => {
    const pool = sharedPool();
    const puppet = await Puppet.start(pool);
    const all: SharedBlockPool[] = [];
    for (let i = 0; i < 252; i++) all.push(SharedBlockPool.attach(pool.handle));
    refused("exhausted", () => SharedBlockPool.attach(pool.handle));
    puppet.kill();
    await until(() => numbers(pool).attachedWorkers === 253);
    const late = SharedBlockPool.attach(pool.handle);
    assertEquals(late.workerId, puppet.id);
    const control = new Control(4, pool.handle.control);
    assertEquals(control.words[HEADER.TOP_WORKER], 254);
    for (const each of [...all, late]) each.leave();
    await pool.close();
  },
});
