// Run with OTEL_DENO=true by tests/otel/observe_test.ts: shows two pools to Deno's own telemetry, prints
// their stats(), and at each line of its standard input takes the next step.

import { BlockPool, SizeClassPool } from "@smriti/pool";
import { observePool } from "@smriti/pool/otel";

const pool = new BlockPool({
  blockSize: 100,
  maxBlocks: 10,
  initialBlocks: 2,
  reservedBlocks: 1,
  maxAbandonedBytes: 0,
  name: 'up "loads"\\',
  backend: "auto",
});
const sized = new SizeClassPool([
  { blockSize: 64, maxBlocks: 4, backend: "auto" },
  { blockSize: 4096, maxBlocks: 4, name: "large", backend: "auto" },
]);
const observers = [observePool(pool), observePool(sized)];

const blocks = Array.from({ length: 9 }, () => pool.acquireSync());
blocks[0].abandon();
blocks[1].release();
blocks[1] = pool.acquireSync();
const settle = Promise.withResolvers<void>();
const lent = blocks[2].lend(settle.promise);
const waiter = pool.acquire();
await pool.acquire({ timeoutMs: 1 }).catch(() => {});
const small = await sized.acquire(10);
const large = await sized.acquire(65);

const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream())
  .getReader();
const tell = (value: unknown) => console.log(JSON.stringify(value));

tell([pool.stats(), ...sized.stats()]);
await lines.read();

blocks[3].release();
(await waiter).release();
settle.resolve();
await lent;
for (const block of blocks) block[Symbol.dispose]();
tell([pool.stats(), ...sized.stats()]);
await lines.read();

for (const observer of observers) observer[Symbol.dispose]();
tell([]);
await lines.read();
small.release();
large.release();
await sized.close();
