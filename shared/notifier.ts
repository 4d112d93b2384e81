/**
 * How isolates wake each other, and who goes next when one has waited too long.
 *
 * An event count: an isolate reads its number, looks for a free block, and sleeps until the number
 * changes. A notification that goes to an isolate that died is made good by retries; a turn ends by itself.
 */
import { between, type Clock } from "./clock.ts";
import { type Control, HEADER } from "./control.ts";

// V8 folds a constant of this module into the code, but reads an imported one anew each time.
const { TOP_WORKER, TURN, WAITERS } = HEADER;

/** How often a waiting isolate tries again without a wake-up, in ms. */
export const RETRY_MS = 25;
/** How long a turn lasts at most, in ms: its worker may be busy with something else. */
const TURN_MS = 100;

/** The notifier of one pool, as one isolate uses it. */
export class Notifier {
  readonly #words: Int32Array;
  readonly #clock: Clock;
  readonly #worker: number;
  /** Where this isolate's bit is. */
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

  /** The number that the next notification changes. Look for a free block after asking for it. */
  get epoch(): number {
    return Atomics.load(this.#words, HEADER.EPOCH);
  }

  /** From now on this isolate is to be notified, or no more. */
  listen(listens: boolean): void {
    if (listens) Atomics.or(this.#words, this.#at, this.#bit);
    else Atomics.and(this.#words, this.#at, ~this.#bit);
  }

  /** Something became free here: wakes another isolate in which acquires wait, if there is one. */
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

  /** Wakes one other isolate in which acquires wait. */
  #wake(): void {
    const words = this.#words;
    Atomics.add(words, HEADER.EPOCH, 1);
    // One of two might be this isolate itself, and with a turn on only one can use it.
    const isHere = (Atomics.load(words, this.#at) & this.#bit) !== 0;
    const turn = Atomics.load(words, TURN);
    const count = turn !== 0 ? Infinity : isHere ? 2 : 1;
    Atomics.notify(words, HEADER.EPOCH, count);
  }

  /** The last notification may have gone to an isolate that waits no longer: passes it on. */
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
    // It came meanwhile. Not by a microtask: notifications may come faster than they are answered.
    else await new Promise<void>((resolve) => setTimeout(resolve, 0));
  }

  /** The same, stopping the thread. */
  sleep(epoch: number, timeoutMs: number): void {
    Atomics.wait(this.#words, HEADER.EPOCH, epoch, timeoutMs);
  }

  /** Whether it is another isolate's turn. */
  get mustYield(): boolean {
    const turn = this.#words[TURN]!;
    return turn !== 0 && this.#isOthers(turn);
  }

  #isOthers(turn: number): boolean {
    return turn !== this.#worker && !this.#isOver;
  }

  /** Asks for a turn: until it ends, or is dropped, only this isolate takes blocks. */
  claimTurn(): void {
    const words = this.#words;
    const turn = Atomics.load(words, TURN);
    if (turn !== 0 && !this.#isOver) return;
    // The last one to have a turn lets others come first.
    if (turn === this.#worker) return this.dropTurn();
    if (
      Atomics.compareExchange(words, TURN, turn, this.#worker) === turn
    ) {
      Atomics.store(words, HEADER.TURN_END, this.#clock.now() + TURN_MS | 0);
    }
  }

  /** Ends this isolate's turn, if it has one. */
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

/** Whether acquires wait in any isolate; looks at all words that say so. */
export function isAwaited(words: Int32Array): boolean {
  const last = WAITERS + (words[TOP_WORKER]! >>> 5);
  for (let at = last; at >= WAITERS; at--) if (words[at] !== 0) return true;
  return false;
}
