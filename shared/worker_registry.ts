/**
 * The workers of a shared pool: which ids are taken, and which of their threads have ended.
 *
 * An id is taken by writing the number of the thread that takes it, as a robust futex is: whenever its
 * worker dies, the word names the thread whose end has to be proven. It can be had again only after its
 * worker left, or after its thread is proven to have ended and its slots were reclaimed. Without proof
 * nothing is reclaimed.
 */
import type { Threads } from "../ffi/backend.ts";
import { openNative } from "../ffi/open.ts";
import { type Control, HEADER, MOST_WORKERS, WORKER } from "./control.ts";

/** States of a worker. That of an id that is free means nothing. */
const ATTACHED = 1;
/** The pool is closing and nothing of it is left in this isolate. */
const DONE = 3;

/** The id is free. */
const NO_THREAD = 0;
/** In place of a thread's number where the OS gives none: its end is never proven. */
const UNKNOWN_THREAD = -1;
/** In place of the number of a thread whose pool object has become unreachable: it counts as ended. */
const UNREACHABLE = -2;

/** The workers of one pool. */
export class WorkerRegistry {
  readonly #control: Control;
  readonly #words: Int32Array;
  readonly #threads: Threads | undefined;
  /** The id whose thread's birth was looked at last. */
  #checked = 0;

  /** Over one control block. */
  constructor(control: Control) {
    this.#control = control;
    this.#words = control.words;
    this.#threads = knownThreads();
  }

