// Every access to the words of a control block, atomic or plain, as a step at which a test can end the
// worker that makes it, or let others run. The pool's own code runs, in one isolate with several attachments;
// in the test's hands are the globals that it reaches its words by: `Atomics`, and what makes arrays.

import { openNative } from "../../ffi/open.ts";
import { Timer } from "../../pool/timers.ts";
import { endedThread } from "../support/ended_thread.ts";

const real = {
  Atomics: globalThis.Atomics,
  Int32Array: globalThis.Int32Array,
  Float64Array: globalThis.Float64Array,
};

/** No thread has this number any more. */
export const NO_THREAD = await endedThread();

/** Thrown where a worker dies. */
export class Death extends Error {}

/** The file ends: the attachments of the dead are left as all others are, and refuse who waits there. */
let isOver = false;
addEventListener("unload", () => isOver = true);

addEventListener("unhandledrejection", (event) => {
  if (event.reason instanceof Death || isOver) event.preventDefault();
});

type Words = Int32Array | Float64Array;

/** An act that is being taken step by step. */
interface Run {
  readonly meet: (step: number) => void;
  /** What it has written and no other worker sees yet, if it writes late. */
  readonly written: Map<Words, Map<number, number>> | undefined;
  count: number;
  isDead: boolean;
}

let run: Run | undefined;
/** The act that stands still while others do something. */
let halted: Run | undefined;

/**
 * Calls `meet` before each access that `act` makes, with its number; returns how many there were.
 * `late`, plain writes are seen by others only after the next atomic operation, as on x86-64 with its
 * store buffers.
 */
export function stepwise(
  act: () => void,
  meet: (step: number) => void,
  late = false,
): number {
  const written = late ? new Map() : undefined;
  const mine: Run = { meet, written, count: 0, isDead: false };
  run = mine;
  try {
    act();
  } catch (error) {
    if (!mine.isDead) throw error;
  } finally {
    run = undefined;
    show(mine);
  }
  return mine.count;
}

/** All that was written is seen by others. */
function show(mine: Run | undefined): void {
  for (const [array, words] of mine?.written ?? []) {
    for (const [at, value] of words) array[at] = value;
  }
  mine?.written?.clear();
}

function write(mine: Run | undefined, array: Words, at: number, value: number) {
  const { written } = mine ?? {};
  if (written === undefined) array[at] = value;
  else {
    let words = written.get(array);
    if (words === undefined) written.set(array, words = new Map());
    words.set(at, value);
  }
}

/** One access to a word. */
function access<T>(make: (mine: Run | undefined) => T): T {
  const mine = run;
  if (mine === undefined) return make(mine);
  // The dead do not tidy up, whatever stands in a "finally".
  if (mine.isDead) throw new Death();
  // What others do in between is not interrupted itself.
  run = undefined;
  halted = mine;
  try {
    mine.meet(mine.count++);
  } catch (error) {
    mine.isDead = error instanceof Death;
    throw error;
  } finally {
    run = mine;
    halted = undefined;
  }
  return make(mine);
}

// A fence in all threads: what any of them has written is seen by others.
const native = openNative();
if (!("reason" in native) && native.fence !== undefined) {
  const { fence } = native;
  const watched = () => {
    for (const each of [run, halted]) show(each);
    return fence();
  };
  Object.defineProperty(native, "fence", { value: watched });
}

const targets = new WeakMap<object, object>();

/** The array itself, of one that is watched. */
export function itself<T extends object>(array: T): T {
  return (targets.get(array) ?? array) as T;
}

/** An array whose every access is a step. */
function watch<T extends Words>(array: T): T {
  const watched = new Proxy(array, {
    get(array, key) {
      if (typeof key === "string" && /^\d+$/.test(key)) {
        const at = Number(key);
        return access((mine) =>
          mine?.written?.get(array)?.get(at) ?? array[at]
        );
      }
      if (key === "subarray") {
        return (from: number, to: number) => watch(array.subarray(from, to));
      }
      return Reflect.get(array, key, array);
    },
    set(array, key, value) {
      return access((mine) => {
        write(mine, array, Number(key), value);
        return true;
      });
    },
  });
  targets.set(watched, array);
  return watched;
}

/** Arrays over shared memory are watched. */
function watching<T extends typeof Int32Array | typeof Float64Array>(
  kind: T,
): T {
  return new Proxy(kind, {
    construct(kind, args, self) {
      const array = Reflect.construct(kind, args, self);
      return args[0] instanceof SharedArrayBuffer ? watch(array) : array;
    },
  });
}

let isDeaf = false;

globalThis.Atomics = new Proxy(real.Atomics, {
  get(atomics, name) {
    const value = Reflect.get(atomics, name);
    if (typeof value !== "function") return value;
    return (array: object, ...args: unknown[]) =>
      // The process's page is not the pool's.
      !targets.has(array)
        ? Reflect.apply(value, atomics, [array, ...args])
        : access((mine) => {
          show(mine);
          if (isDeaf && name === "waitAsync") {
            return { async: true, value: new Promise(() => {}) };
          }
          return Reflect.apply(value, atomics, [itself(array), ...args]);
        });
  },
});

/** What an attachment has besides the pool's words: its timers, which end with it. */
export class Actor {
  readonly #timers: { readonly act: () => void; readonly timer: Timer }[] = [];

  /** Does something as this actor: what it makes over shared memory is watched, its timers are its own. */
  as<T>(act: () => T): T {
    const { once, every } = Timer;
    globalThis.Int32Array = watching(real.Int32Array);
    globalThis.Float64Array = watching(real.Float64Array);
    Timer.once = this.#noting(once);
    Timer.every = this.#noting(every);
    isDeaf = true;
    try {
      return act();
    } finally {
      isDeaf = false;
      Timer.once = once;
      Timer.every = every;
      globalThis.Int32Array = real.Int32Array;
      globalThis.Float64Array = real.Float64Array;
    }
  }

  /** Notes what a way to start a timer starts. */
  #noting(start: typeof Timer.once): typeof Timer.once {
    return (ms, owner, act) => {
      const timer = start(ms, owner, act);
      this.#timers.push({ act: () => act(owner), timer });
      return timer;
    };
  }

  /** Runs what its first timer would: it looks after the pool. */
  keepHouse(): void {
    this.#timers[0].act();
  }

  /** It does nothing any more. */
  end(): void {
    for (const { timer } of this.#timers) timer.stop();
  }
}
