/**
 * Wakes workers in which acquires wait, and gives a turn to one that was passed over for too long.
 *
 * An event count: a worker reads the epoch, looks for a free block, and sleeps until the epoch changes.
 * A notification that went to a worker that died is made up for by retries; a turn ends by its
 * deadline.
 */
import { between, type Clock } from "./clock.ts";
import { type Control, HEADER } from "./control.ts";

// Hot constants: see ARCHITECTURE.md.
const { TOP_WORKER, TURN, WAITERS } = HEADER;

/** How often a waiting worker tries again without a notification, in ms. */
export const RETRY_MS = 25;
/** How long a turn lasts at most, in ms: its worker may be busy or dead. */
const TURN_MS = 100;

/** The notifier of one pool, as one worker uses it. */
export class Notifier {
  readonly #words: Int32Array;
  readonly #clock: Clock;
  readonly #worker: number;
  /** The word with this worker's bit. */
  readonly #at: number;
  readonly #bit: number;

  /** Acts for one worker id. */
  constructor({ words }: Control, clock: Clock, worker: number) {
    this.#words = words;
    this.#clock = clock;
    this.#worker = worker;
    this.#at = WAITERS + (worker >>> 5);
    this.#bit = 1 << (worker & 31);
  }

  /** The number that the next notification changes. Read it before looking for a free block. */
  get epoch(): number {
    return Atomics.load(this.#words, HEADER.EPOCH);
  }

  /** Sets or clears this worker's bit: whether it is to be notified. */
  listen(listens: boolean): void {
    if (listens) Atomics.or(this.#words, this.#at, this.#bit);
    else Atomics.and(this.#words, this.#at, ~this.#bit);
  }

  /** A block became free here: wakes another worker in which acquires wait, if there is one. */
  notify(): void {
    const words = this.#words;
    const last = WAITERS + (words[TOP_WORKER]! >>> 5);
    for (let at = WAITERS; at <= last; at++) {
      // A plain read, ten times as fast: after the read-modify-write that freed the slot x86 keeps
      // it in order, so either the waiter's look finds the slot or its bit is seen here. Elsewhere
      // it may be missed; then the waiter's next retry finds the slot.
      const bits = words[at];
      if (bits === 0) continue;
      if (at !== this.#at || bits !== this.#bit) return this.#wake();
    }
  }

  /** Wakes one other worker in which acquires wait. */
  #wake(): void {
    const words = this.#words;
    Atomics.add(words, HEADER.EPOCH, 1);
    // If this worker waits, too, it may be the one that is woken: then two are. During a turn all are,
    // because only its worker may take the block.
    const isHere = (Atomics.load(words, this.#at) & this.#bit) !== 0;
    const turn = Atomics.load(words, TURN);
    const count = turn !== 0 ? Infinity : isHere ? 2 : 1;
    Atomics.notify(words, HEADER.EPOCH, count);
  }

  /** The last notification may have come to a worker that waits no longer: passes it on. */
  handOn(): void {
    Atomics.notify(this.#words, HEADER.EPOCH, 1);
  }

  /** Resolves at the next notification after `epoch` was read, or after some time. Keeps nothing alive. */
  async notified(epoch: number, timeoutMs: number): Promise<void> {
    const { async, value } = Atomics.waitAsync(
      this.#words,
      HEADER.EPOCH,
      epoch,
      timeoutMs,
    );
    if (async) await value;
    // Notified already. By a macrotask: notifications may come faster than they are handled, and the
    // event loop must run in between.
    else await new Promise<void>((resolve) => setTimeout(resolve, 0));
  }

  /** The same, stopping the thread. */
  sleep(epoch: number, timeoutMs: number): void {
    Atomics.wait(this.#words, HEADER.EPOCH, epoch, timeoutMs);
  }

  /** Whether it is another worker's turn. */
  get mustYield(): boolean {
    const turn = this.#words[TURN]!;
    return turn !== 0 && this.#isOthers(turn);
  }

  #isOthers(turn: number): boolean {
    return turn !== this.#worker && !this.#isOver;
  }

  /**
   * Claims the turn, if no worker has it: until it ends, or is dropped, only this worker takes blocks.
   */
  claimTurn(): void {
    const words = this.#words;
    const turn = Atomics.load(words, TURN);
    if (turn !== 0 && !this.#isOver) return;
    // A worker whose own turn has run out gives it up, so that another can claim it first.
    if (turn === this.#worker) return this.dropTurn();
    if (
      Atomics.compareExchange(words, TURN, turn, this.#worker) === turn
    ) {
      Atomics.store(words, HEADER.TURN_END, this.#clock.now() + TURN_MS | 0);
    }
  }

  /** Ends this worker's turn, if it has one. */
  dropTurn(): void {
    if (this.#words[TURN] === this.#worker) this.#endTurn(this.#worker);
  }

  /** A worker has died or left: it does not wait any more. */
  forget(worker: number): void {
    Atomics.and(
      this.#words,
      WAITERS + (worker >>> 5),
      ~(1 << (worker & 31)),
    );
    this.#endTurn(worker);
  }

  #endTurn(worker: number): void {
    const words = this.#words;
    if (Atomics.compareExchange(words, TURN, worker, 0) !== worker) {
      return;
    }
    Atomics.add(words, HEADER.EPOCH, 1);
    Atomics.notify(words, HEADER.EPOCH);
  }

  get #isOver(): boolean {
    const end = Atomics.load(this.#words, HEADER.TURN_END);
    return between(end, this.#clock.now()) >= 0;
  }
}

/** Whether acquires wait in any worker; reads all words of `WAITERS`. */
export function isAwaited(words: Int32Array): boolean {
  const last = WAITERS + (words[TOP_WORKER]! >>> 5);
  for (let at = last; at >= WAITERS; at--) if (words[at] !== 0) return true;
  return false;
}
