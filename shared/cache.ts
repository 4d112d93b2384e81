/**
 * The cache of one worker of a shared pool: free slots that it takes and puts back by plain loads and
 * stores. What DPDK calls a per-lcore cache, and Bonwick a magazine.
 *
 * Others empty it when they find no free slot, by an asymmetric Dekker protocol: the owner says that it is
 * busy and looks at the lock; a thief locks, has the OS put a fence into every thread, and looks whether
 * the owner is busy. The owner word alone says that a slot is cached; the mask tells where to look. Without
 * such a fence there is no cache. Decides nothing about requests.
 */
import type { Code } from "../ffi/backend.ts";
import { openNative } from "../ffi/open.ts";
import { lowestBit } from "../pool/bitmap.ts";
import { headroom } from "../pool/headroom.ts";
import {
  type Control,
  FREE,
  GENERATION_ONE,
  HEADER,
  HELD,
  HELD_BIT,
  isCachedBy,
  KEEPS_ORDER,
  KIND_MASK as ALL_KINDS,
  successor,
  USED,
  WORKER,
  WORKER_MASK,
} from "./control.ts";
import type { Hints } from "./hints.ts";
import { knownThreads } from "./worker_registry.ts";

// Hot constants: see ARCHITECTURE.md.
const { SHORTAGES, TOP_WORKER } = HEADER;
const HOT_FREE = FREE;
const HOT_USED = USED;
const { TAKES, FREES } = WORKER;
const { CACHE, CACHE_AT, CACHE_BUSY, CACHE_LOCK } = WORKER;
const HELD_MASK = HELD_BIT | WORKER_MASK;
const KIND_MASK = ALL_KINDS;
const FREE_MASK = KIND_MASK | WORKER_MASK;
const ONE_GENERATION = GENERATION_ONE;
const FREE_TO_HELD = GENERATION_ONE + HELD - FREE;
const hotLowestBit = lowestBit;

/** No slot. */
const NONE = -1;
/** All caches together hold at most this part of the committed blocks, one of them a quarter of that. */
const PART = 8;
const SHARE = 4;
/** Slots of a mask. */
const MOST = 32;
/** What a cache begins with. */
const FIRST = 4;
/** Releases before room is asked for again, once it was refused or others were short of blocks. */
const PATIENCE = 1024;
/** Releases between two looks whether others have freed lower slots. */
const LOOK_EVERY = 1024;
/** Looks at a busy owner, which is done in nanoseconds unless its thread was stopped. */
const SPINS = 128;

/** This system's fence in all threads, if it has one and lets this process use it. */
export function knownFence(): (() => Code) | undefined {
  const native = openNative();
  const fence = "reason" in native ? undefined : native.fence;
  return fence?.() === 0 ? fence : undefined;
}

/**
 * Whether the workers of a new pool cache. Not where a reserve is kept, by counts of what all others do;
 * nor where no death is proven: the word of a caller may be wrong, and a live owner overwrites words.
 */
export function mayCache(reservedBlocks: number): boolean {
  return reservedBlocks === 0 && knownThreads() !== undefined &&
    knownFence() !== undefined;
}

/** What looking into the caches of others came to. */
export type Theft =
  /** Slots are free now that were in a cache. */
  | "found"
  /** The owner of a cache, or another thief, is at work in it: to be tried again. */
  | "busy"
  /** Nothing is cached. */
  | "none";

/** What a cache works with. */
export interface CacheParts {
  readonly control: Control;
  readonly worker: number;
  readonly hints: Hints;
  /** For the isolates that outlive this pool's: a byte for each place, 1 while a view given out may reach it. */
  readonly used: Uint8Array;
  /** A fence in all threads, if the pool's workers keep caches; without it nothing is cached. */
  readonly fence: (() => Code) | undefined;
}

/** The cache of one worker. */
export class SlotCache {
  readonly #control: Control;
  readonly #words: Int32Array;
  readonly #owner: Int32Array;
  readonly #place: Int32Array;
  readonly #hints: Hints;
  readonly #used: Uint8Array;
  readonly #worker: number;
  /** What the words of slots that this worker holds have in common. */
  readonly #held: number;
  /** The words of slots that it has cached, without their generation. */
  readonly #cached: number;
  /** This worker's words. */
  readonly #own: Int32Array;
  #fence: (() => Code) | undefined;
  /** How many slots may be cached. */
  #quota = 0;
  #patience = 0;
  /** The shortages that this worker knows of. */
  #shortages: number;

