/**
 * One pool of memory blocks for all Workers of a process.
 *
 * @example Make a pool and hand it to a Worker
 * ```ts
 * import { SharedBlockPool } from "@smriti/pool/shared";
 *
 * await using pool = SharedBlockPool.create({ blockSize: 65536, maxBlocks: 64 });
 * // worker.postMessage(pool.handle); and there: SharedBlockPool.attach(event.data)
 * using block = await pool.acquire();
 * block.bytes[0] = 1;
 * ```
 *
 * @module
 */
export type { Range } from "../ffi/backend.ts";
export type { FilledOptions } from "../pool/options.ts";
export type { SharedFilledOptions, SharedPoolHandle } from "./handle.ts";
export type { SharedPoolOptions } from "./options.ts";
export { SharedBlockPool } from "./shared_block_pool.ts";
export type { SharedPoolStats } from "./shared_stats.ts";
export type { AdoptOptions } from "./tickets.ts";
export type { BlockTicket } from "../pool/slot.ts";
