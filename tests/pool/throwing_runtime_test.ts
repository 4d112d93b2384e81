// Whatever of the runtime can throw throws, at each of its calls in turn: a call of the pool happens or
// does not, nothing is lost, and the pool goes on.

import {
  assert,
  assertEquals,
  assertGreater,
  assertRejects,
} from "@std/assert";
import {
  type Block,
  BlockPool,
  type Pool,
  type PoolOptions,
  SmritiError,
} from "../../mod.ts";
import { SharedBlockPool } from "../../shared/mod.ts";
import { failing, Refused } from "../support/failing_runtime.ts";
import { lawful } from "../support/invariants.ts";
import { hasNative } from "../support/platform.ts";

/** The block's buffer leaves; by nothing that fails. */
const takeOut = ({ bytes }: Block): Uint8Array =>
  structuredClone(bytes, { transfer: [bytes.buffer] });

interface Scene {
  readonly pool: BlockPool;
  /** Written to, and held. */
  readonly block: Block;
}

type Act = (scene: Scene) => unknown;

const ACTS: Record<string, Act> = {
  tryAcquire: ({ pool }) => pool.tryAcquire(),
  "tryAcquire, tagged": ({ pool }) => pool.tryAcquire({ tag: "a" }),
  acquire: ({ pool }) => pool.acquire({ timeoutMs: 5 }),
  acquireMany: ({ pool }) => pool.acquireMany(2, { timeoutMs: 5 }),
  "acquire with a signal": ({ pool }) =>
    pool.acquire({ signal: new AbortController().signal, timeoutMs: 5 }),
  use: ({ pool }) => pool.use((block) => void block.bytes, { timeoutMs: 5 }),
  bytes: ({ block }) => void block.bytes,
  release: ({ block }) => block.release(),
  abandon: ({ block }) => block.abandon(),
  "release, buffer away": ({ block }) => {
    takeOut(block);
    block.release();
  },
  "lend, interrupted": ({ block }) =>
    block.lend(Promise.reject(new Deno.errors.Interrupted())).catch(() => {}),
  "bytes, healed": ({ block }) => {
    structuredClone(block.bytes.buffer, { transfer: [block.bytes.buffer] });
    void block.bytes;
  },
  "lend, taken along and failed": ({ block }) =>
    block.lend((bytes) => {
      bytes.buffer.transfer(0);
      throw new Error("reset");
    }, { socket: true }).catch(() => {}),
  "lend, brought back": ({ block }) =>
    block.lend((bytes) => new Uint8Array(bytes.buffer.transfer())),
  "reattach after healing failed": ({ block }) => {
    const out = takeOut(block);
    try {
      void block.bytes;
      block.reattach(out);
    } catch (error) {
      block.reattach(out);
      throw error;
    }
  },
  reattach: ({ block }) => block.reattach(takeOut(block)),
  trim: ({ pool }) => pool.trim(),
  dispose: ({ pool }) => pool[Symbol.dispose](),
};

const OPTIONS: PoolOptions = {
  blockSize: 4096,
  maxBlocks: 6,
  initialBlocks: 3,
};

const VARIANTS: readonly [string, Partial<PoolOptions>, waits: boolean][] = [
  ["with free blocks", { leakDetection: "all" }, false],
  ["while others wait", { maxBlocks: 3 }, true],
  ["under trust", { safety: "trust" }, false],
  ["in strict mode", { safety: "strict" }, false],
  ["on the heap", { backend: "heap" }, false],
];

function blocksIn(result: unknown): Block[] {
  return [result].flat().filter((one): one is Block =>
    typeof one === "object" && one !== null && "lend" in one
  );
}

