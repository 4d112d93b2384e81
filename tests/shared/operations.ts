// What an actor does in a shared pool, one act after the other: each touches the words that all share in
// its own way.

import type { Block } from "@smriti/pool";
import { SharedBlockPool, type SharedPoolOptions } from "../../shared/mod.ts";
import type { Stage } from "./scenario.ts";

/** Something an actor does, with what must be there before. */
export interface Act {
  /** The actor has no attachment before. */
  readonly comes?: true;
  readonly options?: Partial<SharedPoolOptions>;
  readonly before?: (stage: Stage) => void;
  readonly act: (stage: Stage) => void;
}

/** So many blocks that two workers may cache one each. */
const CACHING = { maxBlocks: 16, initialBlocks: 16 };

export const ACTS: Record<string, Act> = {
  "acquire": {
    act: ({ attachment, held }) => held.push(attachment.acquireSync()),
  },
  "acquire that grows": {
    before: (stage) => stage.take(),
    act: ({ attachment, held }) => {
      held.push(attachment.acquireSync());
      held.push(attachment.acquireSync());
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
    act: ({ attachment, held }) => held.push(attachment.acquireSync()),
  },
  "acquire that the reserve refuses": {
    options: { reservedBlocks: 2, initialBlocks: 6 },
    before: ({ pool, ours }) => {
      for (let b; (b = pool.tryAcquire()) !== undefined;) ours.push(b);
    },
    act: tryTake,
  },
  "acquire from the cache": {
    options: CACHING,
    before: ({ attachment }) => cache(attachment),
    act: ({ attachment, held }) => held.push(attachment.acquireSync()),
  },
  "release into the cache": {
    options: CACHING,
    before: ({ attachment, held }) => {
      cache(attachment);
      held.push(attachment.acquireSync());
    },
    act: ({ held }) => held.pop()!.release(),
  },
  "release of what was used into the cache": {
    options: CACHING,
    before: ({ attachment, held }) => {
      cache(attachment);
      held.push(attachment.acquireSync());
      held[0].bytes.fill(1);
    },
    act: ({ held }) => held.pop()!.release(),
  },
  "the first release into a cache": {
    options: CACHING,
    before: ({ attachment, held }) => held.push(attachment.acquireSync()),
    act: ({ held }) => held.pop()!.release(),
  },
  "release beside a full cache": {
    options: CACHING,
    before: ({ attachment, held }) => {
      held.push(attachment.acquireSync());
      cache(attachment);
    },
    act: ({ held }) => held.pop()!.release(),
  },
  "acquire of what another has cached": {
    options: CACHING,
    before: ({ pool, ours }) => {
      cache(pool);
      takeUncached(pool, ours);
    },
    act: tryTake,
  },
  "acquire that waits for what another has cached": {
    options: CACHING,
    before: ({ pool, ours }) => {
      cache(pool);
      takeUncached(pool, ours);
    },
    act: (stage) => takeMany(stage, 1),
  },
  "housekeeping with a full cache": {
    options: { ...CACHING, shrinkIntervalMs: 10_000 },
    before: ({ attachment }) => cache(attachment),
    act: ({ actor }) => actor.keepHouse(),
  },
  "leave with a full cache": {
    options: CACHING,
    before: ({ attachment }) => cache(attachment),
    act: ({ attachment }) => attachment.leave(),
  },
  "trim of what is cached": {
    options: { ...CACHING, initialBlocks: 8, growStep: 1 },
    before: ({ pool, attachment }) => {
      const blocks = Array.from({ length: 12 }, () => pool.acquireSync());
      blocks.pop()!.release();
      cache(attachment);
      for (const block of blocks) block.release();
    },
    act: ({ attachment }) => void attachment.trim(),
  },
  "bytes": {
    before: ({ attachment, held }) => held.push(attachment.acquireSync()),
    act: ({ held }) => void held[0].bytes.fill(1),
  },
  "release": {
    before: ({ attachment, held }) => held.push(attachment.acquireSync()),
    act: ({ held }) => held.pop()!.release(),
  },
  "release of what was used": {
    before: ({ attachment, held }) => {
      held.push(attachment.acquireSync());
      held[0].bytes.fill(1);
    },
    act: ({ held }) => held.pop()!.release(),
  },
  "acquire of what was given back last": {
    before: ({ attachment }) => attachment.acquireSync().release(),
    act: ({ attachment, held }) => held.push(attachment.acquireSync()),
  },
  "release of what was taken again": {
    before: ({ attachment, held }) => {
      attachment.acquireSync().release();
      held.push(attachment.acquireSync());
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
    before: ({ attachment, held }) => {
      held.push(attachment.acquireSync());
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
    act: ({ attachment, tickets, held }) =>
      held.push(attachment.adopt(tickets[0])),
  },
  "release of what was adopted": {
    before: ({ pool, attachment, held }) => {
      const block = pool.acquireSync();
      block.bytes.fill(1);
      held.push(attachment.adopt(block.detach()));
    },
    act: ({ held }) => held.pop()!.release(),
  },
  "detachMany": {
    before: ({ attachment, held }) => {
      held.push(attachment.acquireSync(), attachment.acquireSync());
    },
    act: ({ held, attachment }) => void attachment.detachMany(held.splice(0)),
  },
  "adoptMany": {
    before: (stage) => {
      const blocks = [stage.pool.acquireSync(), stage.pool.acquireSync()];
      for (const { bytes } of blocks) bytes.fill(1);
      stage.numbers = stage.pool.detachMany(blocks);
    },
    act: ({ attachment, numbers, held }) =>
      held.push(...attachment.adoptMany(numbers)),
  },
  "abandon": {
    before: ({ attachment, held }) => held.push(attachment.acquireSync()),
    act: ({ held }) => held.pop()!.abandon(),
  },
  "abandon of what is not replaced": {
    options: { maxAbandonedBytes: 0 },
    before: ({ attachment, held }) => held.push(attachment.acquireSync()),
    act: ({ held }) => held.pop()!.abandon(),
  },
  "abandon of what was replaced before": {
    options: { maxAbandonedBytes: Infinity },
    before: ({ attachment, held }) => {
      attachment.acquireSync().abandon();
      held.push(attachment.acquireSync());
    },
    act: ({ held }) => held.pop()!.abandon(),
  },
  "lend": {
    before: ({ attachment, held }) => held.push(attachment.acquireSync()),
    act: ({ held }) => void held[0].lend(new Promise(() => {})),
  },
  "trim": {
    before: ({ pool }) => {
      const blocks = [1, 2, 3, 4, 5].map(() => pool.acquireSync());
      for (const block of blocks) block.release();
    },
    act: ({ attachment }) => void attachment.trim(),
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
    before: ({ attachment }) => {
      attachment.acquireSync().bytes[0] = 1;
      attachment.acquireSync();
    },
    act: ({ attachment }) => attachment.leave(),
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
      stage.third((attachment) => {
        attachment.acquireSync().bytes[0] = 1;
        void attachment.acquireSync().lend(new Promise(() => {}));
        attachment.acquireSync();
        const sent = stage.pool.acquireSync();
        sent.bytes[0] = 1;
        attachment.adopt(sent.detach());
      }),
    act: ({ attachment }) => void attachment.reclaim({}),
  },
};

/** A block is in the cache afterwards, if it may be. */
function cache(pool: SharedBlockPool): void {
  for (let i = 0; i < 2; i++) pool.acquireSync().release();
}

/** All blocks but those that are in a cache. */
function takeUncached(pool: SharedBlockPool, blocks: Block[]): void {
  const own = pool.acquireSync();
  for (let b; (b = pool.tryAcquire()) !== undefined;) blocks.push(b);
  own.release();
}

/** The others may have given back meanwhile what was not to be had. */
function tryTake({ attachment, held }: Stage): void {
  const block = attachment.tryAcquire();
  if (block !== undefined) held.push(block);
}

function takeMany({ attachment, held }: Stage, count: number): void {
  attachment.acquireMany(count).then(
    (blocks) => held.push(...blocks),
    () => {},
  );
}
