/**
 * The control block: what all isolates of a shared pool see, as 32-bit words in one
 * SharedArrayBuffer.
 *
 * Owns the layout and the meaning of an owner word; does nothing with them. A slot's owner word is
 * the one truth about it: it changes hands by compare-and-swap only. Everything else is a hint, a
 * count, or the mark of a step that another worker can finish or undo.
 */
import { SmritiError } from "../pool/errors.ts";
import { SharedDurations } from "../pool/histogram.ts";

/** Stands at the start of every control block. */
export const MAGIC = 0x534d5254;
/** Raised with every change of this layout. */
export const VERSION = 6;

/** Words of the header. What is written often keeps away from what all read: lines of 16 words. */
export const HEADER = {
  MAGIC: 0,
  VERSION: 1,
  /** Check sum of the options and addresses. */
  SEAL: 2,
  /** `OPEN`, `CLOSING`, `ENDING` or `GONE`. */
  STATE: 3,
  /** The highest worker id ever given out. */
  TOP_WORKER: 4,
  /** Blocks with memory that were not given up unreplaced; changed by the resizer only. */
  COMMITTED: 5,
  /** One past the highest slot ever committed; changed by the resizer only. */
  TOP: 6,
  /** Number of the pool, for tickets. */
  POOL: 7,
  /** Slots given up that no fresh address replaces: so much less is the capacity. For the resizer only. */
  UNREPLACED: 8,
  /** The most blocks ever in use at once. */
  PEAK: 9,
  /** Whether the pool was busy since the last look at shrinking. */
  BUSY: 10,
  /** The worker whose turn it is, because it was passed over for too long, or 0. */
  TURN: 11,
  /** When that ends, in the pool's time. */
  TURN_END: 12,
  /** Address of this very block, low and high half: a copy of it is another pool's. */
  HOME: 13,
  HOME_HIGH: 14,
  /** Place of its ledger in the process's list, or 0 if it is not listed. */
  LEDGER: 15,

  /** The worker that is changing the pool's size, or 0. */
  RESIZER: 16,
  /** When shrinking was last looked at, in the pool's time. */
  LOOKED: 17,
  GROWS: 18,
  SHRINKS: 19,
  GROW_FAILURES: 20,
  /** The pool's time: milliseconds since it was made, low 32 bits. */
  TIME: 21,
  /** The worker that ends the pool, or 0. */
  ENDER: 22,
  /** `MAPPED`, `UNMAPPING`, or from `UNMAPPED` on; changed by the ender only. */
  MAPPING: 23,
  /** Whether an isolate has made all its views: from then on no slot gets another address. */
  SEALED: 24,
  /** Whether slots may wait for a fresh address whose worker found the resizer at work. */
  UNHEALED: 25,
  /** The next place that no slot has had, and further ranges that are mapped; for the resizer only. */
  NEXT_PLACE: 26,
  RANGES: 27,
  /** Addresses given up that were dealt with, in all; for the resizer only, as all that follow. */
  GIVEN_UP: 28,
  /** Those of them whose bytes may be read, and others whose pages have stayed. */
  KEPT: 29,
  UNREAD: 30,
  /** Since when the pool has been idle at its size, in the pool's time; written by looks only. */
  IDLE_SINCE: 31,
  /** Intent to replace an address: its slot plus 1, or 0; then what is to be, in absolute numbers. */
  HEAL_SLOT: 32,
  HEAL_WORD: 33,
  HEAL_PLACE: 34,
  HEAL_GIVEN_UP: 35,
  HEAL_KEPT: 36,
  HEAL_UNREAD: 37,
  HEAL_UNREPLACED: 38,
  /** Whether workers keep caches: all do, or none. */
  CACHES: 39,
  /** How often a cache was emptied for others, or there were fewer blocks: all room for caches ends. */
  SHORTAGES: 40,

  /** Raised when something became free while acquires waited. */
  EPOCH: 48,
  /** A bit a worker id: acquires wait there. The first of eight words. */
  WAITERS: 49,
} as const;

const HEADER_WORDS = 64;
/** Ids go from 1 to this. */
export const MOST_WORKERS = 254;
/** Words of one worker: two cache lines of its own. */
const WORKER_WORDS = 32;

