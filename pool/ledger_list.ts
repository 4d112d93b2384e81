/**
 * The list of ledgers in the process's page, with the threads that own them, so that other isolates
 * notice the end of one, and exactly one of them gives back what it left.
 *
 * A pool of one isolate has one entry, with its thread. A shared pool has an entry of its own, with a
 * reference count, and a member entry for each worker: the entry of a thread that has ended is taken
 * out first and the count lowered then, so a death in between leaks memory and never gives it back
 * twice. Owns the entries; does not read ledgers.
 */
import type { Backend } from "../ffi/backend.ts";
import { PAGE, PAGE_BYTES, processWords } from "../ffi/process_page.ts";

/**
 * Words of an entry. `THREAD`: 0 if it can be had, below 0 while that thread sweeps it. `LOW`, `HIGH`: the
 * ledger's address. `ISOLATE`: which of the thread's isolates it is of; 0 until it is written.
 */
const THREAD = 0, LOW = 1, HIGH = 2, ISOLATE = 3;
/** Of a shared pool: its number, and its reference count. Of a member entry: the place of its pool. */
const POOL = 4, REFERENCES = 5, OF = 6;
const ENTRY_WORDS = 8;
/**
 * In place of a thread, in the entry of a shared pool. Neither it nor its negative is a thread's
 * number.
 */
const OF_MANY = -(2 ** 31);
/** The place of a pool that is not listed. */
export const NO_PLACE = 0;

/** The global property with the number of this isolate, for all copies of this module. */
const NUMBER = Symbol.for("@smriti/pool isolate 1");

/** An entry of this isolate. */
export interface Listed {
  /** Takes it out; true if it was the last of its ledger, which can be unmapped then. */
  leave(): boolean;
}

/** Lists a ledger for this isolate; `undefined` if there is no place, or the OS does not number threads. */
export function listOwn(native: Backend, base: bigint): Listed | undefined {
  const at = enter(native, base, NO_PLACE);
  return at < 0 ? undefined : {
    leave: () => {
      clear(at);
      return true;
    },
  };
}

/** Lists the ledger of a shared pool, of which this isolate is the first. Others find it at `place`. */
export function listShared(
  native: Backend,
  base: bigint,
  pool: number,
): Listed & { readonly place: number } | undefined {
  const place = claim(OF_MANY);
  if (place < 0) return undefined;
  const words = processWords();
  const member = enter(native, base, place);
  if (member < 0) {
    clear(place);
    return undefined;
  }
  setAddress(place, base);
  words[place + POOL] = pool;
  Atomics.store(words, place + REFERENCES, 1);
  return { place, leave: () => leaveShared(place, member) };
}

/**
 * Joins it; `undefined` if it is no longer listed: the isolates that had it have ended, and its memory
 * went back.
 */
export function joinShared(
  native: Backend,
  place: number,
  pool: number,
): Listed & { readonly base: bigint } | undefined {
  const words = processWords();
  const isPlace = place >= PAGE.LEDGERS && place < PAGE_BYTES / 4 &&
    (place - PAGE.LEDGERS) % ENTRY_WORDS === 0;
  const is = () =>
    isPlace && Atomics.load(words, place + THREAD) === OF_MANY &&
    words[place + POOL] === pool;
  // Never from 0: the isolate that lowered it to 0 is giving the memory back.
  while (is()) {
    const count = Atomics.load(words, place + REFERENCES);
    if (count <= 0) break;
    const seen = Atomics.compareExchange(
      words,
      place + REFERENCES,
      count,
      count + 1,
    );
    if (seen !== count) continue;
    if (!is()) {
      // Another pool got the entry between the two looks: the count is lowered again. If that pool has
      // ended by now, its entry and ledger are leaked.
      countDown(place);
      break;
    }
    const base = addressOf(place);
    // Without room for a member entry the end of this isolate would go unnoticed, and the memory stay.
    const member = enter(native, base, place);
    return { base, leave: () => leaveShared(place, member) };
  }
  return undefined;
}

/** A ledger, for the sweep. */
export interface Found {
  /** Gives back what is not used. */
  settle(): void;
  /** Ends the view of the ledger; unmaps it, too, if no entry is left. */
  end(isUnmapped: boolean): void;
}

