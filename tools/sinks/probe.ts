/**
 * What a probe is, and how one is tried: an API is given a block's bytes, the block is released at a
 * point of time and used again at once, and then it is looked whether the API got the right bytes
 * and left the next lease alone.
 */
import { scrypt } from "node:crypto";
import { BlockPool } from "../../mod.ts";

/** Bytes of a block, or of a copy. */
export type Bytes = Uint8Array<ArrayBuffer>;
/** When the block is released. */
export type Point = "call" | "end" | "copy";

/** The call has been made. */
export interface Begun {
  /** The API's own promise or callback; without one its return is the end. */
  readonly end?: Promise<unknown>;
  /**
   * What has come of the bytes, or a promise of it: the bytes where they arrived, a string that a run
   * without a release gives too, or whether all is right.
   */
  readonly result: () => unknown;
}

/** Makes the call. */
export type Start = (bytes: Bytes) => Begun;

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
  readonly prepare: (trial: Trial) => Promise<Start> | Start;
}

/** What a probe may use. */
export interface Trial {
  /** What the bytes are, in memory of its own. */
  readonly pattern: Bytes;
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
    const come = async () => await begun.result();
    const early = point === "end" ? come() : undefined;
    early?.catch(() => {});
    if (point === "end") await inTime(begun.end);
    block.release();
    const next = pool.acquireSync();
    next.bytes.fill(LATER);
    const given = await inTime(early ?? come());
    await inTime(begun.end);
    await pause(2);
    result = shown(given);
    if (given instanceof Uint8Array) {
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

/** What an API has made of the bytes, as a text; not bytes, which would have to be those given. */
export function shown(value: unknown): string {
  if (value instanceof ArrayBuffer) return hash(new Uint8Array(value));
  return value instanceof Uint8Array ? hash(value) : String(value);
}

/** What calls back as node's APIs do, as a promise. */
export function settled<T>(
  call: (done: (error?: unknown, value?: T) => void) => void,
): Promise<T> {
  return new Promise((resolve, reject) =>
    call((error, value) => error ? reject(error) : resolve(value!))
  );
}

/** One array of all. */
export function joined(parts: readonly Uint8Array[]): Bytes {
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

/** One API; what follows are the kinds of which there are several. */
export function probe(
  api: string,
  end: Probe["end"],
  prepare: Probe["prepare"],
  more: Pick<Probe, "races" | "size"> = {},
): Probe {
  return { api, end, prepare, ...more };
}

/** One that has done all it does with the bytes when it returns; `read` says what came of them. */
export function returned<T>(
  api: string,
  call: (bytes: Bytes) => T,
  read: (made: T) => unknown = shown,
): Probe {
  return probe(api, "return", () => (bytes) => {
    const made = call(bytes);
    return { result: () => read(made) };
  });
}

/** For {@linkcode returned}: the bytes themselves have arrived. */
export const same = <T>(made: T): T => made;

/** One that gives a promise of what it makes of the bytes. */
export function promising(
  api: string,
  prepare: (
    trial: Trial,
  ) =>
    | Promise<(bytes: Bytes) => Promise<unknown>>
    | ((bytes: Bytes) => Promise<unknown>),
  end: Probe["end"] = "promise",
  races = false,
): Probe {
  return probe(api, end, async (trial) => {
    const call = await prepare(trial);
    return (bytes) => {
      const end = call(bytes);
      return { end, result: () => end.then(shown) };
    };
  }, { races });
}

/** One that reads 100 bytes, which come a little later. */
export function reads(
  api: string,
  end: Probe["end"],
  prepare: (trial: Trial) => Promise<{
    read: (bytes: Bytes) => Promise<number | bigint | null | undefined>;
    feed?: (bytes: Bytes) => unknown;
  }>,
  size?: number,
): Probe {
  return probe(api, end, async (trial) => {
    const { read, feed } = await prepare(trial);
    return (bytes) => {
      const end = read(bytes);
      pause(20).then(() => feed?.(new Uint8Array(100).fill(1)));
      return { end, result: async () => Number(await end) === 100 };
    };
  }, { size });
}
