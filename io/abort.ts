/**
 * An `AbortSignal` for the length of one operation, however many steps there are, and one listener
 * on each signal, however many operations: thousands may share a server's shutdown signal, and a
 * listener of its own made each the dearer, the more there were.
 *
 * `Promise.race` against one long-lived promise would keep a reaction for every step until the
 * end; here a step that is over leaves nothing. A loop whose steps are all at hand runs in
 * microtasks alone, where no signal's timer fires: so it is also known here when the event loop
 * must have a turn.
 */
import { setImmediate } from "node:timers";
import { hasHeadroom, UNWOUND } from "./headroom.ts";

/** So long may an operation go on before the event loop has a turn, in milliseconds. */
const MOST_WORK_MS = 10;
/** Steps are short if the time between two looks at the clock is below this, in milliseconds. */
const SHORT_MS = 0.2;
/** Short steps between two looks: the clock costs as much as some of them. */
const SHORT_STEPS = 8;
/** Steps before the first look: most bodies are over by then. */
const FIRST_STEPS = 6;

/**
 * When the first of all operations looked at the clock since the event loop had a turn, or 0. One for
 * all: a row of short ones is as long as one, and were each to wait for a turn of its own, the time that
 * others take in it would make the next one due.
 */
let busySince = 0;

function noteTurn(): void {
  busySince = 0;
}

/** What hears of an abort. */
interface Listener {
  /** The signal has been aborted. */
  interrupt(reason: unknown): void;
}

/** All that listens to one signal, behind one listener. */
class Watch {
  readonly listeners = new Set<Listener>();
  readonly #signal: AbortSignal;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  handleEvent(): void {
    if (!hasHeadroom()) {
      UNWOUND.then(() => this.handleEvent());
      return;
    }
    for (const each of this.listeners) each.interrupt(this.#signal.reason);
  }
}

const watches = new WeakMap<AbortSignal, Watch>();

function listen(signal: AbortSignal, listener: Listener): void {
  let watch = watches.get(signal);
  if (watch === undefined) {
    watches.set(signal, watch = new Watch(signal));
    signal.addEventListener("abort", watch);
  }
  watch.listeners.add(listener);
}

function unlisten(signal: AbortSignal, listener: Listener): void {
  const watch = watches.get(signal);
  if (watch === undefined) return;
  watch.listeners.delete(listener);
  if (watch.listeners.size > 0) return;
  watches.delete(signal);
  signal.removeEventListener("abort", watch);
}

/**
 * Tells `listener` of an abort, without keeping it alive: a signal may live as long as its server,
 * and what is no longer referenced must be found by the garbage collector. Gives what ends it.
 */
export function listenWeakly(
  signal: AbortSignal | undefined,
  listener: Listener,
): () => void {
  if (signal === undefined) return () => {};
  const weak = new WeakRef(listener);
  const each = {
    interrupt: (reason: unknown) => weak.deref()?.interrupt(reason),
  };
  listen(signal, each);
  return () => unlisten(signal, each);
}

/** Lets a signal interrupt the waiting for other promises, never what those do. */
export class Abort {
  readonly #signal: AbortSignal | undefined;
  #reject: ((reason: unknown) => void) | undefined;
  /** Of the clock; 0 before the first look. */
  #lastLook = 0;
  /** Steps until the next look. */
  #unseen = FIRST_STEPS;

  /** Listens until {@linkcode Abort.end}. */
  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
    if (signal !== undefined) listen(signal, this);
  }

  /**
   * Before a step: throws the signal's reason if it has been aborted, and says whether the event
   * loop must have a turn first.
   */
  check(): boolean {
    this.#signal?.throwIfAborted();
    if (--this.#unseen > 0) return false;
    const now = performance.now();
    if (busySince === 0) {
      setImmediate(noteTurn).unref();
      busySince = now;
    }
    this.#unseen = now - this.#lastLook < SHORT_MS ? SHORT_STEPS : 1;
    this.#lastLook = now;
    return now - busySince >= MOST_WORK_MS;
  }

  /** Lets the event loop have a turn, then throws if aborted. */
  async turn(): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.#lastLook = performance.now();
    this.#signal?.throwIfAborted();
  }

  /**
   * Settles as `step` does, or rejects with the signal's reason as soon as there is one; what
   * becomes of `step` then is of no interest. One step at a time.
   */
  race<T>(step: Promise<T>): Promise<T> {
    if (this.#signal === undefined) return step;
    return new Promise((resolve, reject) => {
      this.#reject = reject;
      step.then(resolve, reject);
      if (this.#signal!.aborted) reject(this.#signal!.reason);
    });
  }

  /** For the signal. */
  interrupt(reason: unknown): void {
    this.#reject?.(reason);
  }

  /** Stops listening. */
  end(): void {
    if (this.#signal !== undefined) unlisten(this.#signal, this);
  }
}
