/**
 * One contestant at one block size, in this process alone. Arguments: its name, the size.
 */
import { Buffer } from "node:buffer";
import reusify from "reusify";
import typedArrays from "typedarray-pool";
import { nsPerOperation } from "../measure.ts";
import {
  type Case,
  CASES,
  type Contestant,
  fresh,
  next,
  smriti,
} from "../cases.ts";
import { report } from "./child.ts";

/** About so long does one measurement take. */
const SLICE_MS = 50;

function typedArrayPool(size: number): Contestant {
  return {
    cycle(n) {
      for (let i = 0; i < n; i++) {
        const bytes = typedArrays.mallocUint8(size);
        bytes[0] = i;
        typedArrays.free(bytes);
      }
    },
    swap(held) {
      const kept = Array.from(
        { length: held },
        () => typedArrays.mallocUint8(size),
      );
      let seed = 1;
      return (n) => {
        for (let i = 0; i < n; i++) {
          seed = next(seed);
          const at = (seed >> 8) % held;
          typedArrays.free(kept[at]);
          const bytes = typedArrays.mallocUint8(size);
          bytes[0] = i;
          kept[at] = bytes;
        }
      };
    },
  };
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

/** Those of the quick bench, and the rest. */
const ALL: readonly Case[] = [
  ...CASES,
  {
    name: "Buffer.allocUnsafeSlow",
    make: fresh((size) => Buffer.allocUnsafeSlow(size)),
  },
  { name: "typedarray-pool", make: typedArrayPool },
  { name: "reusify", make: reused },
  { name: "smriti strict", make: smriti({ safety: "strict" }) },
];

if (import.meta.main) {
  const [name, size] = Deno.args;
  const { make } = ALL.find((one) => one.name === name)!;
  const { cycle, swap } = make(Number(size));
  report({
    cycle: nsPerOperation(cycle, SLICE_MS),
    held: nsPerOperation(swap(256), SLICE_MS),
  });
  Deno.exit(0);
}

/** Their names. */
export const NAMES: readonly string[] = ALL.map(({ name }) => name);
