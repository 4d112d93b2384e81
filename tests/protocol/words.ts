// The words that workers reach, in the order in which they were met, and which of them need a place in a
// state. Partial-order reduction by what is known of each word: an access that no other worker can notice is
// no step. What is known grows while workers run; a pass that assumed too much begins anew.

import { type Control, HEADER, WORKER } from "../../shared/control.ts";
import { type AccessKind, real, type Words } from "../support/shared_words.ts";
import type { Mode } from "./memory.ts";

/** What is done with a word, besides what the code itself does. */
export type Kind =
  | AccessKind
  /** Reads the latest value, as the OS would; orders nothing. */
  | "peek"
  /** Asks whether a thread lives: once it does not, all that it did is seen. */
  | "alive"
  /** Waits until the word is not 0, and acquires it. */
  | "receive"
  /** Waits until this worker was notified. */
  | "awake"
  /** A fence for all. */
  | "fence";

const DOUBLES = 1 << 22;
const OTHERS = 1 << 23;

/** Names of what is no word of a control block. */
export const THREAD = OTHERS;
export const PAGES = OTHERS + (1 << 12);
export const BOXES = OTHERS + (2 << 12);
export const RANGES = OTHERS + (3 << 12);
export const FENCE = RANGES + 1;

/** What a word of an array is known by. */
export function keyOf(array: Words, at: number): number {
  return array instanceof real.Float64Array
    ? DOUBLES + array.byteOffset / 8 + at
    : array.byteOffset / 4 + at;
}

/** Whether it is a word of 64 bits. */
export function isDouble(key: number): boolean {
  return key >= DOUBLES && key < OTHERS;
}

/** How a word is treated in a pass: only one worker reaches it, or several do, or from 0 on one writes it. */
const LOCAL = -1;
const SHARED = -2;

const READS: ReadonlySet<Kind> = new Set(["get", "load", "peek", "alive"]);
const SLEEPS: ReadonlySet<Kind> = new Set(["wait", "waitAsync"]);

/** Whether it only looks. */
export function isRead(kind: Kind): boolean {
  return READS.has(kind);
}

/** The words of one configuration, and what its workers do with them in all modes. */
export class WordTable {
  readonly #hasDeaths: boolean;
  /** What the words are at the start. */
  readonly #valueAt: (key: number) => number;
  readonly #at = new Map<number, number>();
  readonly keys: number[] = [];
  readonly initial: number[] = [];
  readonly #touched: number[] = [];
  readonly #written: number[] = [];
  /** Whether it is reached in a way that others notice, whatever else is known of it. */
  readonly #isForced: boolean[] = [];
  /** Whether a plain store to it can be noticed once there are store buffers. */
  readonly #isForcedLate: boolean[] = [];
  readonly #isSleptOn: boolean[] = [];
  /** Bits of the workers that read it plainly. */
  readonly #readers: number[] = [];
  #mode: Mode = "sc";
  /** What this pass takes each word for. */
  #sorts: number[] = [];
  /** Where a shared word is in memory. */
  #places: number[] = [];
  /** The words that have a place in memory, by place. */
  shared: readonly number[] = [];
  /** Whether what this pass takes the words for is known to be too little. */
  isOutdated = false;
  /** Whether every access is a step. */
  isAll = false;

  constructor(hasDeaths: boolean, valueAt: (key: number) => number) {
    this.#hasDeaths = hasDeaths;
    this.#valueAt = valueAt;
  }

