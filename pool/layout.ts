/**
 * Where slots lie: how far apart, how many make a slab, and what that takes of the OS, in bytes.
 *
 * Arithmetic alone, so that the cost of a pool can be told before there is one.
 */
import type { Abilities } from "../ffi/backend.ts";
import type { FilledOptions } from "./options.ts";

/** Slots are laid out at multiples of a cache line. */
const LINE = 64;

/** What a pool takes of the OS, in bytes, as its `stats()` will show. */
export interface Footprint {
  /** From one block to the next: `blockSize` rounded up to a cache line, or to pages. */
  readonly strideBytes: number;
  /** What is committed and given back at a time. */
  readonly slabBytes: number;
  /** Address space. */
  readonly mappedBytes: number;
  /** Committed at the start; the pool never shrinks below. */
  readonly initialBytes: number;
  /** Committed when all `maxBlocks` are. */
  readonly mostBytes: number;
}

/** The slots of a pool, in slabs that are committed and given back whole. */
export class Layout {
  /** Whether slabs are made of huge pages. */
  readonly huge: boolean;
  /** Slabs begin at multiples of this: the unit of memory that the OS is asked for. */
  readonly unit: number;
  /** Bytes from one slot of a slab to the next. */
  readonly stride: number;
  /** Slots in a slab. */
  readonly slabSlots: number;
  /** Bytes in a slab: the fewest that fill whole pages; with huge pages one, or one slot in several. */
  readonly slabBytes: number;

  /** Lays out slots of `blockSize` bytes. */
  constructor(
    { blockSize, hugePages }: Pick<FilledOptions, "blockSize" | "hugePages">,
    { pageSize, hugePageSize }: Abilities,
  ) {
    this.huge = hugePages && hugePageSize > 0;
    this.unit = this.huge ? hugePageSize : pageSize;
    const stride = roundUp(blockSize, blockSize < pageSize ? LINE : pageSize);
    this.stride = this.huge && stride > hugePageSize
      ? roundUp(stride, hugePageSize)
      : stride;
    // With small pages a slab is the least common multiple of stride and page. With huge pages that
    // could be hundreds of pages: a slab is one page, and the rest behind its last slot is not used.
    this.slabSlots = this.huge
      ? Math.max(1, Math.floor(hugePageSize / this.stride))
      : pageSize / commonDivisor(this.stride, pageSize);
    this.slabBytes = roundUp(this.stride * this.slabSlots, this.unit);
  }

  /** Bytes of the slabs that so many slots are in. */
  bytesOf(slots: number): number {
    return Math.ceil(slots / this.slabSlots) * this.slabBytes;
  }

  /** The most blocks whose slabs take no more than so many bytes. */
  blocksIn(bytes: number): number {
    return Math.floor(bytes / this.slabBytes) * this.slabSlots;
  }

  /** What a pool of these options takes. */
  footprint(
    { initialBlocks, maxBlocks }: Pick<
      FilledOptions,
      "initialBlocks" | "maxBlocks"
    >,
  ): Footprint {
    const mostBytes = this.bytesOf(maxBlocks);
    return Object.freeze({
      strideBytes: this.stride,
      slabBytes: this.slabBytes,
      mappedBytes: mostBytes,
      initialBytes: this.bytesOf(initialBlocks),
      mostBytes,
    });
  }

  /** Where a slot begins, in bytes from the first one. */
  offsetOf(slot: number): number {
    const place = slot % this.slabSlots;
    return (slot - place) / this.slabSlots * this.slabBytes +
      place * this.stride;
  }
}

function roundUp(size: number, unit: number): number {
  return Math.ceil(size / unit) * unit;
}

function commonDivisor(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b];
  return a;
}
