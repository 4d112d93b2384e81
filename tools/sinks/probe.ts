/**
 * What a probe is, and how one is tried: an API is given a block's bytes, the block is released at a
 * point of time and used again at once, and then it is looked whether the API got the right bytes
 * and left the next lease alone.
 */
import { scrypt } from "node:crypto";
import { BlockPool } from "../../mod.ts";

/** When the block is released. */
export type Point = "call" | "end" | "copy";

/** The call has been made. */
export interface Begun {
  /** The API's own promise or callback; without one its return is the end. */
  readonly end?: Promise<unknown>;
  /**
   * What has come of the bytes: the bytes where they arrived, a string that a run without a release
   * gives too, or whether all is right.
   */
  readonly result: () => Promise<Uint8Array | string | boolean>;
}

/** One API. */
export interface Probe {
  /** As the table names it. */
  readonly api: string;
  /** How it says that it has ended. */
  readonly end: "return" | "promise" | "callback";
  /** Another thread reads the bytes, at once if it can: tried often, beside busy threads. */
  readonly races?: boolean;
  /** Bytes it is given. Default 64 KiB. */
  readonly size?: number;
  /** Makes all ready; the function it gives makes the call. */
  readonly prepare: (
    trial: Trial,
  ) => Promise<Start> | Start;
}

/** Makes the call. */
export type Start = (bytes: Uint8Array<ArrayBuffer>) => Begun;

/** What a probe may use. */
export interface Trial {
  /** What the bytes are, in memory of its own. */
  readonly pattern: Uint8Array<ArrayBuffer>;
  /** Runs when the trial is over, last first. */
  defer(fn: () => unknown): void;
}

/** `undefined`: all is right. Else what went wrong. */
export type Outcome = string | undefined;

const PATIENCE_MS = 4000;
const LATER = 0xee;

let current: string[] = [];
addEventListener("error", (event) => {
  event.preventDefault();
  current.push(`an uncaught ${event.error?.name ?? "error"}`);
});
addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  current.push(`an uncaught ${event.reason?.name ?? "error"}`);
});

/** Never closed: what an API still holds then would end the process. */
const pools: BlockPool[] = [];

/** Keeps threads busy for some ten milliseconds. */
function busy(): Promise<unknown> {
  return Promise.all(
    Array.from(
      { length: 6 },
      () =>
        new Promise((resolve) => scrypt("x", "y", 32, { cost: 4096 }, resolve)),
    ),
  );
}

/** Tries a probe once. */
export async function attempt(
  probe: Probe,
  point: Point,
  expected?: string,
): Promise<{ outcome: Outcome; result: string }> {
  const size = probe.size ?? 65536;
  const pool = new BlockPool({ blockSize: size, maxBlocks: 2 });
  pools.push(pool);
  const block = pool.acquireSync();
  const pattern = new Uint8Array(size);
  for (let i = 0; i < size; i++) pattern[i] = i * 7 + (i >> 8) + 1;
  block.bytes.set(pattern);
  const uncaught: string[] = current = [];
  const deferred: (() => unknown)[] = [];
  const defer = (fn: () => unknown) => void deferred.push(fn);
  let result = "";
  let outcome: Outcome;
  try {
    const start = await probe.prepare({ pattern, defer });
    if (probe.races && point === "call") busy();
    // The call itself is the last thing before the release.
    const begun = start(point === "copy" ? block.bytes.slice() : block.bytes);
    begun.end?.catch(() => {});
    // What has to wait for a reader ends only when that is let in.
    const early = point === "end" ? begun.result() : undefined;
    early?.catch(() => {});
    if (point === "end") await inTime(begun.end);
    block.release();
    const next = pool.acquireSync();
    next.bytes.fill(LATER);
    const given = await inTime(early ?? begun.result());
    await inTime(begun.end);
    await pause(2);
    result = typeof given === "object" ? hash(given) : String(given);
    if (typeof given === "object") {
      if (given.length < size) outcome = "fewer bytes arrive";
      else if (result !== hash(pattern)) outcome = "other bytes arrive";
    } else if (given === false) outcome = "other bytes arrive";
    else if (expected !== undefined && result !== expected) {
      outcome = "another result";
    }
    if (next.bytes.some((byte) => byte !== LATER)) {
      outcome = "writes into the next lease";
    } else if (pool.stats().abandonedBlocks > 0) {
      outcome ??= "takes the block's buffer along";
    }
  } catch (error) {
    outcome = error instanceof Error ? `a rejected ${error.name}` : "an error";
    if (error === LATE) outcome = "never ends";
    if (Deno.env.has("SINKS_DEBUG")) console.error(probe.api, point, error);
  } finally {
    for (const fn of deferred.reverse()) {
      await Promise.race([
        Promise.resolve().then(fn).catch(() => {}),
        pause(500),
      ]);
    }
  }
  await pause(5); // for errors that are not caught
  if (uncaught.length > 0) outcome = uncaught[0];
  if (Deno.env.has("SINKS_DEBUG")) {
    console.error(probe.api, point, outcome, result, expected);
  }
  return { outcome, result };
}

const LATE = new Error("late");

async function inTime<T>(promise: Promise<T> | undefined): Promise<T> {
  let timer;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(LATE), PATIENCE_MS);
  });
  try {
    return await Promise.race([promise as Promise<T>, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A pause in real time: for what goes on elsewhere without a sign. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function hash(bytes: Uint8Array): string {
  let sum = 0;
  for (const byte of bytes) sum = (Math.imul(sum, 31) + byte) | 0;
  return `${bytes.length}:${sum}`;
}

/** A callback as node's APIs want it, and the promise that it settles. */
export function callback<T = unknown>(): {
  end: Promise<T>;
  done: (error?: unknown, value?: unknown) => void;
} {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  return {
    end: promise,
    done: (error, value) => error ? reject(error) : resolve(value as T),
  };
}

/** One array of all. */
export function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(
    parts.reduce((sum, part) => sum + part.length, 0),
  );
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** The last `size` bytes of many: what comes behind the unsent. */
export function tail(bytes: Uint8Array, size: number): Uint8Array {
  return bytes.subarray(Math.max(0, bytes.length - size));
}
