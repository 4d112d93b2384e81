/**
 * The ways to have a block of bytes in one isolate: each knows how to do `n` cycles, and `n` swaps
 * among `held` held blocks. Run as a program, this file measures one of them at one size.
 *
 * The loops are written out for each, so that no contestant pays for an indirection that a program
 * would not have: it is a nanosecond, and a bare list takes five.
 */
import { Buffer } from "node:buffer";
import { MemPool } from "@thi.ng/malloc";
import reusify from "reusify";
import typedArrays from "typedarray-pool";
import { BlockPool, type PoolOptions } from "@smriti/pool";
import { next, nsPerOperation } from "./measure.ts";
import { report } from "./report/child.ts";

/** About so long does one measurement take. */
const SLICE_MS = 50;
const HELD = 256;

/** One contestant at one block size. */
interface Contestant {
  /** Takes one, writes a byte, gives it back, `n` times. */
  cycle: (n: number) => void;
  /** Holds so many; each step gives a random one back and takes another. */
  swap: (held: number) => (n: number) => void;
}

type Make = (size: number) => Contestant;

/** Nanoseconds for one operation in each shape. */
export interface Shapes {
  readonly cycle: number;
  readonly held: number;
}

/** One that makes a new array each time. */
function fresh(allocate: (size: number) => Uint8Array): Make {
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

/** Pools of arrays: what they do themselves is many times an indirection. */
function arrays(
  take: (size: number) => Uint8Array,
  give: (bytes: Uint8Array) => unknown,
): Make {
  return (size) => ({
    cycle(n) {
      for (let i = 0; i < n; i++) {
        const bytes = take(size);
        bytes[0] = i;
        give(bytes);
      }
    },
    swap(held) {
      const kept = Array.from({ length: held }, () => take(size));
      let seed = 1;
      return (n) => {
        for (let i = 0; i < n; i++) {
          seed = next(seed);
          const at = (seed >> 8) % held;
          give(kept[at]);
          const bytes = take(size);
          bytes[0] = i;
          kept[at] = bytes;
        }
      };
    },
  });
}

function thing(size: number): Contestant {
  const pool = new MemPool({ size: 300 * (size + 64) });
  return arrays(() => pool.mallocAs("u8", size)!, (bytes) => pool.free(bytes))(
    size,
  );
}

function reused(size: number): Contestant {
  class Holder {
    next: Holder | null = null;
    readonly bytes = new Uint8Array(size);
  }
  const pool = reusify(Holder);
  return {
    cycle(n) {
      for (let i = 0; i < n; i++) {
        const holder = pool.get();
        holder.bytes[0] = i;
        pool.release(holder);
      }
    },
    swap(held) {
      const kept = Array.from({ length: held }, () => pool.get());
      let seed = 1;
      return (n) => {
        for (let i = 0; i < n; i++) {
          seed = next(seed);
          const at = (seed >> 8) % held;
          pool.release(kept[at]);
          const holder = pool.get();
          holder.bytes[0] = i;
          kept[at] = holder;
        }
      };
    },
  };
}

function smriti(options: Partial<PoolOptions>): Make {
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

/** The default pool; its bytes are never used. */
function unused(size: number): Contestant {
  const pool = new BlockPool({ blockSize: size, maxBlocks: 1024 });
  return {
    cycle(n) {
      for (let i = 0; i < n; i++) pool.tryAcquire()!.release();
    },
    swap(held) {
      const kept = Array.from({ length: held }, () => pool.acquireSync());
      let seed = 1;
      return (n) => {
        for (let i = 0; i < n; i++) {
          seed = next(seed);
          const at = (seed >> 8) % held;
          kept[at].release();
          kept[at] = pool.tryAcquire()!;
        }
      };
    },
  };
}

const LEAN = { safety: "trust", zero: false } as const;

/** By name. */
export const CASES: Readonly<Record<string, Make>> = {
  "new Uint8Array": fresh((size) => new Uint8Array(size)),
  "Buffer.allocUnsafe": fresh((size) => Buffer.allocUnsafe(size)),
  "Buffer.allocUnsafeSlow": fresh((size) => Buffer.allocUnsafeSlow(size)),
  "bare array free list": bareList,
  "reusify": reused,
  "typedarray-pool": arrays(typedArrays.mallocUint8, typedArrays.free),
  "@thi.ng/malloc": thing,
  "smriti trust, not zeroed": smriti(LEAN),
  "smriti trust": smriti({ safety: "trust" }),
  "smriti revoke, not zeroed": smriti({ zero: false }),
  "smriti revoke (default)": smriti({}),
  "smriti strict": smriti({ safety: "strict" }),
  "smriti, bytes never used": unused,
  "smriti trust, not zeroed, leakDetection off": smriti({
    ...LEAN,
    leakDetection: "off",
  }),
  "smriti trust, not zeroed, leakDetection all": smriti({
    ...LEAN,
    leakDetection: "all",
  }),
};

if (import.meta.main) {
  const [name, size] = Deno.args;
  const { cycle, swap } = CASES[name](Number(size));
  report(
    {
      cycle: nsPerOperation(cycle, SLICE_MS),
      held: nsPerOperation(swap(HELD), SLICE_MS),
    } satisfies Shapes,
  );
  Deno.exit(0);
}
