/**
 * Which slots of a pool are in use or given up, where other isolates of the process can read it: an
 * isolate may end without running code, and its memory stays mapped.
 *
 * A ledger is a mapping of its own: where the pool's memory is, a name for messages, a byte for each
 * slot. The process's page lists the ledgers with their threads (`ledger_list.ts`). An isolate that
 * makes a pool, or does its housekeeping, gives back what isolates of ended threads have left (a
 * sweep), but for what was in use: a buffer of it may have been posted, and native code may still write
 * there.
 */
import type { Backend, Range } from "../ffi/backend.ts";
import { rangeAt } from "../ffi/mark.ts";
import { refusedNow } from "../ffi/open.ts";
import { processBackend } from "../ffi/process_page.ts";
import { quote } from "./checks.ts";
import { warn } from "./console.ts";
import {
  joinShared,
  type Listed,
  listOwn,
  listShared,
  NO_PLACE,
  sweepList,
} from "./ledger_list.ts";

/** Where the slabs of one range of a pool are. */
export interface Extent {
  readonly range: Range;
  readonly firstSlab: number;
}

/** The pool as its ledger describes it. */
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
/**
 * Room for slots beyond those of the first extent, which replace slots given up: so many for each. In a
 * shared pool, where only this tells all isolates of them, it is at least as much as the second number.
 */
const MORE_SLOTS = 3, MORE_SHARED = 2 ** 16;

