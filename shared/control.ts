/**
 * The control block: what all isolates of a shared pool see, as 32-bit words in one
 * SharedArrayBuffer.
 *
 * Owns the layout and the meaning of an owner word; does nothing with them. A slot's owner word,
 * changed by compare-and-swap only, is the one truth about it; everything else is a hint or a count.
 */
import { SmritiError } from "../pool/errors.ts";
import { SharedDurations } from "../pool/histogram.ts";

/** Stands at the start of every control block. */
export const MAGIC = 0x534d5254;
/** Raised with every change of this layout. */
export const VERSION = 3;

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
  /** Blocks with memory; changed by the resizer only. */
  COMMITTED: 5,
  /** One past the highest slab ever committed; changed by the resizer only. */
  TOP: 6,
  /** Number of the pool, for tickets. */
  POOL: 7,
  /** Blocks out of the pool for good. */
  ABANDONED: 8,
  /** The most blocks ever in use at once. */
  PEAK: 9,
  /** Whether the pool was busy since the last look at shrinking. */
  BUSY: 10,
  /** Who goes next because it has waited too long, or 0. */
  TURN: 11,
  /** When that ends, in ms since `Date.now()` was 0, low 32 bits. */
  TURN_END: 12,

  /** Who is changing the pool's size, or 0. */
  RESIZER: 16,
  /** When shrinking was last looked at, in ms, low 32 bits. */
  LOOKED: 17,
  GROWS: 18,
  SHRINKS: 19,
  GROW_FAILURES: 20,

  /** Blocks in transit, about. */
  TICKETS: 32,

  /** Raised when something became free while somebody waited. */
  EPOCH: 48,
  /** A bit a worker id: somebody waits there. The first of eight words. */
  WAITERS: 49,
} as const;

const HEADER_WORDS = 64;
/** Ids go from 1 to this. */
export const MOST_WORKERS = 254;
/** Words of one worker: two cache lines of its own. */
const WORKER_WORDS = 32;

/** Words of a worker. */
export const WORKER = {
  /** `UNUSED`, `ATTACHED`, `RECLAIMING` or `DONE`, by whom, and how often the id was given out. */
  STATE: 0,
  /** The OS's number of its thread, or 0 if unknown. */
  THREAD: 1,
  /** Slots it holds: only the worker itself writes this while it lives. */
  HELD: 2,
  /** Acquires that wait there. */
  WAITING: 3,
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
/** Everybody is to leave. */
export const CLOSING = 2;
/** Nobody is left, and the last one out gives the memory back. */
export const ENDING = 3;
/** The memory is unmapped, or what is left of it stays for ever. */
export const GONE = 4;

/** Kinds of owner, bits 8 to 10 of an owner word. All zeroes means a slot never committed. */
export const UNCOMMITTED = 0;
export const FREE = 1 << 8;
export const HELD = 2 << 8;
export const TRANSIT = 3 << 8;
export const ABANDONED = 4 << 8;
/** Taken by the resizer, about to lose its memory. */
export const CLAIMED = 5 << 8;

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

/** Where the two histograms begin, after the workers: 64 bits a cell. */
const DURATIONS_AT = HEADER_WORDS + (MOST_WORKERS + 1) * WORKER_WORDS;
/** Where the words of slots begin. */
const SLOTS_AT = DURATIONS_AT + 2 * 2 * SharedDurations.CELLS;

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
  /** A word a slot: when its ticket ends, in ms, low 32 bits. */
  readonly deadline: Int32Array;
  /** A bit a slot: it may be free. Only a hint. */
  readonly hints: Int32Array;

  /**
   * Views of an existing block, or a new one, all zeroes.
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
    this.hints = part((maxBlocks + 31) >>> 5);
  }

  /** Bytes that a control block needs, a multiple of 8. */
  static bytes(maxBlocks: number): number {
    const words = SLOTS_AT + 4 * maxBlocks + Math.ceil(maxBlocks / 32);
    return 8 * Math.ceil(words / 2);
  }

  /** Index in `words` of a worker's word. */
  at(worker: number, word: number): number {
    return HEADER_WORDS + worker * WORKER_WORDS + word;
  }

  /** Index in `counts` of a worker's count. */
  countAt(worker: number, count: number): number {
    return this.at(worker, WORKER_WORDS / 2) / 2 + count;
  }

  /** Sum of a count over all workers. */
  sum(count: number): number {
    return this.#sumOf((worker) => this.counts[this.countAt(worker, count)]);
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
