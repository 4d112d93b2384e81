// A Worker that dies at any access to the words that all share, plain ones included: those who are left
// finish or undo what it was at. No block is lost, none has two owners, no seat stays taken, no count
// stays wrong, the pool can be closed, and what stays mapped has its reason.

import { assert, assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { SharedBlockPool, type SharedPoolOptions } from "../shared/mod.ts";
import {
  GONE,
  HEADER,
  MAPPED,
  UNMAPPED,
  UNMAPPING,
} from "../shared/control.ts";
import { isThere, numbers } from "./shared/pools.ts";
import { inOrder, Stage } from "./shared/stage.ts";
import { Death, stepwise } from "./shared/steps.ts";
import { hasProc, provesDeath } from "./support/platform.ts";

/** Something an actor does, with what must be there before. */
interface Act {
  readonly options?: Partial<SharedPoolOptions>;
  readonly before?: (stage: Stage) => void;
  readonly act: (stage: Stage) => void;
}

const ACTS: Record<string, Act> = {
  "acquire": { act: ({ seat, held }) => held.push(seat.acquireSync()) },
  "acquire that grows": {
    before: (stage) => stage.take(),
    act: ({ seat, held }) => {
      held.push(seat.acquireSync(), seat.acquireSync());
    },
  },
  "acquire that is refused": {
    before: ({ pool, ours }) => {
      for (let b; (b = pool.tryAcquire()) !== undefined;) ours.push(b);
    },
    act: ({ seat }) => void seat.tryAcquire(),
  },
  "acquire above a reserve": {
    options: { reservedBlocks: 2 },
    act: ({ seat, held }) => held.push(seat.acquireSync()),
  },
  "acquire that the reserve refuses": {
    options: { reservedBlocks: 2, initialBlocks: 6 },
    before: ({ pool, ours }) => {
      for (let b; (b = pool.tryAcquire()) !== undefined;) ours.push(b);
    },
    act: ({ seat }) => void seat.tryAcquire(),
  },
  "bytes": {
    before: ({ seat, held }) => held.push(seat.acquireSync()),
    act: ({ held }) => void held[0].bytes.fill(1),
  },
  "release": {
    before: ({ seat, held }) => held.push(seat.acquireSync()),
    act: ({ held }) => held.pop()!.release(),
  },
  "release of what was used": {
    before: ({ seat, held }) => {
      held.push(seat.acquireSync());
      held[0].bytes.fill(1);
    },
    act: ({ held }) => held.pop()!.release(),
  },
  "acquire of what was given back last": {
    before: ({ seat }) => seat.acquireSync().release(),
    act: ({ seat, held }) => held.push(seat.acquireSync()),
  },
  "release of what was taken again": {
    before: ({ seat, held }) => {
      seat.acquireSync().release();
      held.push(seat.acquireSync());
    },
    act: ({ held }) => held.pop()!.release(),
  },
  "acquireMany": {
    act: ({ seat }) => void seat.acquireMany(4).catch(() => {}),
  },
  "acquireMany that waits": {
    before: (stage) => stage.take(),
    act: ({ seat }) => void seat.acquireMany(6).catch(() => {}),
  },
  "acquireMany above a reserve": {
    options: { reservedBlocks: 2 },
    act: ({ seat }) => void seat.acquireMany(3).catch(() => {}),
  },
  "detach": {
    before: ({ seat, held }) => {
      held.push(seat.acquireSync());
      held[0].bytes.fill(1);
    },
    act: ({ held, tickets }) => tickets.push(held.pop()!.detach()),
  },
  "adopt": {
    before: ({ pool, tickets }) => {
      const block = pool.acquireSync();
      block.bytes.fill(1);
      tickets.push(block.detach());
    },
    act: ({ seat, tickets, held }) => held.push(seat.adopt(tickets[0])),
  },
  "release of what was adopted": {
    before: ({ pool, seat, held }) => {
      const block = pool.acquireSync();
      block.bytes.fill(1);
      held.push(seat.adopt(block.detach()));
    },
    act: ({ held }) => held.pop()!.release(),
  },
  "detachMany": {
    before: ({ seat, held }) => {
      held.push(seat.acquireSync(), seat.acquireSync());
    },
    act: ({ held, seat }) => void seat.detachMany(held.splice(0)),
  },
  "adoptMany": {
    before: (stage) => {
      const blocks = [stage.pool.acquireSync(), stage.pool.acquireSync()];
      for (const { bytes } of blocks) bytes.fill(1);
      stage.numbers = stage.pool.detachMany(blocks);
    },
    act: ({ seat, numbers, held }) => held.push(...seat.adoptMany(numbers)),
  },
  "abandon": {
    before: ({ seat, held }) => held.push(seat.acquireSync()),
    act: ({ held }) => held.pop()!.abandon(),
  },
  "lend": {
    before: ({ seat, held }) => held.push(seat.acquireSync()),
    act: ({ held }) => void held[0].lend(new Promise(() => {})),
  },
  "trim": {
    before: ({ pool }) => {
      const blocks = [1, 2, 3, 4, 5].map(() => pool.acquireSync());
      for (const block of blocks) block.release();
    },
    act: ({ seat }) => void seat.trim(),
  },
  "attach": {
    // Its id was another's before, as most are.
    before: ({ pool }) => SharedBlockPool.attach(pool.handle).leave(),
    act: (stage) => stage.sit(),
  },
  "leave": {
    before: ({ seat }) => {
      seat.acquireSync().bytes[0] = 1;
      seat.acquireSync();
    },
    act: ({ seat }) => seat.leave(),
  },
  "housekeeping that ends a ticket's time": {
    before: ({ pool, actor }) => {
      const block = pool.acquireSync();
      block.bytes.fill(1);
      block.detach();
      actor.keepHouse();
    },
    act: ({ actor }) => {
      actor.keepHouse();
      actor.keepHouse();
    },
  },
  "reclaim of a third": {
    before: (stage) =>
      stage.third((seat) => {
        seat.acquireSync().bytes[0] = 1;
        void seat.acquireSync().lend(new Promise(() => {}));
        seat.acquireSync();
        const sent = stage.pool.acquireSync();
        sent.bytes[0] = 1;
        seat.adopt(sent.detach());
      }),
    act: ({ seat }) => void seat.reclaim({}),
  },
};

/** Plays an act up to an access, and the actor's death there; false if it did not come so far. */
function dieAt(stage: Stage, { before, act }: Act, step: number): boolean {
  if (act !== ACTS.attach.act) stage.sit();
  stage.actor.as(() => before?.(stage));
  const count = stepwise(() => stage.actor.as(() => act(stage)), (at) => {
    if (at === step) throw new Death();
  });
  stage.kill();
  return count > step;
}

const settings = {
  ignore: !provesDeath,
  // A Worker that has died leaves its timers to nobody; here they are left to this isolate.
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
        assertEquals(stage.miscounted(), [0, 0], where);
        await inOrder(stage, doomed, where);
        await pool.close();
        assertEquals(numbers(pool).mappedBytes > 0, doomed > 0, where);
      }
    },
  });
}