  /**
   * Takes an id for this isolate; 0 if none is left. The caller reads the pool's state after that: the
   * ender writes the state first and looks for ids then, so one of the two sees the other (Dekker).
   */
  enter(): number {
    const words = this.#words;
    const mine = this.#threads?.current() || UNKNOWN_THREAD;
    const born = this.#threads?.birth?.(mine) ?? 0;
    // Where nothing proves a death, the caller of `reclaim(id)` is trusted, and may mean an earlier
    // owner of the id. So ids rotate: one is given again only after all others were.
    const first = mine === UNKNOWN_THREAD ? this.#top + 1 : 1;
    for (let turn = 0; turn < MOST_WORKERS; turn++) {
      const worker = (first + turn - 1) % MOST_WORKERS + 1;
      const at = this.#control.at(worker, WORKER.THREAD);
      if (Atomics.load(words, at) !== NO_THREAD) continue;
      // Before the id is taken: scans of ids end at this one.
      raise(words, HEADER.TOP_WORKER, worker);
      if (Atomics.compareExchange(words, at, NO_THREAD, mine) !== NO_THREAD) {
        continue;
      }
      Atomics.add(words, this.#control.at(worker, WORKER.TURN), 1);
      Atomics.store(words, this.#control.at(worker, WORKER.BORN), born);
      // Only for the new owner: while an id is being reclaimed its counts are compared once.
      Atomics.store(words, this.#control.at(worker, WORKER.SETTLED), 0);
      this.#become(worker, ATTACHED);
      return worker;
    }
    return 0;
  }

  /** Nothing of the closing pool is left in this isolate. */
  rest(worker: number): void {
    this.#become(worker, DONE);
  }

  /** Gives an id back that has nothing left: one's own, or that of a dead worker. */
  exit(worker: number): void {
    const words = this.#words;
    // What this worker was reclaiming can be reclaimed by others again.
    for (let other = 1; other <= this.#top; other++) {
      const at = this.#control.at(other, WORKER.RECLAIMER);
      Atomics.compareExchange(words, at, worker, 0);
    }
    // `STATE` stays: a worker at rest must not count as attached for another that checks whether it is
    // the last.
    for (const word of [WORKER.WAITING, WORKER.BORN, WORKER.THREAD]) {
      Atomics.store(words, this.#control.at(worker, word), NO_THREAD);
    }
  }

  /** How often the id was given out, which tells its present owner from earlier ones. */
  turnOf(worker: number): number {
    return Atomics.load(this.#words, this.#control.at(worker, WORKER.TURN));
  }

  /**
   * The pool object of this owner has become unreachable, though its thread may run on; false if the id
   * has another owner by now.
   */
  markUnreachable(worker: number, turn: number): boolean {
    const thread = this.#threadOf(worker);
    if (thread === NO_THREAD || this.turnOf(worker) !== turn) return false;
    const at = this.#control.at(worker, WORKER.THREAD);
    return Atomics.compareExchange(this.#words, at, thread, UNREACHABLE) ===
      thread;
  }

  /** Ids in use, but for `me`. */
  others(me: number): number[] {
    const found: number[] = [];
    for (let worker = 1; worker <= this.#top; worker++) {
      if (worker !== me && this.#threadOf(worker) !== NO_THREAD) {
        found.push(worker);
      }
    }
    return found;
  }

  /** Ids whose workers may hold blocks and views, dead ones not yet reclaimed among them. */
  attached(): number[] {
    return this.others(0).filter((worker) => {
      const at = this.#control.at(worker, WORKER.STATE);
      return Atomics.load(this.#words, at) !== DONE;
    });
  }

  /**
   * Makes `me` the only reclaimer of a stopped worker, until `endReclaim`. Its thread has to be proven
   * to have ended, or, where the OS gives no proof, the caller is trusted.
   */
  beginReclaim(worker: number, me: number): boolean {
    if (!this.#mayReclaim(worker)) return false;
    const at = this.#control.at(worker, WORKER.RECLAIMER);
    const before = Atomics.compareExchange(this.#words, at, 0, me);
    if (before !== 0 && before !== me) return false;
    // Another reclaimer may have finished before, and a living thread may have the id now. From here on
    // only this worker can free the id of a dead one.
    if (this.#mayReclaim(worker)) return true;
    Atomics.store(this.#words, at, 0);
    return false;
  }

  /** A dead worker's id can be had again. */
  endReclaim(worker: number): void {
    this.exit(worker);
    // Last: until here no other worker reclaims the id, which may have its next owner already.
    Atomics.store(this.#words, this.#control.at(worker, WORKER.RECLAIMER), 0);
  }

  /** The ids, but for `me`, whose threads are proven to have ended. */
  dead(me: number): number[] {
    const others = this.others(me);
    // Reading a thread's start time is slow and rarely shows a change, so one id is checked at each
    // call.
    this.#checked = others.find((id) => id > this.#checked) ?? others[0] ?? 0;
    return others.filter((worker) =>
      this.#hasEnded(worker) ||
      worker === this.#checked && this.#isAnother(worker)
    );
  }

  #mayReclaim(worker: number): boolean {
    const thread = this.#threadOf(worker);
    if (this.#threads === undefined) return thread !== NO_THREAD;
    return thread === UNKNOWN_THREAD || this.#hasEnded(worker) ||
      this.#isAnother(worker);
  }

  /** Whether there is no thread of the number any more that took the id. */
  #hasEnded(worker: number): boolean {
    const thread = this.#threadOf(worker);
    if (thread === UNREACHABLE) return true;
    return this.#threads !== undefined && thread !== NO_THREAD &&
      thread !== UNKNOWN_THREAD && !this.#threads.isAlive(thread) &&
      // Since its number was read the worker may have left, and another thread taken the id.
      this.#threadOf(worker) === thread;
  }

  /** Whether the number of the thread that took the id has been given to another one since. */
  #isAnother(worker: number): boolean {
    const thread = this.#threadOf(worker);
    const at = this.#control.at(worker, WORKER.BORN);
    const born = Atomics.load(this.#words, at);
    if (thread < 0) return false;
    const now = this.#threads?.birth?.(thread) ?? 0;
    return born !== 0 && now !== 0 && now !== born &&
      Atomics.load(this.#words, at) === born &&
      this.#threadOf(worker) === thread;
  }

  get #top(): number {
    return Atomics.load(this.#words, HEADER.TOP_WORKER);
  }

  #threadOf(worker: number): number {
    const at = this.#control.at(worker, WORKER.THREAD);
    return Atomics.load(this.#words, at);
  }

  /** Only its isolate, or its reclaimer, changes the state of an id in use. */
  #become(worker: number, kind: number): void {
    Atomics.store(this.#words, this.#control.at(worker, WORKER.STATE), kind);
  }
}

/** What the OS tells of threads, where it does. */
export function knownThreads(): Threads | undefined {
  const native = openNative();
  const threads = "reason" in native ? undefined : native.threads;
  // Where a sandbox refuses the question, every thread would look dead.
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
