// Once: `Closing.check()` rejects its promise with `corrupted` even if nobody has asked for it: a
// strict pool that ends by `using` then ends the process by an unhandled rejection, though all that
// happened is a late write that was found. Fix: when `wait()` was never called, mark the promise as
// handled (`this.#done.promise.catch(() => {})`; a later `close()` still gets the error) and tell it
// by `console.error`. to strict_test.ts.

import { assertEquals } from "@std/assert";
import { survives } from "./support/child.ts";
import { canRunDeno, hasNative } from "./support/platform.ts";

Deno.test({
  name: "the end of a using scope with a late write unreported ends no process",
  ignore: !hasNative || !canRunDeno,
}, async () => {
  const lines = await survives(async ({ BlockPool }) => {
    {
      using pool = new BlockPool({
        blockSize: 256,
        maxBlocks: 8,
        safety: "strict",
      });
      const block = pool.acquireSync();
      const late = new Uint8Array(
        Deno.UnsafePointerView.getArrayBuffer(block.pointer, 256),
      );
      block.release();
      late[3] = 7;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
    console.log("alive");
  });
  assertEquals(lines, ["alive"]);
});
