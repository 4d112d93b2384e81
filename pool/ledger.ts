/**
 * Which slots of a pool are in use or given up, written down where the other isolates of the process can
 * read it: an isolate ends without a word, and its memory stays mapped.
 *
 * A ledger is a mapping of its own: where the pool's memory is, a name for messages, a byte for each slot.
 * The process's page lists the ledgers with their threads. Whoever makes a pool, or looks after one, gives
 * back what ended threads have left, but for what was in use: a buffer of it may have been posted, and
 * native code may still write there.
 */
import type { Backend, Range } from "../ffi/backend.ts";
import {
  PAGE,
  PAGE_BYTES,
  processBackend,
  processWords,
} from "../ffi/process_page.ts";
import { quote } from "./checks.ts";

/** Where the slabs of one range of a pool are. */
export interface Extent {
  readonly range: Range;
  readonly firstSlab: number;
}

/** What a ledger says of its pool. */
export interface Described {
  readonly slabBytes: number;
  readonly slabSlots: number;
  /** Its label, and the place that made it. */
  readonly name: string;
  readonly place: string;
}

/** Bytes before those of the slots: numbers, extents, texts. */
const HEADER_BYTES = 4096;
/** Doubles of the header: slab bytes, slots in a slab, slots written down, extents, bytes of text. */
const SLAB_BYTES = 0, SLAB_SLOTS = 1, SLOTS = 2, EXTENTS = 3, TEXT = 4;
/** Doubles of the first extent: base, first slab, slabs. */
const FIRST_EXTENT = 8, EXTENT_WORDS = 3, MOST_EXTENTS = 48;
/** Where the texts begin, in bytes. */
const TEXT_AT = 8 * (FIRST_EXTENT + EXTENT_WORDS * MOST_EXTENTS);
/** Slots written down beyond those of the first extent: later ones replace slots given up. */
const MORE_SLOTS = 3;

/** Words of an entry of the page: its thread, the ledger's address, and whether that is written. */
const THREAD = 0, LOW = 1, HIGH = 2, WRITTEN = 3, ENTRY_WORDS = 4;
/** The slot's slab is about to go: whoever comes after a death here leaves it alone. */
const GOING = 2;

/** Stands in an isolate that has looked at the page, whichever copy of this module did. */
const LOOKED = Symbol.for("@smriti/pool ledgers 1");

/** The ledger of one pool of this isolate. */
export class Ledger {
  /** A byte for each slot: 1 while it is used, and for ever once it is given up. */
  readonly used: Uint8Array;
  readonly #close: () => void;
  readonly #numbers: Float64Array | undefined;

  private constructor(
    used: Uint8Array,
    numbers?: Float64Array,
    close = () => {},
  ) {
    this.used = used;
    this.#numbers = numbers;
    this.#close = close;
  }

  /** Nobody but this isolate can read it: on the heap, and where the page has no place. */
  static alone(slots: number): Ledger {
    return new Ledger(new Uint8Array(slots));
  }

  /** Opens a ledger of a pool whose slots are in this extent. */
  static open(extent: Extent, described: Described): Ledger {
    const { slabBytes, slabSlots } = described;
    const slots = extent.range.size / slabBytes * slabSlots;
    const native = processBackend();
    if (native === undefined) return Ledger.alone(slots);
    const size = pages(native, HEADER_BYTES + slots * (1 + MORE_SLOTS));
    const range = native.map(size, native.abilities.pageSize);
    if (typeof range === "number") return Ledger.alone(slots);
    const entry = native.commit(range, 0, size, false) === 0
      ? claim(native, range.base)
      : -1;
    if (entry < 0) {
      native.unmap(range);
      return Ledger.alone(slots);
    }
    // SAFETY: committed above; unmapped by `close`, after which nobody asks for a slot any more.
    const memory = native.view(range, 0, size);
    const used = new Uint8Array(memory, HEADER_BYTES);
    const numbers = new Float64Array(memory, 0, HEADER_BYTES / 8);
    const text = new TextEncoder().encodeInto(
      `${described.name}\n${described.place}`,
      new Uint8Array(memory, TEXT_AT, HEADER_BYTES - TEXT_AT),
    );
    numbers[SLAB_BYTES] = slabBytes;
    numbers[SLAB_SLOTS] = slabSlots;
    numbers[SLOTS] = used.length;
    numbers[TEXT] = text.written;
    const ledger = new Ledger(used, numbers, () => {
      leave(entry);
      // SAFETY: the buffer ends before its memory does.
      memory.transfer(0);
      native.unmap(range);
    });
    ledger.add(extent);
    return ledger;
  }

  /** Further slots, in a range of their own. What there is no room for stays mapped at the end. */
  add({ range, firstSlab }: Extent): void {
    const numbers = this.#numbers;
    if (numbers === undefined || numbers[EXTENTS] === MOST_EXTENTS) return;
    const at = FIRST_EXTENT + EXTENT_WORDS * numbers[EXTENTS]!;
    numbers[at] = Number(range.base);
    numbers[at + 1] = firstSlab;
    numbers[at + 2] = range.size / numbers[SLAB_BYTES]!;
    numbers[EXTENTS]!++;
  }

  /** Whether one of these slots is in use or given up. */
  isAnyUsed(start: number, end: number): boolean {
    return isAnyUsed(this.used, start, end);
  }

  /** The pool has ended in order. */
  close(): void {
    this.#close();
  }
}

