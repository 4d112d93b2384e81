// Caches of the workers of a shared pool: what they hold is free for all who need it, at once; they hold no
// more than they may; and they take their part in every number and every end.

import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import type { Block } from "@smriti/pool";
import { SharedBlockPool, type SharedPoolOptions } from "../../shared/mod.ts";
import type { Backend } from "../../ffi/backend.ts";
import {
  Control,
  FREE,
  HEADER,
  isOpen,
  KEEPS_ORDER,
  kindOf,
  MOST_WORKERS,
  WORKER,
  workerOf,
} from "../../shared/control.ts";
import { NO_THREAD } from "./access_hooks.ts";
import { native, replacing } from "./backends.ts";
import { numbers, sharedPool, whole } from "./pools.ts";
import { slotOf } from "../../pool/block.ts";
import { Puppet } from "./puppet.ts";
import { Stage } from "./scenario.ts";
import { provesDeath } from "../support/platform.ts";
import { until } from "../support/misuse.ts";

const realTimeout = globalThis.setTimeout;

const ignore = !provesDeath || native().fence?.() !== 0;

/** So many blocks that one worker may cache one of them. */
const SMALL = { maxBlocks: 8 } satisfies Partial<SharedPoolOptions>;

/** Slots in caches, with the id of the worker that has them there. */
function cached(pool: SharedBlockPool): [slot: number, worker: number][] {
  const { owner } = new Control(pool.maxBlocks, pool.handle.control);
  return Array.from(owner).flatMap((word, slot) =>
    kindOf(word) === FREE && !isOpen(word) ? [[slot, workerOf(word)]] : []
  );
}

/** Releases after which a worker asks for room again when others were short of blocks. */
const RETREAT = 1024;

/** Takes so many blocks and gives them back, as often as it takes to be granted room. */
function fill(pool: SharedBlockPool, count = 1, rounds = 8): void {
  for (let i = 0; i < rounds; i++) {
    const blocks = Array.from({ length: count }, () => pool.acquireSync());
    for (const block of blocks) block.release();
  }
}

/** Takes all blocks that are to be had. */
function drain(pool: SharedBlockPool): Block[] {
  const blocks: Block[] = [];
  for (let b; (b = pool.tryAcquire()) !== undefined;) blocks.push(b);
  return blocks;
}

function release(blocks: Iterable<Block>): void {
  for (const block of blocks) block.release();
}

Deno.test({
  name: "a worker caches what it frees, which counts as free, and is zeroed",
  ignore,
  fn: async () => {
    await using pool = sharedPool({ maxBlocks: 64 });
    const other = SharedBlockPool.attach(pool.handle);
    fill(pool, 2);
    const blocks = [pool.acquireSync(), pool.acquireSync()];
    for (const { bytes } of blocks) bytes.fill(7);
    const views = blocks.map(({ bytes }) => bytes);
    release(blocks);
    assertEquals(cached(pool).map(([, worker]) => worker), [1, 1]);
    assertEquals(views.map(({ length }) => length), [0, 0]);
    whole(pool);
    assertEquals(numbers(pool).freeBlocks, 64);
    const all = drain(other);
    assertEquals(all.length, 64);
    for (const { bytes } of all) assert(bytes.every((byte) => byte === 0));
    release(all);
    whole(pool);
    other.leave();
  },
});

Deno.test({
  name:
    "caches hold an eighth of the committed blocks at most, also after many have left",
  ignore,
  fn: async () => {
    for (const maxBlocks of [7, 8, 40, 300, 1024]) {
      await using pool = sharedPool({ maxBlocks });
      const seats = Array.from(
        { length: MOST_WORKERS - 1 },
        () => SharedBlockPool.attach(pool.handle),
      );
      for (const seat of seats.slice(0, 40)) fill(seat, 6);
      assertLessOrEqual(cached(pool).length, maxBlocks / 8);
      assertEquals(cached(pool).length > 0, maxBlocks >= 8);
      for (const seat of seats) seat.leave();
      assertEquals(cached(pool), []);
      fill(pool, 4);
      const room = Math.min(4, Math.max(1, Math.floor(maxBlocks / 32)));
      assertEquals(cached(pool).length, maxBlocks < 8 ? 0 : room);
      whole(pool);
    }
  },
});

