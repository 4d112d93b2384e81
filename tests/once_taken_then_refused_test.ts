// A waiter was aborted after a block had been taken for it, where the end of the stack had come before
// the block was handed over: the waiter was refused, and nobody had the block.

import { assertEquals } from "@std/assert";
import { type Block, BlockPool, type Pool } from "../mod.ts";
import { SharedBlockPool } from "../shared/mod.ts";
import { hasNative } from "./support/platform.ts";

const OPTIONS = {
  blockSize: 64,
  maxBlocks: 4,
  initialBlocks: 4,
  reservedBlocks: 1,
};

const POOLS = {
  BlockPool: () => new BlockPool(OPTIONS),
  SharedBlockPool: () => SharedBlockPool.create(OPTIONS),
};

/** What lets a waiter go, in the very turn in which it is served. */
const REFUSALS: Record<
  string,
  (controller: AbortController, pool: Pool, held: Block[]) => void
> = {
  abort: (controller) => controller.abort(),
  "too few are left": (_, pool, held) => {
    for (const block of held) block.abandon();
    pool.tryAcquire({ reserved: true })!.abandon();
  },
};

const { Promise: RealPromise } = globalThis;

/** Runs an acquire whose promise cannot be resolved the first time. */
function unresolved<T>(acquire: () => T): T {
  let isFirst = true;
  globalThis.Promise = class<V> extends RealPromise<V> {
    constructor(
      executor: ConstructorParameters<typeof RealPromise<V>>[0],
    ) {
      super((resolve, reject) =>
        executor((value) => {
          if (isFirst) {
            isFirst = false;
            throw new RangeError("Maximum call stack size exceeded");
          }
          resolve(value);
        }, reject)
      );
    }
  } as typeof RealPromise;
  try {
    return acquire();
  } finally {
    globalThis.Promise = RealPromise;
  }
}

for (const [kind, make] of Object.entries(POOLS)) {
  for (const [why, refuse] of Object.entries(REFUSALS)) {
    Deno.test({
      name:
        `${kind}: what was taken for a waiter is its own, whatever comes then: ${why}`,
      ignore: kind === "SharedBlockPool" && !hasNative,
      fn: async () => {
        const pool = make();
        const [first, second, ...held] = await pool.acquireMany(4, {
          reserved: true,
        });
        const controller = new AbortController();
        const { signal } = controller;
        const waits = unresolved(() => pool.acquire({ signal }));
        first.release();
        second.release();
        refuse(controller, pool, held);
        const block = await waits;
        for (const each of held) each[Symbol.dispose]();
        assertEquals(pool.stats().acquiredBlocks, 1);
        block.release();
        assertEquals(pool.stats().acquiredBlocks, 0);
        await pool.close();
      },
    });
  }
}