/** Gives back what ended threads have left; says whose it was. */
export function sweep(): void {
  const native = processBackend();
  const threads = native?.threads;
  if (native === undefined || threads === undefined) return;
  const words = processWords();
  const me = threads.current();
  // Where a sandbox refuses the question, everybody would look dead.
  if (!threads.isAlive(me)) return;
  const known = new Map<number, boolean>();
  const isAlive = (thread: number) => {
    const alive = known.get(thread) ?? threads.isAlive(thread);
    known.set(thread, alive);
    return alive;
  };
  const isFirst = !(LOOKED in globalThis);
  if (isFirst) Object.defineProperty(globalThis, LOOKED, { value: true });
  const top = Atomics.load(words, PAGE.TOP_LEDGER);
  for (let at = PAGE.LEDGERS; at <= top; at += ENTRY_WORDS) {
    const thread = Atomics.load(words, at + THREAD);
    if (thread === 0) continue;
    // The isolate that had this thread before is gone, or a sweeper has died.
    const isGone = Math.abs(thread) === me
      ? isFirst && thread > 0
      : !isAlive(Math.abs(thread));
    if (!isGone) continue;
    const mine = Atomics.compareExchange(words, at + THREAD, thread, -me);
    if (mine !== thread) continue;
    const base = BigInt(words[at + LOW]! >>> 0) |
      BigInt(words[at + HIGH]! >>> 0) << 32n;
    if (Atomics.load(words, at + WRITTEN) === 1) settle(native, base);
    leave(at);
  }
}

/** Gives the memory back that a ledger says is not used. */
function settle(native: Backend, base: bigint): void {
  const header = { base, size: HEADER_BYTES, mappedBase: base, mappedSize: 0 };
  // SAFETY: a ledger that is listed is mapped, and its isolate has ended: no other sweeper has it.
  const front = native.view(header, 0, HEADER_BYTES);
  const numbers = new Float64Array(front);
  const size = pages(native, HEADER_BYTES + numbers[SLOTS]!);
  const range = { base, size, mappedBase: base, mappedSize: size };
  const used = new Uint8Array(
    native.view(range, HEADER_BYTES, numbers[SLOTS]!),
  );
  let isEmpty = true;
  for (let extent = 0; extent < numbers[EXTENTS]!; extent++) {
    const at = FIRST_EXTENT + EXTENT_WORDS * extent;
    isEmpty = settleExtent(native, used, numbers, at) && isEmpty;
  }
  const text = new Uint8Array(front, TEXT_AT, numbers[TEXT]).slice();
  const [name = "", place = ""] = new TextDecoder().decode(text).split("\n", 2);
  tell(`a Worker ended and left pool ${quote(name)} open`, place);
  // SAFETY: the buffers end before the memory that they are of.
  used.buffer.transfer(0);
  front.transfer(0);
  native.unmap(range);
}

function settleExtent(
  native: Backend,
  used: Uint8Array,
  numbers: Float64Array,
  at: number,
): boolean {
  const slabBytes = numbers[SLAB_BYTES]!;
  const slabSlots = numbers[SLAB_SLOTS]!;
  const base = numbers[at]!;
  const firstSlab = numbers[at + 1]!;
  const slabs = numbers[at + 2]!;
  const size = slabs * slabBytes;
  const mappedBase = BigInt(base);
  const range = { base: mappedBase, size, mappedBase, mappedSize: size };
  const isUsed = (slab: number) => {
    const first = (firstSlab + slab) * slabSlots;
    return isAnyUsed(used, first, first + slabSlots);
  };
  let isEmpty = true;
  for (let slab = 0; slab < slabs;) {
    const start = slab;
    const stays = isUsed(slab);
    while (slab < slabs && isUsed(slab) === stays) slab++;
    isEmpty &&= !stays;
    if (stays) continue;
    // Before it goes: whoever finishes this after a death must not touch what is mapped there then.
    used.fill(
      GOING,
      (firstSlab + start) * slabSlots,
      (firstSlab + slab) * slabSlots,
    );
    const bytes = (slab - start) * slabBytes;
    if (native.unmapPart(range, start * slabBytes, bytes) !== 0) {
      native.decommit(range, start * slabBytes, bytes);
    }
  }
  return isEmpty;
}

function isAnyUsed(used: Uint8Array, start: number, end: number): boolean {
  if (end > used.length) return true;
  for (let slot = start; slot < end; slot++) {
    if (used[slot] !== 0) return true;
  }
  return false;
}

/** Tells of a pool that was not closed. */
export function tell(what: string, place: string): void {
  try {
    console.warn(
      `@smriti/pool: ${what}; its memory was given back. ` +
        `Close it by \`await using\` or \`close()\`. It was made here:\n${place}`,
    );
  } catch {
    // The program has replaced the console by one that fails.
  }
}

/** Lists a ledger for this thread; -1 if there is no place, or the OS does not number threads. */
function claim(native: Backend, base: bigint): number {
  const words = processWords();
  const thread = native.threads?.current() ?? 0;
  if (thread === 0) return -1;
  const end = PAGE_BYTES / 4;
  for (let at = PAGE.LEDGERS; at < end; at += ENTRY_WORDS) {
    if (Atomics.load(words, at + THREAD) !== 0) continue;
    if (Atomics.compareExchange(words, at + THREAD, 0, thread) !== 0) continue;
    words[at + LOW] = Number(base & 0xffff_ffffn) | 0;
    words[at + HIGH] = Number(base >> 32n) | 0;
    Atomics.store(words, at + WRITTEN, 1);
    for (let top = Atomics.load(words, PAGE.TOP_LEDGER); top < at;) {
      top = Atomics.compareExchange(words, PAGE.TOP_LEDGER, top, at);
    }
    return at;
  }
  return -1;
}

function leave(at: number): void {
  const words = processWords();
  Atomics.store(words, at + WRITTEN, 0);
  Atomics.store(words, at + THREAD, 0);
}

function pages(native: Backend, bytes: number): number {
  const { pageSize } = native.abilities;
  return Math.ceil(bytes / pageSize) * pageSize;
}