async function trial(
  act: Act,
  options: PoolOptions,
  waits: boolean,
  number: number,
  where: string,
): Promise<boolean> {
  const pool = new BlockPool(options);
  // Grown by one, so that there is something to trim, and with views of free slots.
  const first = Array.from({ length: 3 }, () => pool.acquireSync());
  for (const block of first) block.bytes[0] = 1;
  if (!waits) first.splice(1).forEach((block) => block.release());
  const [block] = first;
  const waiting = waits ? pool.acquire() : undefined;
  const served = waiting?.catch(() => undefined);
  const { count, result, error } = await failing(
    number,
    () => act({ pool, block }),
  );
  if (error !== undefined) {
    const isKnown = error instanceof SmritiError || error instanceof Refused ||
      error instanceof Deno.errors.NotCapable || error instanceof DOMException;
    assert(isKnown, `${where}: ${error}`);
  }
  const got = blocksIn(result);
  const out = new Set([...got, ...first].filter((each) => !each.released));
  // What waits may have been served in this very turn.
  const taken = pool.stats().acquiredBlocks;
  assert(taken === out.size || (waits && taken === out.size + 1), where);
  lawful(pool);
  for (const each of out) each.release();
  (await served)?.release();
  assertEquals(lawful(pool).acquiredBlocks, 0, where);
  assertEquals(pool.stats().waiting, 0, where);
  if (where.includes("after healing failed")) {
    assertEquals(pool.stats().abandonedBlocks, 0, where);
  }
  if (!pool.closed) {
    const { abandonedBlocks, capacityBlocks, maxBlocks } = pool.stats();
    // One block may be kept beside the pool; on the heap none needs to be.
    const lost = pool.backend === "heap" ? 0 : Math.max(0, abandonedBlocks - 1);
    assertEquals(capacityBlocks, maxBlocks - lost, where);
    if (options.safety !== "strict") {
      const all = await pool.acquireMany(capacityBlocks, { timeoutMs: 5 });
      for (const each of all) {
        assertEquals(each.bytes.findIndex((byte) => byte !== 0), -1, where);
        each.release();
      }
    }
  }
  await pool.close();
  return count > number;
}

for (const [title, variant, waits] of VARIANTS) {
  Deno.test({
    name: `a runtime that throws at any call cuts no call in two ${title}`,
    ignore: !hasNative,
    fn: async () => {
      let trials = 0;
      for (const [name, act] of Object.entries(ACTS)) {
        for (let number = 0;; number++) {
          const where = `${title}, ${name}, call ${number}`;
          trials++;
          const options = { ...OPTIONS, ...variant };
          if (!await trial(act, options, waits, number, where)) break;
        }
      }
      assertGreater(trials, 25);
    },
  });
}

// A waiter that is aborted after a block was taken for it, where the stack ended before the block was
// handed over, still gets the block.

const RESERVING = {
  blockSize: 64,
  maxBlocks: 4,
  initialBlocks: 4,
  reservedBlocks: 1,
};

const KINDS = {
  BlockPool: () => new BlockPool(RESERVING),
  SharedBlockPool: () => SharedBlockPool.create(RESERVING),
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

for (const [kind, make] of Object.entries(KINDS)) {
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

for (const [kind, make] of Object.entries(KINDS)) {
  Deno.test({
    name: `${kind}: blocks that no promise could deliver go back`,
    ignore: kind === "SharedBlockPool" && !hasNative,
    fn: async () => {
      const pool = make();
      const acquires = {
        acquire: () => pool.acquire({ tag: "a" }),
        acquireMany: () => pool.acquireMany(2),
      };
      for (const [name, acquire] of Object.entries(acquires)) {
        const { resolve } = RealPromise;
        RealPromise.resolve = () => {
          throw new RangeError("Maximum call stack size exceeded");
        };
        let acquired: Promise<unknown>;
        try {
          acquired = acquire();
        } finally {
          RealPromise.resolve = resolve;
        }
        await assertRejects(() => acquired, RangeError);
        // The next call that would miss them puts them back.
        const all = await pool.acquireMany(pool.maxBlocks, {
          reserved: true,
          timeoutMs: 1000,
        });
        all[Symbol.dispose]();
        assertEquals(pool.stats().acquiredBlocks, 0, name);
      }
      await pool.close();
    },
  });
}
