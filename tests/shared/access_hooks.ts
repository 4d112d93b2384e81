// Every access to the words of a control block, atomic or plain, as a step at which a test can end the
// worker that makes it, or let others run: one isolate with several attachments.

import { openNative } from "../../ffi/open.ts";
import { Timer } from "../../pool/timers.ts";
import { endedThread } from "../support/ended_thread.ts";
import {
  type Access,
  accessBy,
  perform,
  watchArrays,
  type Words,
} from "../support/shared_words.ts";

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

/** Stores that others do not see yet: of each buffer, by the place in it. */
type Written = Map<
  ArrayBufferLike,
  Map<number, { array: Words; at: number; value: number }>
>;

/** An act that is being taken step by step. */
interface Run {
  readonly meet: (step: number) => void;
  /** What it has written and no other worker sees yet, if it writes late. */
  readonly written: Written | undefined;
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
  for (const stores of mine?.written?.values() ?? []) {
    for (const { array, at, value } of stores.values()) array[at] = value;
  }
  mine?.written?.clear();
}

function placeOf(array: Words, at: number): number {
  return array.byteOffset + at * array.BYTES_PER_ELEMENT;
}

function write(mine: Run | undefined, array: Words, at: number, value: number) {
  const { written } = mine ?? {};
  if (written === undefined) array[at] = value;
  else {
    let stores = written.get(array.buffer);
    if (stores === undefined) written.set(array.buffer, stores = new Map());
    stores.set(placeOf(array, at), { array, at, value });
  }
}

function read(mine: Run | undefined, array: Words, at: number): number {
  const stores = mine?.written?.get(array.buffer);
  return stores?.get(placeOf(array, at))?.value ?? array[at]!;
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

let isDeaf = false;

const step: Access = (kind, array, at, a, b, c) => {
  const mine = run;
  if (mine !== undefined) {
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
  }
  if (kind === "get") return read(mine, array, at);
  if (kind === "set") return write(mine, array, at, a!);
  show(mine);
  if (isDeaf && kind === "waitAsync") {
    return { async: true, value: new Promise(() => {}) };
  }
  return perform(kind, array, at, a, b, c);
};

accessBy(step);

/** What an attachment has besides the pool's words: its timers, which end with it. */
export class Actor {
  readonly #timers: { readonly act: () => void; readonly timer: Timer }[] = [];

  /** Does something as this actor: what it makes over shared memory is watched, its timers are its own. */
  as<T>(act: () => T): T {
    const { once, every } = Timer;
    Timer.once = this.#noting(once);
    Timer.every = this.#noting(every);
    isDeaf = true;
    try {
      return watchArrays(act);
    } finally {
      isDeaf = false;
      Timer.once = once;
      Timer.every = every;
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
