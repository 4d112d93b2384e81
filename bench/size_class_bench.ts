/**
 * What eight size classes add to an acquire: the same block asked for by size, and of its own pool.
 */
import { BlockPool, SizeClassPool } from "@smriti/pool";

const OPTIONS = { blockSize: 65_536, maxBlocks: 64 };
const SIZES = [256, 512, 1024, 4096, 8192, 16_384, OPTIONS.blockSize, 131_072];

const plain = new BlockPool(OPTIONS);
const classes = new SizeClassPool(
  SIZES.map((blockSize) => ({ ...OPTIONS, blockSize })),
);

const acquire = "acquire, 1000 operations";
Deno.bench("BlockPool", { group: acquire, baseline: true }, async () => {
  for (let i = 0; i < 1000; i++) (await plain.acquire()).release();
});
Deno.bench("SizeClassPool", { group: acquire }, async () => {
  for (let i = 0; i < 1000; i++) (await classes.acquire(60_000)).release();
});

const tryAcquire = "tryAcquire, 1000 operations";
Deno.bench("BlockPool", { group: tryAcquire, baseline: true }, () => {
  for (let i = 0; i < 1000; i++) plain.tryAcquire()!.release();
});
Deno.bench("SizeClassPool", { group: tryAcquire }, () => {
  for (let i = 0; i < 1000; i++) classes.tryAcquire(60_000)!.release();
});
