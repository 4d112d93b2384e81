// A Worker that dies at any access to the words that all share, plain ones included: those who are left
// finish or undo what it was at. No block is lost, none has two owners, no attachment stays taken, no count
// stays wrong, the pool can be closed, and what stays mapped has its reason.

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import {
  GONE,
  HEADER,
  MAPPED,
  UNMAPPED,
  UNMAPPING,
} from "../../shared/control.ts";
import { type Act, ACTS } from "./operations.ts";
import { isThere, numbers } from "./pools.ts";
import { inOrder, Stage } from "./scenario.ts";
import { Death, stepwise } from "./access_hooks.ts";
import { monotonic } from "../support/monotonic.ts";
import { hasProc, provesDeath } from "../support/platform.ts";

/** Plays an act up to an access, and the actor's death there; false if it did not come so far. */
function dieAt(
  stage: Stage,
  { comes, before, act }: Act,
  step: number,
): boolean {
  if (!comes) stage.sit();
  stage.actor.as(() => before?.(stage));
  const count = stepwise(() => stage.actor.as(() => act(stage)), (at) => {
    if (at === step) throw new Death();
  });
  stage.kill();
  return count > step;
}

const settings = {
  ignore: !provesDeath,
  // A Worker that has died leaves timers that do not fire; here they are left to this isolate.
  sanitizeResources: false,
  sanitizeOps: false,
};

for (const [name, act] of Object.entries(ACTS)) {
  Deno.test({
    ...settings,
    name: `no block is lost when a Worker dies at any access of: ${name}`,
    fn: async () => {
      using time = new FakeTime();
      for (let step = 0, goesOn = true; goesOn; step++) {
        const stage = new Stage(act.options);
        goesOn = dieAt(stage, act, step);
        const where = `${name}, access ${step}`;
        const { pool } = stage;
        const doomed = stage.doomed();
        for (const block of stage.ours.splice(0)) block.release();
        pool.reclaim({});
        // What was in transit comes back, what has lost its hint is found again.
        time.tick(20);
        assertEquals(stage.lost(), [], where);
        assertEquals(stage.miscounted, 0, where);
        await inOrder(stage, doomed, where);
        await pool.close();
        assertEquals(numbers(pool).mappedBytes > 0, doomed > 0, where);
      }
    },
  });
}

/** The last that an actor does in a pool that another worker closes, and awaits the end of. */
const ENDS: Record<string, Act> = {
  "the release of the last block of a closing pool": {
    before: ({ attachment, held }) => held.push(attachment.acquireSync()),
    act: ({ held }) => held.pop()!.release(),
  },
  "leaving a closing pool as the last one": {
    before: ({ attachment, held }) => held.push(attachment.acquireSync()),
    act: ({ attachment }) => attachment.leave(),
  },
  "leaving a closing pool with a block that is out": {
    before: ({ attachment, held }) => {
      held.push(attachment.acquireSync());
      structuredClone(held[0].bytes, { transfer: [held[0].bytes.buffer] });
    },
    act: ({ attachment }) => attachment.leave(),
  },
  "detaching the last block of a closing pool": {
    before: ({ attachment, held }) => held.push(attachment.acquireSync()),
    act: ({ held, actor }) => {
      held.pop()!.detach();
      actor.keepHouse();
    },
  },
};

for (const [name, act] of Object.entries(ENDS)) {
  Deno.test({
    ...settings,
    name: `a pool ends when a Worker dies at any access of: ${name}`,
    fn: async () => {
      using time = new FakeTime();
      // By the real one a pool's time would go on, an access more, in some of the rounds: two of them
      // would come to the same access.
      using _ = monotonic(time);
      const left: number[] = [];
      for (let step = 0, goesOn = true; goesOn; step++) {
        // So wide that its lowest part stays free for a while once it is unmapped.
        const stage = new Stage({ initialBlocks: 6, blockSize: 2 ** 23 });
        const { pool, control } = stage;
        stage.sit();
        stage.actor.as(() => act.before!(stage));
        let isClosed = false;
        const closed = pool.close().then(() => isClosed = true);
        const count = stepwise(
          () => stage.actor.as(() => act.act(stage)),
          (at) => {
            if (at === step) throw new Death();
          },
        );
        goesOn = count > step;
        stage.kill();
        const where = `${name}, access ${step}`;
        const doomed = stage.doomed();
        for (let turn = 0; turn < 20 && !isClosed; turn++) {
          await time.tickAsync(20);
        }
        assert(isClosed, where);
        await closed;
        assertEquals(control.state, GONE, where);
        const { mappedBytes, abandonedBlocks } = numbers(pool);
        assertEquals(abandonedBlocks, doomed, where);
        const mapping = control.words[HEADER.MAPPING];
        assertEquals(mappedBytes === 0, mapping === UNMAPPED, where);
        if (doomed > 0) assertNotEquals(mapping, MAPPED, where);
        if (mapping === UNMAPPING) left.push(step);
        if (mapping === UNMAPPED && hasProc) assert(!isThere(pool), where);
      }
      // Between telling the OS and noting that it was told, it cannot be known: there the addresses stay.
      assert(left.length <= 1, `mapped for good after accesses ${left}`);
    },
  });
}