Deno.test({
  name: "caches have less room when the pool has shrunk",
  ignore,
  fn: async () => {
    await using pool = sharedPool({ maxBlocks: 512, initialBlocks: 16 });
    const other = SharedBlockPool.attach(pool.handle);
    const held = Array.from({ length: 500 }, () => pool.acquireSync());
    fill(other, 12);
    assert(cached(pool).length > 2);
    release(held);
    other.trim();
    // Also of the high slabs of which slots were cached.
    assertEquals(numbers(pool).committedBlocks, 16);
    assertEquals(cached(pool), []);
    // Room that was granted by the larger number, with nothing in the cache meanwhile.
    const low = Array.from({ length: 12 }, () => other.acquireSync());
    const again = Array.from({ length: 500 }, () => pool.acquireSync());
    release(low);
    fill(other, 12, RETREAT);
    assert(cached(pool).length > 2);
    const mine = Array.from({ length: 12 }, () => other.acquireSync());
    release(again);
    pool.trim();
    release(mine);
    assertLessOrEqual(cached(pool).length, numbers(pool).committedBlocks / 8);
    fill(other, 12);
    fill(pool, 12);
    assertLessOrEqual(cached(pool).length, numbers(pool).committedBlocks / 8);
    other.leave();
  },
});

/** Ways to get all blocks, of which another worker has one in its cache. */
const NEEDS: Record<string, (pool: SharedBlockPool) => Promise<Block[]>> = {
  tryAcquire: (pool) => Promise.resolve(drain(pool)),
  acquire: (pool) =>
    Promise.all(Array.from({ length: 8 }, () => pool.acquire())),
  acquireMany: async (pool) => [...await pool.acquireMany(8)],
};

for (const [name, need] of Object.entries(NEEDS)) {
  Deno.test({
    name: `${name}() finds what another worker has cached`,
    ignore,
    fn: async () => {
      await using pool = sharedPool(SMALL);
      const other = SharedBlockPool.attach(pool.handle);
      fill(other);
      assertEquals(cached(pool).map(([, worker]) => worker), [2]);
      const all = await need(pool);
      assertEquals(all.length, 8);
      assertEquals(numbers(pool).waits, 0);
      release(all);
      other.leave();
    },
  });
}

Deno.test({
  name:
    "what is cached is taken before the pool grows, and is trimmed like all else",
  ignore,
  fn: async () => {
    await using pool = sharedPool({
      maxBlocks: 32,
      initialBlocks: 8,
      growStep: 0.25,
    });
    const other = SharedBlockPool.attach(pool.handle);
    fill(other);
    const held = Array.from({ length: 5 }, () => pool.acquireSync());
    assertEquals([numbers(pool).grows, cached(pool).length], [0, 1]);
    held.push(...await pool.acquireMany(3));
    // Only after what was cached was taken, and then ahead of need.
    assertEquals([numbers(pool).grows, cached(pool).length], [1, 0]);
    held.push(...Array.from({ length: 8 }, () => pool.acquireSync()));
    fill(other, 1, RETREAT + 8);
    assertEquals(cached(pool).length, 1);
    release(held);
    pool.trim();
    assertEquals(numbers(pool).committedBlocks, 8);
    whole(pool);
    other.leave();
  },
});

Deno.test({
  name:
    "a release while acquires wait elsewhere goes to them, not into the cache",
  ignore,
  fn: async () => {
    // No retry is due, nor a housekeeping: the notification alone wakes what waits.
    using time = new FakeTime();
    const pool = sharedPool(SMALL);
    const other = SharedBlockPool.attach(pool.handle);
    fill(pool);
    const held = drain(pool);
    for (let i = 0; i < 20; i++) {
      let got: Block | undefined;
      other.acquire().then((block) => got = block);
      assertEquals(numbers(pool).waiting, 1);
      held.pop()!.release();
      assertEquals(cached(pool), []);
      while (got === undefined) {
        await new Promise((resolve) => realTimeout(resolve, 0));
        time.tick(0);
      }
      held.push(got);
    }
    release(held);
    other.leave();
    await pool.close();
  },
});

