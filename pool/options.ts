/**
 * The options of a pool and of its methods: their names, rules and defaults.
 *
 * Nothing here knows memory, slots or time.
 */

import {
  abortSignal,
  boolean,
  duration,
  integer,
  MAX_DELAY_MS,
  number,
  optional,
  record,
  text,
  word,
} from "./checks.ts";

/** How much is checked for you, and what it costs. See the levels in docs/safety.md. */
export type Safety = "trust" | "revoke" | "strict";

/** Whether dropped blocks are found, and of how many the place of the acquire is noted. */
export type LeakDetection = "off" | "sampled" | "all";

/** Where the memory comes from. */
export type BackendChoice = "native" | "heap" | "auto";

/** What a pool is made of. Only `blockSize` and `maxBlocks` are required. */
export interface PoolOptions {
  /** Bytes in one block. Integer from 1; `blockSize × maxBlocks` is at most 2^46. */
  blockSize: number;
  /** The most blocks that will ever exist. Integer from 1 to 2^30. */
  maxBlocks: number;
  /**
   * Blocks committed at the start, and never shrunk below. Integer from 1 to `maxBlocks`, more
   * than `reservedBlocks`. Default: 20 % of `maxBlocks`, at least 1, plus `reservedBlocks`.
   */
  initialBlocks?: number | undefined;
  /**
   * Blocks kept back for acquires with `{ reserved: true }`. Integer from 0, less than half of
   * `maxBlocks`. Default 0.
   */
  reservedBlocks?: number | undefined;
  /** Share of the committed blocks in use at which the pool grows. In (0, 1]. Default 0.8. */
  growThreshold?: number | undefined;
  /** Share of `maxBlocks` committed by one grow. In (0, 1]. Default 0.1. */
  growStep?: number | undefined;
  /**
   * Share of the committed blocks that must stay free before the pool shrinks. In [0, 1), and above
   * `1 − growThreshold × (1 − shrinkStep)`, or the pool would grow and shrink in turns. Default 0.5.
   */
  shrinkThreshold?: number | undefined;
  /** Share of the committed blocks given back by one shrink. In (0, 1), see above. Default 0.1. */
  shrinkStep?: number | undefined;
  /**
   * Milliseconds that a pool must have been idle before it gives a step back; it notices at most half of
   * them later, or 50 ms. Integer from 1 to 2^31 − 1. Default 60 000.
   */
  shrinkIntervalMs?: number | undefined;
  /** What happens to a lease's views at release. Default `"revoke"`. */
  safety?: Safety | undefined;
  /** Whether a block never shows an earlier lease's bytes. Default true. */
  zero?: boolean | undefined;
  /** The most acquires that may wait; one more is refused. Integer from 0. Default 65 536. */
  maxWaiting?: number | undefined;
  /**
   * Default `"sampled"`: every dropped block is found, the place of some; always `"all"` with `safety:
   * "strict"`.
   */
  leakDetection?: LeakDetection | undefined;
  /**
   * Bytes that may stay resident for blocks given up that may still be read, beside `maxBlocks`:
   * released while their buffer was out, `abandon()`. Past it each further one costs a block of
   * capacity. From 0; `Infinity` is allowed. Default: a quarter of what `maxBlocks` take, at least one
   * block.
   */
  maxAbandonedBytes?: number | undefined;
  /** Milliseconds after which a held block is reported as overdue. Integer from 1 to 2^31 − 1. Default off. */
  overdueMs?: number | undefined;
  /**
   * Milliseconds after which an acquire that still waits is reported, with who holds the blocks.
   * Integer from 1 to 2^31 − 1, or `Infinity` for never. Default 10 000.
   */
  stallMs?: number | undefined;
  /**
   * Whether pages are faulted in ahead where the OS can: between other work, half a millisecond at a
   * time, about 200 MB a second. Default false.
   */
  prefault?: boolean | undefined;
  /**
   * Whether memory that is free goes back at once when the container is short of memory. Default true.
   */
  pressureTrim?: boolean | undefined;
  /** Whether to ask for 2 MiB pages where the OS has them. Default false. */
  hugePages?: boolean | undefined;
  /** Where the memory comes from. Default `"native"`. */
  backend?: BackendChoice | undefined;
  /** Label in messages, stats, events and metrics. Default `"smriti"`. */
  name?: string | undefined;
}

