/**
 * An `AbortSignal` for the length of one operation: one listener, however many steps there are,
 * and none left behind.
 *
 * `Promise.race` against one long-lived promise would keep a reaction for every step until the
 * end; here a step that is over leaves nothing.
 */

/** Lets a signal interrupt the waiting for other promises, never what those do. */
export class Abort {
  readonly #signal: AbortSignal | undefined;
  #reject: ((reason: unknown) => void) | undefined;

  /** Listens until {@linkcode Abort.end}. */
  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
    signal?.addEventListener("abort", this);
  }

  /** Throws the signal's reason if it has been aborted. */
  check(): void {
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
  handleEvent(): void {
    this.#reject?.(this.#signal!.reason);
  }

  /** Stops listening. */
  end(): void {
    this.#signal?.removeEventListener("abort", this);
  }
}
