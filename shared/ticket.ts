/**
 * Tickets as values: their check, and their form as plain numbers.
 */
import { show } from "../pool/checks.ts";
import type { BlockTicket } from "../pool/slot.ts";

/** Numbers per ticket in a batch. */
const NUMBERS = 3;

/** Throws unless it has the form of a ticket. */
export function checkTicket(ticket: BlockTicket): void {
  const { pool, slot, serial } = Object(ticket) as Record<string, unknown>;
  const formed = [pool, slot, serial].every(Number.isInteger) &&
    (slot as number) >= 0;
  if (!formed) {
    throw new TypeError(
      `ticket must be what block.detach() gave, got ${show(ticket)}`,
    );
  }
}

/** Tickets as one array of numbers. */
export function packTickets(
  tickets: readonly BlockTicket[],
): Int32Array<ArrayBuffer> {
  const numbers = new Int32Array(tickets.length * NUMBERS);
  tickets.forEach(({ pool, slot, serial }, at) =>
    numbers.set([pool, slot, serial], at * NUMBERS)
  );
  return numbers;
}

/** The tickets in an array of numbers. */
export function unpackTickets(numbers: Int32Array): BlockTicket[] {
  if (!(numbers instanceof Int32Array) || numbers.length % NUMBERS !== 0) {
    throw new TypeError(
      `tickets must be the Int32Array that detachMany() gave, got ${
        show(numbers)
      }`,
    );
  }
  const tickets: BlockTicket[] = [];
  for (let at = 0; at < numbers.length; at += NUMBERS) {
    const [pool, slot, serial] = numbers.subarray(at, at + NUMBERS);
    tickets.push({ pool, slot, serial });
  }
  return tickets;
}
