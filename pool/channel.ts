/**
 * The bounded queue of waiters: first come, first served, reserved ones before the others.
 *
 * An asynchronous channel: the pool looks at `head`, and calls `serve` when it has what that one waits
 * for. Knows no blocks, no memory and no limit but its own length. Notes how long each waiter waited.
 * Leaving the queue takes constant time.
 */
import { SmritiError } from "./errors.ts";
import { EMPTY_STACK } from "./headroom.ts";
import { type Durations, OwnDurations } from "./histogram.ts";

/** What one acquire asks for. */
export interface AcquireRequest {
  /** How many items, all or none; `undefined` for one that does not come in an array. */
  readonly count: number | undefined;
  /** Whether it goes before those without. */
  readonly reserved: boolean;
  /** The user's label, handed through. */
  readonly tag: string | undefined;
  /** Ends the wait. */
  readonly signal: AbortSignal | undefined;
  /** Ends the wait after this many milliseconds. */
  readonly timeoutMs: number | undefined;
}

/** One place in the queue. */
export class Waiter<T> {
  readonly request: AcquireRequest;
  /** Its place among all that ever waited, from 1. */
  readonly number: number;
  /** When it came, in ms. */
  readonly since: number = Date.now();
  /** Settles the waiter's promise. */
  readonly resolve: (items: T) => void;
  /** Settles the waiter's promise. */
  readonly reject: (reason: unknown) => void;
  /** Neighbours in the queue. */
  before: Waiter<T> | undefined = undefined;
  /** Neighbours in the queue. */
  after: Waiter<T> | undefined = undefined;
  /** Whether it has a place in the queue. */
  queued = false;
  /** Whether its wait was counted. */
  counted = false;
  /** Its blocks were acquired: it can no longer be refused. */
  taken = false;
  /** Fires when the time allowed is over. */
  timer: ReturnType<typeof setTimeout> | undefined = undefined;

  /** A waiter not yet in a queue. */
  constructor(
    request: AcquireRequest,
    number: number,
    resolve: (items: T) => void,
    reject: (reason: unknown) => void,
  ) {
    this.request = request;
    this.number = number;
    this.resolve = resolve;
    this.reject = reject;
  }
}

class Queue<T> {
  head: Waiter<T> | undefined;
  tail: Waiter<T> | undefined;

  append(waiter: Waiter<T>): void {
    waiter.before = this.tail;
    if (this.tail === undefined) this.head = waiter;
    else this.tail.after = waiter;
    this.tail = waiter;
  }

  remove(waiter: Waiter<T>): void {
    const { before, after } = waiter;
    if (before === undefined) this.head = after;
    else before.after = after;
    if (after === undefined) this.tail = before;
    else after.before = before;
    waiter.before = waiter.after = undefined;
  }
}

/** All waiters of one signal behind one listener: thousands may share a signal. */
interface Watched<T> {
  readonly waiters: Set<Waiter<T>>;
  readonly onAbort: () => void;
}

/**
 * Of the prototype: a method that a program has overridden on its signal must not lose a waiter its
 * place or its block.
 */
const { addEventListener, removeEventListener } = EventTarget.prototype;

const abortedOf = Object.getOwnPropertyDescriptor(
  AbortSignal.prototype,
  "aborted",
)!.get!;

/** Throws the reason of a signal that has aborted, whatever it overrides. */
export function refuseAborted(signal: AbortSignal | undefined): void {
  if (signal !== undefined && abortedOf.call(signal)) throw reasonOf(signal);
}

function reasonOf(signal: AbortSignal): unknown {
  try {
    return signal.reason;
  } catch (error) {
    return error;
  }
}

/** A bounded queue of waiters for items of type `T`. */
export class Channel<T> {
  /** Waiters in the queue. */
  waiting = 0;
  /** Waiters that ever were in it. */
  came = 0;

  readonly #limit: number;
  readonly #onLeave: (timedOut: boolean) => void;
  readonly #waits: Durations;
  readonly #cause: () => unknown;
  readonly #urgent = new Queue<T>();
  readonly #normal = new Queue<T>();
  readonly #watched = new Map<AbortSignal, Watched<T>>();

  /**
   * A queue of at most `limit` waiters. `onLeave` is called after waiters have left unserved: those
   * behind them may be next now. `waits` is given how long each one waited, served or not; `cause` says
   * why there is nothing, if that is known.
   */
  constructor(
    limit: number,
    onLeave: (timedOut: boolean) => void = () => {},
    waits: Durations = new OwnDurations(),
    cause: () => unknown = () => undefined,
  ) {
    this.#limit = limit;
    this.#onLeave = onLeave;
    this.#waits = waits;
    this.#cause = cause;
  }

  /** Whether one more may wait. */
  get full(): boolean {
    return this.waiting >= this.#limit;
  }

