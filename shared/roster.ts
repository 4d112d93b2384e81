/**
 * Who is attached to a shared pool, under which id, and who has died.
 *
 * An id is free again only after its thread is proven to have ended and its slots were dealt with.
 * Without proof nothing is taken from anybody.
 */
import type { Threads } from "../ffi/backend.ts";
import { openNative } from "../ffi/open.ts";
import { type Control, HEADER, MOST_WORKERS, OPEN, WORKER } from "./control.ts";

/** Kinds of a worker's state: the low 8 bits. The next 8 say who reclaims it. */
const UNUSED = 0;
const ATTACHED = 1;
const RECLAIMING = 2;
/** The pool is closing and nothing of it is left in this isolate. */
const DONE = 3;
/** Its thread's number is still that of whoever had the id before. */
const ENTERING = 4;

const KIND_MASK = 0xff;
/** The rest counts how often the id was given out: a look at a thread is about one of them. */
const TERM_MASK = ~0xffff;
const TERM_ONE = 0x10000;

/** The isolates of one pool. */
export class Roster {
  readonly #control: Control;
  readonly #words: Int32Array;
  readonly #threads: Threads | undefined;

  /** Looks at one control block. */
  constructor(control: Control) {
    this.#control = control;
    this.#words = control.words;
    this.#threads = knownThreads();
  }

  /** Takes an id for this isolate; 0 if none is left, -1 if the pool is closing. */
  enter(): number {
    for (let worker = 1; worker <= MOST_WORKERS; worker++) {
      const at = this.#control.at(worker, WORKER.STATE);
      const state = Atomics.load(this.#words, at);
      if ((state & KIND_MASK) !== UNUSED) continue;
      const mine = (state & TERM_MASK) + TERM_ONE | ENTERING;
      if (Atomics.compareExchange(this.#words, at, state, mine) !== state) {
        continue;
      }
      // A death before this line costs one id: without a thread number there is never a proof.
      const thread = this.#threads?.current() ?? 0;
      Atomics.store(
        this.#words,
        this.#control.at(worker, WORKER.THREAD),
        thread,
      );
      this.#become(worker, ATTACHED);
      raise(this.#words, HEADER.TOP_WORKER, worker);
      // Asked last: whoever ends the pool looks for ids after it has said that it is closing.
      if (this.#control.state === OPEN) return worker;
      this.exit(worker);
      return -1;
    }
    return 0;
  }

  /** Nothing of the closing pool is left in this isolate. */
  rest(worker: number): void {
    this.#become(worker, DONE);
  }

  /** Gives an id back that has nothing left: one's own, or that of a dead worker. */
  exit(worker: number): void {
    // What this one was reclaiming is open to others again.
    for (const other of this.others(worker)) {
      const at = this.#control.at(other, WORKER.STATE);
      const state = Atomics.load(this.#words, at);
      if ((state & ~TERM_MASK) !== (RECLAIMING | worker << 8)) continue;
      const again = state & TERM_MASK | ATTACHED;
      Atomics.compareExchange(this.#words, at, state, again);
    }
    this.#become(worker, UNUSED);
  }

  /** Ids in use, but for `me`. */
  others(me: number): number[] {
    const top = Atomics.load(this.#words, HEADER.TOP_WORKER);
    const found: number[] = [];
    for (let worker = 1; worker <= top; worker++) {
      if (worker !== me && this.#kindOf(worker) !== UNUSED) found.push(worker);
    }
    return found;
  }

  /** Ids whose isolates may hold blocks and views, the dead not yet dealt with among them. */
  attached(): number[] {
    return this.others(0).filter((worker) => this.#kindOf(worker) !== DONE);
  }

  /**
   * Makes `me` the only one to deal with what a stopped worker has left. Where the OS knows of
   * threads its word counts, and the caller's elsewhere.
   */
  beginReclaim(worker: number, me: number): boolean {
    const at = this.#control.at(worker, WORKER.STATE);
    const state = Atomics.load(this.#words, at);
    const kind = state & KIND_MASK;
    const mine = RECLAIMING | me << 8;
    if (kind === UNUSED || kind === ENTERING) return false;
    if (kind === RECLAIMING && (state & ~TERM_MASK) !== mine) return false;
    if (this.#threads !== undefined && !this.isDead(worker)) return false;
    // Between the looks the id may have gone to somebody alive: then its term is another one.
    const next = state & TERM_MASK | mine;
    return Atomics.compareExchange(this.#words, at, state, next) === state;
  }

  /** Whether the worker's thread is proven to have ended. */
  isDead(worker: number): boolean {
    const at = this.#control.at(worker, WORKER.THREAD);
    const thread = Atomics.load(this.#words, at);
    return this.#threads !== undefined && thread !== 0 &&
      !this.#threads.isAlive(thread);
  }

  #kindOf(worker: number): number {
    const at = this.#control.at(worker, WORKER.STATE);
    return Atomics.load(this.#words, at) & KIND_MASK;
  }

  /** Only its isolate, or whoever reclaims it, changes the state of an id in use. */
  #become(worker: number, kind: number): void {
    const at = this.#control.at(worker, WORKER.STATE);
    const term = Atomics.load(this.#words, at) & TERM_MASK;
    Atomics.store(this.#words, at, term | kind);
  }
}

/** The OS's word on threads, where it gives one. */
export function knownThreads(): Threads | undefined {
  const native = openNative();
  const threads = "reason" in native ? undefined : native.threads;
  // Where a sandbox refuses the question, everybody would look dead.
  return threads?.isAlive(threads.current()) ? threads : undefined;
}

/** Raises a word to at least this value. */
export function raise(words: Int32Array, at: number, value: number): void {
  let seen = Atomics.load(words, at);
  while (seen < value) {
    const before = Atomics.compareExchange(words, at, seen, value);
    if (before === seen) return;
    seen = before;
  }
}
