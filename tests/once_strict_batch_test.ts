// Once: under strict, a release may throw `corrupted` about another block. The
// disposer of acquireMany()'s array then stops half-way and the rest of its
// blocks stays acquired for ever.

import { assertEquals, assertThrows } from "@std/assert";
import { BlockPool, SmritiError } from "@smriti/pool";
import { lawful } from "./support/invariants.ts";
import "./support/open_library.ts";

Deno.test(
  "disposing an array of blocks releases all of them even if one release throws",
  async () => {
    // Below a page, so quarantine can only look, not forbid.
    const pool = new BlockPool({
      blockSize: 64,
      maxBlocks: 8,
      safety: "strict",
    });
    const victim = pool.acquireSync();
    victim.bytes[0] = 1;
    const late = new Uint8Array(
      Deno.UnsafePointerView.getArrayBuffer(victim.pointer, 64),
    );
    const blocks = await pool.acquireMany(3);
    for (const block of blocks) block.bytes[0] = 1;
    victim.release();
    late[5] = 7;
    const error = assertThrows(() => blocks[Symbol.dispose](), SmritiError);
    assertEquals(error.code, "corrupted");
    assertEquals(lawful(pool).acquiredBlocks, 0);
    await pool.close().catch(() => {});
  },
);