  /** A pass begins. */
  begin(mode: Mode): void {
    this.#mode = mode;
    this.isOutdated = false;
    this.#sorts = this.keys.map((_, word) => this.#sortOf(word));
    const shared: number[] = [];
    this.#places = this.#sorts.map((sort, word) =>
      sort === LOCAL ? -1 : shared.push(word) - 1
    );
    this.shared = shared;
  }

  word(key: number): number {
    const known = this.#at.get(key);
    if (known !== undefined) return known;
    const word = this.keys.push(key) - 1;
    this.#at.set(key, word);
    this.initial.push(this.#valueAt(key));
    for (const masks of [this.#touched, this.#written, this.#readers]) {
      masks.push(0);
    }
    for (const flags of [this.#isForced, this.#isForcedLate, this.#isSleptOn]) {
      flags.push(false);
    }
    // Of this pass.
    this.#sorts.push(LOCAL);
    this.#places.push(-1);
    return word;
  }

  /** Whether there is such a word. */
  find(key: number): number | undefined {
    return this.#at.get(key);
  }

  place(word: number): number {
    return this.#places[word]!;
  }

  /** Bits of the workers that read it plainly, where such reads may be stale. */
  readers(word: number): number {
    return this.isAll ? -1 : this.#readers[word]!;
  }

  /** An access that a worker will make. */
  note(word: number, worker: number, kind: Kind): void {
    const bit = 1 << worker;
    this.#touched[word]! |= bit;
    // A death writes it.
    if (kind === "alive" && this.#hasDeaths) this.#isForced[word] = true;
    if (SLEEPS.has(kind)) this.#isSleptOn[word] = true;
    else if (!isRead(kind) && kind !== "notify") {
      this.#written[word]! |= bit;
      // A death before it is one that is noticed, at the end if not before.
      if (this.#hasDeaths) this.#isForced[word] = true;
      if (kind !== "set") this.#isForcedLate[word] = true;
    }
    if (kind === "receive" || kind === "fence") this.#isForced[word] = true;
    if (this.#isSleptOn[word]) this.#isForced[word] = true;
    const before = this.#readers[word]!;
    if (kind === "get") this.#readers[word]! |= bit;
    const sort = this.#sortOf(word);
    if (
      sort !== this.#sorts[word] ||
      before !== this.#readers[word] && sort !== LOCAL && this.#mode === "stale"
    ) this.isOutdated = true;
  }

  /** Whether this access is a step: others may notice when it is made, or it when others are. */
  isStep(word: number, worker: number, kind: Kind): boolean {
    const sort = this.#sorts[word]!;
    return sort !== LOCAL && (sort !== worker || !isRead(kind));
  }

  #sortOf(word: number): number {
    if (this.isAll) return SHARED;
    const touched = this.#touched[word]!;
    const written = this.#written[word]!;
    const isForced = this.#isForced[word]! ||
      this.#isForcedLate[word]! && this.#mode !== "sc";
    const isShared = (touched & touched - 1) !== 0 && written !== 0;
    if (!isShared && !isForced) return LOCAL;
    const isOwn = written !== 0 && (written & written - 1) === 0;
    return isOwn ? 31 - Math.clz32(written) : SHARED;
  }

  /** The name of a word, for people. */
  nameOf(word: number, control: Control): string {
    return nameOf(this.keys[word]!, control);
  }
}

const HEADER_NAMES = Object.entries(HEADER);
const WORKER_NAMES = Object.entries(WORKER);

const PARTS = [
  "owner",
  "lends",
  "serial",
  "deadline",
  "place",
  "hints",
] as const;

function nameOf(key: number, control: Control): string {
  const named = [
    [FENCE, "fence "],
    [RANGES, "ranges "],
    [BOXES, "box "],
    [PAGES, "page "],
    [THREAD, "thread "],
    [DOUBLES, "double "],
  ] as const;
  for (const [from, name] of named) {
    if (key >= from) return `${name}${key - from}`;
  }
  for (const part of PARTS) {
    const at = key - control[part].byteOffset / 4;
    if (at >= 0 && at < control[part].length) return `${part}[${at}]`;
  }
  for (const [name, at] of HEADER_NAMES) if (at === key) return name;
  const worker = Math.floor((key - 64) / 32);
  const at = (key - 64) % 32;
  const name = WORKER_NAMES.find(([, word]) => word === at)?.[0] ?? at;
  return `${name} of ${worker}`;
}
