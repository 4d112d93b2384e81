/**
 * A body of unknown length in as many blocks as it takes: all of it or nothing. Owns the blocks
 * until the chain is complete.
 */
import type { Pool } from "../mod.ts";
import type { BlockChain } from "./block_chain.ts";
import { Body } from "./body.ts";
import { type BodySource, checkSource } from "./source.ts";
import { checkPool, limitOf, optionsOf, type WaitOptions } from "./check.ts";
import { Filling } from "./filling.ts";
import { growthOf } from "./growth.ts";

/** How to collect a body. */
export interface CollectOptions extends WaitOptions {
  /**
   * The largest body accepted, in bytes: an integer from 0. What the pool can give, its
   * `maxBlocks` less its `reservedBlocks`, is the default and the most. A server should give one:
   * bodies whose length is not known are read side by side as far as their limits fit into the
   * pool together.
   */
  limit?: number | undefined;
  /**
   * Whether the rest of a body that is too large is read, and thrown away, before the answer is
   * `null`, as with `readBody`. Default false.
   */
  drain?: boolean | undefined;
}

/**
 * Reads a whole body into a chain of blocks: for bodies whose length is not known, or varies too
 * much for one block size.
 *
 * Blocks are taken only when bytes are there to fill them. If the length was announced, all blocks
 * are acquired together; else one by one. So that bodies without a length do not wait for each
 * other in vain, one that needs a second block waits until its `limit` fits into the pool beside
 * those of the others (without a limit: an eighth of the pool), and half of the pool's blocks at
 * most are with those that wait so. Each such wait is as long as `timeoutMs` says; a body that has
 * come before may need the block meanwhile, which is then copied to memory of its own. If blocks are
 * missing all the same, because others have taken them, a body waits for a further one for 1 second at
 * most, the one that came first for 10, and gives way with `timeout`.
 *
 * On every failure all blocks go back and the rest of the body is cancelled.
 *
 * Costs one `acquire` for each block and one copy; of the last block of an announced body no more is
 * cleared than it fills, as {@linkcode Block.first} says. Not worth it for bodies that fit one block
 * (`readBody`), nor below about 64 KiB (`await req.bytes()`); blocks of 64 KiB suit most.
 *
 * @param source A request, a response, or their `body`. A request or response is held to its
 * Content-Length
 * @param pool Where the blocks come from
 * @returns The chain, which the caller has to release; `null` if the body is larger than `limit`
 * @throws {TypeError} (as all errors here: as a rejection) if an argument is of the wrong kind, or
 * the body was used before
 * @throws {RangeError} if `limit` or `timeoutMs` is out of range
 * @throws {SmritiError} `timeout`, `exhausted` or `closed`, when there is no block
 * @throws {Deno.errors.UnexpectedEof} if the body ended before its Content-Length
 * @throws {Deno.errors.InvalidData} if it went on after it
 * @throws `signal.reason`, and whatever the stream fails with
 *
 * @example Text of unknown length
 * ```ts
 * import { BlockPool } from "@smriti/pool";
 * import { collect } from "@smriti/pool/io";
 *
 * using pool = new BlockPool({ blockSize: 64 * 1024, maxBlocks: 256 });
 *
 * const response = new Response("some text");
 * using chain = await collect(response, pool, { limit: 1_000_000 });
 * console.log(chain === null ? "too large" : chain.text());
 * ```
 */
export async function collect(
  source: BodySource,
  pool: Pool,
  options?: CollectOptions,
): Promise<BlockChain | null> {
  checkSource(source);
  checkPool(pool);
  optionsOf(options, ["limit", "signal", "timeoutMs", "drain"]);
  const { signal, timeoutMs, drain = false } = options ?? {};
  const most = growthOf(pool).capacity * pool.blockSize;
  const limit = Math.min(limitOf(options?.limit, Infinity), most);
  const body = new Body(source, pool.blockSize, signal);
  const { announced } = body;
  const known = announced ?? (options?.limit === undefined ? undefined : limit);
  const filling = new Filling(pool, known, { signal, timeoutMs });
  try {
    let isTooLarge = announced !== undefined && announced > limit;
    while (!isTooLarge && await body.fill()) {
      isTooLarge = body.available > limit - filling.filled;
      while (!isTooLarge && body.available > 0) {
        if (filling.room.length === 0) {
          if (announced !== undefined) await filling.reserve(announced);
          else await filling.grow();
        }
        filling.filled += body.take(filling.room);
      }
    }
    if (!isTooLarge) return filling.finish();
    filling.end(); // before a wait for what is thrown away
    if (drain) await body.drain();
    return null;
  } finally {
    try {
      filling.end();
    } finally {
      body.end();
    }
  }
}
