/**
 * The slots of a shared pool as one isolate sees them: takes, gives back and hands over by
 * compare-and-swap on owner words.
 *
 * No lock, and no step after which a death loses a slot: a slot is always free, somebody's, in
 * transit, abandoned or without memory, by its owner word alone. Knows no memory and no waiting.
 */
import {
  ABANDONED,
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

/** Kind and worker of an owner word. */
const OWNER_MASK = 0x7ff;

/** Slots in the hands of one worker. */
export class SharedSlots {
  /** Nothing is quarantined here: pages stay accessible while anyone is attached. */
  readonly quarantined = 0;
  /** Blocks the pool could hand out; a shared pool always asks its owner instead. */
  readonly free = 0;
  /** Slots this worker has taken. */
  taken = 0;

  readonly #control: Control;
  readonly #worker: number;
  readonly #taken: number;
  readonly #given: number;
  /** The word of hints to look at first. */
  #cursor = 0;

  /** Acts for one worker id. */
  constructor(control: Control, worker: number) {
    this.#control = control;
    this.#worker = worker;
    this.#taken = control.at(worker, WORKER.TAKEN);
    this.#given = control.at(worker, WORKER.GIVEN);
  }

  /** Blocks with memory that are not free, by the workers' own counts. */
  get used(): number {
    const { words } = this.#control;
    const top = words[HEADER.TOP_WORKER];
    let used = 0;
    for (let worker = 0; worker <= top; worker++) {
      const at = this.#control.at(worker, 0);
      used += words[at + WORKER.TAKEN] - words[at + WORKER.GIVEN] | 0;
    }
    return used;
  }

  /** Takes a free slot, or returns -1. */
  pop(): number {
    const { hints, owner, words } = this.#control;
    const count = hints.length;
    const start = this.#cursor < count ? this.#cursor : 0;
    for (let step = 0; step < count; step++) {
      const at = start + step < count ? start + step : start + step - count;
      let bits = hints[at];
      while (bits !== 0) {
        const bit = bits & -bits;
        const before = Atomics.and(hints, at, ~bit);
        if ((before & bit) !== 0) {
          const slot = (at << 5) + 31 - Math.clz32(bit);
          const word = Atomics.load(owner, slot);
          if (kindOf(word) === FREE && this.#swap(slot, word, HELD)) {
            this.#cursor = at;
            this.taken++;
            words[this.#taken]++;
            return slot;
          }
        }
        bits = before & ~bit;
      }
    }
    return -1;
  }

  /** Puts a slot of this worker back. */
  push(slot: number): void {
    const word = this.#mine(slot);
    this.#swap(slot, word, FREE);
    this.#control.words[this.#given]++;
    this.#hint(slot);
  }

  /** Takes a slot of this worker out of the pool for good. */
  abandon(slot: number): void {
    this.#swap(slot, this.#mine(slot), ABANDONED);
    Atomics.add(this.#control.words, HEADER.ABANDONED, 1);
  }

  /** A free slot whose buffer escaped here before it was given back: takes it first. */
  abandonFree(slot: number): void {
    const word = Atomics.load(this.#control.owner, slot);
    if (kindOf(word) !== FREE || !this.#swap(slot, word, HELD)) return;
    this.#control.words[this.#taken]++;
    this.abandon(slot);
  }

  /** Puts a slot of this worker in transit until `deadline`; returns the ticket's number. */
  send(slot: number, deadline: number): number {
    const { serial } = this.#control;
    const word = this.#mine(slot);
    Atomics.store(this.#control.deadline, slot, deadline | 0);
    const number = Atomics.add(serial, slot, 1) + 1 | 0;
    this.#swap(slot, word, TRANSIT);
    return number;
  }

  /** Takes a slot in transit over if this is its ticket; false if the ticket is used or stale. */
  receive(slot: number, serial: number): boolean {
    const { owner } = this.#control;
    const word = Atomics.load(owner, slot);
    if (kindOf(word) !== TRANSIT || this.#serialOf(slot) !== serial) {
      return false;
    }
    if (!this.#swap(slot, word, HELD)) return false;
    if (this.#serialOf(slot) === serial) return true;
    // The generation went full circle between the look and the swap: it was another ticket's.
    const mine = this.#mine(slot);
    Atomics.store(owner, slot, successor(mine, TRANSIT, workerOf(word)));
    return false;
  }

  /** Takes a slot that nobody needs any more, whoever it belonged to; false if that changed. */
  seize(slot: number, word: number): boolean {
    return this.#swap(slot, word, HELD);
  }

  /** Takes a free slot for a change of size, without counting it as taken. */
  claim(slot: number): boolean {
    const word = Atomics.load(this.#control.owner, slot);
    return kindOf(word) === FREE && this.#swap(slot, word, HELD);
  }

  /** Gives a claimed or seized slot back as free, without counting it. */
  unclaim(slot: number): void {
    this.#swap(slot, this.#mine(slot), FREE);
    this.#hint(slot);
  }

  /** A claimed slot has lost its memory. */
  drop(slot: number): void {
    this.#swap(slot, this.#mine(slot), UNCOMMITTED);
  }

  /** A slot without memory has been given some. */
  open(slot: number): void {
    const word = Atomics.load(this.#control.owner, slot);
    if (kindOf(word) !== UNCOMMITTED) return;
    Atomics.store(
      this.#control.owner,
      slot,
      successor(word, FREE, 0),
    );
    this.#hint(slot);
  }

  /** Counts a slot that was freed on behalf of somebody else. */
  countGiven(): void {
    this.#control.words[this.#given]++;
  }

  #serialOf(slot: number): number {
    return Atomics.load(this.#control.serial, slot);
  }

  /** The owner word of a slot of this worker; nobody else changes it. */
  #mine(slot: number): number {
    // A plain read sees the latest word, because only this worker changes it.
    const word = this.#control.owner[slot];
    if ((word & OWNER_MASK) !== (HELD | this.#worker)) {
      throw new Error(
        `slot ${slot} is not held by worker ${this.#worker}: owner word ${word}`,
      );
    }
    return word;
  }

  /** Makes the slot's owner this kind, if its word is still `word`. */
  #swap(slot: number, word: number, kind: number): boolean {
    const worker = kind === HELD || kind === TRANSIT ? this.#worker : 0;
    const { owner } = this.#control;
    const next = successor(word, kind, worker);
    return Atomics.compareExchange(owner, slot, word, next) === word;
  }

  #hint(slot: number): void {
    const at = slot >>> 5;
    Atomics.or(this.#control.hints, at, 1 << (slot & 31));
    if (at < this.#cursor) this.#cursor = at;
  }
}
