/**
 * The contestants: each knows how to do `n` cycles, and `n` swaps among `held` held blocks.
 *
 * The loops are written out for each, so that no contestant pays for an indirection that a program
 * would not have.
 */
import { Buffer } from "node:buffer";
import { MemPool } from "@thi.ng/malloc";
import { BlockPool, type PoolOptions } from "@smriti/pool";

/** One contestant at one block size. */
export interface Contestant {
  /** Takes one, writes a byte, gives it back, `n` times. */
  cycle: (n: number) => void;
  /** Holds so many; each step gives a random one back and takes another. */
  swap: (held: number) => (n: number) => void;
}

/** A named contestant. */
export interface Case {
  name: string;
  make: (size: number) => Contestant;
}

/** Block sizes. */
export const SIZES: readonly (readonly [string, number])[] = [
  ["4 KiB", 4096],
  ["64 KiB", 65536],
  ["1 MiB", 1048576],
];

/** Shapes of load. */
export const SHAPES = ["cycle", "held"] as const;

/** A cheap random sequence, the same for all. */
export function next(seed: number): number {
  return Math.imul(seed, 1103515245) + 12345 & 0x7fffffff;
}

/** One that makes a new array each time. */
export function fresh(allocate: (size: number) => Uint8Array): Case["make"] {
  return (size) => ({
    cycle(n) {
      for (let i = 0; i < n; i++) allocate(size)[0] = i;
    },
    swap(held) {
      const kept = Array.from({ length: held }, () => allocate(size));
      let seed = 1;
      return (n) => {
        for (let i = 0; i < n; i++) {
          seed = next(seed);
          const bytes = allocate(size);
          bytes[0] = i;
          kept[(seed >> 8) % held] = bytes;
        }
      };
    },
  });
}

function bareList(size: number): Contestant {
  const list: Uint8Array<ArrayBuffer>[] = [];
  return {
    cycle(n) {
      for (let i = 0; i < n; i++) {
        const bytes = list.pop() ?? new Uint8Array(size);
        bytes[0] = i;
        list.push(bytes);
      }
    },
    swap(held) {
      const kept = Array.from({ length: held }, () => new Uint8Array(size));
      let seed = 1;
      return (n) => {
        for (let i = 0; i < n; i++) {
          seed = next(seed);
          const at = (seed >> 8) % held;
          list.push(kept[at]);
          const bytes = list.pop() ?? new Uint8Array(size);
          bytes[0] = i;
          kept[at] = bytes;
        }
      };
    },
  };
}

function thing(size: number): Contestant {
  const pool = new MemPool({ size: 300 * (size + 64) });
  const take = () => pool.mallocAs("u8", size)!;
  return {
    cycle(n) {
      for (let i = 0; i < n; i++) {
        const bytes = take();
        bytes[0] = i;
        pool.free(bytes);
      }
    },
    swap(held) {
      const kept = Array.from({ length: held }, take);
      let seed = 1;
      return (n) => {
        for (let i = 0; i < n; i++) {
          seed = next(seed);
          const at = (seed >> 8) % held;
          pool.free(kept[at]);
          const bytes = take();
          bytes[0] = i;
          kept[at] = bytes;
        }
      };
    },
  };
}

/** One that takes from a pool. */
export function smriti(options: Partial<PoolOptions>): Case["make"] {
  return (size) => {
    const pool = new BlockPool({
      blockSize: size,
      maxBlocks: 1024,
      ...options,
    });
    return {
      cycle(n) {
        for (let i = 0; i < n; i++) {
          const block = pool.tryAcquire()!;
          block.bytes[0] = i;
          block.release();
        }
      },
      swap(held) {
        const kept = Array.from({ length: held }, () => pool.acquireSync());
        let seed = 1;
        return (n) => {
          for (let i = 0; i < n; i++) {
            seed = next(seed);
            const at = (seed >> 8) % held;
            kept[at].release();
            const block = pool.tryAcquire()!;
            block.bytes[0] = i;
            kept[at] = block;
          }
        };
      },
    };
  };
}

/** Everybody. */
export const CASES: readonly Case[] = [
  { name: "new Uint8Array", make: fresh((size) => new Uint8Array(size)) },
  {
    name: "Buffer.allocUnsafe",
    make: fresh((size) => Buffer.allocUnsafe(size)),
  },
  { name: "bare array free list", make: bareList },
  { name: "@thi.ng/malloc", make: thing },
  {
    name: "smriti trust, not zeroed",
    make: smriti({ safety: "trust", zero: false }),
  },
  { name: "smriti trust", make: smriti({ safety: "trust" }) },
  { name: "smriti revoke (default)", make: smriti({}) },
];
