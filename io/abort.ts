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

/** So long may an operation go on before the event loop has a turn, in milliseconds. */
const MOST_WORK_MS = 10;

const watches = new WeakMap<AbortSignal, Watch>();

/** All operations of one signal, behind one listener. */
class Watch {
  readonly aborts = new Set<Abort>();

  handleEvent(): void {
    for (const abort of this.aborts) abort.interrupt();
  }
}

/** Lets a signal interrupt the waiting for other promises, never what those do. */
export class Abort {
  readonly #signal: AbortSignal | undefined;
  #reject: ((reason: unknown) => void) | undefined;
  #lastTurn = performance.now();

  /** Listens until {@linkcode Abort.end}. */
  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
    if (signal === undefined) return;
    let watch = watches.get(signal);
    if (watch === undefined) {
      watches.set(signal, watch = new Watch());
      signal.addEventListener("abort", watch);
    }
    watch.aborts.add(this);
  }

  /**
   * Before a step: throws the signal's reason if it has been aborted, and says whether the event
   * loop must have a turn first.
   */
  check(): boolean {
    this.#signal?.throwIfAborted();
    return performance.now() - this.#lastTurn >= MOST_WORK_MS;
  }

  /** Lets the event loop have a turn, then throws if aborted. */
  async turn(): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.#lastTurn = performance.now();
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
      if (this.#signal!.aborted) this.interrupt();
    });
  }

  /** For the signal. */
  interrupt(): void {
    this.#reject?.(this.#signal!.reason);
  }

  /** Stops listening. */
  end(): void {
    const signal = this.#signal;
    const watch = signal && watches.get(signal);
    if (watch === undefined) return;
    watch.aborts.delete(this);
    if (watch.aborts.size > 0) return;
    watches.delete(signal!);
    signal!.removeEventListener("abort", watch);
  }
}
