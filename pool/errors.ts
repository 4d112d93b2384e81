/**
 * The one error class of Smriti and its closed list of codes.
 *
 * Wrong arguments are not here: they are `TypeError` and `RangeError`, made in `checks.ts`.
 */

/**
 * What went wrong, as a stable word to branch on.
 *
 * - `exhausted`: the pool is at its limit, or too many are waiting
 * - `timeout`: the time allowed for waiting or closing is over
 * - `closed`: the pool is closed
 * - `released`: the block's lease has ended (stale use or double release)
 * - `lent`: the block's buffer is with a running operation
 * - `foreign-block`: the block belongs to another pool
 * - `out-of-memory`: the operating system refused memory; `cause` has its answer
 * - `permission`: `--allow-ffi` is missing
 * - `unsupported`: this system or backend cannot do that
 * - `corrupted`: memory was written to while no lease held it
 */
export type SmritiErrorCode =
  | "exhausted"
  | "timeout"
  | "closed"
  | "released"
  | "lent"
  | "foreign-block"
  | "out-of-memory"
  | "permission"
  | "unsupported"
  | "corrupted";

/** The operating system's answer, found as `cause` of an `out-of-memory` error. */
export interface OsRefusal {
  /** What was asked of the OS: `map`, `commit`, … */
  readonly call: string;
  /** Bytes asked for. */
  readonly bytes: number;
  /** Name of the error number, such as `ENOMEM`, if it could be read. */
  readonly error: string;
}

/**
 * Thrown and rejected with for everything that is not a wrong argument. Branch on
 * {@linkcode SmritiError.code}; messages may change.
 *
 * @example Tell a full pool from other trouble
 * ```ts
 * import { BlockPool, SmritiError } from "@smriti/pool";
 *
 * using pool = new BlockPool({ blockSize: 4096, maxBlocks: 1 });
 * using block = pool.acquireSync();
 * try {
 *   pool.acquireSync();
 * } catch (error) {
 *   if (!(error instanceof SmritiError) || error.code !== "exhausted") throw error;
 *   console.log("busy, try again later", block.size);
 * }
 * ```
 */
export class SmritiError extends Error {
  /** The stable word for what went wrong. */
  readonly code: SmritiErrorCode;

  /** Makes an error; only Smriti itself and test doubles need to. */
  constructor(code: SmritiErrorCode, message: string, options?: ErrorOptions) {
    super(message, options?.cause === undefined ? undefined : options);
    this.name = "SmritiError";
    this.code = code;
  }
}
