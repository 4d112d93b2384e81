// Once: "once per place that acquired it" counts the tag as part of the place.
// With a tag per request, as the README shows, every leak is reported, beyond
// 1 000 places also those reported before.

import { assertEquals } from "@std/assert";
import { survives } from "./support/child.ts";

Deno.test("a place that leaks is reported once, whatever tags it gives", async () => {
  const lines = await survives(async ({ BlockPool }) => {
    const { gc } = globalThis as unknown as { gc: () => void };
    const pool = new BlockPool({
      blockSize: 64,
      maxBlocks: 50,
      leakDetection: "all",
    });
    let events = 0;
    pool.addEventListener("leak", () => events++);
    for (let i = 0; i < 50; i++) pool.tryAcquire({ tag: `request ${i}` });
    for (let i = 0; i < 5; i++) {
      await new Promise((resolve) => setTimeout(resolve, 2));
      gc();
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
    console.log(pool.stats().leaks, events);
  }, ["--v8-flags=--expose-gc"]);
  assertEquals(lines, ["50 1"]);
});
