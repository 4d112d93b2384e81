/**
 * The options of a shared pool: those of `BlockPool` that make sense for many isolates, and one more.
 */
import { integer, MAX_DELAY_MS, record, show } from "../pool/checks.ts";
import { fillOptions, POOL_NAMES, type PoolOptions } from "../pool/options.ts";
import type { SharedFilledOptions } from "./handle.ts";

/**
 * What a shared pool is made of. The options are those of `BlockPool` without `prefault`; `safety` can only be
 * `"revoke"` and `backend` only `"native"`.
 */
export interface SharedPoolOptions extends Omit<PoolOptions, "prefault"> {
  /**
   * Milliseconds after which a ticket that was not adopted comes back, counted from the first
   * housekeeping of any isolate that sees it (one every 250 ms). Integer from 1 to 2^31 − 1. Default
   * 30 000.
   */
  ticketTimeoutMs?: number | undefined;
}

const NAMES: ReadonlySet<string> = new Set([...POOL_NAMES, "ticketTimeoutMs"]);

/** Checks and fills the options; the pool's name, if they have none, is `called`. */
export function fillSharedOptions(
  options: SharedPoolOptions,
  called?: string,
): SharedFilledOptions {
  record("options", options, NAMES);
  const { ticketTimeoutMs = 30_000, name = called, ...rest } = options;
  const filled = fillOptions({ ...rest, name } as PoolOptions);
  only(
    "prefault",
    filled.prefault,
    false,
    "a page is faulted in by its first use",
  );
  only(
    "safety",
    filled.safety,
    "revoke",
    "views cached in one Worker can not be revoked by another",
  );
  only(
    "backend",
    filled.backend,
    "native",
    "only memory of the OS has an address for all Workers",
  );
  return Object.freeze({
    ...filled,
    ticketTimeoutMs: integer(
      "ticketTimeoutMs",
      ticketTimeoutMs,
      1,
      MAX_DELAY_MS,
    ),
  });
}

function only<T>(name: string, value: T, allowed: T, why: string): void {
  if (value === allowed) return;
  throw new RangeError(
    `${name} must be ${show(allowed)} in a SharedBlockPool, got ${
      show(value)
    }: ${why}`,
  );
}
