// An OS that says no: each call in turn, all from some moment on, or some at random. Whatever it
// refuses, the counts stay lawful, no byte is another lease's, and nothing stays mapped.

import {
  assert,
  assertEquals,
  assertGreater,
  assertInstanceOf,
} from "@std/assert";
import { FakeTime } from "@std/testing/time";
import {
  type Block,
  BlockPool,
  type PoolOptions,
  SmritiError,
} from "../../mod.ts";
import { type Call, FailingBackend } from "../support/failing_backend.ts";
import { gone, lawful } from "../support/invariants.ts";
import { takeAll } from "../support/misuse.ts";
import { hasNative } from "../support/platform.ts";
import { Rng, seedOfRun } from "../support/rng.ts";

const MINUTE = 60_000;

const SETTINGS: Record<string, Partial<PoolOptions>> = {
  "pages": {},
  "small blocks": { blockSize: 600, maxBlocks: 300, initialBlocks: 30 },
  "strict": { safety: "strict" },
  "strict small blocks": { safety: "strict", blockSize: 700, maxBlocks: 99 },
  "trust, a reserve": { safety: "trust", reservedBlocks: 3, initialBlocks: 9 },
  "prefault": { prefault: true },
  "one block": { maxBlocks: 1, initialBlocks: 1 },
};

/** Whether a block holds this byte; looks at one byte in 61. */
function holds({ bytes }: Block, byte: number): boolean {
  for (let at = 0; at < bytes.length; at += 61) {
    if (bytes[at] !== byte) return false;
  }
  return bytes.at(-1) === byte;
}

/** The life of a pool, with everything in it that asks the OS. */
async function life(options: Partial<PoolOptions>): Promise<BlockPool> {
  using time = new FakeTime();
  const pool = new BlockPool({
    blockSize: 4096,
    maxBlocks: 30,
    initialBlocks: 6,
    ...options,
  });
  const dirty = (blocks: Block[]) => {
    blocks.forEach((block, i) => {
      assert(holds(block, 0), "zero at the start");
      block.bytes.fill(i % 255 + 1);
    });
    blocks.forEach((block, i) => {
      assert(holds(block, i % 255 + 1), "nobody else's");
      block.release();
      lawful(pool);
    });
  };
  dirty(takeAll(pool));
  pool.trim();
  lawful(pool);
  dirty(takeAll(pool));
  for (let i = 0; i < 30; i++) {
    time.tick(MINUTE);
    lawful(pool);
  }
  const waits = [1, 2].map((count) =>
    pool.acquireMany(count, { timeoutMs: 500 })
  );
  // Time to be served, to try again, and to give up.
  time.tick(MINUTE);
  for (const wait of await Promise.allSettled(waits)) {
    if (wait.status === "fulfilled") dirty(wait.value);
  }
  const held = takeAll(pool);
  const closing = pool.close();
  for (const block of held) block.release();
  await closing;
  return pool;
}

/** Lives such a life under refusals, and looks at what it leaves. */
async function survives(
  options: Partial<PoolOptions>,
  fails: (call: Call, number: number) => boolean,
): Promise<FailingBackend> {
  using backend = new FailingBackend();
  backend.fails = fails;
  let pool: BlockPool | undefined;
  try {
    pool = await life(options);
  } catch (error) {
    // Only the constructor may say so.
    assertInstanceOf(error, SmritiError, `${error}`);
    assertEquals(error.code, "out-of-memory");
  }
  assertEquals(backend.violations, []);
  const isStuck = backend.made.some(({ call, failed }) =>
    call === "unmap" && failed
  );
  assertEquals(backend.mapped, isStuck ? 1 : 0, "ranges still mapped");
  if (pool === undefined) return backend;
  if (!isStuck) gone(pool);
  else assertGreater(lawful(pool).mappedBytes, 0);
  return backend;
}

const test = (name: string, fn: () => void | Promise<void>) =>
  Deno.test({ name, fn, ignore: !hasNative });

for (const [name, options] of Object.entries(SETTINGS)) {
  test(`a pool lives on when the OS refuses any one call: ${name}`, async () => {
    const { made } = await survives(options, () => false);
    assertGreater(made.length, 2);
    for (let at = 1; at <= made.length; at++) {
      await survives(options, (_call, number) => number === at);
    }
  });

  test(`a pool lives on when the OS refuses all from some call on: ${name}`, async () => {
    const { made } = await survives(options, () => false);
    for (let at = 1; at <= made.length; at++) {
      await survives(
        options,
        (call, number) => number >= at && call !== "unmap",
      );
    }
  });

  test(`a pool lives on when the OS refuses at random: ${name}`, async () => {
    const seed = seedOfRun();
    const rng = new Rng(seed);
    try {
      for (let round = 0; round < 12; round++) {
        await survives(options, (call) => call !== "map" && rng.chance(0.3));
      }
    } catch (error) {
      console.error(`SMRITI_SEED=${seed} runs this again`);
      throw error;
    }
  });
}
