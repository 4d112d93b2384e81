// What the fuzz does with pools: acquires of every kind, questions, wrong arguments.

import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import {
  type Block,
  BlockPool,
  SizeClassPool,
  SmritiError,
} from "@smriti/pool";
import { slotOf } from "../../../pool/block.ts";
import { Chaos } from "./chaos.ts";
import type { Home } from "./fuzzed_pool.ts";
import { brokenSignal, junk, options, Planted, poolOptions } from "./junk.ts";
import { Rng } from "../../support/rng.ts";
import { WRONG_THIS } from "./tally.ts";
import { settleUp, type World } from "./lease_moves.ts";

/** The class of blocks, as one who has a block can get at it. */
const BLOCK = (() => {
  using pool = new BlockPool({ blockSize: 1, maxBlocks: 1, backend: "heap" });
  using block = pool.acquireSync();
  return block.constructor;
})();

function isBlock(value: unknown): value is Block {
  return slotOf(value) !== undefined;
}

type PoolMove = (world: World, home: Home) => void;

const MOVES: readonly [number, PoolMove][] = [
  [40, acquireNow],
  [14, acquireSoon],
  [3, acquireMany],
  [3, useOne],
  [2, questions],
  [2, staleHandles],
  [5, misuse],
  [1, listen],
  [0.5, construct],
  [1, lateWrite],
];

const TOTAL = MOVES.reduce((sum, [weight]) => sum + weight, 0);

/** One move, by weight. */
export function poolMove(world: World, home: Home): void {
  let at = world.rng.next() / 2 ** 32 * TOTAL;
  for (const [weight, move] of MOVES) {
    at -= weight;
    if (at < 0) return move(world, home);
  }
}

function sizeIn({ options: { blockSize } }: Home, { rng }: World): number {
  return rng.below(blockSize * 4 + 1);
}

function acquireNow(world: World, home: Home): void {
  const { rng, tally } = world;
  const { pool } = home;
  const how = rng.chance(0.6)
    ? undefined
    : { tag: `lease ${rng.below(9)}`, reserved: rng.chance(0.3) };
  if (pool instanceof SizeClassPool) {
    const size = sizeIn(home, world);
    const asked = how && { ...how, upgrade: rng.chance(0.5) };
    const block = tally.call("tryAcquire", () => pool.tryAcquire(size, asked));
    if (block !== undefined) assert(block.size >= size);
    home.keep(block);
  } else if (rng.chance(0.2)) {
    home.keep(tally.call("acquireSync", () => pool.acquireSync(how)));
  } else {
    home.keep(tally.call("tryAcquire", () => pool.tryAcquire(how)));
  }
}

function acquireSoon(world: World, home: Home): void {
  const { rng, tally } = world;
  const { pool } = home;
  const controller = rng.chance(0.3) ? new AbortController() : undefined;
  const how = rng.chance(0.4) ? undefined : {
    tag: rng.chance(0.5) ? "waited" : undefined,
    reserved: rng.chance(0.2),
    timeoutMs: rng.chance(0.3) ? rng.below(3) : undefined,
    signal: rng.chance(0.01) ? brokenSignal() : controller?.signal,
  };
  const keep = (block: Block) => void home.keep(block);
  if (pool instanceof SizeClassPool) {
    const size = sizeIn(home, world);
    const asked = how && { ...how, upgrade: rng.chance(0.5) };
    tally.ask("acquire", () => pool.acquire(size, asked), keep);
  } else {
    tally.ask("acquire", () => pool.acquire(how), keep);
  }
  if (controller !== undefined && rng.chance(0.5)) {
    controller.abort(rng.chance(0.5) ? new Planted("changed mind") : undefined);
  }
}

function acquireMany({ rng, tally }: World, home: Home): void {
  const { pool } = home;
  if (pool instanceof SizeClassPool) return;
  const count = 1 + rng.below(rng.chance(0.9) ? 3 : 300);
  const timeoutMs = rng.below(3);
  const drop = rng.chance(0.5);
  tally.ask(
    "acquireMany",
    () => pool.acquireMany(count, { timeoutMs }),
    (all) => {
      assertEquals(all.length, count);
      if (!drop) return all.forEach((block) => void home.keep(block));
      tally.call("dispose of many", () => all[Symbol.dispose]());
      assert(all.every(({ released }) => released), "all of them");
    },
  );
}

function useOne({ rng, tally }: World, home: Home): void {
  const { pool } = home;
  if (pool instanceof SizeClassPool) return;
  const way = rng.below(4);
  tally.ask("use", () =>
    pool.use<unknown>((block) => {
      if (way === 0) throw new Planted("the handler");
      if (way === 1) block.bytes[0] = 1;
      // Released early: use() must not mind.
      if (way === 2) block.release();
      return way === 3 ? block.lend(() => Promise.resolve()) : way;
    }, { timeoutMs: 0 }));
}

function questions({ rng, tally }: World, home: Home): void {
  const { pool } = home;
  tally.call("stats", () => pool.stats());
  if (rng.chance(0.2)) tally.call("trim", () => assert(pool.trim() >= 0));
  if (pool instanceof SizeClassPool) return;
  tally.call("getters", () => {
    assertStrictEquals(pool.blockSize, home.options.blockSize);
    assertStrictEquals(pool.maxBlocks, home.options.maxBlocks);
    assertStrictEquals(pool.name, home.options.name);
    assertStrictEquals(pool.closed, false);
  });
  if (!rng.chance(0.02)) return;
  tally.call("slots", () => {
    const out = pool.slots().filter(({ state }) => /acq|lent/.test(state));
    assertEquals(out.length, pool.stats().acquiredBlocks);
  });
  tally.call("dump", () => pool.dump());
}