  /** The waiter to serve next; none behind it may be served first. */
  get head(): Waiter<T> | undefined {
    return this.#urgent.head ?? this.#normal.head;
  }

  /** The one that came first. */
  get oldest(): Waiter<T> | undefined {
    const urgent = this.#urgent.head;
    const normal = this.#normal.head;
    if (urgent === undefined || normal === undefined) return urgent ?? normal;
    return urgent.number < normal.number ? urgent : normal;
  }

  /** Whether a request that comes now has waiters before it. */
  isAhead(reserved: boolean): boolean {
    return (reserved ? this.#urgent.head : this.head) !== undefined;
  }

  /** Queues up. The caller has checked `full` and that the signal is not aborted. */
  wait(request: AcquireRequest): Promise<T> {
    return new Promise((resolve, reject) => {
      const waiter = new Waiter<T>(request, this.came + 1, resolve, reject);
      const { signal, timeoutMs } = request;
      // First what can fail: the timer and the watch of a waiter that is not in the queue do nothing.
      if (signal !== undefined) this.#watch(signal, waiter);
      if (timeoutMs !== undefined) {
        waiter.timer = setTimeout(() => this.#timeOut(waiter), timeoutMs);
      }
      this.#queueOf(waiter).append(waiter);
      waiter.queued = true;
      this.waiting++;
      this.came++;
    });
  }

  /** Gives a waiter what it waits for. */
  serve(waiter: Waiter<T>, items: T): void {
    this.#remove(waiter);
    waiter.resolve(items);
    this.#release(waiter);
  }

  /** Rejects one waiter, unless what it waits for has been taken for it. */
  refuse(waiter: Waiter<T>, reason: unknown): void {
    if (waiter.taken) return;
    this.#remove(waiter);
    waiter.reject(reason);
    this.#release(waiter);
  }

  /** Rejects every waiter that `isHopeless`, in their order. */
  reject(
    reason: () => unknown,
    isHopeless: (request: AcquireRequest) => boolean,
  ): number {
    let rejected = 0;
    for (const queue of [this.#urgent, this.#normal]) {
      for (let waiter = queue.head; waiter !== undefined;) {
        const next: Waiter<T> | undefined = waiter.after;
        if (!waiter.taken && isHopeless(waiter.request)) {
          this.refuse(waiter, reason());
          rejected++;
        }
        waiter = next;
      }
    }
    return rejected;
  }

  #queueOf(waiter: Waiter<T>): Queue<T> {
    return waiter.request.reserved ? this.#urgent : this.#normal;
  }

  #remove(waiter: Waiter<T>): void {
    if (!waiter.queued) return;
    if (!waiter.counted) {
      this.#waits.add(Date.now() - waiter.since);
      // What follows may be cut short, and is done again then.
      waiter.counted = true;
    }
    this.#queueOf(waiter).remove(waiter);
    waiter.queued = false;
    this.waiting--;
  }

  /** Ends the timer and the watch of a waiter that has left the queue. */
  #release(waiter: Waiter<T>): void {
    clearTimeout(waiter.timer);
    const { signal } = waiter.request;
    if (signal !== undefined) this.#unwatch(signal, waiter);
  }

  #timeOut(waiter: Waiter<T>): void {
    if (!waiter.queued) return;
    if (waiter.taken) return this.#onLeave(false);
    const waited = `${waiter.request.timeoutMs} ms`;
    this.refuse(
      waiter,
      new SmritiError("timeout", `no block became free within ${waited}`, {
        cause: this.#cause(),
      }),
    );
    this.#onLeave(true);
  }

  #watch(signal: AbortSignal, waiter: Waiter<T>): void {
    let watched = this.#watched.get(signal);
    if (watched === undefined) {
      const waiters = new Set<Waiter<T>>();
      const refuseAll = (reason: unknown) => {
        for (const each of waiters) this.refuse(each, reason);
        this.#onLeave(false);
      };
      const onAbort = () => {
        try {
          refuseAll(signal.reason);
        } catch {
          // An error thrown by a listener would end the process. At the end of the stack it is done
          // once the stack is empty.
          EMPTY_STACK.then(() => refuseAll(reasonOf(signal)));
        }
      };
      watched = { waiters, onAbort };
      addEventListener.call(signal, "abort", onAbort);
      this.#watched.set(signal, watched);
    }
    watched.waiters.add(waiter);
  }

  #unwatch(signal: AbortSignal, waiter: Waiter<T>): void {
    const watched = this.#watched.get(signal);
    if (watched === undefined) return;
    watched.waiters.delete(waiter);
    if (watched.waiters.size === 0) {
      this.#watched.delete(signal);
      removeEventListener.call(signal, "abort", watched.onAbort);
    }
  }
}