Deno.test({
  name: "what a Worker has cached that computes and never comes back is found",
  ignore,
  fn: async () => {
    await using pool = sharedPool(SMALL);
    using worker = await Puppet.start(pool);
    const beat = new Int32Array(new SharedArrayBuffer(8));
    const computes = worker.run(({ pool }, beat) => {
      for (let i = 0; i < 8; i++) pool.acquireSync().release();
      Atomics.store(beat, 0, 1);
      Atomics.notify(beat, 0);
      while (Atomics.load(beat, 1) === 0);
    }, beat);
    await Atomics.waitAsync(beat, 0, 0).value;
    assertEquals(cached(pool).map(([, worker]) => worker), [2]);
    const all = drain(pool);
    assertEquals(all.length, 8);
    release(all);
    Atomics.store(beat, 1, 1);
    await computes;
  },
});

Deno.test({
  name:
    "a waiter gets its block of a Worker that takes and frees one all the while",
  ignore,
  fn: async () => {
    await using pool = sharedPool(SMALL);
    using worker = await Puppet.start(pool);
    const beat = new Int32Array(new SharedArrayBuffer(8));
    const wrong = worker.run(({ pool }, beat) => {
      let wrong = 0;
      Atomics.store(beat, 0, 1);
      Atomics.notify(beat, 0);
      while (Atomics.load(beat, 1) === 0) {
        for (let i = 0; i < 1000; i++) {
          const block = pool.tryAcquire();
          if (block === undefined) continue;
          if (block.bytes[0] !== 0) wrong++;
          block.bytes[0] = 1;
          block.release();
        }
      }
      return wrong;
    }, beat);
    await Atomics.waitAsync(beat, 0, 0).value;
    for (let round = 0; round < 20; round++) {
      const all = await pool.acquireMany(8);
      for (const { bytes } of all) {
        assertEquals(bytes[0], 0);
        bytes[0] = 2;
      }
      all[Symbol.dispose]();
    }
    Atomics.store(beat, 1, 1);
    assertEquals(await wrong, 0);
    await until(() => numbers(pool).acquiredBlocks === 0);
  },
});

Deno.test({
  name: "a cache in which its owner or a thief is at work is tried again",
  ignore,
  fn: async () => {
    await using pool = sharedPool(SMALL);
    const other = SharedBlockPool.attach(pool.handle);
    fill(other);
    const { words, ...control } = new Control(8, pool.handle.control);
    const at = Control.prototype.at.bind(control);
    for (const word of [WORKER.CACHE_BUSY, WORKER.CACHE_LOCK]) {
      words[at(2, word)] = 3;
      const some = drain(pool);
      assertEquals(some.length, 7);
      const waits = pool.acquire();
      assertEquals(numbers(pool).waiting, 1);
      words[at(2, word)] = 0;
      // By a retry, without a notification.
      release([await waits, ...some]);
      fill(other, 1, RETREAT + 8);
    }
    other.leave();
  },
});

Deno.test({
  name:
    "what a thief has opened its owner takes like all others, before the bit is gone",
  ignore,
  fn: async () => {
    await using pool = sharedPool(SMALL);
    const other = SharedBlockPool.attach(pool.handle);
    const { words } = new Control(8, pool.handle.control);
    const at = Control.prototype.at.bind(null);
    fill(other);
    const [[slot]] = cached(pool);
    release(drain(pool));
    assertEquals(cached(pool), []);
    // As in the middle of a theft.
    words[at(2, WORKER.CACHE_LOCK)] = 1;
    words[at(2, WORKER.CACHE_AT)] = slot >>> 5;
    words[at(2, WORKER.CACHE)] = 1 << (slot & 31);
    const all = drain(other);
    assertEquals(all.length, 8);
    words[at(2, WORKER.CACHE_LOCK)] = 0;
    assertEquals(other.tryAcquire(), undefined);
    assertEquals(words[at(2, WORKER.CACHE)], 0);
    release(all);
    other.leave();
  },
});

