/**
 * Checks what callers of the adaptors pass in. A wrong argument is a `TypeError` or `RangeError`
 * that names it, the value and the rule.
 *
 * Knows shapes only: it never reads, locks or acquires anything.
 */
import type { Block, Pool } from "../mod.ts";

/** What every adaptor that waits for a block may be told. */
export interface WaitOptions {
  /** Ends the whole operation: it rejects with `signal.reason`. */
  signal?: AbortSignal | undefined;
  /**
   * The longest wait for a block of the pool in milliseconds, from 0 to 2^31 − 1; 0 tries once.
   * Default: as long as it takes. It does not limit the reading: `signal` does.
   */
  timeoutMs?: number | undefined;
}

/** A wrong argument. */
export function refuse(
  Kind: typeof TypeError | typeof RangeError,
  name: string,
  value: unknown,
  rule: string,
): never {
  throw new Kind(`${name} must be ${rule}, got ${show(value)}`);
}

/** A value, in a message. */
export function show(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.slice(0, 80));
  if (typeof value === "bigint") return `${value}n`;
  if (value === null || typeof value !== "object") {
    return typeof value === "function" ? "a function" : String(value);
  }
  return value.constructor?.name ?? "an object";
}

/** The options as a record of known names. `undefined` counts as none given. */
export function optionsOf(
  options: unknown,
  names: readonly string[],
): Record<string, unknown> {
  if (options === undefined) return {};
  if (typeof options !== "object" || options === null) {
    refuse(TypeError, "options", options, "an object");
  }
  for (const name of Object.keys(options)) {
    if (!names.includes(name)) {
      throw new TypeError(
        `unknown option ${show(name)}; known are ${names.join(", ")}`,
      );
    }
  }
  const { signal, timeoutMs, onProgress, drain } = options as Record<
    string,
    unknown
  >;
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    refuse(TypeError, "signal", signal, "an AbortSignal");
  }
  if (timeoutMs !== undefined) {
    const rule = "a number from 0 to 2147483647";
    if (typeof timeoutMs !== "number") {
      refuse(TypeError, "timeoutMs", timeoutMs, rule);
    }
    if (!(timeoutMs >= 0 && timeoutMs < 2 ** 31)) {
      refuse(RangeError, "timeoutMs", timeoutMs, rule);
    }
  }
  if (onProgress !== undefined && typeof onProgress !== "function") {
    refuse(TypeError, "onProgress", onProgress, "a function");
  }
  if (drain !== undefined && typeof drain !== "boolean") {
    refuse(TypeError, "drain", drain, "true or false");
  }
  return options as Record<string, unknown>;
}

/** A count of bytes from 0 to `most`, which is the default. */
export function limitOf(value: unknown, most: number): number {
  if (value === undefined) return most;
  const isCount = Number.isInteger(value) || value === Infinity;
  if (isCount && Number(value) >= 0 && Number(value) <= most) {
    return Number(value);
  }
  const Kind = typeof value === "number" ? RangeError : TypeError;
  refuse(Kind, "limit", value, `an integer from 0 to ${most}`);
}

/** Throws unless this looks like a block: a test double of yours does, too. */
export function checkBlock(block: unknown): asserts block is Block {
  const { lend, size } = Object(block);
  if (typeof lend !== "function" || !(size >= 1)) {
    refuse(TypeError, "block", block, "a Block");
  }
}

/** Throws unless this looks like a pool: a test double of yours does, too. */
export function checkPool(pool: unknown): asserts pool is Pool {
  const { acquire, blockSize } = Object(pool);
  if (typeof acquire !== "function" || !(blockSize >= 1)) {
    refuse(TypeError, "pool", pool, "a pool of blocks of one size");
  }
}
