/**
 * The slots of a shared pool as one isolate sees them: takes, gives back and hands over by
 * compare-and-swap on owner words.
 *
 * No lock, and no step after which a death loses a slot: a slot is always free, somebody's, in
 * transit, abandoned or without memory, by its owner word alone. Knows no memory and no waiting.
 */
import { SmritiError } from "../pool/errors.ts";
import {
  ABANDONED,
  CLAIMED,
  type Control,
  FREE,
  HEADER,
  HELD,
  kindOf,
  successor,
  TRANSIT,
  UNCOMMITTED,
  WORKER,
  workerOf,
} from "./control.ts";

// V8 folds a constant of this module into the code, but reads an imported one anew each time.
const { TOP_WORKER, TICKETS, ABANDONED: LOST_BLOCKS } = HEADER;
const { HELD: HELD_COUNT } = WORKER;
const HOT_FREE = FREE;
const HOT_HELD = HELD;
const hotKindOf = kindOf;
const hotSuccessor = successor;

/** Kind and worker of an owner word. */
const OWNER_MASK = 0x7ff;
/** Every so many takes the search begins at the lowest slot again, so that high slabs empty. */
const FROM_BELOW = 64;

/** Slots in the hands of one worker. */
export class SharedSlots {
  /** Blocks the pool could hand out; a shared pool always asks its owner instead. */
  readonly free = 0;
  /** Leases begun here, ever. */
  taken = 0;

  readonly #control: Control;
  readonly #words: Int32Array;
  readonly #owner: Int32Array;
  readonly #hints: Int32Array;
  readonly #worker: number;
  readonly #held: number;
  #pops = 0;
  /** The word of hints to look at first. */
  #cursor = 0;
  /** What this worker gave back last: warm, and most likely still free. */
  #last = 0;

  /** Acts for one worker id. */
  constructor(control: Control, worker: number) {
    this.#control = control;
    this.#words = control.words;
    this.#owner = control.owner;
    this.#hints = control.hints;
    this.#worker = worker;
    this.#held = control.at(worker, HELD_COUNT);
  }

  /** Slots this worker holds. */
  get held(): number {
    return this.#words[this.#held];
  }

  /** Blocks with memory that are not free, by the workers' own counts. */
  get used(): number {
    const words = this.#words;
    const top = words[TOP_WORKER];
    let used = words[TICKETS] + words[LOST_BLOCKS];
    for (let worker = 1; worker <= top; worker++) {
      used += words[this.#control.at(worker, HELD_COUNT)];
    }
    return used;
  }

  /** Takes a free slot, the lowest that this worker knows of, or returns -1. */
  pop(): number {
    const slot = this.#pops % FROM_BELOW !== 0 && this.#takeLast()
      ? this.#last
      : this.#search();
    if (slot >= 0) {
      this.#pops++;
      this.#words[this.#held]++;
    }
    return slot;
  }

  /**
   * Takes the slot given back last, unless a lower one may be free. Its hint stays and is wrong
   * meanwhile, which spares a cycle two atomic operations of four: whoever follows it drops it, and
   * `push` looks whether it is still there.
   */
  #takeLast(): boolean {
    const last = this.#last;
    const at = last >>> 5;
    const lower = (1 << (last & 31)) - 1;
    if (at > this.#cursor || (this.#hints[at] & lower) !== 0) return false;
    // A plain read is a tenth of an atomic one, and the swap sees whether it was right.
    return this.#take(last, this.#owner[last]);
  }

  /** Follows the hints, now and then from the lowest on. */
  #search(): number {
    const hints = this.#hints;
    const count = hints.length;
    const start = this.#pops % FROM_BELOW === 0 ? 0 : this.#cursor;
    for (let step = 0; step < count; step++) {
      const at = start + step < count ? start + step : start + step - count;
      let bits = hints[at];
      while (bits !== 0) {
        const bit = bits & -bits;
        // A hint is cleared before the look at the owner; whoever frees a slot looks at its hint
        // after that. So one of the two sees what the other has done: the slot is taken here, or
        // its hint is set again.
        const before = Atomics.and(hints, at, ~bit);
        if ((before & bit) !== 0) {
          const slot = (at << 5) + 31 - Math.clz32(bit);
          const word = Atomics.load(this.#owner, slot);
          if (this.#take(slot, word)) {
            this.#cursor = at;
            return slot;
          }
        }
        bits = before & ~bit;
      }
    }
    return -1;
  }

  /** Takes a slot if `word` says that it is free, and still stands there. */
  #take(slot: number, word: number): boolean {
    return hotKindOf(word) === HOT_FREE &&
      this.#swap(slot, word, HOT_HELD, this.#worker);
  }

  /** A lease of a slot of this worker begins. */
  take(): void {
    this.taken++;
  }

  /** Puts a slot of this worker back. Others may wait for it, so the pool must hear of it: true. */
  push(slot: number): boolean {
    this.#last = slot;
    this.#change(slot, HOT_FREE);
    this.rehint(slot);
    return true;
  }