Deno.test({
  name: "what a theft was cut short of is done once the thief is found dead",
  ignore,
  fn: async () => {
    const stage = new Stage({ ...SMALL, initialBlocks: 8 });
    const { pool, control } = stage;
    const { attachment } = stage.neighbour();
    const lock = control.at(attachment.workerId, WORKER.CACHE_LOCK);
    const mask = control.at(attachment.workerId, WORKER.CACHE);
    fill(attachment);
    stage.third((thief) => {
      control.words[lock] = thief.workerId;
      // It is done with one slot that is another's by now.
      control.words[mask] |= 0b1000_0000;
    });
    const held = drain(pool);
    assertEquals(held.length, 7);
    pool.reclaim({});
    assertEquals(control.words[lock], 0);
    held.push(attachment.acquireSync());
    const taken = held.map(({ pointer }) => Deno.UnsafePointer.value(pointer));
    assertEquals(new Set(taken).size, 8);
    assertEquals(attachment.tryAcquire(), undefined);
    assertEquals(control.words[mask], 0);
    release(held);
    await stage.end();
  },
});

Deno.test({
  name:
    "what a dead worker had cached is free once it is found dead, and counted once",
  ignore,
  fn: async () => {
    await using pool = sharedPool({ maxBlocks: 64 });
    const control = new Control(64, pool.handle.control);
    const other = SharedBlockPool.attach(pool.handle);
    fill(other, 2);
    const block = other.acquireSync();
    assertEquals(cached(pool).length, 1);
    control.words[control.at(2, WORKER.THREAD)] = NO_THREAD;
    assertEquals(pool.reclaim({}), 1);
    assertEquals(cached(pool), []);
    whole(pool);
    assertEquals(control.words[control.at(2, WORKER.CACHE_QUOTA)], 0);
    const all = drain(pool);
    assertEquals(all.length, 64);
    release(all);
    assert(!block.released);
  },
});

Deno.test({
  name:
    "housekeeping gives back what is cached, also what a cut has left out of the mask",
  ignore,
  fn: async () => {
    using time = new FakeTime();
    const pool = sharedPool({ ...SMALL, shrinkIntervalMs: 100 });
    const control = new Control(8, pool.handle.control);
    fill(pool);
    assertEquals(cached(pool).length, 1);
    control.words[control.at(1, WORKER.CACHE)] = 0;
    time.tick(100);
    assertEquals(cached(pool), []);
    fill(pool);
    // A bit without a slot.
    control.words[control.at(1, WORKER.CACHE)] |= 0b1000_0000;
    const held = drain(pool);
    assertEquals(held.length, 8);
    assertEquals(
      new Set(held.map(({ pointer }) => Deno.UnsafePointer.value(pointer)))
        .size,
      8,
    );
    release(held);
    fill(pool);
    time.tick(100);
    assertEquals(cached(pool), []);
    whole(pool);
    await pool.close();
  },
});

Deno.test({
  name:
    "leaving and closing empty the caches, and the next of an id begins with none",
  ignore,
  fn: async () => {
    const pool = sharedPool(SMALL);
    for (let i = 0; i < 3; i++) {
      const other = SharedBlockPool.attach(pool.handle);
      fill(other);
      assertEquals(cached(pool).map(([, worker]) => worker), [2]);
      other.leave();
      assertEquals(cached(pool), []);
    }
    const last = SharedBlockPool.attach(pool.handle);
    fill(last);
    const closed = pool.close();
    await until(() => last.closed);
    await closed;
    assertEquals(numbers(pool).mappedBytes, 0);
  },
});

