/**
 * Who is attached to a shared pool, under which id, and who has died.
 *
 * An id is free again only after its thread is proven to have ended and its slots were dealt with.
 * Without proof nothing is taken from anybody.
 */
import { openThreads, type Threads } from "../ffi/threads.ts";
import {
  ATTACHED,
  type Control,
  HEADER,
  MOST_WORKERS,
  RECLAIMING,
  UNUSED,
  WORKER,
} from "./control.ts";

/** The isolates of one pool. */
export class Roster {
  readonly #control: Control;
  readonly #threads: Threads | undefined;

  /** Looks at one control block. */
  constructor(control: Control) {
    this.#control = control;
    this.#threads = openThreads();
  }

  /** Takes an id for this isolate, or 0 if none is left. */
  enter(): number {
    const { words } = this.#control;
    for (let worker = 1; worker <= MOST_WORKERS; worker++) {
      const at = this.#control.at(worker, WORKER.STATE);
      if (Atomics.compareExchange(words, at, UNUSED, ATTACHED) !== UNUSED) {
        continue;
      }
      // A death before this line costs one id: without a thread number there is never a proof.
      const thread = this.#threads?.current() ?? 0;
      Atomics.store(words, this.#control.at(worker, WORKER.THREAD), thread);
      let top = Atomics.load(words, HEADER.TOP_WORKER);
      while (top < worker) {
        const seen = Atomics.compareExchange(
          words,
          HEADER.TOP_WORKER,
          top,
          worker,
        );
        top = seen === top ? worker : seen;
      }
      return worker;
    }
    return 0;
  }

  /** Gives an id back that has nothing left: one's own, or that of a dead worker. */
  exit(worker: number): void {
    const { words } = this.#control;
    Atomics.store(words, this.#control.at(worker, WORKER.THREAD), 0);
    Atomics.store(words, this.#control.at(worker, WORKER.STATE), UNUSED);
  }

  /** Whether the id is in use, or was and has not been dealt with. */
  isAttached(worker: number): boolean {
    const at = this.#control.at(worker, WORKER.STATE);
    return Atomics.load(this.#control.words, at) !== UNUSED;
  }

  /** Ids in use, but for `me`. */
  others(me: number): number[] {
    const top = Atomics.load(this.#control.words, HEADER.TOP_WORKER);
    const found: number[] = [];
    for (let worker = 1; worker <= top; worker++) {
      if (worker !== me && this.isAttached(worker)) found.push(worker);
    }
    return found;
  }

  /** Whether the worker's thread is proven to have ended. */
  isDead(worker: number): boolean {
    const at = this.#control.at(worker, WORKER.THREAD);
    const thread = Atomics.load(this.#control.words, at);
    return this.#threads !== undefined && thread !== 0 &&
      !this.#threads.isAlive(thread);
  }

  /**
   * Makes `me` the only one to deal with what a stopped worker has left. If whoever did so before
   * died over it, `me` takes that over.
   */
  beginReclaim(worker: number, me: number): boolean {
    const { words } = this.#control;
    const at = this.#control.at(worker, WORKER.STATE);
    const state = Atomics.load(words, at);
    const other = state >> 8;
    const open = state === ATTACHED ||
      (other !== 0 && (other === me || this.isDead(other)));
    const mine = RECLAIMING | me << 8;
    return open && Atomics.compareExchange(words, at, state, mine) === state;
  }
}
