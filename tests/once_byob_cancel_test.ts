// Once: reader.cancel() during a BYOB read ends it with `{ done: true, value:
// undefined }`: no error, and the buffer is dead. On a socket nothing writes to
// it any more, so the block need not be lost; lend() now takes it for a buffer
// that somebody kept. (A gap of the design, found by this test.)

import { assertEquals } from "@std/assert";
import { delay } from "@std/async";
import { BlockPool } from "@smriti/pool";
import "./support/open_library.ts";
import { wire } from "./support/connections.ts";

Deno.test("a BYOB read of a socket that is cancelled gives the block back", async () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  using net = await wire();
  const block = pool.acquireSync();
  const reader = net.ours.readable.getReader({ mode: "byob" });
  const read = block.lend((bytes) => reader.read(bytes), { socket: true });
  await delay(2);
  await reader.cancel();
  assertEquals(await read, { done: true, value: undefined });
  block.release();
  assertEquals(pool.stats().abandonedBlocks, 0);
});
