// Once: a signal whose addEventListener throws left its waiter in the queue; the next block released
// went to nobody, for ever. The pool now calls the methods of the prototype.

import { assertEquals } from "@std/assert";
import { BlockPool } from "@smriti/pool";
import { lawful } from "./support/invariants.ts";
import "./support/open_library.ts";

Deno.test({
  name:
    "acquire() with a signal that overrides its methods is served all the same",
}, async () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  const block = pool.acquireSync();
  const signal = Object.assign(new AbortController().signal, {
    addEventListener() {
      throw new Error("no listeners here");
    },
  });
  const waiting = pool.acquire({ signal });
  assertEquals(lawful(pool).waiting, 1);
  block.release();
  (await waiting).release();
  assertEquals(lawful(pool).freeBlocks, 1);
});
