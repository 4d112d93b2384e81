// Pools of which the tests of growing and shrinking know every number.

import { BlockPool, type PoolOptions } from "../../mod.ts";
import { lawful } from "./invariants.ts";

/** Whole pages on every system, so a slab is one block. */
export const PAGE = 65_536;

/** A pool of 100 such blocks, 20 of them committed at the start. */
export function pagePool(options: Partial<PoolOptions> = {}): BlockPool {
  return new BlockPool({ blockSize: PAGE, maxBlocks: 100, ...options });
}

/** How many blocks of 64 bytes make a slab here. */
export function slabOfLines(): number {
  using pool = new BlockPool({
    blockSize: 64,
    maxBlocks: 4096,
    initialBlocks: 1,
  });
  return lawful(pool).committedBlocks;
}

export function committed(pool: BlockPool): number {
  return lawful(pool).committedBlocks;
}

/** 1, 2, 3, … `count`. */
export function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i + 1);
}
