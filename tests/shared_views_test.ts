// The views that an isolate keeps of a shared pool: no more of them than V8's collector can bear, whatever
// has become of their blocks.

import { assertEquals } from "@std/assert";
import { survives } from "./support/child.ts";
import { canRunDeno, hasNative } from "./support/platform.ts";

const SHARED = new URL("../shared/mod.ts", import.meta.url).href;

Deno.test({
  name: "an isolate keeps views of a shared pool up to a budget, sealed all",
  ignore: !canRunDeno || !hasNative,
}, async () => {
  const told = await survives(
    async (_, shared) => {
      const { SharedBlockPool }: typeof import("../shared/mod.ts") =
        await import(shared);
      const { gc } = globalThis as unknown as { gc: () => void };
      // A gigabyte of views, at a heap limit of half of that.
      const pool = SharedBlockPool.create({
        blockSize: 2 ** 24,
        maxBlocks: 64,
        zero: false,
      });
      const other = SharedBlockPool.attach(pool.handle);
      /** ViewBudget in units of a quarter of the heap limit, about. */
      const views = () => {
        gc();
        return Math.floor(Deno.memoryUsage().external / 2 ** 27.5);
      };
      const blocks = await pool.acquireMany(64);
      for (const [i, { bytes }] of blocks.entries()) bytes[0] = i;
      console.log("in use", views());
      const numbers = pool.detachMany(blocks);
      console.log("sent", views());
      // The housekeeping finds them.
      await new Promise((resolve) => setTimeout(resolve, 600));
      console.log("looked after", views());
      const there = other.adoptMany(numbers);
      console.log(there.every(({ bytes }, i) => bytes[0] === i));
      for (const block of there) block.release();
      console.log("released", views());
      const again = await pool.acquireMany(64);
      for (const block of again) block.bytes[0] = 1;
      for (const block of again) block.release();
      console.log("again", views());
      pool.seal();
      await new Promise((resolve) => setTimeout(resolve, 600));
      console.log("sealed", views());
      other.leave();
      await pool.close();
      console.log("closed", views());
    },
    ["--v8-flags=--expose-gc,--max-old-space-size=512"],
    [SHARED],
  );
  assertEquals(told, [
    "in use 5",
    "sent 5",
    "looked after 0",
    "true",
    "released 0",
    "again 0",
    "sealed 5",
    "closed 0",
  ]);
});
