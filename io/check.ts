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
  signal?: AbortSignal;
  /**
   * The longest wait for a block of the pool in milliseconds, from 0 to 2^31 − 1; 0 tries once.
   * Default: as long as it takes. It does not limit the reading: `signal` does.
   */
  timeoutMs?: number;
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

function show(value: unknown): string {
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
  const { signal, timeoutMs, onProgress } = options as Record<string, unknown>;
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
  return options as Record<string, unknown>;
}

/** A count of bytes from 0 to `most`, or `fallback` if none is given. */
export function limitOf(
  value: unknown,
  most: number,
  fallback: number,
): number {
  if (value === undefined) return fallback;
  const rule = `an integer from 0 to ${most}`;
  if (typeof value !== "number") refuse(TypeError, "limit", value, rule);
  if (!Number.isInteger(value) || value < 0 || value > most) {
    refuse(RangeError, "limit", value, rule);
  }
  return value;
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

/** Throws unless the value has this method. */
export function checkMethod(name: string, value: unknown, method: string) {
  if (typeof Object(value)[method] !== "function") {
    refuse(TypeError, name, value, `an object with a ${method}() method`);
  }
}
