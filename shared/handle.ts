/**
 * What one isolate sends to another so that it can attach: plain data, checked on arrival.
 */
import type { Range } from "../ffi/backend.ts";
import { show } from "../pool/checks.ts";
import { SmritiError } from "../pool/errors.ts";
import type { FilledOptions } from "../pool/options.ts";
import { Control, HEADER, MAGIC, VERSION } from "./control.ts";

/** The options of a shared pool, filled. */
export type SharedFilledOptions = FilledOptions & {
  readonly ticketTimeoutMs: number;
};

/**
 * Lets another isolate of the same process attach. Structured-cloneable; good as long as somebody
 * is attached.
 */
export interface SharedPoolHandle {
  /** The control block. */
  readonly control: SharedArrayBuffer;
  /** Where the memory is. */
  readonly range: Range;
  /** The pool's options. */
  readonly options: SharedFilledOptions;
  /** The process whose addresses these are. */
  readonly pid: number;
}

/** Throws unless it is a handle of a pool in this process, laid out as this version expects. */
export function checkHandle(handle: SharedPoolHandle): void {
  const known = typeof handle === "object" && handle !== null &&
    handle.control instanceof SharedArrayBuffer &&
    typeof handle.range?.base === "bigint" &&
    typeof handle.options?.maxBlocks === "number";
  if (!known) {
    throw new TypeError(
      `handle must be the handle of a SharedBlockPool, got ${show(handle)}`,
    );
  }
  const words = new Int32Array(handle.control);
  if (
    words[HEADER.MAGIC] !== MAGIC ||
    handle.control.byteLength !== Control.bytes(handle.options.maxBlocks)
  ) {
    throw new TypeError(
      "handle is not of a SharedBlockPool: its control block differs",
    );
  }
  if (words[HEADER.VERSION] !== VERSION || handle.pid !== Deno.pid) {
    throw new SmritiError(
      "unsupported",
      `handle is of version ${
        words[HEADER.VERSION]
      } and process ${handle.pid}; ` +
        `this is version ${VERSION} and process ${Deno.pid}`,
    );
  }
}
