// A program's own tests, as they may be: pools that live as long as the module, and as long as a test.
// `users_test.ts` runs this with the sanitizers on, and without a preload.

import { BlockPool, type PoolOptions, SizeClassPool } from "../../../mod.ts";
import { SharedBlockPool } from "../../../shared/mod.ts";

const MS = 20;
const size: PoolOptions = {
  blockSize: 65_536,
  maxBlocks: 400,
  initialBlocks: 4,
};

const grows = new BlockPool({ ...size, shrinkIntervalMs: MS });
const faults = new BlockPool({ ...size, prefault: true, shrinkIntervalMs: MS });
const huge = new BlockPool({ ...size, prefault: true, hugePages: true });
const overdue = new BlockPool({ ...size, overdueMs: MS });
const strict = new BlockPool({ ...size, maxBlocks: 40, safety: "strict" });
const heap = new BlockPool({ ...size, backend: "heap", shrinkIntervalMs: MS });
const classes = new SizeClassPool([size, { ...size, blockSize: 4096 }]);
const shared = SharedBlockPool.create({ ...size, shrinkIntervalMs: MS });
// Deno has the locks from 2.9 on.
const joined = "locks" in navigator
  ? { joined: await SharedBlockPool.join("sanitized", size) }
  : {};
const all = { grows, faults, huge, overdue, strict, heap, shared, ...joined };

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function test(name: string, fn: () => void | Promise<void>): void {
  Deno.test({
    name,
    fn,
    sanitizeExit: true,
    sanitizeOps: true,
    sanitizeResources: true,
  });
}

for (const [name, pool] of Object.entries(all)) {
  const { maxBlocks } = pool;
  test(`${name} grows and is left`, () => {
    const blocks = Array.from({ length: maxBlocks }, () => pool.acquireSync());
    for (const block of blocks) block.bytes[0] = 1;
    for (const block of blocks) block.release();
  });
  test(`${name} is trimmed`, () => {
    pool.trim();
  });
  test(`${name} grows again`, async () => {
    const blocks = await pool.acquireMany(maxBlocks);
    blocks[Symbol.dispose]();
  });
  test(`${name} shrinks by itself meanwhile`, async () => {
    await sleep(2 * MS);
  });
  test(`${name} lets somebody wait`, async () => {
    const blocks = await pool.acquireMany(maxBlocks, { timeoutMs: 5000 });
    const waits = pool.acquire({ timeoutMs: 5000 });
    blocks[Symbol.dispose]();
    (await waits).release();
  });
  test(`${name} lets somebody wait in vain`, async () => {
    const blocks = await pool.acquireMany(maxBlocks);
    const waits = pool.acquire({ timeoutMs: MS });
    await waits.then(() => {
      throw new Error("there was a block");
    }, () => {});
    blocks[Symbol.dispose]();
  });
}

test("a block is held for longer than overdueMs", async () => {
  using _block = overdue.acquireSync();
  await sleep(3 * MS);
});

test("size classes grow", async () => {
  const blocks = Array.from({ length: 300 }, () => classes.tryAcquire(5000)!);
  for (const block of blocks) block.release();
  await sleep(MS);
});

for (const [name, pool] of Object.entries({ ...all, classes })) {
  test(`${name} closes`, async () => {
    await pool.close();
  });
}

for (const prefault of [true, false]) {
  test(`a pool for a test, prefault ${prefault}`, async () => {
    await using pool = new BlockPool({ ...size, prefault, overdueMs: MS });
    const blocks = await pool.acquireMany(size.maxBlocks);
    blocks[Symbol.dispose]();
  });
}

test("a shared pool for a test", async () => {
  await using pool = SharedBlockPool.create(size);
  const blocks = await pool.acquireMany(size.maxBlocks);
  const [first, ...others] = blocks;
  for (const block of others) block.release();
  pool.adopt(first.detach()).release();
});

test("a joined pool for a test", async () => {
  if (!("locks" in navigator)) return;
  await using pool = await SharedBlockPool.join("for a test", size);
  using block = await pool.acquire();
  block.bytes[0] = 1;
});

test("a pool for a test, with a listener and a lend", async () => {
  await using pool = new BlockPool(size);
  pool.addEventListener("grow", () => {});
  using block = await pool.acquire();
  await block.lend(Promise.resolve(1));
});

// More than any machine has: both are told in the turn after they were made, whichever test that is in.
const large: PoolOptions = { blockSize: 2 ** 30, maxBlocks: 2 ** 14 };
const oversized = new BlockPool({ ...large, initialBlocks: 1 });
test("an oversized pool closes", async () => {
  await oversized.close();
});
test("an oversized pool for a test", () => {
  using _told = new BlockPool({ ...large, initialBlocks: 1 });
  const untold = new BlockPool({ ...large, initialBlocks: 1 });
  untold.addEventListener("oversized", () => untold[Symbol.dispose]());
});

test("control: what a sanitizer finds", () => {
  if (Deno.env.has("SMRITI_CONTROL")) setTimeout(() => {}, 1e6);
});