/** Every option checked and filled, but for two that have no default. */
export type FilledOptions =
  & { readonly [K in "overdueMs" | "maxAbandonedBytes"]: number | undefined }
  & {
    readonly [
      K in keyof Omit<PoolOptions, "overdueMs" | "maxAbandonedBytes">
    ]-?: Exclude<PoolOptions[K], undefined>;
  };

const MAX_BYTES = 2 ** 46;
const MAX_BLOCKS = 2 ** 30;

/** Share of a count, rounded up after removing float noise: 20 % of 10 is 2, not 3. */
export function shareOf(share: number, count: number): number {
  return Math.ceil(share * count - 1e-9);
}

const share = (v: number) => v > 0 && v <= 1;
const SHARE = "a number above 0 and at most 1";

/** The options of a pool. */
export const POOL_NAMES: ReadonlySet<keyof PoolOptions> = new Set([
  "blockSize",
  "maxBlocks",
  "initialBlocks",
  "reservedBlocks",
  "growThreshold",
  "growStep",
  "shrinkThreshold",
  "shrinkStep",
  "shrinkIntervalMs",
  "safety",
  "zero",
  "maxWaiting",
  "leakDetection",
  "overdueMs",
  "stallMs",
  "prefault",
  "pressureTrim",
  "hugePages",
  "backend",
  "name",
  "maxAbandonedBytes",
]);

/** Checks a pool's options, fills the defaults and freezes the result. */
export function fillOptions(options: PoolOptions): FilledOptions {
  const given = record("options", options, POOL_NAMES);
  const or = <T>(name: keyof PoolOptions, fallback: T): unknown =>
    given[name] === undefined ? fallback : given[name];

  const blockSize = integer("blockSize", given.blockSize, 1, MAX_BYTES);
  const maxBlocks = integer("maxBlocks", given.maxBlocks, 1, MAX_BLOCKS);
  if (blockSize * maxBlocks > MAX_BYTES) {
    throw new RangeError(
      `blockSize × maxBlocks must be at most 2^46 bytes, got ${blockSize} × ${maxBlocks}`,
    );
  }
  const reservedBlocks = number(
    "reservedBlocks",
    or("reservedBlocks", 0),
    (v) => Number.isInteger(v) && v >= 0 && v < maxBlocks / 2,
    `an integer from 0 and less than half of maxBlocks (${maxBlocks})`,
  );
  const initialBlocks = number(
    "initialBlocks",
    or(
      "initialBlocks",
      Math.min(
        maxBlocks,
        Math.max(1, shareOf(0.2, maxBlocks)) + reservedBlocks,
      ),
    ),
    (v) => Number.isInteger(v) && v > reservedBlocks && v <= maxBlocks,
    `an integer above reservedBlocks (${reservedBlocks}) and at most maxBlocks (${maxBlocks})`,
  );
  const growThreshold = number(
    "growThreshold",
    or("growThreshold", 0.8),
    share,
    SHARE,
  );
  const growStep = number("growStep", or("growStep", 0.1), share, SHARE);
  const shrinkThreshold = number(
    "shrinkThreshold",
    or("shrinkThreshold", 0.5),
    (v) => v >= 0 && v < 1,
    "a number of at least 0 and below 1",
  );
  const shrinkStep = number(
    "shrinkStep",
    or("shrinkStep", 0.1),
    share,
    SHARE,
  );
  if (!((1 - shrinkThreshold) / (1 - shrinkStep) < growThreshold)) {
    const least = 1 - growThreshold * (1 - shrinkStep);
    const remedy = least < 1
      ? `shrinkThreshold must be above ${Number(least.toPrecision(6))}`
      : "shrinkStep must be below 1";
    throw new RangeError(
      "(1 − shrinkThreshold) / (1 − shrinkStep) must be below growThreshold, or the pool would " +
        `grow and shrink in turns; got shrinkThreshold ${shrinkThreshold}, shrinkStep ` +
        `${shrinkStep}, growThreshold ${growThreshold}: ${remedy} with the other two`,
    );
  }
  const safety = word("safety", or("safety", "revoke"), [
    "trust",
    "revoke",
    "strict",
  ]);
  const leakDetection = word("leakDetection", or("leakDetection", "sampled"), [
    "off",
    "sampled",
    "all",
  ]);

  return Object.freeze({
    blockSize,
    maxBlocks,
    initialBlocks,
    reservedBlocks,
    growThreshold,
    growStep,
    shrinkThreshold,
    shrinkStep,
    shrinkIntervalMs: integer(
      "shrinkIntervalMs",
      or("shrinkIntervalMs", 60_000),
      1,
      MAX_DELAY_MS,
    ),
    safety,
    zero: boolean("zero", or("zero", true)),
    maxWaiting: integer("maxWaiting", or("maxWaiting", 65_536), 0),
    leakDetection: safety === "strict" ? "all" : leakDetection,
    maxAbandonedBytes: given.maxAbandonedBytes === undefined
      ? undefined
      : number(
        "maxAbandonedBytes",
        given.maxAbandonedBytes,
        (v) => v >= 0,
        "a number of bytes from 0, or Infinity",
      ),
    overdueMs: given.overdueMs === undefined
      ? undefined
      : integer("overdueMs", given.overdueMs, 1, MAX_DELAY_MS),
    stallMs: number(
      "stallMs",
      or("stallMs", 10_000),
      (v) =>
        v === Infinity || Number.isInteger(v) && v >= 1 && v <= MAX_DELAY_MS,
      `an integer from 1 to ${MAX_DELAY_MS}, or Infinity`,
    ),
    prefault: boolean("prefault", or("prefault", false)),
    pressureTrim: boolean("pressureTrim", or("pressureTrim", true)),
    hugePages: boolean("hugePages", or("hugePages", false)),
    backend: word("backend", or("backend", "native"), [
      "native",
      "heap",
      "auto",
    ]),
    name: text("name", or("name", "smriti")),
  });
}

