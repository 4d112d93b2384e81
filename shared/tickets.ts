/**
 * Hands blocks over between workers: makes tickets of blocks, and blocks of tickets.
 *
 * A ticket is good once: the worker whose compare-and-swap changes the owner word of the slot in
 * transit has the block. A batch is handed over as a whole or not at all.
 */
import type { Block } from "../pool/block.ts";
import { integer, record, refuse, show, text } from "../pool/checks.ts";
import { SmritiError } from "../pool/errors.ts";
import { headroom } from "../pool/headroom.ts";
import type { SharedLeases } from "./shared_leases.ts";
import type { BlockTicket } from "../pool/slot.ts";
import { type Control, HEADER } from "./control.ts";
import type { SharedFilledOptions } from "./handle.ts";
import type { SharedSlots } from "./shared_slots.ts";

/** How to adopt. */
export interface AdoptOptions {
  /** Your own label for the lease, shown in errors, leak reports and `close`. */
  tag?: string | undefined;
}

const ADOPT_NAMES: ReadonlySet<string> = new Set<keyof AdoptOptions>(["tag"]);
/** Numbers per ticket in a batch. */
const NUMBERS = 3;
const MIN = -(2 ** 31);
const MAX = 2 ** 31 - 1;

/** The tickets of one isolate. */
export class Tickets {
  readonly #options: SharedFilledOptions;
  readonly #pool: number;
  readonly #slots: SharedSlots;
  readonly #leases: SharedLeases;
  /** Number of the latest batch. */
  #batch = 0;

  /** No tickets yet. */
  constructor(
    options: SharedFilledOptions,
    { words }: Control,
    slots: SharedSlots,
    leases: SharedLeases,
  ) {
    this.#options = options;
    this.#pool = words[HEADER.POOL]!;
    this.#slots = slots;
    this.#leases = leases;
  }

  /** A ticket of a held slot whose lease here has ended. */
  send(slot: number): BlockTicket {
    return { pool: this.#pool, slot, serial: this.#slots.send(slot) };
  }

  /** Begins a lease of the block of a ticket. */
  adopt(ticket: BlockTicket, tag: string | undefined): Block {
    const { slot, serial } = ticket;
    const block = this.#isGood(ticket)
      ? this.#leases.tryAdopt(slot, serial, tag)
      : undefined;
    if (block === undefined) throw this.#foreign(ticket);
    return block;
  }

  /** Tickets of several blocks, all or none. */
  sendMany(blocks: readonly Block[]): Int32Array<ArrayBuffer> {
    if (!Array.isArray(blocks)) {
      refuse(TypeError, "blocks", blocks, "an array of blocks");
    }
    // Read once, so that the blocks checked are the blocks sent.
    const all = [...blocks];
    headroom();
    const batch = ++this.#batch;
    for (const block of all) this.#leases.checkDetach(block, batch);
    for (const block of all) this.#leases.revoke(block);
    const numbers = new Int32Array(all.length * NUMBERS);
    let at = 0;
    for (const block of all) {
      const { pool, slot, serial } = this.#leases.detachRevoked(block);
      numbers[at++] = pool;
      numbers[at++] = slot;
      numbers[at++] = serial;
    }
    return numbers;
  }

  /** The blocks of several tickets, all or none. */
  adoptMany(
    tickets: readonly BlockTicket[],
    tag: string | undefined,
  ): Block[] {
    headroom();
    for (const ticket of tickets) {
      if (!this.#isGood(ticket)) throw this.#foreign(ticket);
    }
    const blocks: Block[] = [];
    let isDone = false;
    try {
      for (const ticket of tickets) {
        blocks[blocks.length] = this.adopt(ticket, tag);
      }
      isDone = true;
      return blocks;
    } finally {
      // One was adopted elsewhere at this very moment, is here twice, or there was no memory for it.
      if (!isDone) { for (const block of blocks) this.#leases.unadopt(block); }
    }
  }

  #isGood({ pool, slot, serial }: BlockTicket): boolean {
    return pool === this.#pool && slot < this.#options.maxBlocks &&
      this.#slots.isSent(slot, serial);
  }

  #foreign({ slot, serial }: BlockTicket): SmritiError {
    return new SmritiError(
      "foreign-block",
      `ticket ${slot}/${serial} was used, is out of time, or is not of pool ${
        show(this.#options.name)
      }`,
    );
  }
}

/**
 * A copy of a ticket: reading it may run the caller's code, which may answer differently the next time.
 *
 * @throws {TypeError | RangeError} if it is none
 */
export function readTicket(ticket: unknown): BlockTicket {
  if (typeof ticket !== "object" || ticket === null) {
    throw new TypeError(
      `ticket must be what block.detach() gave, got ${show(ticket)}`,
    );
  }
  const { pool, slot, serial } = ticket as BlockTicket;
  return {
    pool: integer("ticket.pool", pool, MIN, MAX),
    slot: integer("ticket.slot", slot, 0),
    serial: integer("ticket.serial", serial, MIN, MAX),
  };
}

/**
 * The same of an array as `detachMany` returns. It may lie in shared memory, and change.
 *
 * @throws {TypeError | RangeError} if they are none
 */
export function readTickets(numbers: unknown): BlockTicket[] {
  // Not by `instanceof` alone, which a Proxy passes.
  if (
    !ArrayBuffer.isView(numbers) || !(numbers instanceof Int32Array) ||
    numbers.length % NUMBERS !== 0
  ) {
    throw new TypeError(
      `tickets must be the Int32Array that detachMany() gave, got ${
        show(numbers)
      }`,
    );
  }
  const tickets: BlockTicket[] = [];
  for (let at = 0; at < numbers.length; at += NUMBERS) {
    const slot = numbers[at + 1]!;
    if (slot < 0) throw new RangeError(`a slot must be from 0, got ${slot}`);
    tickets.push({ pool: numbers[at]!, slot, serial: numbers[at + 2]! });
  }
  return tickets;
}

/**
 * The label that the options ask for.
 *
 * @throws {TypeError} for wrong options
 */
export function readTag(options: unknown): string | undefined {
  const { tag } = record("options", options, ADOPT_NAMES) as AdoptOptions;
  return tag === undefined ? undefined : text("tag", tag);
}
