/**
 * Memory blocks for Deno servers that the garbage collector never has to deal with: mapped from
 * the operating system, lent out as ordinary `Uint8Array`s, given back when idle.
 *
 * @example Lend a block
 * ```ts
 * import { BlockPool } from "@smriti/pool";
 *
 * await using pool = new BlockPool({ blockSize: 64 * 1024, maxBlocks: 1024 });
 * using block = await pool.acquire();
 * block.bytes.set([1, 2, 3]);
 * ```
 *
 * @module
 */
export type { Block, LendOptions } from "./pool/block.ts";
export { BlockPool } from "./pool/block_pool.ts";
export type { SlotInfo, SlotState } from "./pool/inspect.ts";
export {
  type OsRefusal,
  SmritiError,
  type SmritiErrorCode,
} from "./pool/errors.ts";
export type { Footprint } from "./pool/layout.ts";
export { type MemoryLimit, memoryLimit } from "./pool/memory_limit.ts";
export type {
  PoolEvent,
  PoolEventListener,
  PoolEventMap,
  PoolEventType,
  PoolListenerOptions,
} from "./pool/events.ts";
export type {
  AcquireOptions,
  BackendChoice,
  CloseOptions,
  LeakDetection,
  PoolOptions,
  Safety,
  TryAcquireOptions,
} from "./pool/options.ts";
export type { Histogram } from "./pool/histogram.ts";
export {
  SizeClassPool,
  type SizeClassStats,
  type UpgradeOptions,
} from "./pool/size_class_pool.ts";
export type { BlockArray, Pool } from "./pool/pool.ts";
export type { BlockTicket } from "./pool/slot.ts";
export type { PoolStats } from "./pool/stats.ts";
