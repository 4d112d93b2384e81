// The end of a shared pool: the range is given back once and no more, and what may still be read
// or write keeps its bytes.

import { assert, assertEquals, assertGreaterOrEqual } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import type { Backend, Range } from "../../ffi/backend.ts";
import { GONE, HEADER, UNMAPPED } from "../../shared/control.ts";
import { native, replacing } from "./backends.ts";
import { numbers, sharedPool } from "./pools.ts";
import { Puppet } from "./puppet.ts";
import { inOrder, Stage } from "./scenario.ts";
import { ACTS } from "./operations.ts";
import { Death, stepwise } from "./access_hooks.ts";
import { until } from "../support/misuse.ts";
import { provesDeath } from "../support/platform.ts";

const ofTheDead = {
  ignore: !provesDeath,
  // A Worker that has died leaves timers that do not fire; here they are left to this isolate.
  sanitizeResources: false,
  sanitizeOps: false,
};

/** This system, and what is asked of it: `unmap` and what comes before and after it. */
function watched(unmap: (range: Range, real: Backend) => number): Disposable {
  const real = native();
  return replacing(
    new Proxy(real, {
      get: (backend, name) => {
        if (name === "unmap") return (range: Range) => unmap(range, real);
        const value = Reflect.get(backend, name, backend);
        return typeof value === "function" ? value.bind(backend) : value;
      },
    }),
  );
}

for (const when of ["before", "after"]) {
  Deno.test({
    ...ofTheDead,
    name:
      `a range is not unmapped twice when a Worker dies right ${when} it tells the OS`,
    fn: async () => {
      using time = new FakeTime();
      const unmaps: bigint[] = [];
      let isDying = false;
      using _ = watched((range, real) => {
        unmaps.push(range.base);
        const code = isDying && when === "before" ? 0 : real.unmap(range);
        if (isDying) throw new Death();
        return code;
      });
      const stage = new Stage();
      stage.sit();
      stage.held.push(stage.attachment.acquireSync());
      const { pool, control } = stage;
      const closed = pool.close();
      isDying = true;
      try {
        stepwise(
          () => stage.actor.as(() => stage.held.pop()!.release()),
          () => {},
        );
      } catch (error) {
        assert(error instanceof Death);
      }
      isDying = false;
      stage.kill();
      for (let turn = 0; turn < 5; turn++) await time.tickAsync(20);
      await closed;
      assertEquals(control.state, GONE);
      assertEquals(unmaps.length, 1);
      // It cannot be known, so it counts as mapped.
      assert(numbers(pool).mappedBytes > 0);
      if (when === "before") {
        native().unmap(pool.handle.range);
      }
    },
  });
}

Deno.test("an OS that will not unmap a pool is asked once, and the pool ends", async () => {
  let asked = 0;
  let range: Range | undefined;
  using _ = watched((given) => {
    asked++;
    range = given;
    return 12;
  });
  const pool = sharedPool();
  await pool.close();
  assertEquals(asked, 1);
  assert(numbers(pool).mappedBytes > 0);
  native().unmap(range!);
});

Deno.test({
  name:
    "what a dead Worker has posted away keeps its bytes when the pool is closed",
  ignore: !provesDeath,
  fn: async () => {
    const pool = sharedPool({ maxBlocks: 4 });
    const puppet = await Puppet.start(pool);
    const buffer = await puppet.run(({ pool, held }) => {
      held.push(pool.acquireSync());
      held[0].bytes.fill(7);
      return held[0].bytes.buffer;
    });
    const kept = new Uint8Array(buffer);
    puppet.kill();
    await until(() => numbers(pool).attachedWorkers === 1);
    const used = pool.acquireSync();
    used.bytes.fill(1);
    used.release();
    await pool.close();
    const { mappedBytes, abandonedBlocks } = numbers(pool);
    assertEquals([mappedBytes > 0, abandonedBlocks], [true, 1]);
    assert(kept.every((byte) => byte === 7));
    kept.fill(8);
    assertEquals(kept.at(-1), 8);
  },
});

Deno.test({
  ...ofTheDead,
  name: "the last one to leave looks for those who died meanwhile",
  fn: () => {
    const stage = new Stage();
    stage.third((attachment) => void attachment.acquireSync());
    stage.pool.leave();
    assertEquals(numbers(stage.pool).mappedBytes, 0);
  },
});

/** What one dies at; another one who deals with that dies in turn. */
const FIRST_DEATHS = [
  "acquire that grows",
  "acquireMany",
  "adoptMany",
  "trim",
  "leave",
  "reclaim of a third",
];

for (const name of FIRST_DEATHS) {
  Deno.test({
    ...ofTheDead,
    name:
      `no block is lost when a Worker dies at ${name}, and who deals with that dies, too`,
    fn: async () => {
      using time = new FakeTime();
      const { options, before, act } = ACTS[name];
      const count = stepsOf(name);
      // Some of the accesses of the first, each of the second.
      for (let first = 1; first < count; first += Math.ceil(count / 6)) {
        for (let step = 0, goesOn = true; goesOn; step += 5) {
          const stage = new Stage(options);
          stage.sit();
          const other = stage.neighbour();
          stage.actor.as(() => before?.(stage));
          stepwise(() => stage.actor.as(() => act(stage)), (at) => {
            if (at === first) throw new Death();
          });
          stage.kill();
          const second = stepwise(
            () => void other.attachment.reclaim({}),
            (at) => {
              if (at === step) throw new Death();
            },
          );
          goesOn = second > step;
          stage.kill(other.attachment.workerId);
          other.end();
          const where = `${name}, access ${first}, then ${step}`;
          const doomed = stage.doomed();
          for (const block of stage.ours.splice(0)) block.release();
          stage.pool.reclaim({});
          time.tick(30);
          assertEquals(stage.lost(), [], where);
          assertEquals(stage.miscounted, 0, where);
          await inOrder(stage, doomed, where);
          await stage.pool.close();
          const mapping = stage.control.words[HEADER.MAPPING];
          assertEquals(mapping > UNMAPPED, doomed > 0, where);
          assertGreaterOrEqual(mapping, UNMAPPED, where);
        }
      }
    },
  });
}

/** Accesses of an act. */
function stepsOf(name: string): number {
  const { options, before, act } = ACTS[name];
  const stage = new Stage(options);
  stage.sit();
  stage.actor.as(() => before?.(stage));
  const count = stepwise(() => stage.actor.as(() => act(stage)), () => {});
  stage.attachment.leave();
  stage.pool.leave();
  return count;
}
