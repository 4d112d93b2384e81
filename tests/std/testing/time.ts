// Stands in for jsr:@std/testing/time, which has no npm build: the same
// FakeTime, less what the tests do without.

/** Misuse of a {@linkcode FakeTime}. */
export class TimeError extends Error {
  override name = "TimeError";
}

interface Entry {
  /** When it is due. */
  at: number;
  /** Milliseconds until it is due again, if it repeats. */
  readonly every: number | undefined;
  readonly run: () => void;
}

/** What is replaced, as it was. */
const real = {
  Date: globalThis.Date,
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  setInterval: globalThis.setInterval,
  clearInterval: globalThis.clearInterval,
};
// Called as a method it is refused before Deno 2.8.
const { setTimeout: setReal, clearTimeout: clearReal } = real;
const realTimeout = AbortSignal.timeout;
/** Above what the runtime gives, so that timers from before can be told apart. */
const FIRST_ID = 2 ** 40;

let current: FakeTime | undefined;
let lastId = FIRST_ID;

/**
 * Stops the clock: `Date`, `setTimeout`, `setInterval` and
 * `AbortSignal.timeout` move only by `tick` and `now`, until `restore`.
 */
export class FakeTime {
  /** When the fake time began, in milliseconds since 1970. */
  readonly start: number;
  readonly #entries = new Map<number, Entry>();
  #now: number;

  constructor(start: number | string | Date | null = null) {
    if (current) throw new TimeError("Time is already faked");
    this.start = this.#now = new Date(start ?? Date.now()).valueOf();
    if (Number.isNaN(this.start)) throw new TimeError("Invalid start");
    current = this;
    const now = () => this.#now;
    const clear = (id: number | undefined) => {
      if (!this.#entries.delete(id ?? 0) && (id ?? 0) < FIRST_ID) {
        clearReal(id);
      }
    };
    const add = (repeats: boolean) =>
    // deno-lint-ignore no-explicit-any
    (run: (...args: any[]) => void, ms = 0, ...args: unknown[]) =>
      this.#add(() => run(...args), Number(ms), repeats);
    Object.assign(globalThis, {
      Date: class extends Date {
        constructor(...args: []) {
          super(...(args.length === 0 ? [now()] as unknown as [] : args));
        }
        static override now = now;
      },
      setTimeout: add(false),
      setInterval: add(true),
      clearTimeout: clear,
      clearInterval: clear,
    });
    AbortSignal.timeout = (ms) => {
      const controller = new AbortController();
      const reason = new DOMException("Signal timed out.", "TimeoutError");
      this.#add(() => controller.abort(reason), ms, false);
      return controller.signal;
    };
  }

  /** The fake time; a larger value runs every timer due until then. */
  get now(): number {
    return this.#now;
  }
  set now(value: number) {
    if (value < this.#now) throw new TimeError("Time cannot go backwards");
    for (let next; (next = this.#next(value)) !== undefined;) {
      const [id, entry] = next;
      this.#now = Math.max(this.#now, entry.at);
      if (entry.every === undefined) this.#entries.delete(id);
      else entry.at += entry.every;
      entry.run();
    }
    this.#now = value;
  }

  /** Moves the fake time on, running every timer that falls due. */
  tick(ms = 0): void {
    this.now += ms;
  }

  /** Lets settled promises run first, then ticks. */
  async tickAsync(ms = 0): Promise<void> {
    await this.runMicrotasks();
    this.tick(ms);
  }

  /** Lets everything run that waits for settled promises only. */
  async runMicrotasks(): Promise<void> {
    await new Promise<void>((resolve) => setReal(resolve, 0));
  }

  /** Brings the real clock and timers back; pending fake ones are dropped. */
  restore(): void {
    if (current !== this) throw new TimeError("Time is already restored");
    current = undefined;
    Object.assign(globalThis, real);
    AbortSignal.timeout = realTimeout;
  }

  [Symbol.dispose](): void {
    this.restore();
  }

  #add(run: () => void, ms: number, repeats: boolean): number {
    const delay = Math.max(repeats ? 1 : 0, ms || 0);
    const every = repeats ? delay : undefined;
    this.#entries.set(++lastId, { at: this.#now + delay, every, run });
    return lastId;
  }

  /** The earliest entry due by then; of several the oldest. */
  #next(until: number): [number, Entry] | undefined {
    let first: [number, Entry] | undefined;
    for (const each of this.#entries) {
      if (each[1].at > until) continue;
      if (first === undefined || each[1].at < first[1].at) first = each;
    }
    return first;
  }
}
