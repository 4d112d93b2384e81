/**
 * The control block: what all isolates of a shared pool see, as 32-bit words in one
 * SharedArrayBuffer.
 *
 * Owns the layout and the meaning of an owner word; does nothing with them. A slot's owner word,
 * changed by compare-and-swap only, is the one truth about it; everything else is a hint or a count.
 */

/** Stands at the start of every control block. */
export const MAGIC = 0x534d5254;
/** Raised with every change of this layout. */
export const VERSION = 1;

/** Words of the header. */
export const HEADER = {
  MAGIC: 0,
  VERSION: 1,
  /** `OPEN`, `CLOSING` or `GONE`. */
  STATE: 2,
  /** Raised when something became free while somebody waited. */
  EPOCH: 3,
  /** Isolates in which somebody waits. */
  WAITERS: 4,
  /** Isolates attached. */
  ATTACHED: 5,
  /** Who is changing the pool's size, or 0. */
  RESIZER: 6,
  /** Blocks with memory; changed by the resizer only. */
  COMMITTED: 7,
  /** One past the highest slab ever committed; changed by the resizer only. */
  TOP: 8,
  /** The highest worker id ever given out. */
  TOP_WORKER: 9,
  /** Whether the pool was busy since the last look at shrinking. */
  BUSY: 10,
  /** When shrinking was last looked at, in ms since `Date.now()` was 0, low 32 bits. */
  LOOKED: 11,
  /** Number of the pool, for tickets. */
  POOL: 12,
  /** Blocks out of the pool for good. */
  ABANDONED: 13,
  /** Counts for stats. */
  GROWS: 14,
  SHRINKS: 15,
  GROW_FAILURES: 16,
  PEAK: 17,
  /** Blocks in transit, about. */
  TICKETS: 18,
} as const;

/** Words before the table of workers. */
const HEADER_WORDS = 64;
/** Ids go from 1 to this. */
export const MOST_WORKERS = 254;
/** Words of one worker: a cache line of its own. */
const WORKER_WORDS = 16;

/** Words of a worker. */
export const WORKER = {
  /** `UNUSED`, `ATTACHED` or `RECLAIMING`. */
  STATE: 0,
  /** The OS's number of its thread, or 0 if unknown. */
  THREAD: 1,
  /** Slots it has taken, and given back, ever: only the worker itself writes these. */
  TAKEN: 2,
  GIVEN: 3,
  RELEASES: 4,
  WAITS: 5,
  TIMEOUTS: 6,
  EXHAUSTIONS: 7,
  DOUBLE_RELEASES: 8,
  LEAKS: 9,
  LENT: 10,
  WAITING: 11,
} as const;

/** States of the pool. */
export const OPEN = 1;
export const CLOSING = 2;
export const GONE = 3;

/** States of a worker id. */
export const UNUSED = 0;
export const ATTACHED = 1;
export const RECLAIMING = 2;

/** Kinds of owner, bits 8 to 10 of an owner word. All zeroes means a slot never committed. */
export const UNCOMMITTED = 0;
export const FREE = 1 << 8;
export const HELD = 2 << 8;
export const TRANSIT = 3 << 8;
export const ABANDONED = 4 << 8;

const WORKER_MASK = 0xff;
const KIND_MASK = 0x700;
const GENERATION_ONE = 0x800;
const GENERATION_MASK = ~0x7ff;

/** Who owns the slot: a worker id, or 0. */
export function workerOf(owner: number): number {
  return owner & WORKER_MASK;
}

/** What kind of owner it is. */
export function kindOf(owner: number): number {
  return owner & KIND_MASK;
}

/** The word after `owner` in which the slot is of this kind and worker: a generation later. */
export function successor(owner: number, kind: number, worker: number): number {
  return (((owner & GENERATION_MASK) + GENERATION_ONE) | kind | worker) | 0;
}

/** Views of the parts of one control block. */
export class Control {
  /** The buffer, to be sent to other isolates. */
  readonly buffer: SharedArrayBuffer;
  /** All words. */
  readonly words: Int32Array;
  /** A word a slot: who owns it. */
  readonly owner: Int32Array;
  /** A word a slot: operations that hold its memory. */
  readonly lends: Int32Array;
  /** A word a slot: number of its latest ticket. */
  readonly serial: Int32Array;
  /** A word a slot: when its ticket ends, in ms, low 32 bits. */
  readonly deadline: Int32Array;
  /** A bit a slot: it may be free. Only a hint. */
  readonly hints: Int32Array;

  /** Views of an existing block, or a new one, all zeroes. */
  constructor(maxBlocks: number, buffer?: SharedArrayBuffer) {
    this.buffer = buffer ?? new SharedArrayBuffer(Control.bytes(maxBlocks));
    this.words = new Int32Array(this.buffer);
    let at = HEADER_WORDS + (MOST_WORKERS + 1) * WORKER_WORDS;
    const part = (length: number) => {
      const words = this.words.subarray(at, at + length);
      at += length;
      return words;
    };
    this.owner = part(maxBlocks);
    this.lends = part(maxBlocks);
    this.serial = part(maxBlocks);
    this.deadline = part(maxBlocks);
    this.hints = part((maxBlocks + 31) >>> 5);
  }

  /** Bytes that a control block needs. */
  static bytes(maxBlocks: number): number {
    const fixed = HEADER_WORDS + (MOST_WORKERS + 1) * WORKER_WORDS;
    return 4 * (fixed + 4 * maxBlocks + ((maxBlocks + 31) >>> 5));
  }

  /** Index in `words` of a worker's word. */
  at(worker: number, word: number): number {
    return HEADER_WORDS + worker * WORKER_WORDS + word;
  }

  /** Sum of a word over all workers. */
  sum(word: number): number {
    let total = 0;
    const top = Atomics.load(this.words, HEADER.TOP_WORKER);
    for (let worker = 1; worker <= top; worker++) {
      total += this.words[this.at(worker, word)];
    }
    return total;
  }
}
