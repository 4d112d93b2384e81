/**
 * The ways to have a block of bytes in one isolate: each knows how to do `n` cycles, and `n` swaps
 * among `held` held blocks. Run as a program, this file measures one of them at one size.
 *
 * Each contestant is a process of its own, where V8 sees one kind of `take`, `give` and `write` and
 * makes them part of the loop: written out for each, the loops take as long.
 */
import { Buffer } from "node:buffer";
import { MemPool } from "@thi.ng/malloc";
import reusify from "reusify";
import typedArrays from "typedarray-pool";
import { type Block, BlockPool, type PoolOptions } from "@smriti/pool";
import { report } from "./child.ts";
import { next, nsPerOperation } from "./measure.ts";

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

function contestant<T>(
  take: () => T,
  write: (one: T, byte: number) => void,
  give: (one: T) => unknown,
): Contestant {
  return {
    cycle(n) {
      for (let i = 0; i < n; i++) {
        const one = take();
        write(one, i);
        give(one);
      }
    },
    swap(held) {
      const kept = Array.from({ length: held }, take);
      let last = 1;
      return (n) => {
        let seed = last;
        for (let i = 0; i < n; i++) {
          seed = next(seed);
          const at = (seed >> 8) % held;
          give(kept[at]);
          const one = take();
          write(one, i);
          kept[at] = one;
        }
        last = seed;
      };
    },
  };
}

const writeByte = (bytes: Uint8Array, byte: number) => void (bytes[0] = byte);

function arrays(
  take: (size: number) => Uint8Array,
  give: (bytes: Uint8Array) => unknown = () => {},
): Make {
  return (size) => contestant(() => take(size), writeByte, give);
}

function bareList(size: number): Contestant {
  const list: Uint8Array[] = [];
  return contestant(
    () => list.pop() ?? new Uint8Array(size),
    writeByte,
    (bytes) => void list.push(bytes),
  );
}

/** What a lease is at least: a handle of its own, checked at each use. */
class Handle {
  readonly #bytes: Uint8Array;
  readonly #slot: number;

  constructor(bytes: Uint8Array, slot: number) {
    this.#bytes = bytes;
    this.#slot = slot;
  }

  bytesOf(list: HandleList): Uint8Array {
    if (list.leases[this.#slot] !== this) throw new Error("stale");
    return this.#bytes;
  }

  release(list: HandleList): void {
    if (list.leases[this.#slot] !== this) throw new Error("stale");
    list.leases[this.#slot] = undefined;
    list.free.push(this.#slot);
  }
}

class HandleList {
  readonly arrays: Uint8Array[] = [];
  /** By slot, the handle that may use it. */
  readonly leases: (Handle | undefined)[] = [];
  readonly free: number[] = [];

  take(size: number): Handle {
    const slot = this.free.pop() ?? this.arrays.push(new Uint8Array(size)) - 1;
    return this.leases[slot] = new Handle(this.arrays[slot], slot);
  }
}

function handles(size: number): Contestant {
  const list = new HandleList();
  return contestant(
    () => list.take(size),
    (handle, byte) => void (handle.bytesOf(list)[0] = byte),
    (handle) => handle.release(list),
  );
}

function thing(size: number): Contestant {
  const pool = new MemPool({ size: 300 * (size + 64) });
  return arrays((size) => pool.mallocAs("u8", size)!, (b) => pool.free(b))(
    size,
  );
}

function reused(size: number): Contestant {
  class Holder {
    next: Holder | null = null;
    readonly bytes = new Uint8Array(size);
  }
  const pool = reusify(Holder);
  return contestant(
    () => pool.get(),
    ({ bytes }, byte) => bytes[0] = byte,
    (holder) => pool.release(holder),
  );
}

function smriti(
  options: Partial<PoolOptions>,
  write = (block: Block, byte: number) => void (block.bytes[0] = byte),
): Make {
  return (blockSize) => {
    const pool = new BlockPool({ blockSize, maxBlocks: 1024, ...options });
    return contestant(
      () => pool.tryAcquire()!,
      write,
      (block) => block.release(),
    );
  };
}

const LEAN = { safety: "trust", zero: false } as const;

/** By name. */
export const CASES: Readonly<Record<string, Make>> = {
  "new Uint8Array": arrays((size) => new Uint8Array(size)),
  "Buffer.allocUnsafe": arrays((size) => Buffer.allocUnsafe(size)),
  "Buffer.allocUnsafeSlow": arrays((size) => Buffer.allocUnsafeSlow(size)),
  "bare array free list": bareList,
  "bare list of arrays, a handle each": handles,
  "reusify": reused,
  "typedarray-pool": arrays(typedArrays.mallocUint8, typedArrays.free),
  "@thi.ng/malloc": thing,
  "smriti trust, not zeroed": smriti(LEAN),
  "smriti trust": smriti({ safety: "trust" }),
  "smriti revoke, not zeroed": smriti({ zero: false }),
  "smriti revoke (default)": smriti({}),
  "smriti strict": smriti({ safety: "strict" }),
  "smriti, bytes never used": smriti({}, () => {}),
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
      cycle: await nsPerOperation(cycle, SLICE_MS),
      held: await nsPerOperation(swap(HELD), SLICE_MS),
    } satisfies Shapes,
  );
  Deno.exit(0);
}
