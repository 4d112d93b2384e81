/**
 * Timers of the pool's own: they keep no process alive, and the sanitizers of a program's tests do not
 * count them, whichever test they begin, run or end in.
 *
 * They are those of `AbortSignal.timeout`. What `setTimeout` and `setInterval` begin is counted, unref'd
 * or not. A listener that is added by `AbortSignal`'s own method would keep the process alive.
 */

const { addEventListener } = EventTarget.prototype;

/** Signals under way: one that is collected does not abort. */
const running = new Set<AbortSignal>();

/** One timer, running until it has fired or was stopped. */
export class Timer {
  readonly #ms: number;
  readonly #repeats: boolean;
  #act: (() => void) | undefined;
  #signal: AbortSignal | undefined;

  private constructor(ms: number, act: () => void, repeats: boolean) {
    this.#ms = ms;
    this.#act = act;
    this.#repeats = repeats;
    this.#start();
  }

  /** Calls `act` once, after `ms` milliseconds. */
  static once(ms: number, act: () => void): Timer {
    return new Timer(ms, act, false);
  }

  /** Calls `act` again and again, `ms` milliseconds apart. */
  static every(ms: number, act: () => void): Timer {
    return new Timer(ms, act, true);
  }

  /** Calls nothing any more. */
  stop(): void {
    // The runtime keeps the signal until its time has come: nothing of the pool may hang on it.
    this.#act = undefined;
    if (this.#signal !== undefined) running.delete(this.#signal);
  }

  #start(): void {
    const signal = this.#signal = AbortSignal.timeout(this.#ms);
    running.add(signal);
    addEventListener.call(signal, "abort", () => {
      running.delete(signal);
      const act = this.#act;
      if (act !== undefined && this.#repeats) this.#start();
      act?.();
    });
  }
}
