// Far more slow uploads at once than the pool has blocks: each is answered right
// or refused clearly, and the pool never holds more than it may.
// SMRITI_SLOW_UPLOADS says how many; bench/io/report.ts does the same with the
// server in a process of its own and looks at its memory.

import {
  assert,
  assertEquals,
  assertGreater,
  assertGreaterOrEqual,
} from "@std/assert";
import { delay } from "@std/async";
import { BlockPool, SmritiError } from "@smriti/pool";
import { readBody } from "@smriti/pool/io";
import { lawful } from "../support/invariants.ts";
import { Client, pattern, serve } from "../support/uploads.ts";

const UPLOADS = Number(Deno.env.get("SMRITI_SLOW_UPLOADS") ?? 2000);
const BLOCKS = Math.ceil(UPLOADS * 256 / 2000);
const SIZE = 20_000;

Deno.test("uploads beyond the pool's blocks are answered right or refused with 503", async () => {
  using pool = new BlockPool({ blockSize: SIZE, maxBlocks: BLOCKS });
  await using server = serve(async (request) => {
    let block;
    try {
      block = await pool.acquire({ timeoutMs: 200 });
    } catch (error) {
      if (!(error instanceof SmritiError && error.code === "timeout")) {
        throw error;
      }
      await request.body?.cancel();
      return new Response("busy", { status: 503 });
    }
    try {
      const body = await readBody(request, block);
      return new Response(String(body!.reduce((sum, byte) => sum + byte, 0)));
    } finally {
      block.release();
    }
  });

  const statuses: number[] = [];
  const upload = async (seed: number) => {
    await delay(700 * seed / UPLOADS);
    using client = await Client.connect(server.addr);
    const body = pattern(SIZE, seed);
    // About 500 ms in a block each, so some of those who wait are served and others give up.
    const { status, text } = await client.upload(body, {
      piece: SIZE / 10,
      pauseMs: 45,
    });
    statuses.push(status);
    const sum = String(body.reduce((sum, byte) => sum + byte, 0));
    assertEquals([status, text], status === 503 ? [503, "busy"] : [200, sum]);
  };
  const uploads = Array.from({ length: UPLOADS }, (_, seed) => upload(seed));
  let running = true;
  const all = Promise.all(uploads).finally(() => running = false);
  while (running) {
    assert(lawful(pool).committedBlocks <= pool.maxBlocks);
    await delay(5);
  }
  await all;

  const refused = statuses.filter((status) => status === 503).length;
  assertEquals(statuses.length, UPLOADS);
  assertGreater(refused, 0, "the crowd was larger than the pool");
  // How many of those who waited were served in time is the machine's affair.
  assertGreaterOrEqual(UPLOADS - refused, BLOCKS, "the blocks were all used");
  const { acquiredBlocks, abandonedBlocks, waiting } = lawful(pool);
  assertEquals([acquiredBlocks, abandonedBlocks, waiting], [0, 0, 0]);
});
