// Once: Dispatcher.#pump() serves waiters from what is free and never grows.
// When the pool shrinks while somebody waits for many blocks, he waits for ever,
// and all behind him, though the pool may grow.

import { assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { BlockPool } from "@smriti/pool";
import { takeAll } from "./support/misuse.ts";
import "./support/open_library.ts";

Deno.test(
  "acquireMany() that waits is served after trim() took what was free",
  async () => {
    using pool = new BlockPool({
      blockSize: 4096,
      maxBlocks: 2,
      initialBlocks: 1,
    });
    const [a, b] = takeAll(pool);
    const both = pool.acquireMany(2);
    both.catch(() => {});
    b.release();
    pool.trim();
    a.release();
    assertEquals(pool.stats().waiting, 0);
    (await both)[Symbol.dispose]();
  },
);

Deno.test(
  "acquireMany() that waits is served after the pool has shrunk by itself",
  async () => {
    using time = new FakeTime();
    using pool = new BlockPool({
      blockSize: 4096,
      maxBlocks: 100,
      initialBlocks: 10,
      stallMs: Infinity,
    });
    const blocks = takeAll(pool);
    const most = pool.acquireMany(90);
    most.catch(() => {});
    for (const block of blocks.splice(20)) block.release();
    // 80 of 100 stay free: idle, says the timer, and gives back step by step.
    for (let minute = 0; minute < 10; minute++) time.tick(60_000);
    for (const block of blocks) block.release();
    assertEquals(pool.stats().waiting, 0);
    (await most)[Symbol.dispose]();
  },
);