/** Words of a worker. */
export const WORKER = {
  /** `ATTACHED` or `DONE`, while the id is in use. */
  STATE: 0,
  /**
   * Who has the id: the OS's number of the thread, or `UNKNOWN_THREAD`; 0 if it can be had. Taken by
   * compare-and-swap, so there is no moment at which an id is taken and not known by whom.
   */
  THREAD: 1,
  /** When that thread began, as the OS tells it, or 0: a number may be given to another thread. */
  BORN: 2,
  /** Acquires that wait there. */
  WAITING: 3,
  /** The worker that reclaims what this one has left, or 0. */
  RECLAIMER: 4,
  /** Whether the three counts below were compared with the slots since its death. */
  SETTLED: 5,
  /** Free slots that it took, ever, and those that it is about to take. */
  TAKES: 6,
  /** Slots that it freed, ever. */
  FREES: 7,
  /** Slots that it got from others, ever, less those that it sent or abandoned. */
  MOVED: 8,
  /** Whether a change of `MOVED` is under way. */
  MOVING: 9,
  /** How often the id was taken. */
  TURN: 10,
  /** The worker that empties this one's cache, or 0. */
  CACHE_LOCK: 11,
  /** Whether this worker is about to change its cache. */
  CACHE_BUSY: 12,
  /** Which 32 slots the cache is of, as an index of `hints`. */
  CACHE_AT: 13,
  /** A bit for each of them: it may be in the cache. The owner word decides. */
  CACHE: 14,
  /** How many slots this worker may cache, or asks for. */
  CACHE_QUOTA: 15,
} as const;

/** Counts of a worker, doubles from its second line on: 32 bits would run over within hours. */
export const COUNT = {
  ACQUIRES: 0,
  WAITS: 1,
  TIMEOUTS: 2,
  EXHAUSTIONS: 3,
  DOUBLE_RELEASES: 4,
  LEAKS: 5,
} as const;

/** States of the pool. */
export const OPEN = 1;
/** All isolates are to leave. */
export const CLOSING = 2;
/** No isolate is left, and the ender gives the memory back. */
export const ENDING = 3;
/** The memory is unmapped, or what is left of it stays for ever. */
export const GONE = 4;

/** States of the mapping. */
export const MAPPED = 0;
/** Asked of the OS, which may or may not have done it. */
export const UNMAPPING = 1;
/** That, and so many units above it of `LEFT_UNIT` bytes that stay mapped for ever. */
export const UNMAPPED = 2;
/** The least page there is: in bytes, a number could be too large for a word. */
export const LEFT_UNIT = 4096;

/** Kinds of owner, bits 8 to 10 of an owner word. All zeroes means a slot never committed. */
export const UNCOMMITTED = 0;
/**
 * Without a lease; its bytes are zeroes, unless the pool does not zero. Any worker may take it, or, if
 * a worker id stands with it, that worker has it in its cache.
 */
export const FREE: number = 1 << 8;
/** On its way under a ticket. Its bytes are the sender's; the sender's views have ended. */
export const TRANSIT: number = 2 << 8;
/**
 * Its address is given up: its bytes may still be written to. Soon it has a fresh one, unless it is `FINAL`.
 * In the place of a worker stands one of the three numbers below.
 */
export const ABANDONED: number = 3 << 8;
/** Its bytes may still be read. */
export const READABLE = 0;
/** Its bytes may not be read any more. */
export const UNREADABLE = 1;
/** It stays as it is, and has been counted. */
export const FINAL = 2;
/** Held by a worker since it was free; no view of it was given out. */
export const HELD: number = 4 << 8;
/** Held by a worker, with the bytes of an earlier holder; all views of it have ended. */
export const SOILED: number = 5 << 8;
/** Held by a worker that has given a view of it out, which may outlive the worker. */
export const USED: number = 6 << 8;
/** Taken by the resizer, about to lose its memory. */
export const CLAIMED: number = 7 << 8;

export const WORKER_MASK = 0xff;
export const KIND_MASK = 0x700;
/** Set in the kinds that are held, and in `CLAIMED`. */
export const HELD_BIT = 0x400;
export const GENERATION_ONE = 0x800;
const GENERATION_MASK = ~0x7ff;

/** Whether this processor shows plain stores in their order, and does plain loads in theirs. */
export const KEEPS_ORDER: boolean = Deno.build.arch === "x86_64";

/** Who owns the slot: a worker id, or 0. */
export function workerOf(owner: number): number {
  return owner & WORKER_MASK;
}

/** What kind of owner it is. */
export function kindOf(owner: number): number {
  return owner & KIND_MASK;
}

/** Whether any worker may take the slot: it is free, and in no cache. */
export function isOpen(owner: number): boolean {
  return (owner & (KIND_MASK | WORKER_MASK)) === FREE;
}

/** Whether the slot is in the cache of this worker. */
export function isCachedBy(owner: number, worker: number): boolean {
  return (owner & (KIND_MASK | WORKER_MASK)) === (FREE | worker);
}

/** Whether the slot was given up and gets no fresh address. */
export function isUnreplaced(owner: number): boolean {
  return (owner & (KIND_MASK | WORKER_MASK)) === (ABANDONED | FINAL);
}

/** Whether this worker holds the slot, in whatever state its bytes are. */
export function isHeldBy(owner: number, worker: number): boolean {
  return (owner & (HELD_BIT | WORKER_MASK)) === (HELD_BIT | worker) &&
    kindOf(owner) !== CLAIMED;
}

/** The word after `owner` in which the slot is of this kind and worker: a generation later. */
export function successor(owner: number, kind: number, worker: number): number {
  return (((owner & GENERATION_MASK) + GENERATION_ONE) | kind | worker) | 0;
}

