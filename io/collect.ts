/**
 * A body of unknown length in as many blocks as it takes: all of it or nothing. Owns the blocks
 * until the chain is complete.
 */
import type { Block, Pool } from "../mod.ts";
import { BlockChain, disposeAll } from "./block_chain.ts";
import { Body } from "./body.ts";
import { type BodySource, checkSource } from "./source.ts";
import { checkPool, limitOf, optionsOf, type WaitOptions } from "./check.ts";

/** How to collect a body. */
export interface CollectOptions extends WaitOptions {
  /**
   * The largest body accepted, in bytes: an integer from 0 to `blockSize × maxBlocks` of the pool,
   * which is the default. A server should give one.
   */
  limit?: number;
}

/**
 * The longest that a body waits for a further block while it holds some, in milliseconds. Two that
 * grow may wait for each other, and then one has to give way.
 */
const MOST_GROW_WAIT_MS = 1000;

/**
 * Reads a whole body into a chain of blocks: for bodies whose length is not known, or varies too
 * much for one block size.
 *
 * Blocks are taken only when bytes are there to fill them. If the length was announced, all blocks
 * are acquired together, so that bodies cannot wait for each other; else one by one, and then the
 * wait for each but the first is at most 1 second, whatever `timeoutMs` says. On every failure all
 * blocks go back and the rest of the body is cancelled.
 *
 * Costs one `acquire` for each block and one copy. Not worth it for bodies that fit one block
 * (`readBody`), nor below about 16 KiB (`await req.bytes()`); blocks of 64 KiB suit most.
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
  optionsOf(options, ["limit", "signal", "timeoutMs"]);
  const all = pool.blockSize * pool.maxBlocks;
  const limit = limitOf(options?.limit, all, all);
  const { signal, timeoutMs } = options ?? {};
  const size = pool.blockSize;
  const body = new Body(source, size, signal);
  const blocks: Block[] = [];
  let chain: BlockChain | null = null;
  try {
    if ((body.announced ?? 0) > limit) return null;
    let filled = 0;
    while (await body.fill()) {
      if (body.available > limit - filled) return null;
      while (body.available > 0) {
        if (filled === blocks.length * size) {
          await grow(blocks, pool, { signal, timeoutMs }, body.announced);
        }
        const block = blocks[Math.floor(filled / size)];
        filled += body.take(block.bytes.subarray(filled % size));
      }
    }
    chain = new BlockChain(blocks, filled);
    return chain;
  } finally {
    try {
      if (chain === null) disposeAll(blocks);
    } finally {
      body.end();
    }
  }
}

async function grow(
  blocks: Block[],
  pool: Pool,
  options: WaitOptions,
  announced: number | undefined,
): Promise<void> {
  const count = Math.ceil((announced ?? 1) / pool.blockSize);
  if (count > 1) {
    // Not by a spread: of very many blocks it is more arguments than a call may have.
    for (const block of await pool.acquireMany(count, options)) {
      blocks.push(block);
    }
  } else if (blocks.length === 0) {
    blocks.push(await pool.acquire(options));
  } else {
    const timeoutMs = Math.min(
      options.timeoutMs ?? MOST_GROW_WAIT_MS,
      MOST_GROW_WAIT_MS,
    );
    blocks.push(await pool.acquire({ ...options, timeoutMs }));
  }
}
