/**
 * What is known about one slot that has been lent at least once: its view, and the facts of the
 * lease that holds it now. Made on the slot's first use and kept; a slot never lent costs integers.
 *
 * Owns no memory and decides nothing: the pool that made it does.
 */
import type { Block } from "./block.ts";
import type { Note } from "./leaks.ts";

/** The view of a slot that has none: length 0, so every check that matters fails on it. */
export const NO_VIEW: Uint8Array<ArrayBuffer> = new Uint8Array(0);

/** A lease holds the slot. */
export const LEASE_HELD = 0;
/** Released while lent: the lease ends when the last operation settles. */
export const LEASE_ENDING = 1;
/** Out of the pool for good; the handle of its last lease still points here. */
export const LEASE_ABANDONED = 2;
/** No lease. Also the state of what the handle of an ended lease points to. */
export const LEASE_ENDED = 3;
/** No lease, and not yet reusable. */
export const LEASE_QUARANTINED = 4;

/**
 * A block on its way to another isolate: plain, cloneable, good for one `adopt`.
 */
export interface BlockTicket {
  /** Which pool it is of. */
  readonly pool: number;
  /** Place in that pool. */
  readonly slot: number;
  /** Which of the slot's tickets. */
  readonly serial: number;
}

/** What a block asks of the pool that lent it. */
export interface Owner {
  /** Bytes in one block. */
  readonly blockSize: number;
  /** What handles of ended leases without a tag point to. */
  readonly ended: Slot;
  /** The view of a held slot, made or healed; throws if there can be none. */
  view(slot: Slot): Uint8Array<ArrayBuffer>;
  /** The first bytes of a held slot, from now on in a buffer of their own if that saves clearing the rest. */
  first(slot: Slot, length: number): Uint8Array<ArrayBuffer>;
  /** Address of a held slot's first byte. */
  pointer(slot: Slot): Deno.PointerObject;
  /**
   * The lease of a held slot ends; `usedBytes` of it may have been written, or all. When it throws,
   * the lease goes on. Whether `released` is to be called, once the handle is parted from the slot.
   */
  release(slot: Slot, usedBytes: number | undefined): boolean;
  /** Tells the pool of what `release` has done: waiters may be served, or refused. */
  released(slot: Slot): void;
  /** The slot leaves the pool for good; whether `released` is to be called. */
  abandon(slot: Slot): boolean;
  /** Takes a buffer that had left back as the slot's own. */
  reattach(slot: Slot, view: ArrayBufferView): void;
  /** Ends the lease here; the slot goes on under a ticket. */
  detach(slot: Slot): BlockTicket;
  /** An operation begins that holds the slot's memory, and with it the handle. */
  lendStarts(slot: Slot, block: Block): void;
  /**
   * That operation has settled, `result` being what it gave. `dead` is the view whose buffer it took
   * along and has ended with, if it did.
   */
  lendEnds(
    slot: Slot,
    how: Settled,
    result: unknown,
    dead: Uint8Array | undefined,
  ): void;
  /** Throws the error for the use of a lease that has ended; counts a second release. */
  refuse(slot: Slot, use: "use" | "release"): void;
}

/** How an operation ended, as far as the memory is concerned. */
export type Settled =
  /** It has let go of the memory; a buffer it took is in its result or comes by `reattach`. */
  | "fulfilled"
  /** It failed and has let go of the memory. */
  | "rejected"
  /** It may still write to the memory. */
  | "running";

/** The record of one slot. */
export class Slot {
  readonly owner: Owner;
  /** Place in the pool, from 0. */
  readonly index: number;
  /** A byte for each slot of the pool: 1 while its bytes are in use, or for ever once it is given up. */
  readonly used: Uint8Array;
  /** One of `LEASE_HELD`, `LEASE_ENDING`, `LEASE_ABANDONED`, `LEASE_ENDED`, `LEASE_QUARANTINED`. */
  state: number = LEASE_ENDED;
  /** The cached view; length 0 once something detached it. */
  view: Uint8Array<ArrayBuffer> = NO_VIEW;
  /** Whether this lease could have written anywhere: its bytes, pointer or lend were used. */
  touched = false;
  /**
   * The view over a buffer of its own that this lease could have written through; length 0 once something
   * detached it.
   */
  first: Uint8Array<ArrayBuffer> = NO_VIEW;
  /** Whether its release takes the slow path: it is of the sample, lent, has escaped or has a `first`. */
  special = false;
  /** Buffers of this lease that left by themselves and have not come back. */
  escaped = 0;
  /** Whether a lent operation took the buffer along and has not brought it back. */
  owed = false;
  /** Lent operations that have not settled. */
  lends = 0;
  /** Keeps the handle of a lent block alive. */
  lentTo: Block | undefined = undefined;
  /** Bytes to zero when an `LEASE_ENDING` lease ends; all if `undefined`. */
  usedBytes: number | undefined = undefined;
  /** The user's label for the lease. */
  tag: string | undefined = undefined;
  /** When the lease began, in ms; 0 without `overdueMs`. */
  since = 0;
  /** Whether it was reported as overdue. */
  overdue = false;
  /** Number of the latest batch of tickets that it was looked at for. */
  batch = 0;
  /** What is noted of the lease, if it is one of the sample. */
  note: Note | undefined = undefined;
  /** The token of leak detection, while the slot is free; during a lease the handle alone holds it. */
  token: object | undefined = undefined;
  /** Where the last lease was acquired, while the slot is in quarantine. */
  trace: Error | undefined = undefined;

  /** A slot without a view or a lease. */
  constructor(owner: Owner, index: number, used: Uint8Array) {
    this.owner = owner;
    this.index = index;
    this.used = used;
  }
}
