// A block in quarantine that the OS would not make accessible again at the first try was not tried
// again before somebody released another one. With nothing else out, whoever waited did so for ever.

import { assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { BlockPool } from "../mod.ts";
import { FailingBackend } from "./support/failing_backend.ts";
import { gone, lawful } from "./support/invariants.ts";
import "./support/open_library.ts";
import { hasNative } from "./support/platform.ts";

Deno.test({
  name: "a waiter is served from quarantine once the OS allows it again",
  ignore: !hasNative,
}, async () => {
  using time = new FakeTime();
  using backend = new FailingBackend();
  const pool = new BlockPool({
    blockSize: 16_384,
    maxBlocks: 1,
    safety: "strict",
  });
  const block = pool.acquireSync();
  block.bytes[0] = 1;
  block.release();
  assertEquals(lawful(pool).quarantinedBlocks, 1);
  backend.fails = (call) => call === "protect";
  const waiting = pool.acquire();
  await time.tickAsync(1_000);
  assertEquals(lawful(pool).waiting, 1);
  backend.fails = () => false;
  await time.tickAsync(1_000);
  assertEquals(lawful(pool).waiting, 0);
  (await waiting).release();
  await pool.close();
  gone(pool);
  assertEquals(backend.violations, []);
});