/** Takes the entries out whose isolates have ended; with the last entry of a ledger, has it settled. */
export function sweepList(
  native: Backend,
  open: (base: bigint) => Found,
): void {
  const { threads } = native;
  if (threads === undefined) return;
  const words = processWords();
  const me = threads.current();
  // Where a sandbox refuses the question, every thread would look ended.
  if (!threads.isAlive(me)) return;
  const known = new Map<number, boolean>();
  const isAlive = (thread: number) => {
    const alive = known.get(thread) ?? threads.isAlive(thread);
    known.set(thread, alive);
    return alive;
  };
  const top = Atomics.load(words, PAGE.TOP_LEDGER);
  for (let at = PAGE.LEDGERS; at <= top; at += ENTRY_WORDS) {
    const thread = Atomics.load(words, at + THREAD);
    if (thread === 0 || thread === OF_MANY) continue;
    // An earlier isolate of this thread has ended, or a sweeper has died.
    const isGone = Math.abs(thread) === me
      ? thread > 0 && Atomics.load(words, at + ISOLATE) !== isolate()
      : !isAlive(Math.abs(thread));
    if (!isGone) continue;
    const mine = Atomics.compareExchange(words, at + THREAD, thread, -me);
    if (mine !== thread) continue;
    if (Atomics.load(words, at + ISOLATE) === 0) {
      clear(at);
      continue;
    }
    const place = words[at + OF]!;
    const isOwn = place === NO_PLACE;
    let ledger: Found;
    try {
      // Before the entry is cleared: until then the ledger stays mapped.
      ledger = open(addressOf(isOwn ? at : place));
    } catch {
      // The permission was taken back. Another isolate may have it.
      Atomics.store(words, at + THREAD, thread);
      continue;
    }
    if (isOwn) ledger.settle();
    clear(at);
    const isLast = isOwn || countDown(place);
    if (isLast && !isOwn) {
      ledger.settle();
      clear(place);
    }
    ledger.end(isLast);
  }
}

function leaveShared(place: number, member: number): boolean {
  if (member >= 0) clear(member);
  const isLast = countDown(place);
  if (isLast) clear(place);
  return isLast;
}

/** Lowers the reference count; true if it was the last. */
function countDown(place: number): boolean {
  return Atomics.sub(processWords(), place + REFERENCES, 1) === 1;
}

/** Makes an entry of this isolate; -1 if there is no place, or the OS does not number threads. */
function enter(native: Backend, base: bigint, of: number): number {
  const words = processWords();
  const at = claim(native.threads?.current() ?? 0);
  if (at < 0) return -1;
  setAddress(at, base);
  words[at + OF] = of;
  Atomics.store(words, at + ISOLATE, isolate());
  return at;
}

/** Takes a free entry for a thread; -1 if there is none. */
function claim(thread: number): number {
  if (thread === 0) return -1;
  const words = processWords();
  const end = PAGE_BYTES / 4;
  for (let at = PAGE.LEDGERS; at < end; at += ENTRY_WORDS) {
    if (Atomics.load(words, at + THREAD) !== 0) continue;
    if (Atomics.compareExchange(words, at + THREAD, 0, thread) !== 0) continue;
    for (let top = Atomics.load(words, PAGE.TOP_LEDGER); top < at;) {
      const before = Atomics.compareExchange(words, PAGE.TOP_LEDGER, top, at);
      top = before === top ? at : before;
    }
    return at;
  }
  return -1;
}

/** Others may have the entry. */
function clear(at: number): void {
  const words = processWords();
  words[at + POOL] = 0;
  Atomics.store(words, at + ISOLATE, 0);
  Atomics.store(words, at + THREAD, 0);
}

function setAddress(at: number, base: bigint): void {
  const words = processWords();
  words[at + LOW] = Number(base & 0xffff_ffffn) | 0;
  words[at + HIGH] = Number(base >> 32n) | 0;
}

function addressOf(at: number): bigint {
  const words = processWords();
  return BigInt(words[at + LOW]! >>> 0) |
    BigInt(words[at + HIGH]! >>> 0) << 32n;
}

/** A number of this isolate, not 0: the next one on its thread has another. */
function isolate(): number {
  const global = globalThis as { [NUMBER]?: number };
  if (global[NUMBER] === undefined) {
    const [number] = crypto.getRandomValues(new Int32Array(1));
    Object.defineProperty(global, NUMBER, { value: number! || 1 });
  }
  return global[NUMBER]!;
}
