/**
 * Timers of the pool's own: they keep neither a process nor their owner alive, and the sanitizers of a
 * program's tests do not count them, whichever test they begin, run or end in.
 *
 * They are those of `AbortSignal.timeout`. What `setTimeout` and `setInterval` begin is counted, unref'd
 * or not.
 */

// Of the prototype: the method that signals have makes their timer keep the process alive.
const { addEventListener } = EventTarget.prototype;

/** Signals under way: one that is collected does not abort. */
const running = new Set<AbortSignal>();

/** One timer, running until it has fired, was stopped, or its owner has become unreachable. */
export class Timer {
  readonly #ms: number;
  readonly #repeats: boolean;
  #act: (() => void) | undefined;
  /** Whether the owner is still there. */
  readonly #isOwned: () => boolean;
  #signal: AbortSignal | undefined;

  private constructor(
    ms: number,
    isOwned: () => boolean,
    act: () => void,
    repeats: boolean,
  ) {
    this.#ms = ms;
    this.#isOwned = isOwned;
    this.#act = act;
    this.#repeats = repeats;
    this.#start();
  }

  /** Calls `act` once with `owner`, after `ms` milliseconds, at most 2^31 − 1. */
  static once<T extends object>(
    ms: number,
    owner: T,
    act: (owner: T) => void,
  ): Timer {
    return Timer.#of(ms, new WeakRef(owner), act, false);
  }

  /** Calls `act` again and again with `owner`, `ms` milliseconds apart. */
  static every<T extends object>(
    ms: number,
    owner: T,
    act: (owner: T) => void,
  ): Timer {
    return Timer.#of(ms, new WeakRef(owner), act, true);
  }

  static #of<T extends object>(
    ms: number,
    ref: WeakRef<T>,
    act: (owner: T) => void,
    repeats: boolean,
  ): Timer {
    const isOwned = () => ref.deref() !== undefined;
    return new Timer(ms, isOwned, () => act(ref.deref()!), repeats);
  }

  /** Calls nothing any more. */
  stop(): void {
    // The runtime keeps the signal until its time has come, so it must hold nothing of the pool.
    this.#act = undefined;
    if (this.#signal !== undefined) running.delete(this.#signal);
  }

  #start(): void {
    const signal = this.#signal = AbortSignal.timeout(this.#ms);
    running.add(signal);
    addEventListener.call(signal, "abort", () => {
      running.delete(signal);
      this.#fire();
    });
  }

  #fire(): void {
    const act = this.#act;
    if (act === undefined || !this.#isOwned()) return;
    if (this.#repeats) this.#start();
    act();
  }
}
