/**
 * A whole body in one block of the caller's. Never acquires or releases the block, never answers
 * the request.
 */
import type { Block } from "../mod.ts";
import { firstOf } from "./blocks.ts";
import { Body } from "./body.ts";
import { type BodySource, checkSource } from "./source.ts";
import { checkBlock, limitOf, optionsOf } from "./check.ts";

/** How to read a body into a block. */
export interface ReadBodyOptions {
  /** The largest body accepted, in bytes: an integer from 0 to the block's size, the default. */
  limit?: number | undefined;
  /**
   * Whether the rest of a body that is too large is read, and thrown away, before the answer is
   * `null`. Over HTTP/2 a client gets no answer to a body that was cancelled, in plain Deno too:
   * drain it, with a signal, if its 413 must arrive. Default false.
   */
  drain?: boolean | undefined;
  /** Ends the reading: it rejects with `signal.reason`. A server should always give one. */
  signal?: AbortSignal | undefined;
}

/**
 * Reads a whole body into one block, so that a request costs no memory of its own and never more
 * than the block.
 *
 * The body is read to its end, or cancelled as soon as it is known to be too large, so that the
 * connection is free for the next request. If it fails, the block holds some of its bytes and is
 * as good as before; releasing it stays with the caller. Release it while the reading goes on, and
 * the reading ends with `released`.
 *
 * Saves CPU time from some 100 KiB on, and resident memory from about 16 KiB on; below,
 * `await req.bytes()` takes less. Measured in docs/io.md. A short body with a Content-Length costs no
 * more in a large block than in a small one, unless `block.bytes` was asked for: see
 * {@linkcode Block.first}.
 *
 * @param source A request, a response, or their `body`. A request or response is held to its
 * Content-Length; an HTTP/2 upload without one that its sender cancels cannot be told from a
 * complete one
 * @param block Where the bytes go, from its first byte on
 * @returns The filled part of the block, valid as long as the lease: of `block.bytes`, or, of a body
 * with a Content-Length, `block.first(length)`; `null` if the body is larger than `limit`
 * @throws {TypeError} (as all errors here: as a rejection) if an argument is of the wrong kind, or
 * the body was used before
 * @throws {RangeError} if `limit` is out of range
 * @throws {Deno.errors.UnexpectedEof} if the body ended before its Content-Length
 * @throws {Deno.errors.InvalidData} if it went on after it
 * @throws {SmritiError} `released` if the block's lease has ended
 * @throws whatever the stream fails with when the sender goes away: `Deno.errors.Http` or
 * `Deno.errors.BadResource` for an upload to `Deno.serve`
 *
 * @example Uploads of at most 1 MiB
 * ```ts
 * import { BlockPool } from "@smriti/pool";
 * import { readBody } from "@smriti/pool/io";
 *
 * using pool = new BlockPool({ blockSize: 1024 * 1024, maxBlocks: 64 });
 *
 * async function upload(request: Request): Promise<Response> {
 *   using block = await pool.acquire({ timeoutMs: 1000 });
 *   const signal = AbortSignal.timeout(30_000);
 *   const body = await readBody(request, block, { signal });
 *   if (body === null) return new Response("too large", { status: 413 });
 *   return new Response(body); // copied before the block goes
 * }
 *
 * const request = new Request("http://localhost", { method: "POST", body: "hello" });
 * console.log(await (await upload(request)).text());
 * ```
 */
export async function readBody(
  source: BodySource,
  block: Block,
  options?: ReadBodyOptions,
): Promise<Uint8Array<ArrayBuffer> | null> {
  checkSource(source);
  checkBlock(block);
  optionsOf(options, ["limit", "signal", "drain"]);
  const { signal, drain = false } = options ?? {};
  const most = limitOf(options?.limit, block.size);
  const body = new Body(source, block.size, signal);
  try {
    let filled = 0;
    const { announced } = body;
    const bytes = () =>
      announced === undefined ? block.bytes : firstOf(block, announced);
    const isTooLarge = announced !== undefined && announced > most ||
      await body.read(() => {
        if (body.available > most - filled) return false;
        filled += body.take(bytes().subarray(filled));
        return true;
      });
    if (!isTooLarge) return bytes().subarray(0, filled);
    if (drain) await body.drain();
    return null;
  } finally {
    body.end();
  }
}
