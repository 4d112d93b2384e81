/**
 * Hands blocks over: makes tickets of blocks of this isolate, and blocks of tickets of others.
 *
 * A ticket is good once: whoever changes the owner word of the slot in transit has the block. A
 * batch goes as a whole or not at all.
 */
import type { Block } from "../pool/block.ts";
import { integer, record, show, text } from "../pool/checks.ts";
import { SmritiError } from "../pool/errors.ts";
import type { SharedLeases } from "./shared_leases.ts";
import type { BlockTicket } from "../pool/slot.ts";
import { type Control, HEADER } from "./control.ts";
import type { SharedFilledOptions } from "./handle.ts";
import type { SharedSlots } from "./shared_slots.ts";

/** How to adopt. */
export interface AdoptOptions {
  /** Your own label for the lease, shown in errors, leak reports and `close`. */
  tag?: string;
}

const ADOPT_NAMES: ReadonlySet<string> = new Set<keyof AdoptOptions>(["tag"]);
/** Numbers per ticket in a batch. */
const NUMBERS = 3;
const MIN = -(2 ** 31);
const MAX = 2 ** 31 - 1;

/** The tickets of one isolate. */
export class TicketDesk {
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
    this.#pool = words[HEADER.POOL];
    this.#slots = slots;
    this.#leases = leases;
  }

  /** A ticket of a held slot that nobody here uses any more. */
  send(slot: number): BlockTicket {
    const serial = this.#slots.send(slot, this.#deadline());
    return { pool: this.#pool, slot, serial };
  }

  /** Goes on with the block of a ticket. */
  adopt(ticket: BlockTicket, options: AdoptOptions): Block {
    checkTicket(ticket);
    const { tag } = record("options", options, ADOPT_NAMES) as AdoptOptions;
    if (tag !== undefined) text("tag", tag);
    if (!this.#isGood(ticket)) throw this.#foreign(ticket);
    return this.#receive(ticket, tag);
  }

  /** Tickets of several blocks, all or none. */
  sendMany(blocks: readonly Block[]): Int32Array<ArrayBuffer> {
    // Read once: what was checked is what goes.
    const all = [...blocks];
    const batch = ++this.#batch;
    for (const block of all) this.#leases.checkDetach(block, batch);
    for (const block of all) this.#leases.revoke(block);
    const numbers = new Int32Array(all.length * NUMBERS);
    const deadline = this.#deadline();
    let at = 0;
    for (const block of all) {
      const slot = this.#leases.part(block);
      numbers[at++] = this.#pool;
      numbers[at++] = slot;
      numbers[at++] = this.#slots.send(slot, deadline);
    }
    return numbers;
  }

  /** The blocks of several tickets, all or none. */
  adoptMany(numbers: Int32Array, options: AdoptOptions): Block[] {
    const { tag } = record("options", options, ADOPT_NAMES) as AdoptOptions;
    if (tag !== undefined) text("tag", tag);
    const tickets = unpack(numbers);
    for (const ticket of tickets) {
      if (!this.#isGood(ticket)) throw this.#foreign(ticket);
    }
    const blocks: Block[] = [];
    try {
      for (const ticket of tickets) blocks.push(this.#receive(ticket, tag));
    } catch (error) {
      // One was adopted elsewhere at this very moment, or is here twice.
      for (const block of blocks) block.release();
      throw error;
    }
    return blocks;
  }

  #deadline(): number {
    return Date.now() + this.#options.ticketTimeoutMs;
  }

  #receive(ticket: BlockTicket, tag: string | undefined): Block {
    const { slot, serial } = ticket;
    if (!this.#slots.receive(slot, serial)) throw this.#foreign(ticket);
    return this.#leases.adoptAt(slot, tag);
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

function checkTicket(ticket: BlockTicket): void {
  if (typeof ticket !== "object" || ticket === null) {
    throw new TypeError(
      `ticket must be what block.detach() gave, got ${show(ticket)}`,
    );
  }
  integer("ticket.pool", ticket.pool, MIN, MAX);
  integer("ticket.slot", ticket.slot, 0);
  integer("ticket.serial", ticket.serial, MIN, MAX);
}

function unpack(numbers: Int32Array): BlockTicket[] {
  if (!(numbers instanceof Int32Array) || numbers.length % NUMBERS !== 0) {
    throw new TypeError(
      `tickets must be the Int32Array that detachMany() gave, got ${
        show(numbers)
      }`,
    );
  }
  // Read once: if they lie in shared memory, they may change.
  const tickets: BlockTicket[] = [];
  for (let at = 0; at < numbers.length; at += NUMBERS) {
    const slot = numbers[at + 1];
    if (slot < 0) throw new RangeError(`a slot must be from 0, got ${slot}`);
    tickets.push({ pool: numbers[at], slot, serial: numbers[at + 2] });
  }
  return tickets;
}
