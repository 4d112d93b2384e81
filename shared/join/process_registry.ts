/**
 * Experimental, as all of `join`. The registry of a process: which threads have joined which pool by
 * its name. Every isolate finds it by its address, without a message, so a thread that computes, and
 * cannot answer, is known to have the pool.
 *
 * Entries of the process's page. An entry counts until its thread leaves, or is proven to have ended or
 * to run another isolate; then it can be given to another thread.
 */
import type { Backend, Range, Threads } from "../../ffi/backend.ts";
import {
  findPage,
  openPage,
  PAGE,
  PAGE_BYTES,
} from "../../ffi/process_page.ts";
import { SmritiError } from "../../pool/errors.ts";
import { chooseBackend, outOfMemory, permitted } from "../../pool/region.ts";
import { hashOf } from "../handle.ts";
import { knownThreads, raise } from "../worker_registry.ts";

/** In place of a pool's number while its thread is making it. */
export const MAKING = 0;

const { TOP_ENTRY: TOP, ENTRIES: FIRST, LEDGERS: END } = PAGE;
/** Words of an entry. */
const THREAD = 0;
const POOL = 1;
const NAME = 2;
const NAME_AGAIN = 3;
const ENTRY_WORDS = 4;

/** In place of a thread's number: the entry is free. */
const NO_THREAD = 0;
/** In place of a thread's number where the OS gives none: its end is never proven. */
const UNKNOWN = -1;

/** The seed of a second hash of a name: together 64 bits. */
const OTHER_BASIS = 0x1234_5679;

/**
 * The global property that marks an isolate which has opened the registry, for all copies of this
 * module.
 */
const LOOKED = Symbol.for("@smriti/pool registry 1");

/**
 * Two hashes in place of a name: names may be long, and hold characters that a channel's name may not.
 */
export interface Key {
  /** A hash. */
  readonly hash: number;
  /** Another one. */
  readonly again: number;
}

/** The key of a name. */
export function keyOf(name: string): Key {
  return { hash: hashOf(name), again: hashOf(name, OTHER_BASIS) };
}

/** One process's registry. */
export class ProcessRegistry {
  readonly #words: Int32Array;
  readonly #threads: Threads | undefined;

  /** Over the memory of a registry. */
  constructor(
    memory: ArrayBuffer,
    threads: Threads | undefined = knownThreads(),
  ) {
    this.#words = new Int32Array(memory);
    this.#threads = threads;
  }

  /**
   * The registry of this process, if it has one.
   *
   * @throws {SmritiError} `permission`, `unsupported`
   */
  static find(): ProcessRegistry | undefined {
    const backend = chooseBackend("native");
    return permitted(backend, PAGE_BYTES, () => {
      const page = findPage(backend);
      return page && boardAt(backend, page);
    });
  }

  /**
   * The registry of this process, made if it has none.
   *
   * @throws {SmritiError} `out-of-memory`, `permission`, `unsupported`
   */
  static open(): ProcessRegistry {
    const backend = chooseBackend("native");
    return permitted(backend, PAGE_BYTES, () => {
      const page = openPage(backend);
      if (typeof page !== "number") return boardAt(backend, page);
      throw outOfMemory(backend, "mapAt", PAGE_BYTES, page);
    });
  }

  /**
   * Enters that this thread has the pool of that number and name, or is {@linkcode MAKING} it.
   *
   * @throws {SmritiError} `exhausted`
   */
  enter({ hash, again }: Key, pool: number): Entry {
    const words = this.#words;
    const mine = this.#current;
    for (let at = FIRST; at < this.#end; at += ENTRY_WORDS) {
      const thread = Atomics.load(words, at);
      if (this.#isThere(thread)) continue;
      if (Atomics.compareExchange(words, at, thread, mine) !== thread) continue;
      Atomics.store(words, at + POOL, pool);
      Atomics.store(words, at + NAME, hash);
      Atomics.store(words, at + NAME_AGAIN, again);
      raise(words, TOP, at);
      return new Entry(words, at, () => this.#isDisputed(at));
    }
    const most = (this.#end - FIRST) / ENTRY_WORDS;
    throw new SmritiError(
      "exhausted",
      `${most} threads of this process have joined pools by name, the most there may be`,
    );
  }

  /**
   * Frees the entries of this thread: for an isolate that begins on the thread of one that has ended,
   * as after a restart by `deno run --watch`.
   */
  clear(): void {
    const mine = this.#current;
    if (mine === UNKNOWN) return;
    const top = Atomics.load(this.#words, TOP);
    for (let at = FIRST; at <= top; at += ENTRY_WORDS) {
      Atomics.compareExchange(this.#words, at + THREAD, mine, NO_THREAD);
    }
  }

  get #end(): number {
    return Math.min(END, this.#words.length);
  }

  get #current(): number {
    return this.#threads?.current() || UNKNOWN;
  }

  /** Whether another entry contradicts the one at `mine`. */
  #isDisputed(mine: number): boolean {
    const words = this.#words;
    const isSame = (at: number, which: number) =>
      Atomics.load(words, at + which) === Atomics.load(words, mine + which);
    const isMaking = Atomics.load(words, mine + POOL) === MAKING;
    const top = Atomics.load(words, TOP);
    for (let at = FIRST; at <= top; at += ENTRY_WORDS) {
      if (at === mine || !isSame(at, NAME) || !isSame(at, NAME_AGAIN)) continue;
      if (!isMaking && isSame(at, POOL)) continue;
      if (this.#isThere(Atomics.load(words, at + THREAD))) return true;
    }
    return false;
  }

  /** Whether that thread may still run. */
  #isThere(thread: number): boolean {
    if (thread === NO_THREAD) return false;
    if (thread === UNKNOWN) return true;
    return this.#threads?.isAlive(thread) ?? true;
  }
}

/** An entry of this thread in the registry. */
export class Entry {
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #asksOthers: () => boolean;
  #left = false;

  /** For {@linkcode ProcessRegistry.enter} only. */
  constructor(words: Int32Array, at: number, asksOthers: () => boolean) {
    this.#words = words;
    this.#at = at;
    this.#asksOthers = asksOthers;
  }

  /**
   * Whether another thread has another pool of this name, or is making one; while this thread is making
   * one, whether another thread has an entry of this name at all. Of two threads that both enter first
   * and then look, one at least sees the other (Dekker).
   */
  get isDisputed(): boolean {
    return this.#asksOthers();
  }

  /** The pool is made, and has this number. */
  made(pool: number): void {
    Atomics.store(this.#words, this.#at + POOL, pool);
  }

  /** Frees the entry. A second call does nothing. */
  leave(): void {
    if (this.#left) return;
    this.#left = true;
    Atomics.store(this.#words, this.#at + THREAD, NO_THREAD);
  }
}

function boardAt(backend: Backend, range: Range): ProcessRegistry {
  const registry = new ProcessRegistry(backend.view(range, 0, range.size));
  if (!(LOOKED in globalThis)) {
    Object.defineProperty(globalThis, LOOKED, { value: true });
    registry.clear();
  }
  return registry;
}