  /** Caches nothing yet. */
  constructor({ control, worker, hints, used, fence }: CacheParts) {
    const { words } = control;
    this.#control = control;
    this.#words = words;
    this.#owner = control.owner;
    this.#place = control.place;
    this.#hints = hints;
    this.#used = used;
    this.#worker = worker;
    this.#held = HELD_BIT | worker;
    this.#cached = FREE | worker;
    this.#own = control.of(worker);
    this.#shortages = words[SHORTAGES]!;
    this.#fence = fence;
  }

  /** The lowest slot in the cache, or -1. Taking it may fail, again and again. */
  peek(): number {
    const own = this.#own;
    const mask = own[CACHE]!;
    return mask === 0 ? NONE : (own[CACHE_AT]! << 5) + hotLowestBit(mask);
  }

  /** The same, or -1 if taking it must fail now. */
  next(): number {
    const slot = this.peek();
    if (slot < 0 || this.#own[CACHE_LOCK] !== 0) return NONE;
    return isCachedBy(this.#owner[slot]!, this.#worker)
      ? slot
      : this.#rebuild();
  }

  /**
   * Whether a slot may be in the cache. Its word is not looked at here: what was read before the owner said
   * that it is busy, a compiler may take for what it is to read after that.
   */
  has(slot: number): boolean {
    const own = this.#own;
    return own[CACHE_AT] === slot >>> 5 &&
      (own[CACHE]! & (1 << (slot & 31))) !== 0;
  }

  /** Takes a slot that may be in the cache; false if another worker was first. No call, so nothing throws. */
  take(slot: number): boolean {
    const own = this.#own;
    const owner = this.#owner;
    // Before the lock is read. A processor may turn these two round, but not past the fence of a thief.
    own[CACHE_BUSY] = 1;
    if (own[CACHE_LOCK] !== 0) {
      own[CACHE_BUSY] = 0;
      return false;
    }
    // After the lock was read: a theft that ended before that has changed the word.
    const word = owner[slot]!;
    if ((word & FREE_MASK) !== this.#cached) {
      own[CACHE_BUSY] = 0;
      return false;
    }
    owner[slot] = word + FREE_TO_HELD | 0;
    own[TAKES]!++;
    own[CACHE]! &= ~(1 << (slot & 31));
    own[CACHE_BUSY] = 0;
    return true;
  }

  /**
   * Puts a slot of this worker into the cache, if it may go there. Its bytes are zeroes by now, and its
   * views have ended. All that can fail comes first.
   */
  put(slot: number): boolean {
    if (!this.#mayPut(slot)) return false;
    const own = this.#own;
    const owner = this.#owner;
    // As in `take`.
    own[CACHE_BUSY] = 1;
    const word = owner[slot]!;
    if (own[CACHE_LOCK] !== 0 || (word & HELD_MASK) !== this.#held) {
      own[CACHE_BUSY] = 0;
      return false;
    }
    if ((word & KIND_MASK) === HOT_USED) {
      this.#used[this.#place[slot]! || slot] = 0;
    }
    // A death from here on leaves a cached slot, which its reclaimer finds by its word.
    owner[slot] = (word & ~KIND_MASK) + ONE_GENERATION | HOT_FREE;
    own[FREES]!++;
    own[CACHE_AT] = slot >>> 5;
    own[CACHE]! |= 1 << (slot & 31);
    own[CACHE_BUSY] = 0;
    return true;
  }

  /** Whether there is room for this slot, and no lower one is known that should be used first. */
  #mayPut(slot: number): boolean {
    const own = this.#own;
    if (this.#words[SHORTAGES] !== this.#shortages) return this.#retreat();
    if (this.#quota === 0 && !this.#mayAsk()) return false;
    if ((own[FREES]! & LOOK_EVERY - 1) === 0) this.#hints.lookBelow(slot);
    const mask = own[CACHE]!;
    if (mask !== 0) {
      const isFull = own[CACHE_AT] !== slot >>> 5 ||
        bitsOf(mask) >= this.#quota && !this.#mayAsk();
      if (isFull && slot > this.peek()) return false;
      // Else each acquire would take the lower one first, and what is cached would stay.
      if (isFull) this.flush();
    }
    return this.#hints.isLowest(slot);
  }

  /** Others are short of blocks: caches would only be emptied again and again, with a fence each time. */
  #retreat(): false {
    this.#shortages = this.#words[SHORTAGES]!;
    this.giveBack();
    this.#patience = PATIENCE;
    return false;
  }

  #mayAsk(): boolean {
    if (this.#patience > 0) {
      this.#patience--;
      return false;
    }
    return this.#ask();
  }

  /**
   * Asks for room for more slots; whether there is some. What is asked for is written before the others'
   * is added up: of two that ask at once one at least sees the other (Dekker).
   */
  #ask(): boolean {
    this.#patience = PATIENCE;
    if (this.#fence === undefined) return false;
    const before = this.#quota;
    const committed = Atomics.load(this.#words, HEADER.COMMITTED);
    const most = Math.floor(committed / PART);
    const share = Math.min(MOST, Math.max(1, Math.floor(most / SHARE)));
    const wanted = Math.min(share, before > 0 ? 2 * before : FIRST);
    if (most === 0 || wanted <= before) return false;
    Atomics.store(this.#own, WORKER.CACHE_QUOTA, wanted);
    const others = this.#control.total(WORKER.CACHE_QUOTA) - wanted;
    const quota = Math.max(before, Math.min(wanted, most - others));
    if (quota < wanted) Atomics.store(this.#own, WORKER.CACHE_QUOTA, quota);
    this.#quota = quota;
    if (quota === before) return false;
    this.#patience = 0;
    return true;
  }

  /** Gives all slots in the cache, and the room for them, to all: at each housekeeping. */
  giveBack(): void {
    this.flush();
    this.#patience = 0;
    if (this.#quota === 0) return;
    this.#quota = 0;
    Atomics.store(this.#own, WORKER.CACHE_QUOTA, 0);
  }

  /** Nothing is cached from here on: this worker has nothing of the pool any more. */
  close(): void {
    this.giveBack();
    this.#unlock(this.#worker);
    this.#fence = undefined;
  }

  /** Gives all slots in the cache to all; whether there were any. */
  flush(): boolean {
    const mask = this.#own[CACHE]!;
    if (mask === 0) return false;
    // A thief may be at the same: of two swaps of one word one fails.
    const found = this.#open(this.#worker, this.#own[CACHE_AT]!, mask);
    this.#rebuild();
    return found;
  }

  /** A slot that was cached by this worker is not in its mask, because a call was cut short. */
  isStray(slot: number): boolean {
    return !this.has(slot) && isCachedBy(this.#owner[slot]!, this.#worker);
  }

  /** Gives one slot to all that this worker has cached, or a dead one; whether it was cached. */
  openOne(slot: number, from: number): boolean {
    const hints = this.#hints;
    const word = Atomics.load(this.#owner, slot);
    if (!isCachedBy(word, from)) return false;
    hints.restore();
    hints.due = slot;
    const next = successor(word, FREE, 0);
    const isDone = Atomics.compareExchange(this.#owner, slot, word, next) ===
      word;
    hints.restore();
    return isDone;
  }

  #open(from: number, at: number, mask: number): boolean {
    let found = false;
    for (let left = mask; left !== 0; left &= left - 1) {
      const slot = (at << 5) + lowestBit(left);
      if (this.openOne(slot, from)) found = true;
    }
    return found;
  }

  /**
   * Drops bits of slots that are not in the cache, as a cut has left them; -1. They stay so: only this
   * worker puts slots there.
   */
  #rebuild(): number {
    const at = this.#own[CACHE_AT]!;
    let stale = 0;
    for (let index = 0; index < MOST; index++) {
      const slot = (at << 5) + index;
      const isIn = isCachedBy(this.#owner[slot]!, this.#worker);
      if (!isIn) stale |= 1 << index;
    }
    // Not marked as busy: a bit that a thief takes down meanwhile may be back, and tells nothing.
    this.#own[CACHE]! &= ~stale;
    return NONE;
  }

  /**
   * Empties all caches: before the pool grows, gives memory back, refuses, or lets an acquire wait. All
   * are locked before the first fence, so that one or three serve, however many caches there are.
   */
  steal(): Theft {
    const fence = this.#fence;
    if (fence === undefined) return "none";
    const mine: Theft = this.flush() ? "found" : "none";
    // Without room nothing is cached: a worker that is granted some from here on sees what was written
    // before this look (Dekker).
    if (this.#control.total(WORKER.CACHE_QUOTA) === this.#quota) return mine;
    headroom();
    const locked: number[] = [];
    // A thief is at work here, or was cut short.
    let isBusy = !this.#lockOthers(locked) || this.#own[CACHE_LOCK] !== 0;
    let found = false;
    let mayUnlock = true;
    try {
      // From here on each owner finds its lock, or is seen to be busy; and if it puts anything into its
      // cache later, it finds acquires that wait since before.
      if (fence() !== 0) return mine;
      const idle = locked.filter((victim) => this.#isIdle(victim));
      if (idle.length < locked.length) isBusy = true;
      // What an owner did before it was idle is seen from here on, also where stores are not in order.
      if (!KEEPS_ORDER && fence() !== 0) return mine;
      mayUnlock = false;
      for (const victim of idle) if (this.#empty(victim)) found = true;
      // An owner that finds no lock after this finds the cache empty, also where loads are not in order.
      mayUnlock = KEEPS_ORDER || fence() === 0;
    } finally {
      for (const victim of mayUnlock ? locked : []) {
        this.#words[this.#control.at(victim, CACHE_LOCK)] = 0;
      }
    }
    if (found || isBusy) Atomics.add(this.#words, SHORTAGES, 1);
    if (found || mine === "found") return "found";
    return isBusy ? "busy" : "none";
  }

  /** All room for caches is void: there are fewer blocks. What is cached meanwhile is given to all. */
  voidRoom(): void {
    if (this.#fence === undefined) return;
    // Written before the look: a worker that is granted room by the larger number is found, or sees this.
    Atomics.add(this.#words, SHORTAGES, 1);
    this.steal();
  }

  /** Locks the caches of all others, and says whose they are; false if another thief has one of them. */
  #lockOthers(locked: number[]): boolean {
    const words = this.#words;
    const top = Atomics.load(words, TOP_WORKER);
    let isAll = true;
    for (let victim = 1; victim <= top; victim++) {
      if (victim === this.#worker) continue;
      const lock = this.#control.at(victim, CACHE_LOCK);
      const room = this.#control.at(victim, WORKER.CACHE_QUOTA);
      const isMine = words[lock] === this.#worker;
      if (Atomics.load(words, room) === 0 && !isMine) continue;
      if (
        isMine || Atomics.compareExchange(words, lock, 0, this.#worker) === 0
      ) {
        locked.push(victim);
      } else isAll = false;
    }
    return isAll;
  }

  /** Makes all slots free that a worker has cached. */
  #empty(victim: number): boolean {
    const words = this.#words;
    const at = this.#control.at(victim, 0);
    const mask = words[at + CACHE]!;
    const found = this.#open(victim, words[at + CACHE_AT]!, mask);
    words[at + CACHE] = 0;
    return found;
  }

  #isIdle(victim: number): boolean {
    const busy = this.#control.at(victim, CACHE_BUSY);
    for (let spin = 0; spin < SPINS; spin++) {
      if (Atomics.load(this.#words, busy) === 0) return true;
    }
    return false;
  }

  /** A dead worker caches and steals no more: what it had cached was given to all before. */
  forget(dead: number): void {
    const { CACHE, CACHE_BUSY, CACHE_QUOTA } = WORKER;
    for (const word of [CACHE, CACHE_BUSY, CACHE_QUOTA]) {
      Atomics.store(this.#words, this.#control.at(dead, word), 0);
    }
    this.#unlock(dead);
  }

  /** Ends the thefts that a worker was at. Bits that it left tell nothing: the owner looks at each word. */
  #unlock(thief: number): void {
    const words = this.#words;
    const top = Atomics.load(words, TOP_WORKER);
    for (let victim = 1; victim <= top; victim++) {
      const at = this.#control.at(victim, WORKER.CACHE_LOCK);
      if (Atomics.load(words, at) !== thief) continue;
      // As at the end of a theft. Refused, the lock stays: the next owner of the id goes on from there.
      if (this.#fence?.() === 0) Atomics.compareExchange(words, at, thief, 0);
    }
  }
}

/** How many bits are set. */
function bitsOf(mask: number): number {
  let bits = mask - (mask >>> 1 & 0x55555555);
  bits = (bits & 0x33333333) + (bits >>> 2 & 0x33333333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
