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
    this.#slots.sent(1);
    return { pool: this.#pool, slot, serial };
  }

  /** Goes on with the block of a ticket. */
  adopt(ticket: BlockTicket, tag: string | undefined): Block {
    const { slot, serial } = ticket;
    if (!this.#isGood(ticket) || !this.#slots.receive(slot, serial)) {
      throw this.#foreign(ticket);
    }
    this.#slots.received(1);
    return this.#leases.adoptAt(slot, tag);
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
    try {
      for (const block of all) {
        const slot = this.#leases.partFrom(block);
        numbers[at + 2] = this.#slots.send(slot, deadline);
        numbers[at + 1] = slot;
        numbers[at] = this.#pool;
        at += NUMBERS;
      }
    } finally {
      this.#slots.sent(at / NUMBERS);
    }
    return numbers;
  }

  /** The blocks of several tickets, all or none. */
  adoptMany(
    tickets: readonly BlockTicket[],
    tag: string | undefined,
  ): Block[] {
    for (const ticket of tickets) {
      if (!this.#isGood(ticket)) throw this.#foreign(ticket);
    }
    let count = 0;
    while (count < tickets.length) {
      const { slot, serial } = tickets[count];
      if (!this.#slots.receive(slot, serial)) break;
      count++;
    }
    if (count < tickets.length) {
      // One was adopted elsewhere at this very moment, or is here twice.
      for (const { slot } of tickets.slice(0, count)) {
        this.#slots.unreceive(slot);
      }
      throw this.#foreign(tickets[count]);
    }
    this.#slots.received(count);
    return tickets.map(({ slot }) => this.#leases.adoptAt(slot, tag));
  }

  #deadline(): number {
    return Date.now() + this.#options.ticketTimeoutMs;
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
 * A ticket as it is now: reading it may run its maker's code, which may answer otherwise next time.
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
 * The same of many, as `detachMany` gives them. They may lie in shared memory, and change.
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
    const slot = numbers[at + 1];
    if (slot < 0) throw new RangeError(`a slot must be from 0, got ${slot}`);
    tickets.push({ pool: numbers[at], slot, serial: numbers[at + 2] });
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