/** The slot's slab is being unmapped: a sweep that completes one that was cut short leaves it alone. */
const GOING = 2;

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

  /** A ledger that only this isolate can read: on the heap, and where the process page is full. */
  static alone(slots: number): Ledger {
    return new Ledger(new Uint8Array(slots));
  }

  /** Opens a ledger of a pool whose slots are in this extent. */
  static open(extent: Extent, described: Described): Ledger {
    return Ledger.#made(extent, described, 0, listOwn) ??
      Ledger.alone(slotsOf(extent, described));
  }

  /** The same for a shared pool, of which this isolate is the first: others join it by `place`. */
  static openShared(
    extent: Extent,
    described: Described,
    pool: number,
  ): { readonly ledger: Ledger; readonly place: number } {
    let place = NO_PLACE;
    const ledger = Ledger.#made(extent, described, MORE_SHARED, (
      native,
      base,
    ) => {
      const listed = listShared(native, base, pool);
      place = listed?.place ?? NO_PLACE;
      return listed;
    });
    return {
      ledger: ledger ?? Ledger.alone(slotsOf(extent, described)),
      place,
    };
  }

  /**
   * The ledger of a shared pool that this isolate joins: the pool's memory stays as long as this
   * isolate lives, or until the ledger is closed. `undefined` if the memory went back before, with the
   * last isolate that had it.
   */
  static join(place: number, pool: number, slots: number): Ledger | undefined {
    if (place === NO_PLACE) return Ledger.alone(slots);
    const native = processBackend();
    const listed = native && joinShared(native, place, pool);
    if (listed === undefined) return undefined;
    const { range, memory } = opened(native!, listed.base);
    return Ledger.#of(native!, range, memory, listed.leave);
  }

  static #made(
    extent: Extent,
    described: Described,
    more: number,
    list: (native: Backend, base: bigint) => Listed | undefined,
  ): Ledger | undefined {
    const native = processBackend();
    if (native === undefined) return undefined;
    const { slabBytes, slabSlots } = described;
    const slots = slotsOf(extent, described);
    const size = pages(native, HEADER_BYTES + roomFor(slots, more));
    const range = native.map(size, native.abilities.pageSize);
    if (typeof range === "number") return undefined;
    if (native.commit(range, 0, size, false) !== 0) {
      native.unmap(range);
      return undefined;
    }
    let memory: ArrayBuffer;
    try {
      // SAFETY: committed above; unmapped by `close`, after which no slot is asked for.
      memory = native.view(range, 0, size);
    } catch {
      // The permission was taken back.
      native.unmap(range);
      return undefined;
    }
    const numbers = new Float64Array(memory, 0, HEADER_BYTES / 8);
    const text = new TextEncoder().encodeInto(
      `${described.name}\n${described.place}`,
      new Uint8Array(memory, TEXT_AT, HEADER_BYTES - TEXT_AT),
    );
    numbers[SLAB_BYTES] = slabBytes;
    numbers[SLAB_SLOTS] = slabSlots;
    numbers[SLOTS] = size - HEADER_BYTES;
    numbers[TEXT] = text.written;
    add(numbers, extent);
    // Last: from here on others read it.
    const listed = list(native, range.base);
    if (listed !== undefined) {
      return Ledger.#of(native, range, memory, listed.leave);
    }
    // SAFETY: the buffer ends before its memory does, which no other isolate knows.
    memory.transfer(0);
    native.unmap(range);
    return undefined;
  }

  static #of(
    native: Backend,
    range: Range,
    memory: ArrayBuffer,
    leave: () => boolean,
  ): Ledger {
    const used = new Uint8Array(memory, HEADER_BYTES);
    const numbers = new Float64Array(memory, 0, HEADER_BYTES / 8);
    let isOpen = true;
    return new Ledger(used, numbers, () => {
      if (!isOpen) return;
      isOpen = false;
      // SAFETY: the buffer ends before its memory does, and only the last isolate that has the ledger
      // unmaps it.
      memory.transfer(0);
      if (leave()) native.unmap(range);
    });
  }

  /** Further slots, in a range of their own. Ranges beyond `MOST_EXTENTS` stay mapped at the end. */
  add(extent: Extent): void {
    if (this.#numbers !== undefined) add(this.#numbers, extent);
  }

  /** The pool is giving its memory back itself: a sweep must leave these addresses alone. */
  forget(): void {
    if (this.#numbers?.length) this.#numbers[EXTENTS] = 0;
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

/** Gives back the memory that isolates of ended threads left, with a warning for each pool. */
export function sweep(): void {
  const native = processBackend();
  // It is seen through views; where the permission was taken back, another isolate may make them.
  if (native === undefined || refusedNow() !== undefined) return;
  sweepList(native, (base) => {
    const { range, memory } = opened(native, base);
    return {
      settle: () => settle(native, memory),
      end: (isUnmapped) => {
        // SAFETY: the buffer ends before the memory that it is of.
        memory.transfer(0);
        if (isUnmapped) native.unmap(range);
      },
    };
  });
}

/** A ledger that is listed. */
function opened(native: Backend, base: bigint) {
  const front = rangeAt(base, HEADER_BYTES);
  // SAFETY: a ledger that is listed is mapped, and committed as a whole.
  const header = native.view(front, 0, HEADER_BYTES);
  const size = HEADER_BYTES + new Float64Array(header)[SLOTS]!;
  // SAFETY: the buffer ends before anything unmaps its memory; the caller ends the next one.
  header.transfer(0);
  const range = rangeAt(base, size);
  return { range, memory: native.view(range, 0, size) };
}

/** Gives the memory back that a ledger says is not used, of a pool whose isolates have all ended. */
function settle(native: Backend, memory: ArrayBuffer): void {
  const numbers = new Float64Array(memory, 0, HEADER_BYTES / 8);
  if (numbers[EXTENTS] === 0) return;
  const used = new Uint8Array(memory, HEADER_BYTES);
  for (let extent = 0; extent < numbers[EXTENTS]!; extent++) {
    settleExtent(native, used, numbers, FIRST_EXTENT + EXTENT_WORDS * extent);
  }
  const text = new Uint8Array(memory, TEXT_AT, numbers[TEXT]).slice();
  const [name = "", place = ""] = new TextDecoder().decode(text).split("\n", 2);
  tell(`a Worker ended and left pool ${quote(name)} open`, place);
}

function settleExtent(
  native: Backend,
  used: Uint8Array,
  numbers: Float64Array,
  at: number,
): void {
  const slabBytes = numbers[SLAB_BYTES]!;
  const slabSlots = numbers[SLAB_SLOTS]!;
  const base = numbers[at]!;
  const firstSlab = numbers[at + 1]!;
  const slabs = numbers[at + 2]!;
  const size = slabs * slabBytes;
  const range = rangeAt(BigInt(base), size);
  const isUsed = (slab: number) => {
    const first = (firstSlab + slab) * slabSlots;
    return isAnyUsed(used, first, first + slabSlots);
  };
  for (let slab = 0; slab < slabs;) {
    const start = slab;
    const stays = isUsed(slab);
    while (slab < slabs && isUsed(slab) === stays) slab++;
    if (stays) continue;
    // Before it is unmapped: should this isolate end in between, the sweep that completes this must not
    // touch what is mapped there by then.
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
  warn(
    `@smriti/pool: ${what}; its memory was given back. ` +
      `Close it by \`await using\` or \`close()\`. It was made here:\n${place}`,
  );
}

/** Writes an extent down, if there is room. */
function add(numbers: Float64Array, { range, firstSlab }: Extent): void {
  if (numbers[EXTENTS] === MOST_EXTENTS) return;
  const at = FIRST_EXTENT + EXTENT_WORDS * numbers[EXTENTS]!;
  numbers[at] = Number(range.base);
  numbers[at + 1] = firstSlab;
  numbers[at + 2] = range.size / numbers[SLAB_BYTES]!;
  numbers[EXTENTS]!++;
}

/** Slots that are written down, if the first extent has so many. */
function roomFor(slots: number, more: number): number {
  return slots + Math.max(slots * MORE_SLOTS, more);
}

function slotsOf({ range }: Extent, { slabBytes, slabSlots }: Described) {
  return range.size / slabBytes * slabSlots;
}

function pages(native: Backend, bytes: number): number {
  const { pageSize } = native.abilities;
  return Math.ceil(bytes / pageSize) * pageSize;
}
