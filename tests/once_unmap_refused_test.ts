// When the OS refused to unmap a closed pool, its pages stayed as well, though nobody could use them
// any more. Now they are given back where they are, and the numbers tell what is left.

import { assert, assertEquals, assertGreater } from "@std/assert";
import { BlockPool } from "../mod.ts";
import { type Call, FailingBackend } from "./support/failing_backend.ts";
import { lawful } from "./support/invariants.ts";
import { takeAll } from "./support/misuse.ts";
import "./support/open_library.ts";
import { hasNative } from "./support/platform.ts";

/** Closes a pool with a block out meanwhile, under an OS that refuses these calls from then on. */
async function closed(refuses: Call[]) {
  using backend = new FailingBackend();
  const pool = new BlockPool({
    blockSize: 16_384,
    maxBlocks: 8,
    initialBlocks: 4,
    name: "stuck",
  });
  const blocks = takeAll(pool);
  for (const block of blocks) block.bytes.fill(1);
  const last = blocks.pop()!;
  for (const block of blocks) block.release();
  backend.fails = (call) => refuses.includes(call);
  const before = backend.made.length;
  const ends: unknown[] = [];
  pool.addEventListener("close", ({ detail }) => ends.push(detail));
  const closing = pool.close();
  last.release();
  await closing;
  assertEquals(backend.violations, []);
  assertEquals(backend.mapped, 1);
  return { stats: lawful(pool), ends, made: backend.made.slice(before) };
}

Deno.test({
  name:
    "a pool that the OS will not unmap gives its pages back and still closes",
  ignore: !hasNative,
}, async () => {
  const { stats, ends, made } = await closed(["unmap"]);
  assertEquals(made.map(({ call }) => call).slice(-2), ["unmap", "decommit"]);
  assert(made.at(-1)!.size >= 8 * 16_384, "all of them");
  assertEquals([stats.committedBlocks, stats.committedBytes], [0, 0]);
  assertGreater(stats.mappedBytes, 0);
  const { mappedBytes } = stats;
  assertEquals(ends, [{ pool: "stuck", abandonedBlocks: 0, mappedBytes }]);
});

Deno.test({
  name:
    "a pool that the OS takes nothing back from says how much it still holds",
  ignore: !hasNative,
}, async () => {
  const { stats } = await closed(["unmap", "decommit"]);
  // Nobody can have these blocks any more: given up for good, and their bytes stay behind.
  assertEquals([stats.committedBlocks, stats.abandonedBlocks], [0, 8]);
  assertEquals([stats.committedBytes, stats.abandonedBytes], [0, 8 * 16_384]);
  assertGreater(stats.mappedBytes, 0);
});