Deno.test({
  name: "a slot goes to all while a lower one is free",
  ignore,
  fn: async () => {
    await using pool = sharedPool({ maxBlocks: 64 });
    fill(pool, 2);
    const held = Array.from({ length: 40 }, () => pool.acquireSync());
    release(held.splice(0, 3));
    assertEquals(cached(pool).map(([slot]) => slot), [0, 1]);
    held.push(pool.acquireSync(), pool.acquireSync());
    release(held.splice(20, 1));
    assertEquals(cached(pool), []);
    release(held);
  },
});

/** This system's backend with another fence. */
function withFence(fence: Backend["fence"]): Disposable {
  const real = native();
  return replacing(
    new Proxy(real, {
      get(_, name) {
        const value = Reflect.get(real, name);
        if (name === "fence") return fence;
        return typeof value === "function" ? value.bind(real) : value;
      },
    }),
  );
}

Deno.test({
  name: "once others were short of blocks no worker caches for a while",
  ignore,
  fn: async () => {
    await using pool = sharedPool({ maxBlocks: 64 });
    const other = SharedBlockPool.attach(pool.handle);
    fill(other);
    fill(pool);
    release(drain(pool));
    for (const worker of [other, pool]) {
      // One of them has released 64 by now.
      fill(worker, 1, RETREAT - 64);
      assertEquals(cached(pool), [], "a fence for each");
    }
    for (const worker of [other, pool]) fill(worker, 1, 64 + 8);
    assertEquals(cached(pool).map(([, worker]) => worker).sort(), [1, 2]);
    other.leave();
  },
});

Deno.test({
  name: "a lower slot replaces what is cached, and is taken first",
  ignore,
  fn: async () => {
    await using pool = sharedPool(SMALL);
    fill(pool);
    const blocks = Array.from({ length: 4 }, () => pool.acquireSync());
    for (const slot of [3, 1, 2, 0]) blocks[slot]!.release();
    assertEquals(cached(pool), [[0, 1]]);
    const again = Array.from({ length: 4 }, () => pool.acquireSync());
    assertEquals(again.map((block) => slotOf(block)!.index), [0, 1, 2, 3]);
    release(again);
  },
});

Deno.test({
  name:
    "a lower slot that another worker has freed is taken before what is cached",
  ignore,
  fn: async () => {
    await using pool = sharedPool(SMALL);
    const other = SharedBlockPool.attach(pool.handle);
    const held = Array.from({ length: 3 }, () => other.acquireSync());
    fill(pool);
    assertEquals(cached(pool), [[3, 1]]);
    held[1]!.release();
    const block = pool.acquireSync();
    assertEquals(slotOf(block)!.index, 1);
    release([block, held[0]!, held[2]!]);
    other.leave();
  },
});

Deno.test({
  name: "without a fence, or with a reserve, nothing is cached",
  fn: async () => {
    const trial = async (options: Partial<SharedPoolOptions>) => {
      await using pool = sharedPool({ ...SMALL, ...options });
      fill(pool);
      assertEquals(cached(pool), []);
      const { words } = new Control(8, pool.handle.control);
      assertEquals(words[HEADER.CACHES], 0);
    };
    await trial({ reservedBlocks: 1 });
    {
      using _ = withFence(undefined);
      await trial({});
    }
    using _ = withFence(() => 1);
    await trial({});
  },
});

Deno.test({
  name:
    "a worker that is refused a fence takes nothing out of caches, and none is lost",
  ignore,
  fn: async () => {
    const fences = KEEPS_ORDER ? 1 : 3;
    let refusals = 0;
    let left = 0;
    const real = native().fence!;
    using _ = withFence(() => left-- === 0 ? (refusals++, 1) : real());
    left = -1;
    await using pool = sharedPool(SMALL);
    const other = SharedBlockPool.attach(pool.handle);
    for (const number of [0, 1, 2].slice(0, fences)) {
      fill(other, 1, RETREAT + 8);
      assertEquals(cached(pool).length, 1);
      left = number;
      const seen = drain(pool);
      left = -1;
      assertEquals(seen.length, number < 2 ? 7 : 8);
      seen.push(...drain(pool));
      assertEquals(seen.length, 8);
      release(seen);
    }
    assertEquals(refusals, fences);
    other.leave();
  },
});