/** The last that an actor does in a pool that somebody else closes, and awaits the end of. */
const ENDS: Record<string, Act> = {
  "the release of the last block of a closing pool": {
    before: ({ seat, held }) => held.push(seat.acquireSync()),
    act: ({ held }) => held.pop()!.release(),
  },
  "leaving a closing pool as the last one": {
    before: ({ seat, held }) => held.push(seat.acquireSync()),
    act: ({ seat }) => seat.leave(),
  },
  "leaving a closing pool with a block that is out": {
    before: ({ seat, held }) => {
      held.push(seat.acquireSync());
      structuredClone(held[0].bytes, { transfer: [held[0].bytes.buffer] });
    },
    act: ({ seat }) => seat.leave(),
  },
  "detaching the last block of a closing pool": {
    before: ({ seat, held }) => held.push(seat.acquireSync()),
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
      const left: number[] = [];
      for (let step = 0, goesOn = true; goesOn; step++) {
        const stage = new Stage({ initialBlocks: 6 });
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
        if (doomed > 0) assertEquals(mapping, MAPPED, where);
        if (mapping === UNMAPPING) left.push(step);
        if (mapping === UNMAPPED && hasProc) assert(!isThere(pool), where);
      }
      // Between telling the OS and noting that it was told, nobody can know: there the addresses stay.
      assert(left.length <= 1, `mapped for good after accesses ${left}`);
    },
  });
}
