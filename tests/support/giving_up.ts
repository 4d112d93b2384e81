// Ways in which a block is given up, for tests of what becomes of it: with a buffer that others may read,
// or so that its bytes are read by no one.

import { assert, assertEquals } from "@std/assert";
import { markAsUntransferable } from "node:worker_threads";
import type { Block, Pool } from "../../mod.ts";
import { lawful } from "./invariants.ts";
import { addressOf } from "./misuse.ts";

export type Bytes = Uint8Array<ArrayBuffer>;

/** Takes the buffer of a block away, as postMessage and others do. */
export function take({ bytes }: Block): Bytes {
  return structuredClone(bytes, { transfer: [bytes.buffer] });
}

export const interrupted = (): Promise<never> =>
  Promise.reject(new Deno.errors.Interrupted());

/** Ends of a lease that give its block up; what each gives can still be read afterwards. */
export const READABLE: Record<
  string,
  (block: Block) => Bytes | Promise<Bytes>
> = {
  "abandon()": (block) => {
    const { bytes } = block;
    block.abandon();
    return bytes;
  },
  "release() with the buffer out": (block) => {
    const out = take(block);
    block.release();
    return out;
  },
  "release() with one of two buffers out": (block) => {
    const out = take(block);
    const again = take(block);
    block.reattach(again);
    block.release();
    return out;
  },
  "a lend that settles after release(), with the buffer out": async (block) => {
    const out = take(block);
    const lent = block.lend(Promise.resolve());
    block.release();
    await lent;
    return out;
  },
  "an interruption with the buffer out": async (block) => {
    const out = take(block);
    await block.lend(interrupted()).catch(() => {});
    return out;
  },
  "an interruption beside another operation": async (block) => {
    const { bytes } = block;
    const other = Promise.withResolvers<void>();
    const lent = block.lend(other.promise);
    await block.lend(interrupted()).catch(() => {});
    other.resolve();
    await lent;
    return bytes;
  },
};

/** A release of a buffer that was made undetachable. */
export const UNTRANSFERABLE = (block: Block): Bytes => {
  const { bytes } = block;
  markAsUntransferable(bytes.buffer);
  block.release();
  return bytes;
};

/** Ends after which no one may read the bytes. */
export const UNREADABLE: Record<string, (block: Block) => Promise<void>> = {
  "an interruption": async (block) => {
    const { bytes } = block;
    await block.lend(interrupted()).catch(() => {});
    assertEquals(bytes.length, 0);
  },
  "an interruption after release()": async (block) => {
    const lent = block.lend(interrupted());
    block.release();
    await lent.catch(() => {});
  },
  "an interruption inside of another error": async (block) => {
    const cause = new Deno.errors.Interrupted();
    const error = new Error("outer", { cause });
    await block.lend(Promise.reject(error)).catch(() => {});
    block.release();
  },
};

export function isFull(bytes: Uint8Array, byte: number): boolean {
  return bytes.length > 0 && bytes.every((each) => each === byte);
}

export const stamp = (number: number): number => number % 250 + 1;

/** Gives blocks up in one way, each filled with its number. */
export async function giveUp<T>(
  pool: Pool,
  count: number,
  end: (block: Block) => T | Promise<T>,
  addresses = new Set<bigint>(),
): Promise<T[]> {
  const outs: T[] = [];
  for (let number = 0; number < count; number++) {
    const block = pool.acquireSync();
    const address = addressOf(block.bytes);
    assert(!addresses.has(address), "an address is used again");
    addresses.add(address);
    assert(isFull(block.bytes.map((byte) => byte + 1), 1), "zero at first");
    block.bytes.fill(stamp(number));
    outs.push(await end(block));
    lawful(pool);
  }
  return outs;
}

/** What native code sees that has the address. */
export function rawAt(address: bigint, size: number): Bytes {
  // SAFETY: an address given up stays mapped for ever.
  const pointer = Deno.UnsafePointer.create(address)!;
  return new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(pointer, size));
}
