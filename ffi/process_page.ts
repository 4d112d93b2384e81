/**
 * A page of memory that all isolates of a process share, found by its address, without a message.
 *
 * Mapped by the first isolate that asks, and mapped until the process ends. Owns the addresses and the
 * layout; the modules that use the words give them their meaning.
 */
import type { Backend, Code, Range } from "./backend.ts";
import { openNative, refusedNow } from "./open.ts";

/**
 * Addresses tried in this order: far above those that systems give bottom-up and far below those that
 * they give top-down; the last two are inside the smallest address space of a 64-bit system (39 bits).
 */
export const PLACES: readonly bigint[] = [
  0x1b2f_6d3a_0000n,
  0x0a31_5b4c_0000n,
  0x31_1c58_0000n,
  0x29_7e96_0000n,
];
/** A multiple of the page on every system. */
export const PAGE_BYTES = 65_536;

/** Words of the page. Before them stands the mark; from `ENTRIES` on, threads that have joined pools. */
export const PAGE = {
  /** The highest entry ever used. */
  TOP_ENTRY: 4,
  /** Slots of strict pools that are inaccessible now. */
  FORBIDDEN: 5,
  /** When a collection was asked for last, in ms, low 32 bits. */
  COLLECTED: 6,
  /** The highest place in the list of ledgers ever used. */
  TOP_LEDGER: 7,
  /** The first entry of a thread that has joined pools. */
  ENTRIES: 8,
  /** The first place in the list of ledgers; the entries end here. */
  LEDGERS: 8192,
} as const;

/** How long another isolate may take between mapping a place and marking it, in ms. */
const MARKING_MS = 20;

/** The page of this process, if it has one. */
export function findPage(backend: Backend): Range | undefined {
  for (const place of PLACES) {
    const range = backend.findAt(place, PAGE_BYTES);
    if (range !== undefined) return range;
  }
  return undefined;
}

/** The page of this process, made if it has none; the OS's refusal if it cannot be made. */
export function openPage(backend: Backend): Range | Code {
  let refusal: Code = -1;
  let page = findPage(backend);
  for (const place of PLACES) {
    if (page !== undefined) return page;
    const made = backend.mapAt(place, PAGE_BYTES);
    if (typeof made !== "number") return made;
    refusal = made;
    // The place is taken: by something else, or by an isolate that is about to mark it.
    page = marksSoon(backend, place);
  }
  return page ?? refusal;
}

function marksSoon(backend: Backend, place: bigint): Range | undefined {
  const end = performance.now() + MARKING_MS;
  for (;;) {
    const range = backend.findAt(place, PAGE_BYTES);
    if (range !== undefined || performance.now() > end) return range;
  }
}

let words: Int32Array | undefined;
let native: Backend | undefined;

/**
 * The words of this process's page. Where there can be none, or the permission was taken back, words of
 * this isolate alone: then there are no native views either, which the others would have to know of.
 */
export function processWords(): Int32Array {
  return words ??= findWords();
}

function findWords(): Int32Array {
  const found = refusedNow() ?? openNative();
  native = "reason" in found ? undefined : found;
  const page = native === undefined ? undefined : openPage(native);
  // SAFETY: the page is committed, and nothing unmaps it.
  return native === undefined || typeof page !== "object"
    ? new Int32Array(PAGE_BYTES / 4)
    : new Int32Array(native.view(page, 0, PAGE_BYTES));
}

/** The backend of the process page and of ledgers; `undefined` where there is none. */
export function processBackend(): Backend | undefined {
  processWords();
  return native;
}