  /** Takes a slot of this worker out of the pool for good. */
  abandon(slot: number): void {
    Atomics.add(this.#words, LOST_BLOCKS, 1);
    this.#change(slot, ABANDONED);
  }

  /** A free slot whose buffer escaped here before it was given back: takes it first. */
  abandonFree(slot: number): void {
    const word = Atomics.load(this.#owner, slot);
    if (kindOf(word) !== FREE || !this.seize(slot, word)) return;
    this.abandon(slot);
  }

  /** Whether somebody may still write to a slot that is out of the pool. Asked at its end. */
  static hasAbandoned({ owner }: Control): boolean {
    return owner.some((word) => kindOf(word) === ABANDONED);
  }

  /**
   * Puts a slot of this worker in transit until `deadline`; returns the ticket's number. Counts as
   * held until `sent`.
   */
  send(slot: number, deadline: number): number {
    const { serial } = this.#control;
    // Plain writes: they are this worker's while it holds the slot, and the swap publishes them.
    this.#control.deadline[slot] = deadline;
    const number = serial[slot] = serial[slot] + 1 | 0;
    this.#swap(slot, this.#mine(slot), TRANSIT, this.#worker);
    return number;
  }

  /** So many were sent, and nobody has their tickets yet. */
  sent(count: number): void {
    Atomics.add(this.#words, TICKETS, count);
    this.#words[this.#held] -= count;
  }

  /** Whether this is the ticket of a slot in transit. */
  isSent(slot: number, serial: number): boolean {
    // Plain reads: whoever has the ticket has it from the sender, and so sees what was sent.
    return kindOf(this.#owner[slot]) === TRANSIT &&
      this.#control.serial[slot] === serial;
  }

  /**
   * Takes a slot in transit over if this is its ticket; false if the ticket is used or stale. Counts
   * as in transit until `received`.
   */
  receive(slot: number, serial: number): boolean {
    const word = this.#owner[slot];
    if (!this.isSent(slot, serial)) return false;
    if (!this.#swap(slot, word, HELD, this.#worker)) return false;
    if (this.#control.serial[slot] === serial) return true;
    // The generation went full circle between the look and the swap: it was another ticket's.
    const mine = this.#mine(slot);
    Atomics.store(this.#owner, slot, successor(mine, TRANSIT, workerOf(word)));
    return false;
  }

  /** Puts a slot that `receive` took, and nobody saw, back in transit under the same ticket. */
  unreceive(slot: number): void {
    this.#swap(slot, this.#mine(slot), TRANSIT, this.#worker);
  }

  /** So many were received. */
  received(count: number): void {
    this.#words[this.#held] += count;
    Atomics.sub(this.#words, TICKETS, count);
  }

  /** Takes a slot in transit back that nobody received; false if that changed. */
  recall(slot: number, word: number): boolean {
    if (!this.#swap(slot, word, HELD, this.#worker)) return false;
    this.received(1);
    return true;
  }

  /** Takes a slot that nobody needs any more, whoever it belonged to; false if that changed. */
  seize(slot: number, word: number): boolean {
    if (!this.#swap(slot, word, HELD, this.#worker)) return false;
    this.#words[this.#held]++;
    return true;
  }

  /** Takes a free slot for a change of size. */
  claim(slot: number): boolean {
    const word = Atomics.load(this.#owner, slot);
    return kindOf(word) === FREE &&
      this.#swap(slot, word, CLAIMED, this.#worker);
  }

  /** Gives a claimed slot back, one's own or that of a dead worker. */
  unclaim(slot: number): void {
    const word = Atomics.load(this.#owner, slot);
    if (kindOf(word) === CLAIMED && this.#swap(slot, word, FREE, 0)) {
      this.hint(slot);
    }
  }

  /** A claimed slot has lost its memory. */
  drop(slot: number): void {
    this.#swap(slot, Atomics.load(this.#owner, slot), UNCOMMITTED, 0);
  }

  /** A slot without memory has been given some. */
  open(slot: number): void {
    const word = Atomics.load(this.#owner, slot);
    if (kindOf(word) === UNCOMMITTED && this.#swap(slot, word, FREE, 0)) {
      this.hint(slot);
    }
  }

  /** Says that a slot may be free; true if the hint was missing. */
  hint(slot: number): boolean {
    const at = slot >>> 5;
    const bit = 1 << (slot & 31);
    if (at < this.#cursor) this.#cursor = at;
    return (Atomics.or(this.#hints, at, bit) & bit) === 0;
  }

  /** The same, of a slot that has its hint most of the time. */
  rehint(slot: number): boolean {
    const at = slot >>> 5;
    if (at < this.#cursor) this.#cursor = at;
    const bit = 1 << (slot & 31);
    // After the slot became free; so whoever clears the hint from here on finds it free.
    if ((Atomics.load(this.#hints, at) & bit) !== 0) return false;
    return this.hint(slot);
  }

  /** The owner word of a slot of this worker; nobody else changes it. */
  #mine(slot: number): number {
    // A plain read sees the latest word, because only this worker changes it.
    const word = this.#owner[slot];
    if ((word & OWNER_MASK) === (HOT_HELD | this.#worker)) return word;
    throw this.#stolen(slot);
  }

  #stolen(slot: number): SmritiError {
    return new SmritiError(
      "corrupted",
      `slot ${slot} was taken from worker ${this.#worker}: it was reclaimed while it ran`,
    );
  }

  /** A slot of this worker goes out of its hands, into nobody's. */
  #change(slot: number, kind: number): void {
    const word = this.#mine(slot);
    // Nobody else changes this word, so the swap cannot fail.
    this.#swap(slot, word, kind, 0);
    this.#words[this.#held]--;
  }

  /** Makes the slot's owner this kind and worker, if its word is still `word`. */
  #swap(slot: number, word: number, kind: number, worker: number): boolean {
    const next = hotSuccessor(word, kind, worker);
    const owner = this.#owner;
    return Atomics.compareExchange(owner, slot, word, next) === word;
  }
}
