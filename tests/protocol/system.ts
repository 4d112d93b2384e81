// An operating system without memory, threads or time of its own, for code that is run again and again: what
// it is asked for is an access like one to a shared word, and what it answers depends on those alone.

import type { Backend, Code, Range } from "../../ffi/backend.ts";
import { replaceNative } from "../../ffi/open.ts";
import { processWords } from "../../ffi/process_page.ts";
import { EMPTY_STACK } from "../../pool/headroom.ts";
import { Timer } from "../../pool/timers.ts";

/** Bytes of a page, and of a block in most configurations. */
export const PAGE = 4096;
/** Where the first range is. Each further one lies so much higher. */
const BASE = 1n << 32n;

/** States of a page. */
export const NO_MEMORY = 0;
export const MEMORY = 1;
export const UNMAPPED = 2;

/** Who asks the system. */
export interface Asker {
  /** Number of its thread. */
  readonly thread: number;
  /** Ms. */
  readonly now: number;
  isAlive(thread: number): boolean;
  /** Sets the state of a page, by its number from `BASE` on. */
  setPage(page: number, state: number): void;
  /** A fence for all threads. */
  fence(): void;
  /** How many ranges were mapped before. */
  nextRange(): number;
}

let asker: Asker | undefined;

/** The one who runs now. */
function mine(): Asker {
  if (asker === undefined) throw new Error("no worker runs");
  return asker;
}

function pageAt({ base }: Range, offset: number): number {
  return (Number(base - BASE) + offset) / PAGE;
}

function set(range: Range, offset: number, size: number, state: number): Code {
  for (let at = 0; at < size; at += PAGE) {
    mine().setPage(pageAt(range, offset + at), state);
  }
  return 0;
}

const backend: Backend & Record<string, unknown> = {
  kind: "native",
  abilities: {
    pageSize: PAGE,
    hugePageSize: 0,
    zeroedOnRecommit: true,
    protects: false,
    prefaults: false,
    hasAddresses: true,
  },
  threads: {
    current: () => mine().thread,
    isAlive: (thread) => mine().isAlive(thread),
  },
  map: (size) => {
    const base = BASE + BigInt(mine().nextRange()) * 2n ** 20n;
    return { base, size, mappedBase: base, mappedSize: size };
  },
  mapAt: () => -1,
  findAt: () => undefined,
  commit: (range, offset, size) => set(range, offset, size, MEMORY),
  decommit: (range, offset, size) => set(range, offset, size, NO_MEMORY),
  protect: () => 0,
  prefault: () => 0,
  unmap: (range) => set(range, 0, range.size, UNMAPPED),
  unmapPart: (range, offset, size) => set(range, offset, size, UNMAPPED),
  view: (_range, _offset, size) => new ArrayBuffer(size),
  pointer: () => null,
  isAt: () => true,
  errorName: () => "REFUSED",
  fence: () => {
    mine().fence();
    return 0;
  },
};

const NO_TIMER = { stop() {} } as unknown as Timer;

/** What there is instead. Nothing fires: what a worker does it is told to. */
const REPLACED: readonly [object, Record<string, unknown>][] = [
  [globalThis, {
    // Of pool handles, which are not changed here.
    structuredClone: (value: unknown) => value,
    setTimeout: () => 0,
    setInterval: () => 0,
    clearTimeout: () => {},
    clearInterval: () => {},
  }],
  [performance, { now: () => mine().now }],
  [Math, { random: () => 0 }],
  [Timer, { once: () => NO_TIMER, every: () => NO_TIMER }],
  [EMPTY_STACK, { then: () => EMPTY_STACK }],
];

/** Puts the system in the place of the real one, until the result is disposed. */
export function replaceSystem(): Disposable {
  // Remembered is a system that has no memory for the list of pools in the process.
  const forget = replaceNative({ ...backend, map: () => -1 });
  processWords();
  forget();
  const restore = replaceNative(backend);
  return { [Symbol.dispose]: restore };
}

/** Calls `act`, which asks the system as this one. */
export function runAs<T>(by: Asker, act: () => T): T {
  const before = asker;
  const real = REPLACED.map(([owner, others]) => {
    const names = Object.keys(others);
    return Object.fromEntries(
      names.map((name) => [name, Reflect.get(owner, name)]),
    );
  });
  asker = by;
  for (const [owner, others] of REPLACED) Object.assign(owner, others);
  try {
    return act();
  } finally {
    asker = before;
    REPLACED.forEach(([owner], at) => Object.assign(owner, real[at]));
  }
}
