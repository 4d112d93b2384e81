/**
 * Tells listeners what a pool did, in the shape of `EventTarget`.
 *
 * Not `EventTarget` itself: there a listener that throws ends the process. Nothing is built without a
 * listener, and an event is sent only after the change it tells of is complete.
 */
import { complain } from "./console.ts";
import type { SmritiError } from "./errors.ts";
import {
  abortSignal,
  boolean,
  callable,
  optional,
  record,
  show,
} from "./checks.ts";

/** What each event carries as `detail`. */
export interface PoolEventMap {
  /** The pool grew, or the OS refused to let it (`error` is set and `blocks` is 0). */
  grow: {
    pool: string;
    blocks: number;
    committedBlocks: number;
    error?: SmritiError;
  };
  /** The pool gave memory back, by itself or by `trim()`. */
  shrink: {
    pool: string;
    blocks: number;
    committedBlocks: number;
    bytes: number;
  };
  /** An acquire was refused. */
  exhausted: { pool: string; acquiredBlocks: number; waiting: number };
  /** A block became unreachable unreleased. Sent once per place that acquired it. */
  leak: { pool: string; tag: string | undefined; stack: string | undefined };
  /** A block is held longer than `overdueMs`. Sent once per lease. */
  overdue: {
    pool: string;
    tag: string | undefined;
    heldMs: number;
    stack: string | undefined;
  };
  /**
   * An acquire has waited for `stallMs`. Sent once an episode: the next one comes after a time in which
   * no acquire had waited that long.
   */
  stall: {
    pool: string;
    /** Acquires that wait now. */
    waiting: number;
    /** How long the one that came first has waited. */
    longestMs: number;
    /**
     * Who holds the blocks, the longest held first, at most 10. Where the start of a lease was not
     * noted, `heldMs` counts from the start of the longest wait.
     */
    holders: { tag: string | undefined; heldMs: number }[];
  };
  /**
   * The pool can come to more than `memoryLimit()`. Sent once, in the next turn of the event loop after
   * it was made.
   */
  oversized: { pool: string; mostBytes: number; limitBytes: number };
  /** The container was short of memory, and the pool gave so many bytes back. */
  pressure: { pool: string; bytes: number };
  /** The pool has closed. `mappedBytes` is above 0 if memory had to stay mapped. */
  close: { pool: string; abandonedBlocks: number; mappedBytes: number };
}

/** Names of the events. */
export type PoolEventType = keyof PoolEventMap;

/** What a listener is given. */
export type PoolEvent<K extends PoolEventType = PoolEventType> = CustomEvent<
  PoolEventMap[K]
>;

/** A function, or an object with `handleEvent`. */
export type PoolEventListener<K extends PoolEventType = PoolEventType> =
  | ((event: PoolEvent<K>) => void)
  | { handleEvent(event: PoolEvent<K>): void };

/** How to listen. */
export interface PoolListenerOptions {
  /** Stop after the first event. */
  once?: boolean | undefined;
  /** Stop when this aborts. */
  signal?: AbortSignal | undefined;
}

const TYPES: ReadonlySet<string> = new Set<PoolEventType>([
  "grow",
  "shrink",
  "exhausted",
  "leak",
  "overdue",
  "stall",
  "oversized",
  "pressure",
  "close",
]);

const LISTENER_NAMES: ReadonlySet<keyof PoolListenerOptions> = new Set([
  "once",
  "signal",
]);

type AnyListener = PoolEventListener<never>;

/** The listeners of one pool. */
export class Events {
  /** Errors that listeners threw. */
  errors = 0;
  readonly #listeners = new Map<
    string,
    Map<AnyListener, { readonly once?: boolean | undefined }>
  >();
  /** Types of the events being sent now. */
  readonly #telling = new Set<PoolEventType>();

  /** Adds a listener; adding it twice changes nothing. */
  add(
    type: PoolEventType,
    listener: AnyListener,
    options: PoolListenerOptions = {},
  ): void {
    checkType(type);
    checkListener(listener);
    const { once, signal } = checkOptions(options);
    if (signal?.aborted) return;
    let listeners = this.#listeners.get(type);
    if (listeners === undefined) {
      this.#listeners.set(type, listeners = new Map());
    }
    if (listeners.has(listener)) return;
    const registration = { once };
    signal?.addEventListener("abort", () => {
      // It may have been removed meanwhile and added anew without this signal.
      if (listeners.get(listener) === registration) listeners.delete(listener);
    }, { once: true });
    listeners.set(listener, registration);
  }

  /** Removes a listener, if it is there. */
  remove(type: PoolEventType, listener: AnyListener): void {
    checkType(type);
    this.#listeners.get(type)?.delete(listener);
  }

  /**
   * Sends an event; `detail` is made only if there is a listener. An event of the same type that a
   * listener causes is not sent: it would recurse until the stack ends. Returns whether there is a
   * listener.
   */
  emit<K extends PoolEventType>(
    type: K,
    detail: () => PoolEventMap[K],
  ): boolean {
    const listeners = this.#listeners.get(type);
    if (listeners === undefined || listeners.size === 0) return false;
    if (this.#telling.has(type)) return true;
    this.#telling.add(type);
    try {
      const event = new CustomEvent(type, { detail: detail() });
      // A copy: a listener may add and remove others.
      for (const [listener, { once }] of [...listeners]) {
        if (!listeners.has(listener)) continue;
        if (once) listeners.delete(listener);
        this.#call(listener, event);
      }
    } finally {
      this.#telling.delete(type);
    }
    return true;
  }

  #call(listener: AnyListener, event: CustomEvent): void {
    const failed = (error: unknown) => {
      this.errors++;
      complain(error, `a listener for "${event.type}" failed:`);
    };
    try {
      const result: unknown = typeof listener === "function"
        ? listener(event as never)
        : listener.handleEvent(event as never);
      // An async listener must not end the process either.
      if (result instanceof Promise) result.catch(failed);
    } catch (error) {
      failed(error);
    }
  }
}

function checkOptions(options: unknown): PoolListenerOptions {
  const { once, signal } = record("options", options, LISTENER_NAMES);
  return {
    once: optional(boolean, "once", once),
    signal: optional(abortSignal, "signal", signal),
  };
}

function checkType(type: unknown): void {
  if (typeof type !== "string" || !TYPES.has(type)) {
    const known = [...TYPES].join(", ");
    throw new TypeError(
      `event type must be one of ${known}, got ${show(type)}`,
    );
  }
}

function checkListener(listener: unknown): void {
  const object = typeof listener === "object" && listener !== null;
  if (object) return;
  callable(
    "listener",
    listener,
    "a function or an object with handleEvent()",
  );
}
