/**
 * What is done to several blocks at once. Knows nothing of what is in them.
 */
import type { Block } from "../mod.ts";

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