/** The options of an acquire that never waits. */
export interface TryAcquireOptions {
  /** Whether the blocks kept back may be taken. Default false. */
  reserved?: boolean | undefined;
  /** Your own label for this lease, shown in errors, leak reports and `close`. */
  tag?: string | undefined;
}

/** The options of an acquire that waits. */
export interface AcquireOptions extends TryAcquireOptions {
  /** Ends the wait: the promise rejects with `signal.reason`. */
  signal?: AbortSignal | undefined;
  /**
   * The longest wait in milliseconds, from 0 to 2^31 − 1; 0 tries once. Default: for ever. It ends by a
   * timer: where the event loop was blocked, a block that is free before the timer fires is still given.
   */
  timeoutMs?: number | undefined;
}

/** The options of `tryAcquire`. */
export const TRY_NAMES: ReadonlySet<keyof TryAcquireOptions> = new Set([
  "reserved",
  "tag",
]);
/** The options of `acquire`. */
export const ACQUIRE_NAMES: ReadonlySet<keyof AcquireOptions> = new Set([
  "reserved",
  "tag",
  "signal",
  "timeoutMs",
]);

/**
 * Throws unless these are options of an acquire that never waits. Returns what it has read: a getter
 * may answer differently the next time.
 */
export function checkTryAcquire(options: TryAcquireOptions): TryAcquireOptions {
  const { reserved, tag } = record("options", options, TRY_NAMES);
  return {
    reserved: optional(boolean, "reserved", reserved),
    tag: optional(text, "tag", tag),
  };
}

/** Throws unless these are options of an acquire that waits. Returns what it has read. */
export function checkAcquire(options: AcquireOptions): AcquireOptions {
  const given = record("options", options, ACQUIRE_NAMES);
  const { reserved, tag, signal, timeoutMs } = given;
  return {
    reserved: optional(boolean, "reserved", reserved),
    tag: optional(text, "tag", tag),
    signal: optional(abortSignal, "signal", signal),
    timeoutMs: optional(duration, "timeoutMs", timeoutMs),
  };
}

/** How to close. */
export interface CloseOptions {
  /** Milliseconds to wait for blocks still out, from 0 to 2^31 − 1. Default 10 000. */
  timeoutMs?: number | undefined;
}

const CLOSE_NAMES: ReadonlySet<keyof CloseOptions> = new Set(["timeoutMs"]);

/** How long closing waits for blocks that are out, in ms. */
export function closeTimeout(options: CloseOptions = {}): number {
  const { timeoutMs } = record("options", options, CLOSE_NAMES);
  return timeoutMs === undefined ? 10_000 : duration("timeoutMs", timeoutMs);
}
