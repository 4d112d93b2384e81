/**
 * The slots of a shared pool as one isolate sees them: takes, gives back and hands over by
 * compare-and-swap on owner words.
 *
 * No lock, and no step after which a death loses a slot: a slot is always free, held, in
 * transit, abandoned or without memory, by its owner word alone, and so is what may have been seen of
 * its bytes. Knows no memory and no waiting.
 */
import type { Code } from "../ffi/backend.ts";
import type { GivenUp } from "../pool/abandoned.ts";
import { SmritiError } from "../pool/errors.ts";
import { SlotCache } from "./cache.ts";
import {
  ABANDONED,
  CLAIMED,
  type Control,
  FINAL,
  FREE,
  HEADER,
  HELD,
  HELD_BIT,
  isHeldBy,
  isOpen,
  kindOf,
  OPEN,
  READABLE,
  SOILED,
  successor,
  TRANSIT,
  UNCOMMITTED,
  UNREADABLE,
  USED,
  WORKER,
  WORKER_MASK,
  workerOf,
} from "./control.ts";
import { Hints } from "./hints.ts";
import { Tally } from "./tally.ts";

// Hot constants: see ARCHITECTURE.md.
const HOT_FREE = FREE;
const HOT_HELD = HELD;
const HOT_USED = USED;
const HOT_OPEN = OPEN;
const { STATE, TOP_WORKER, WAITERS } = HEADER;
const { FREES, MOVED, MOVING, TAKES } = WORKER;
const hotIsOpen = isOpen;
const hotKindOf = kindOf;
const hotSuccessor = successor;
const HELD_MASK = HELD_BIT | WORKER_MASK;

/** Workers whose bits are in one word of `WAITERS`. */
const IN_ONE_WORD = 32;

const NO_SLOT = -1;

/** Changes a held word's kind and nothing else. */
const ALL_BUT_KIND = ~0x700;

/** The shared slots, as one worker takes and frees them. */
export class SharedSlots {
  /**
   * Required by `LeaseSlots`, and not used: quarantine alone asks for it, which a shared pool has not.
   */
  readonly free = 0;
  /** Leases begun here, ever. */
  taken = 0;
  /** How many are in use. */
  readonly tally: Tally;
  /** Where free ones may be. */
  readonly hints: Hints;
  /** Free ones that this worker has at hand. */
  readonly cache: SlotCache;

  /** What was given up here and may have no fresh address yet. */
  readonly givenUp: GivenUp[] = [];

  readonly #control: Control;
  readonly #words: Int32Array;
  readonly #owner: Int32Array;
  readonly #place: Int32Array;
  /** For the isolates that outlive this pool's: a byte for each place, 1 while a view given out may reach it. */
  readonly #used: Uint8Array;
  readonly #worker: number;
  /** What the words of slots that this worker holds have in common. */
  readonly #held: number;
  /** This worker's words. */
  readonly #own: Int32Array;
  /** Announced takes that are not done. */
  said = 0;

  /** Acts for one worker id. Without a fence in all threads it keeps no cache. */
  constructor(
    control: Control,
    worker: number,
    used: Uint8Array = new Uint8Array(control.owner.length),
    fence?: () => Code,
  ) {
    this.#used = used;
    this.#control = control;
    this.#words = control.words;
    this.#owner = control.owner;
    this.#place = control.place;
    this.#worker = worker;
    this.tally = new Tally(control, worker);
    const hints = this.hints = new Hints(control);
    this.cache = new SlotCache({ control, worker, hints, used, fence });
    this.#held = HELD_BIT | worker;
    this.#own = control.of(worker);
  }

