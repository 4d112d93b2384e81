/**
 * What is done to several blocks at once, and to a part of one. Knows nothing of what is in them.
 */
import type { Block } from "../mod.ts";

/** The first bytes of a block, so that release may clear no more than them: see `Block.first`. */
export function firstOf(block: Block, length: number): Uint8Array<ArrayBuffer> {
  // A test double may have no `first`.
  return "first" in block
    ? block.first(length)
    : (block as Block).bytes.subarray(0, length);
}

/**
 * Gives blocks back, all of them, and throws then what one of them threw: in strict mode a release
 * says what was found on another slot.
 */
export function disposeAll(blocks: readonly Block[]): void {
  let failed: { readonly error: unknown } | undefined;
  for (const block of blocks) {
    try {
      block[Symbol.dispose]();
    } catch (error) {
      failed = {
        error: failed === undefined
          ? error
          : new SuppressedError(error, failed.error),
      };
    }
  }
  if (failed !== undefined) throw failed.error;
}
