/**
 * A body piece by piece, through one block. The block is acquired when the first bytes are there
 * and released on every way out of the loop.
 */
import type { Pool } from "../mod.ts";
import { Body } from "./body.ts";
import { type BodySource, checkSource } from "./source.ts";
import { UNWOUND } from "./headroom.ts";
import { checkPool, optionsOf, type WaitOptions } from "./check.ts";
import { type Chunk, Window } from "./window.ts";

/**
 * Walks over a body with one block as a window: for hashing, parsing or storing what need not be
 * in memory at once. A body of any size costs one block.
 *
 * **The bytes of a step are valid until the next one.** Then `chunk.bytes` throws `released`, and
 * a view that was kept has length 0: keep a copy. Await what you do with them before the step ends.
 * A chunk is not bytes itself: a stream, a `Response` or a `pipeline` that is handed these chunks
 * fails at once, where views would be sent with the bytes of a later step. `break` and `throw`
 * cancel the rest of the body and release the block. Nothing is read ahead: no read runs while the
 * loop's body does.
 *
 * Worth it for bodies of 64 KiB and more; for smaller ones take `await req.bytes()`. A body that is
 * in one piece already gains nothing. A step gives at most a block, of a stream of bytes at most
 * 64 KiB, and never 0 bytes.
 *
 * @param source A request, a response, or their `body`. A request or response is held to its
 * Content-Length
 * @param pool Where the one block comes from
 * @throws {TypeError} if an argument is of the wrong kind, or the body was used before
 * @throws {RangeError} if `timeoutMs` is out of range
 *
 * The loop fails with
 * - `signal.reason`, when the signal is aborted
 * - `SmritiError` `timeout`, `exhausted` or `closed`, when there is no block
 * - `Deno.errors.UnexpectedEof` or `InvalidData`, when the body ends before its Content-Length or
 *   goes on after it
 * - whatever the stream fails with
 *
 * @example Hash an upload of any size
 * ```ts
 * import { createHash } from "node:crypto";
 * import { BlockPool } from "@smriti/pool";
 * import { chunks } from "@smriti/pool/io";
 *
 * using pool = new BlockPool({ blockSize: 64 * 1024, maxBlocks: 256 });
 *
 * const request = new Request("http://localhost", { method: "POST", body: "hello" });
 * const hash = createHash("sha256");
 * for await (const { bytes } of chunks(request, pool)) hash.update(bytes);
 * console.log(hash.digest("hex"));
 * ```
 */
export function chunks(
  source: BodySource,
  pool: Pool,
  options?: WaitOptions,
): AsyncIterableIterator<Chunk> {
  checkSource(source);
  checkPool(pool);
  optionsOf(options, ["signal", "timeoutMs"]);
  return walk(source, pool, { ...options });
}

async function* walk(
  source: BodySource,
  pool: Pool,
  options: WaitOptions,
): AsyncGenerator<Chunk, void, undefined> {
  const body = new Body(source, pool.blockSize, options.signal);
  let window: Window | undefined;
  try {
    while (await body.fill()) {
      window ??= new Window(await pool.acquire(options));
      const size = body.take(window.bytes);
      yield window.piece(0, size);
      window.next();
    }
  } finally {
    await UNWOUND; // the stack may have ended here
    try {
      window?.end();
    } finally {
      body.end();
    }
  }
}