  /**
   * Takes a slot if it is free; false if another worker was first. The swap is the last that can fail,
   * and what follows it are stores.
   */
  take(slot: number): boolean {
    if (this.cache.has(slot) && this.cache.take(slot)) {
      this.taken++;
      return true;
    }
    // Also what a thief has opened whose bit it has not taken down yet.
    const owner = this.#owner;
    const word = owner[slot]!;
    if (!hotIsOpen(word)) return false;
    const next = hotSuccessor(word, HOT_HELD, this.#worker);
    if (Atomics.compareExchange(owner, slot, word, next) !== word) return false;
    if (this.said > 0) this.said--;
    else this.#own[TAKES]!++;
    this.taken++;
    return true;
  }

  /**
   * Announces so many takes: workers that look from here on count them (Dekker, with `Tally.atMost`).
   */
  say(count: number): void {
    if (this.said > 0) this.unsay();
    Atomics.add(this.#own, TAKES, count);
    this.said = count;
  }

  /** Withdraws announced takes that were not done. */
  unsay(): void {
    if (this.said === 0) return;
    Atomics.sub(this.#own, TAKES, this.said);
    this.said = 0;
  }

  /** A free slot, the lowest that this worker knows of, or -1. */
  find(): number {
    const { hints } = this;
    const cached = this.cache.next();
    if (cached >= 0 && hints.isLowest(cached)) return cached;
    const open = hints.find();
    return open < 0 || cached >= 0 && cached < open ? cached : open;
  }

  /** Puts a slot of this worker back, into its cache or to all. The answer is that of `pushOpen`. */
  push(slot: number): boolean {
    if (!this.cache.put(slot)) return this.pushOpen(slot);
    try {
      // After the slot was put there. An acquire that waits has a fence between telling so and its look: it
      // finds the slot, or is seen here (asymmetric Dekker).
      return this.#isHeard();
    } catch {
      // No room on the stack.
      return true;
    }
  }

  /**
   * Makes a slot of this worker free for all. As in `take` the swap is the last that can fail. Whether the
   * pool must hear of it.
   */
  pushOpen(slot: number): boolean {
    const { hints } = this;
    if (hints.due >= 0) hints.restore();
    const owner = this.#owner;
    const word = owner[slot]!;
    const next = hotSuccessor(word, HOT_FREE, 0);
    if ((word & HELD_MASK) !== this.#held) throw this.#stolen(slot);
    // Before the swap: after it the byte is another worker's. The views have ended.
    if (hotKindOf(word) === HOT_USED) {
      this.#used[this.#place[slot]! || slot] = 0;
    }
    if (Atomics.compareExchange(owner, slot, word, next) !== word) {
      throw this.#stolen(slot);
    }
    this.#own[FREES]!++;
    hints.last = slot;
    hints.due = slot;
    try {
      if (!hints.stands(slot)) hints.set(slot);
      hints.due = NO_SLOT;
      // After the swap: an acquire that begins to wait from here on finds the slot free.
      return this.#isHeard();
    } catch {
      // No room on the stack: the hint is set again later.
      return true;
    }
  }

  /** Whether acquires may wait for what is freed, or the pool is closing. */
  #isHeard(): boolean {
    const words = this.#words;
    return words[WAITERS] !== 0 || words[STATE] !== HOT_OPEN ||
      words[TOP_WORKER]! >= IN_ONE_WORD &&
        (words[WAITERS + 1]! | words[WAITERS + 2]! | words[WAITERS + 3]! |
            words[WAITERS + 4]! | words[WAITERS + 5]! | words[WAITERS + 6]! |
            words[WAITERS + 7]!) !== 0;
  }

  /**
   * From here on a view of a slot of this worker is given out, and may outlive this worker.
   */
  expose(slot: number): void {
    // A plain store suffices: only this worker changes the word while it lives, and a reclaimer reads
    // it after the OS has confirmed the end of the thread, which orders all its stores before that.
    const word = this.#owner[slot]!;
    if ((word & HELD_MASK) !== this.#held) throw this.#stolen(slot);
    this.#used[this.#place[slot]! || slot] = 1;
    this.#owner[slot] = word & ALL_BUT_KIND | HOT_USED;
  }

  /** Gives the address of a slot of this worker up; `mayBeRead`: its bytes may be read by others. */
  abandon(slot: number, mayBeRead: boolean): void {
    const word = this.#mine(slot);
    this.#used[this.#place[slot]! || slot] = 1;
    this.#move(slot, word, ABANDONED, mayBeRead ? READABLE : UNREADABLE, -1);
  }

  /** A free slot whose buffer escaped here before it was given back: takes it first. */
  abandonFree(slot: number): void {
    if (this.take(slot)) this.abandon(slot, true);
  }

  /** A slot given up has got a fresh address: takes it, if its word is still `word`. */
  revive(slot: number, word: number): boolean {
    return this.#move(slot, word, HELD, this.#worker, 1);
  }

  /** A slot given up gets none, if its word is still `word`. */
  renounce(slot: number, word: number): void {
    this.#swap(slot, word, ABANDONED, FINAL);
  }

  /** Puts a slot of this worker, whose views have ended, in transit; returns the ticket's number. */
  send(slot: number): number {
    const { serial, deadline } = this.#control;
    // Plain writes: they are this worker's while it holds the slot, and the swap publishes them.
    deadline[slot] = 0;
    const number = serial[slot] = serial[slot]! + 1 | 0;
    const word = this.#mine(slot);
    // As in `push`.
    if (hotKindOf(word) === HOT_USED) {
      this.#used[this.#place[slot]! || slot] = 0;
    }
    this.#move(slot, word, TRANSIT, this.#worker, -1);
    return number;
  }

  /** Whether this is the ticket of a slot in transit. */
  isSent(slot: number, serial: number): boolean {
    // Plain reads: the message that brought the ticket orders what the sender wrote before it.
    return kindOf(this.#owner[slot]!) === TRANSIT &&
      this.#control.serial[slot] === serial;
  }

  /** Takes a slot in transit over if this is its ticket; false if the ticket is used or stale. */
  receive(slot: number, serial: number): boolean {
    const word = this.#owner[slot]!;
    return kindOf(word) === TRANSIT &&
      this.#control.serial[slot] === serial &&
      this.#move(slot, word, SOILED, this.#worker, 1) &&
      // The generation may have gone full circle between the look and the swap.
      (this.#control.serial[slot] === serial || this.#handBack(slot, word));
  }

  /** Puts a slot that `receive` took, and that was not given out, back in transit under its ticket. */
  unreceive(slot: number): void {
    this.#move(slot, this.#mine(slot), TRANSIT, this.#worker, -1);
  }

  /** Takes a slot in transit back whose time was over at `deadline`; false if that changed. */
  recall(slot: number, word: number, deadline: number): boolean {
    return this.#move(slot, word, SOILED, this.#worker, 1) &&
      // As above: then it is a later ticket's, whose time has not begun.
      (this.#control.deadline[slot] === deadline || this.#handBack(slot, word));
  }

  /** It was another ticket's: that one is good again. */
  #handBack(slot: number, word: number): false {
    this.#move(slot, this.#mine(slot), TRANSIT, workerOf(word), -1);
    return false;
  }

  /** Takes a slot that a dead worker held, as it is; false if that changed. */
  seize(slot: number, word: number): boolean {
    // It may have died between the byte and the word, before it gave the view out.
    if (kindOf(word) !== USED) this.#used[this.#place[slot]! || slot] = 0;
    return this.#move(slot, word, kindOf(word), this.#worker, 1);
  }

  /** Takes a free slot for a change of size. */
  claim(slot: number): boolean {
    const word = Atomics.load(this.#owner, slot);
    return isOpen(word) && this.#swap(slot, word, CLAIMED, this.#worker);
  }

  /** Gives a claimed slot back. */
  unclaim(slot: number): void {
    this.#swap(slot, Atomics.load(this.#owner, slot), FREE, 0);
    this.hints.set(slot);
  }

  /** A claimed slot has lost its memory, or counts as if it had. */
  drop(slot: number): void {
    this.#swap(slot, Atomics.load(this.#owner, slot), UNCOMMITTED, 0);
  }

  /** A slot without memory has been given some. */
  open(slot: number): void {
    const word = Atomics.load(this.#owner, slot);
    if (kindOf(word) === UNCOMMITTED && this.#swap(slot, word, FREE, 0)) {
      this.hints.set(slot);
    }
  }

  /** Whether this worker holds the slot. */
  holds(slot: number): boolean {
    return isHeldBy(this.#owner[slot]!, this.#worker);
  }

  /** Throws unless this worker holds the slot. */
  check(slot: number): void {
    this.#mine(slot);
  }

  /** The owner word of a slot of this worker; no other worker changes it. */
  #mine(slot: number): number {
    // A plain read sees the latest word, because only this worker changes it.
    const word = this.#owner[slot]!;
    if (isHeldBy(word, this.#worker)) return word;
    throw this.#stolen(slot);
  }

  #stolen(slot: number): SmritiError {
    return new SmritiError(
      "corrupted",
      `slot ${slot} was taken from worker ${this.#worker}: it was reclaimed while it ran`,
    );
  }

  /**
   * Changes the slot's owner and the count of moved slots with it, if its word is still `word`. Marked,
   * so that its reclaimer, should it die in between, knows which count is the wrong one.
   */
  #move(
    slot: number,
    word: number,
    kind: number,
    worker: number,
    change: 1 | -1,
  ): boolean {
    const own = this.#own;
    own[MOVING] = 1;
    let isDone = false;
    try {
      isDone = this.#swap(slot, word, kind, worker);
    } catch (error) {
      // Nothing was swapped. If it was after all, the mark stays, as after a death.
      if (this.#owner[slot] === word) own[MOVING] = 0;
      throw error;
    }
    if (isDone) own[MOVED]! += change;
    own[MOVING] = 0;
    return isDone;
  }

  /** Makes the slot's owner this kind and worker, if its word is still `word`. */
  #swap(slot: number, word: number, kind: number, worker: number): boolean {
    const next = successor(word, kind, worker);
    return Atomics.compareExchange(this.#owner, slot, word, next) === word;
  }
}
