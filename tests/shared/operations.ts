// What an actor does in a shared pool, one act after the other: each touches the words that all share in
// its own way.

import { SharedBlockPool, type SharedPoolOptions } from "../../shared/mod.ts";
import type { Stage } from "./scenario.ts";

/** Something an actor does, with what must be there before. */
export interface Act {
  /** The actor has no seat before. */
  readonly comes?: true;
  readonly options?: Partial<SharedPoolOptions>;
  readonly before?: (stage: Stage) => void;
  readonly act: (stage: Stage) => void;
}

export const ACTS: Record<string, Act> = {
  "acquire": { act: ({ seat, held }) => held.push(seat.acquireSync()) },
  "acquire that grows": {
    before: (stage) => stage.take(),
    act: ({ seat, held }) => {
      held.push(seat.acquireSync());
      held.push(seat.acquireSync());
    },
  },
  "acquire that is refused": {
    before: ({ pool, ours }) => {
      for (let b; (b = pool.tryAcquire()) !== undefined;) ours.push(b);
    },
    act: tryTake,
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
    act: tryTake,
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
    act: (stage) => takeMany(stage, 4),
  },
  "acquireMany that waits": {
    before: (stage) => stage.take(),
    act: (stage) => takeMany(stage, 6),
  },
  "acquireMany above a reserve": {
    options: { reservedBlocks: 2 },
    act: (stage) => takeMany(stage, 3),
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
    comes: true,
    // Its id was another's before, as most are.
    before: ({ pool }) => SharedBlockPool.attach(pool.handle).leave(),
    act: (stage) => stage.sit(),
  },
  "attach as the first of an id": {
    comes: true,
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

/** The others may have given back meanwhile what was not to be had. */
function tryTake({ seat, held }: Stage): void {
  const block = seat.tryAcquire();
  if (block !== undefined) held.push(block);
}

function takeMany({ seat, held }: Stage, count: number): void {
  seat.acquireMany(count).then((blocks) => held.push(...blocks), () => {});
}
