// An OS that refuses what takes the place of a block given up, or refuses to take its pages: the
// numbers agree with what has memory, those who wait are served later or refused, no byte is lost.

import { assert, assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import {
  type Block,
  BlockPool,
  type PoolOptions,
  SmritiError,
} from "../../mod.ts";
import { type Call, FailingBackend } from "../support/failing_backend.ts";
import { lawful } from "../support/invariants.ts";
import { rejected, takeAll } from "../support/misuse.ts";
import { hasNative } from "../support/platform.ts";
import { Rng, seedOfRun } from "../support/rng.ts";

const SIZE = 64 * 1024;
const FOUR: PoolOptions = {
  blockSize: SIZE,
  maxBlocks: 4,
  initialBlocks: 4,
  maxAbandonedBytes: Infinity,
};

const test = (name: string, fn: () => void | Promise<void>) =>
  Deno.test({ name, fn, ignore: !hasNative });

const interrupt = (block: Block) =>
  block.lend(Promise.reject(new Deno.errors.Interrupted())).catch(() => {});

/** Only these calls are refused from now on. */
function refuse(backend: FailingBackend, ...calls: Call[]): void {
  backend.fails = (call) => calls.includes(call);
}

test("a replacement without memory is counted, told, and made good later", async () => {
  using time = new FakeTime();
  using backend = new FailingBackend();
  const pool = new BlockPool(FOUR);
  const errors: unknown[] = [];
  pool.addEventListener("grow", ({ detail }) => errors.push(detail));
  const [a, b, ...others] = takeAll(pool);
  refuse(backend, "commit");
  a.abandon();
  const stats = lawful(pool);
  assertEquals([stats.committedBlocks, stats.capacityBlocks], [3, 4]);
  assertEquals([stats.growFailures, stats.abandonedBytes], [1, SIZE]);
  const [{ blocks, committedBlocks, error }] = errors as {
    blocks: number;
    committedBlocks: number;
    error: SmritiError;
  }[];
  assertEquals([blocks, committedBlocks, error.code], [0, 3, "out-of-memory"]);
  // Who waits is not refused: it may come, and the pool asks again.
  const waiter = pool.acquire();
  await time.runMicrotasks();
  assertEquals(pool.stats().waiting, 1);
  refuse(backend);
  time.tick(200);
  await time.runMicrotasks();
  (await waiter).release();
  // The one who comes next gets what was missing, too.
  refuse(backend, "commit");
  await interrupt(b);
  assertEquals(lawful(pool).committedBlocks, 3);
  refuse(backend);
  assertEquals(takeAll(pool).map((block) => block.release()).length, 2);
  for (const block of others) block.release();
  await pool.close();
  assertEquals(backend.violations, []);
});

test("a replacement without an address costs capacity, and those who wait in vain are told", async () => {
  using backend = new FailingBackend();
  const pool = new BlockPool(FOUR);
  const [a, b, ...others] = takeAll(pool);
  const hopeless = pool.acquireMany(4);
  const patient = pool.acquireMany(3);
  refuse(backend, "map");
  a.abandon();
  await rejected("exhausted", hopeless);
  const stats = lawful(pool);
  assertEquals([stats.capacityBlocks, stats.committedBlocks], [3, 3]);
  assertEquals([stats.waiting, stats.growFailures], [1, 1]);
  refuse(backend);
  // What is given up from now on has an address again.
  b.abandon();
  assertEquals(lawful(pool).capacityBlocks, 3);
  for (const block of others) block.release();
  (await patient)[Symbol.dispose]();
  await pool.close();
  assertEquals(backend.violations, []);
});

test("pages that the OS would not take stay, and count without using up the bound", async () => {
  using backend = new FailingBackend();
  const pool = new BlockPool({ ...FOUR, maxAbandonedBytes: SIZE });
  const [a, b, ...others] = takeAll(pool);
  refuse(backend, "decommit");
  await interrupt(a);
  await interrupt(b);
  const stats = lawful(pool);
  assertEquals([stats.abandonedBytes, stats.capacityBlocks], [2 * SIZE, 4]);
  refuse(backend);
  others.pop()!.abandon();
  assertEquals(lawful(pool).abandonedBytes, 3 * SIZE);
  assertEquals(lawful(pool).capacityBlocks, 4);
  others.pop()!.abandon();
  assertEquals(lawful(pool).capacityBlocks, 3);
  assertEquals(backend.committedBytes, (3 + 4) * SIZE);
  await pool.close();
  assertEquals(backend.violations, []);
});

test("a page of small blocks that the OS would not take goes on counting", async () => {
  using backend = new FailingBackend();
  const { pageSize } = backend.abilities;
  const count = pageSize / 512;
  const options = { blockSize: 512, maxBlocks: count, initialBlocks: count };
  const pool = new BlockPool(options);
  refuse(backend, "decommit");
  for (const block of takeAll(pool)) await interrupt(block);
  assertEquals(lawful(pool).abandonedBytes, pageSize);
  refuse(backend);
  for (const block of takeAll(pool)) await interrupt(block);
  assertEquals(lawful(pool).abandonedBytes, pageSize);
  assertEquals(takeAll(pool).map((block) => block.release()).length, count);
  await pool.close();
  assertEquals(backend.violations, []);
});

test("close() gives the pages between back where the OS keeps the addresses", async () => {
  using backend = new FailingBackend();
  const pool = new BlockPool({ ...FOUR, maxBlocks: 12, initialBlocks: 12 });
  const blocks = takeAll(pool);
  const { bytes } = blocks[5];
  for (const block of blocks) block.bytes.fill(8);
  blocks[5].abandon();
  for (const block of blocks) block.release();
  refuse(backend, "unmap");
  await pool.close();
  const { mappedBytes, abandonedBytes, abandonedBlocks } = lawful(pool);
  assertEquals([abandonedBytes, abandonedBlocks], [SIZE, 1]);
  // All there was: the twelve and the range of the one that took the place.
  assertEquals(mappedBytes, 13 * SIZE);
  assertEquals(backend.committedBytes, SIZE);
  assert(bytes.every((byte) => byte === 8));
  assertEquals(backend.violations, []);
});

test("close() counts what the OS takes neither by address nor by page", async () => {
  using backend = new FailingBackend();
  const pool = new BlockPool({ ...FOUR, maxBlocks: 12, initialBlocks: 12 });
  const blocks = takeAll(pool);
  blocks[5].abandon();
  for (const block of blocks) block.release();
  refuse(backend, "unmap", "decommit");
  await pool.close();
  const { abandonedBytes, abandonedBlocks, committedBytes } = lawful(pool);
  assertEquals([abandonedBytes, abandonedBlocks], [13 * SIZE, 13]);
  assertEquals([committedBytes, backend.committedBytes], [0, 13 * SIZE]);
  assertEquals(backend.violations, []);
});

/** Whether it has this byte; looks at one in 61. */
function holds(bytes: Uint8Array, byte: number): boolean {
  for (let at = 0; at < bytes.length; at += 61) {
    if (bytes[at] !== byte) return false;
  }
  return bytes.length > 0;
}

/** A life with losses of every kind; looks at the numbers after each. */
async function life(
  backend: FailingBackend,
  options: Partial<PoolOptions>,
): Promise<void> {
  using time = new FakeTime();
  const pool = new BlockPool({
    blockSize: 16_384,
    maxBlocks: 9,
    initialBlocks: 3,
    ...options,
  });
  const outs: [Uint8Array, number][] = [];
  let number = 0;
  const hasOwnPages = pool.blockSize % backend.abilities.pageSize === 0;
  const check = () => {
    const { committedBytes, abandonedBytes, mappedBytes } = lawful(pool);
    const told = committedBytes + abandonedBytes;
    if (hasOwnPages) assertEquals(told, backend.committedBytes);
    else assert(told <= backend.committedBytes);
    assert(mappedBytes >= told);
    for (const [out, byte] of outs) {
      assert(holds(out, byte), "somebody's bytes");
    }
  };
  const lose = async (block: Block, way: number) => {
    const byte = number = number % 250 + 1;
    assert(holds(block.bytes, 0), "zero at the start");
    block.bytes.fill(byte);
    if (way % 5 === 0) await interrupt(block);
    else if (way % 5 === 1) {
      outs.push([block.bytes, byte]);
      block.abandon();
    } else if (way % 5 === 2) {
      const { bytes } = block;
      outs.push([
        structuredClone(bytes, { transfer: [bytes.buffer] }),
        byte,
      ]);
      block.release();
    } else block.release();
    check();
  };
  check();
  for (let round = 0; round < 4; round++) {
    const settled = Promise.allSettled(
      [1, 2].map((count) => pool.acquireMany(count, { timeoutMs: 500 })),
    );
    const blocks = takeAll(pool);
    for (const [way, block] of blocks.entries()) await lose(block, way + round);
    time.tick(60_000);
    await time.runMicrotasks();
    check();
    for (const wait of await settled) {
      if (wait.status === "rejected") {
        assert(wait.reason instanceof SmritiError, `${wait.reason}`);
        continue;
      }
      for (const [way, block] of wait.value.entries()) {
        await lose(block, way + round);
      }
    }
    pool.trim();
    check();
  }
  await pool.close();
  check();
}

/** Lives such a life under refusals. */
async function survives(
  options: Partial<PoolOptions>,
  fails: FailingBackend["fails"],
): Promise<number> {
  using backend = new FailingBackend();
  backend.fails = fails;
  try {
    await life(backend, options);
  } catch (error) {
    // Only the constructor may say so.
    if (!(error instanceof SmritiError)) throw error;
    assertEquals(error.code, "out-of-memory");
  }
  assertEquals(backend.violations, []);
  return backend.made.length;
}

const SETTINGS: Record<string, Partial<PoolOptions>> = {
  "pages": {},
  "all is kept": { maxAbandonedBytes: Infinity, initialBlocks: 9 },
  "nothing heals": { maxAbandonedBytes: 0 },
  "strict": { safety: "strict", maxAbandonedBytes: Infinity },
  "trust": { safety: "trust", reservedBlocks: 2 },
  "small blocks": { blockSize: 700, maxBlocks: 100, initialBlocks: 3 },
};

for (const [name, options] of Object.entries(SETTINGS)) {
  test(`losses and a refusal of any one call leave all consistent: ${name}`, async () => {
    const count = await survives(options, () => false);
    for (let at = 1; at <= count; at++) {
      await survives(options, (_, number) => number === at);
    }
  });

  test(`losses and refusals from some call on leave all consistent: ${name}`, async () => {
    const count = await survives(options, () => false);
    for (let at = 1; at <= count; at += 4) {
      await survives(options, (_, number) => number >= at);
    }
  });

  test(`losses and refusals at random leave all consistent: ${name}`, async () => {
    const seed = seedOfRun();
    const rng = new Rng(seed);
    try {
      for (let round = 0; round < 12; round++) {
        await survives(options, () => rng.chance(0.3));
      }
    } catch (error) {
      console.error(`SMRITI_SEED=${seed} runs this again`);
      throw error;
    }
  });
}