/** Handles whose lease is over, and views that should have gone with them. */
function staleHandles({ rng, tally, ghosts, strays }: World, home: Home): void {
  if (home.stale.length > 0) {
    const block = rng.pick(home.stale);
    tally.call("bytes of stale", () => block.bytes);
    tally.call("release stale", () => block.release());
    tally.call("dispose stale", () => block[Symbol.dispose]());
    tally.ask("lend stale", () => block.lend(() => Promise.resolve()));
    tally.call("abandon stale", () => block.abandon());
    assertStrictEquals(block.released, true);
  }
  // Reading and writing must end nothing: not the process, and no other lease's bytes.
  if (ghosts.length > 0) {
    const ghost = rng.pick(ghosts);
    void (ghost.length > 0 && ghost[0]);
  }
  if (strays.length > 0) {
    rng.pick(strays).fill(0xbb, 0, 8);
  }
}

function listen({ rng, tally }: World, { pool }: Home): void {
  if (pool instanceof SizeClassPool) return;
  const type = rng.pick(["grow", "shrink", "exhausted", "leak", "overdue"]);
  const listener = rng.pick([QUIET, HOSTILE, OBJECT]);
  // deno-lint-ignore no-explicit-any
  const add = [type, listener, { once: rng.chance(0.9) }] as any;
  tally.call(
    "addEventListener",
    () => pool.addEventListener(...(add as [never, never])),
  );
  if (rng.chance(0.5)) {
    tally.call(
      "removeEventListener",
      () => pool.removeEventListener(...(add as [never, never])),
    );
  }
}

const QUIET = () => {};
const HOSTILE = () => {
  throw new Planted("a listener");
};
const OBJECT = { handleEvent: HOSTILE };

const METHODS: readonly string[] = [
  ...Object.getOwnPropertyNames(BlockPool.prototype),
  ...Object.getOwnPropertyNames(SizeClassPool.prototype),
].filter((name) => !/constructor|close|slots|dump/.test(name));

/** Any method, with anything, on the pool or on something that is none. */
function misuse(world: World, home: Home): void {
  const { rng, tally } = world;
  const name = rng.pick(METHODS);
  const isOurs = rng.chance(0.9);
  const target = isOurs ? home.pool : junk(rng);
  const args = Array.from(
    { length: rng.below(3) },
    () => rng.chance(0.3) ? options(rng) : junk(rng),
  );
  let result: unknown;
  tally.call(isOurs ? `misuse ${name}` : WRONG_THIS, () => {
    const owner = Object.getPrototypeOf(home.pool);
    const method = Object.getOwnPropertyDescriptor(owner, name);
    if (method === undefined) return;
    const call = method.value ?? method.get;
    result = Reflect.apply(call, target, args);
    if (result instanceof Promise) {
      tally.ask(
        isOurs ? `answer to ${name}` : WRONG_THIS,
        () => result as Promise<unknown>,
        (value) => {
          for (const block of [value].flat()) {
            if (isBlock(block) && !block.released) home.keep(block);
          }
        },
      );
    }
  });
  if (isBlock(result) && !result.released) home.keep(result);
  // It may have been told to release one of those.
  for (const lease of [...home.held]) settleUp(lease);
}

/** Pools, blocks and errors from anything. */
function construct({ rng, tally }: World, home: Home): void {
  // deno-lint-ignore no-explicit-any
  const any = () => junk(rng) as any;
  const made = rng.below(5);
  if (made === 0) {
    tally.call("new BlockPool", () => {
      new BlockPool(poolOptions(rng) as never)[Symbol.dispose]();
    });
  } else if (made === 1) {
    tally.call("new SizeClassPool", () => {
      const list = rng.chance(0.2)
        ? any()
        : [poolOptions(rng), poolOptions(rng)];
      new SizeClassPool(list)[Symbol.dispose]();
    });
  } else if (made === 2) {
    tally.call("new Block", () => Reflect.construct(BLOCK, [any()]));
  } else if (made === 3) {
    tally.call(
      "new SmritiError",
      () => new SmritiError(any(), `${rng.next()}`),
    );
  } else {
    const refusing = new Chaos(new Rng(rng.next()), { map: 0.5, commit: 1 });
    const { name: _, ...plain } = home.options;
    tally.call("new without memory", () => {
      const pool = refusing.during(() =>
        new BlockPool({ ...plain, backend: "native" })
      );
      pool[Symbol.dispose]();
      throw new Error("there was no memory, but a pool");
    });
  }
}

/** Native code writes to a block after its lease: strict mode finds it. */
function lateWrite({ tally }: World, home: Home): void {
  const { pool } = home;
  const waiting = home.stats().some(({ waiting }) => waiting > 0);
  if (!home.staysReadable || waiting || pool instanceof SizeClassPool) return;
  const lease = home.keep(tally.call("tryAcquire", () => pool.tryAcquire()));
  if (lease === undefined) return;
  const pointer = tally.call("pointer", () => lease.block.pointer);
  tally.call("release", () => lease.block.release());
  home.forget(lease);
  if (pointer === undefined || pool.stats().quarantinedBlocks === 0) return;
  const bytes = new Uint8Array(
    Deno.UnsafePointerView.getArrayBuffer(pointer, 8),
  );
  bytes[3] ^= 0xff;
}
