/**
 * Finds blocks that became unreachable without having been released.
 *
 * Each slot has one token, registered once with a FinalizationRegistry. A free slot holds its token;
 * during a lease the handle alone does. A handle that is dropped drops the token, and the registry
 * calls back with its slot. Owns the tokens and the sample of leases of which more is noted: when they
 * began, and where. Does not decide what becomes of a leaked slot.
 */
import type { LeakDetection } from "./options.ts";
import { LEASE_HELD, type Slot } from "./slot.ts";

/**
 * Of one lease in this many is noted when it began. A prime: programs leak every nth block for a round
 * n.
 */
const SAMPLE = 509;
/**
 * Of one noted lease in this many also where: a stack takes microseconds, so the mean stays under 1 ns
 * a lease.
 */
const PLACES = 16;
/**
 * While places are searched (at first, and after a leak of an unknown place), one lease in this many is
 * noted with its place. A prime, as above.
 */
const SEARCH = 31;
/** Leases that a search covers: enough to meet a leak of every 128th. */
const SEARCHED = 4096;
/** The folder of this package as stacks name it: a path, or a part of a URL. Unknown in a bundle. */
const ROOT = /^(?:file:\/\/)?(.*\/)pool\/leaks\.[jt]s$/
  .exec(import.meta.url ?? "")?.[1];
const FOLDERS: readonly string[] = ROOT === undefined
  ? []
  : [`${ROOT}pool/`, `${ROOT}shared/`];
/** Places remembered so that each is reported once. */
const MAX_SITES = 1000;

/** What is noted of a sampled lease. Never the block itself. */
export interface Note {
  /** When it was acquired, in ms. */
  readonly since: number;
  /** Where it was acquired. Formatted when its stack is first read. */
  readonly site: Error | undefined;
}

/** A leak, as found. */
export interface Leak {
  /** The slot that was leaked. */
  readonly slot: Slot;
  /** The user's label. */
  readonly tag: string | undefined;
  /** Where it was acquired, if known. */
  readonly stack: string | undefined;
  /** Whether this place is reported for the first time. */
  readonly isNew: boolean;
}

/** The most lines of a stack that are the pool's own. */
const OWN_FRAMES = 10;

/** Watches the leases of one pool. */
export class LeakWatch {
  readonly #period: number;
  readonly #all: boolean;
  readonly #registry: FinalizationRegistry<Slot> | undefined;
  readonly #sites = new Set<string>();
  /** Places are noted more often before this lease. */
  #searchEnd = SEARCHED;

  /** Watches as `mode` says and calls `onLeak` for each leaked block. */
  constructor(
    mode: LeakDetection,
    onLeak: (leak: Leak) => void,
  ) {
    this.#all = mode === "all";
    this.#period = this.#all ? 1 : SAMPLE;
    if (mode === "off") return;
    this.#registry = new FinalizationRegistry((slot) => {
      if (slot.state === LEASE_HELD && slot.token === undefined) {
        onLeak(this.#found(slot));
      }
    });
  }

  /** Whether any lease is watched. */
  get isOn(): boolean {
    return this.#registry !== undefined;
  }

  /** Gives a slot its token, if leaks are looked for. */
  register(slot: Slot): void {
    if (this.#registry === undefined) return;
    const token = {};
    this.#registry.register(token, slot);
    slot.token = token;
  }

  /** What is noted of the lease of this number, from 1. */
  note(number: number, now: number): Note {
    const isPlaced = this.#all || number < this.#searchEnd ||
      (number & (number - 1)) === 0 ||
      number % (this.#period * PLACES) === 0;
    return { since: now, site: isPlaced ? acquiredHere() : undefined };
  }

  /** The number of the first lease after this one of which something is to be noted. */
  next(number: number): number {
    if (this.#registry === undefined) return Infinity;
    const isSearch = number < this.#searchEnd;
    const period = isSearch ? Math.min(SEARCH, this.#period) : this.#period;
    const regular = number - number % period + period;
    // The first leases, ever less often: 1, 2, 4, 8 and so on.
    const early = number < 2 ** 30 ? 1 << 32 - Math.clz32(number) : Infinity;
    return Math.min(regular, early);
  }

  /** A leak of which no place is known was found when so many leases had begun. */
  search(number: number): void {
    this.#searchEnd = number + SEARCHED;
  }

  #found(slot: Slot): Leak {
    const stack = stackOf(slot.note?.site);
    const key = stack ?? `tag ${slot.tag}`;
    const isNew = this.#sites.size < MAX_SITES && !this.#sites.has(key);
    if (isNew) this.#sites.add(key);
    return { slot, tag: slot.tag, stack, isNew };
  }
}

/** An error whose stack is the place of an acquire, with room for the pool's own lines above it. */
function acquiredHere(): Error {
  const { stackTraceLimit } = Error;
  try {
    Error.stackTraceLimit = stackTraceLimit + OWN_FRAMES;
    return new Error("acquired here");
  } catch {
    // A program may have made the limit read-only.
    return new Error("acquired here");
  } finally {
    try {
      Error.stackTraceLimit = stackTraceLimit;
    } catch {
      // As above.
    }
  }
}

/** The place of the call that makes a pool, for messages about one that was not closed. */
export function madeHere(): string {
  return stackOf(new Error("made here")) ?? "";
}

/** Where a lease was acquired, without the pool's own lines. */
export function stackOf(site: Error | undefined): string | undefined {
  let stack: unknown;
  try {
    stack = site?.stack;
  } catch {
    // Stacks are made by the program's own `Error.prepareStackTrace`, if it has one.
  }
  if (typeof stack !== "string") return undefined;
  return stack.split("\n").slice(1)
    .filter((line) => !FOLDERS.some((folder) => line.includes(folder)))
    .join("\n");
}