/** Where the two histograms begin, after the workers: 64 bits a cell. */
const DURATIONS_AT = HEADER_WORDS + (MOST_WORKERS + 1) * WORKER_WORDS;
/** Further ranges of addresses, each twice the one before: more than an address space has room for. */
const MOST_RANGES = 48;
/** Doubles of a range: base, size, and the same of what is mapped. */
const RANGE_DOUBLES = 4;
/** Where the ranges begin, as doubles. */
const RANGES_AT = (DURATIONS_AT + 2 * 2 * SharedDurations.CELLS) / 2;
/** Where the words of slots begin. */
const SLOTS_AT = 2 * (RANGES_AT + MOST_RANGES * RANGE_DOUBLES);

/** Views of the parts of one control block. */
export class Control {
  /** The buffer, to be sent to other isolates. */
  readonly buffer: SharedArrayBuffer;
  /** All words. */
  readonly words: Int32Array;
  /** The same as doubles: each is written by one isolate, and read whole on 64-bit systems. */
  readonly counts: Float64Array;
  /** How long acquires waited, in all isolates. */
  readonly waitMs: SharedDurations;
  /** How long leases were held that leak detection watched, in all isolates. */
  readonly heldMs: SharedDurations;
  /** A word a slot: who owns it. */
  readonly owner: Int32Array;
  /** A word a slot: operations that hold its memory. */
  readonly lends: Int32Array;
  /** A word a slot: number of its latest ticket. */
  readonly serial: Int32Array;
  /** A word a slot: when its ticket ends, in the pool's time; 0 until a housekeeping has seen it. */
  readonly deadline: Int32Array;
  /** A word a slot: the place in the ranges that it has got, or 0 for the one it began with. */
  readonly place: Int32Array;
  /** A bit a slot: it may be free. Only a hint. */
  readonly hints: Int32Array;

  /**
   * Views of an existing block, or of a new one, all zeroes.
   *
   * @throws {SmritiError} `out-of-memory`
   */
  constructor(maxBlocks: number, buffer?: SharedArrayBuffer) {
    this.buffer = buffer ?? allocate(maxBlocks);
    this.words = new Int32Array(this.buffer);
    this.counts = new Float64Array(this.buffer);
    const cells = new BigInt64Array(
      this.buffer,
      4 * DURATIONS_AT,
      2 * SharedDurations.CELLS,
    );
    this.waitMs = new SharedDurations(cells, 0);
    this.heldMs = new SharedDurations(cells, SharedDurations.CELLS);
    let at = SLOTS_AT;
    const part = (length: number) => {
      const words = this.words.subarray(at, at + length);
      at += length;
      return words;
    };
    this.owner = part(maxBlocks);
    this.lends = part(maxBlocks);
    this.serial = part(maxBlocks);
    this.deadline = part(maxBlocks);
    this.place = part(maxBlocks);
    this.hints = part((maxBlocks + 31) >>> 5);
  }

  /** Bytes that a control block needs, a multiple of 8. */
  static bytes(maxBlocks: number): number {
    const words = SLOTS_AT + 5 * maxBlocks + Math.ceil(maxBlocks / 32);
    return 8 * Math.ceil(words / 2);
  }

  /** Index in `words` of a worker's word. */
  at(worker: number, word: number): number {
    return HEADER_WORDS + worker * WORKER_WORDS + word;
  }

  /** The words of a worker. */
  of(worker: number): Int32Array {
    return this.words.subarray(this.at(worker, 0), this.at(worker + 1, 0));
  }

  /** Index in `counts` of a worker's count. */
  countAt(worker: number, count: number): number {
    return this.at(worker, WORKER_WORDS / 2) / 2 + count;
  }

  /** Index in `counts` of a further range. */
  rangeAt(range: number): number {
    return RANGES_AT + range * RANGE_DOUBLES;
  }

  /** Sum of a count over all workers. */
  sum(count: number): number {
    return this.#sumOf((worker) => this.counts[this.countAt(worker, count)]!);
  }

  /** Sum of a word over all workers. */
  total(word: number): number {
    return this.#sumOf((worker) =>
      Atomics.load(this.words, this.at(worker, word))
    );
  }

  #sumOf(read: (worker: number) => number): number {
    let total = 0;
    const top = Atomics.load(this.words, HEADER.TOP_WORKER);
    for (let worker = 1; worker <= top; worker++) total += read(worker);
    return total;
  }

  /** The state of the pool. */
  get state(): number {
    return Atomics.load(this.words, HEADER.STATE);
  }
}

function allocate(maxBlocks: number): SharedArrayBuffer {
  const bytes = Control.bytes(maxBlocks);
  try {
    return new SharedArrayBuffer(bytes);
  } catch (cause) {
    throw new SmritiError(
      "out-of-memory",
      `there is no room for the ${bytes} bytes that ${maxBlocks} owner words need`,
      { cause },
    );
  }
}
