/**
 * Strict mode: a released slot is kept out of use for a while, filled with a pattern and, where it
 * has whole pages, inaccessible. A late native write then fails with `EFAULT`, or leaves a mark.
 *
 * Owns the slots in quarantine and nothing else. Bounded, because each inaccessible slot costs the
 * process up to two memory mappings and V8 itself ends the process when those run out.
 */
import type { GivenUp } from "./abandoned.ts";
import { PAGE, processWords } from "../ffi/process_page.ts";
import { SmritiError } from "./errors.ts";
import { stackOf } from "./leaks.ts";
import { show } from "./checks.ts";
import type { FilledOptions } from "./options.ts";
import type { Region } from "./region.ts";
import {
  LEASE_ABANDONED,
  LEASE_ENDED,
  LEASE_QUARANTINED,
  type Slot,
} from "./slot.ts";
import type { Slots } from "./slots.ts";

/** The most slots in quarantine: with two mappings each, 3 % of Linux's default limit. */
const MOST = 1024;
/** The most slots made inaccessible by all pools of the process: 25 % of Linux's default limit. */
const MOST_FORBIDDEN = 8192;
/** One in this many of a pool's blocks may be in quarantine. */
const SHARE = 8;
/** What a released slot is filled with: odd, large, no valid text. */
const POISON = 0xdb;
/** Bytes compared as one array of words: more have no position in 32 bits. */
const PIECE = 2 ** 30;
/** Four such bytes as one number. */
const POISON_WORD = 0xdbdbdbdb | 0;

/** The quarantine of one pool. */
export class Quarantine {
  readonly #name: string;
  readonly #region: Region;
  readonly #slots: Slots;
  readonly #givenUp: GivenUp[];
  readonly #used: Uint8Array;
  readonly #limit: number;
  /** Where the process counts its inaccessible slots. */
  readonly #words = processWords();
  /** Oldest first; whether each was made inaccessible. */
  readonly #queue = new Map<Slot, boolean>();
  #news: SmritiError | undefined;

  /** Empty. */
  constructor(
    name: string,
    maxBlocks: number,
    region: Region,
    slots: Slots,
    givenUp: GivenUp[],
    used: Uint8Array,
  ) {
    this.#givenUp = givenUp;
    this.#used = used;
    this.#name = name;
    this.#region = region;
    this.#slots = slots;
    this.#limit = Math.max(1, Math.min(MOST, Math.floor(maxBlocks / SHARE)));
  }

  /** Takes a slot whose lease has just ended in; its view is the only one. */
  admit(slot: Slot): void {
    slot.view.fill(POISON);
    const isClosed = this.#forbid(slot);
    slot.state = LEASE_QUARANTINED;
    this.#slots.quarantine();
    this.#queue.set(slot, isClosed);
  }

  /** Lets the oldest slot go if there are more than may be in; true as for `letGo`. */
  overflow(): boolean {
    return this.#queue.size > this.#limit && this.letGo();
  }

  /** Lets the oldest slot go: free and zeroed, or out of the pool if it was written to: then true. */
  letGo(): boolean {
    const [first] = this.#queue;
    if (first === undefined) return false;
    const [slot, isClosed] = first;
    this.#queue.delete(slot);
    if (isClosed) {
      // SAFETY: no lease has the slot; a refusal leaves it inaccessible, so it must stay here.
      if (!this.#region.allow(slot.index)) {
        this.#queue.set(slot, true);
        return false;
      }
      this.#count(-1);
    }
    const offset = firstStain(slot.view);
    if (offset >= 0) {
      this.#condemn(slot, offset);
      return true;
    }
    slot.view.fill(0);
    slot.state = LEASE_ENDED;
    slot.trace = undefined;
    this.#slots.restore(slot.index);
    return false;
  }

  /** Lets slots go until so many are free; whether one has left the pool. */
  freeUp(free: number): boolean {
    const slots = this.#slots;
    let lost = false;
    while (slots.free < free && slots.quarantined > 0) {
      const before = slots.quarantined;
      lost = this.letGo() || lost;
      // The OS refused to make it accessible again, and would refuse the others.
      if (slots.quarantined === before) break;
    }
    return lost;
  }

  /** Looks at every slot in quarantine; the pool has ended. */
  empty(): void {
    for (let left = this.#queue.size; left > 0; left--) this.letGo();
    // What the OS refused to make accessible goes with the mapping.
    for (const [slot, isClosed] of this.#queue) {
      if (isClosed) this.#count(-1);
      slot.state = LEASE_ENDED;
    }
    this.#queue.clear();
  }

  /** The first late write found that was not reported yet. */
  takeNews(): SmritiError | undefined {
    const news = this.#news;
    this.#news = undefined;
    return news;
  }

  /** Makes a slot inaccessible if the process may have one more. */
  #forbid(slot: Slot): boolean {
    if (this.#count(1) < MOST_FORBIDDEN) {
      // SAFETY: the lease's views were revoked and the new one is used only after `allow` above.
      if (this.#region.forbid(slot.index)) return true;
    }
    this.#count(-1);
    return false;
  }

  /** Changes how many are inaccessible in the process; returns how many there were. */
  #count(change: 1 | -1): number {
    return Atomics.add(this.#words, PAGE.FORBIDDEN, change);
  }

  #condemn(slot: Slot, offset: number): void {
    const byte = slot.view[offset];
    slot.state = LEASE_ABANDONED;
    this.#slots.abandonQuarantined();
    this.#used[slot.index] = 1;
    // SAFETY: its view is the only one and was not given out: native code may still write, and
    // JavaScript cannot read.
    this.#givenUp.push({ index: slot.index, mayBeRead: false });
    const stack = stackOf(slot.trace);
    this.#news ??= new SmritiError(
      "corrupted",
      `a block of pool ${
        show(this.#name)
      } was written to after its release: byte ${offset} is ` +
        `${byte}; it was acquired ${
          slot.tag === undefined ? "" : `as ${show(slot.tag)} `
        }` +
        `${
          stack === undefined ? "at an unknown place" : `here:\n${stack}\n`
        }; ` +
        "use lend() for every operation that may outlast the lease",
    );
  }
}

/** The quarantine that a pool's options ask for, if any. */
export function quarantineFor(
  { safety, name, maxBlocks }: FilledOptions,
  region: Region,
  slots: Slots,
  givenUp: GivenUp[],
  used: Uint8Array,
): Quarantine | undefined {
  return safety === "strict"
    ? new Quarantine(name, maxBlocks, region, slots, givenUp, used)
    : undefined;
}

/** Position of the first byte that is not the pattern, or -1; looked for in pieces of so many bytes. */
export function firstStain(
  bytes: Uint8Array<ArrayBuffer>,
  piece: number = PIECE,
): number {
  for (let start = 0; start < bytes.length; start += piece) {
    const size = Math.min(piece, bytes.length - start);
    // By words: a byte at a time would be most of what strict mode costs.
    const words = new Int32Array(bytes.buffer, start, size >>> 2);
    let word = 0;
    while (word < words.length && words[word] === POISON_WORD) word++;
    for (let at = start + word * 4; at < start + size; at++) {
      if (bytes[at] !== POISON) return at;
    }
  }
  return -1;
}
