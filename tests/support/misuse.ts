// What the tests of leases share: refusals told by their code, addresses, and
// ways to wait for what happens elsewhere. Knows only the public API.

import { assertRejects, assertStrictEquals, assertThrows } from "@std/assert";
import {
  type Block,
  type Pool,
  SmritiError,
  type SmritiErrorCode,
} from "@smriti/pool";

/** Calls `fn`, which must throw a SmritiError of this code. */
export function refused(code: SmritiErrorCode, fn: () => unknown): SmritiError {
  const error = assertThrows(fn, SmritiError);
  assertStrictEquals(error.code, code, error.message);
  return error;
}

/** Awaits a promise that must reject with a SmritiError of this code. */
export async function rejected(
  code: SmritiErrorCode,
  promise: Promise<unknown>,
): Promise<SmritiError> {
  const error = await assertRejects(() => promise, SmritiError);
  assertStrictEquals(error.code, code, error.message);
  return error;
}

/** Where the bytes lie, as a number to compare. */
export function addressOf(view: Uint8Array<ArrayBuffer>): bigint {
  return Deno.UnsafePointer.value(Deno.UnsafePointer.of(view));
}

/** Takes every block that a normal caller can have. */
export function takeAll(pool: Pool): Block[] {
  const blocks: Block[] = [];
  for (let block; (block = pool.tryAcquire()) !== undefined;) {
    blocks.push(block);
  }
  return blocks;
}

/** Releases them, and leaves the array empty. */
export function releaseAll(blocks: Block[]): void {
  for (const block of blocks.splice(0)) block.release();
}

/** Lets everything run that waits for settled promises only. */
export function microtasks(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Waits for something that happens on another thread or in the kernel. */
export async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + 30_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`never: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
