/**
 * A ring of tickets between two Workers, in shared memory: hands blocks over without a message.
 */

/** Tickets in a ring, at three numbers each. */
const ROOM = 1024;
const NUMBERS = 3;
/** Where it is written and read, then the tickets. */
const WORDS = 2 + ROOM * NUMBERS;
/** How long one who finds it full or empty sleeps at most, in ms. */
const NAP_MS = 2;

/** One writer, one reader. */
export class Ring {
  readonly #words: Int32Array;

  /** Ring number `index` of `rings`. */
  constructor(rings: SharedArrayBuffer, index: number) {
    this.#words = new Int32Array(rings, 4 * WORDS * index, WORDS);
  }

  /** Bytes for so many rings. */
  static bytes(count: number): number {
    return 4 * WORDS * count;
  }

  /** Puts tickets in, waiting for room. */
  write(tickets: Int32Array): void {
    const words = this.#words;
    for (;;) {
      const read = Atomics.load(words, 1);
      if (words[0] - read + tickets.length <= ROOM * NUMBERS) break;
      Atomics.wait(words, 1, read, NAP_MS);
    }
    const at = words[0];
    for (let i = 0; i < tickets.length; i++) {
      words[2 + (at + i) % (ROOM * NUMBERS)] = tickets[i];
    }
    Atomics.store(words, 0, at + tickets.length);
    Atomics.notify(words, 0);
  }

  /** Takes so many tickets out, waiting for them. */
  read(count: number): Int32Array {
    const words = this.#words;
    const wanted = count * NUMBERS;
    for (;;) {
      const written = Atomics.load(words, 0);
      if (written - words[1] >= wanted) break;
      Atomics.wait(words, 0, written, NAP_MS);
    }
    const tickets = new Int32Array(wanted);
    const at = words[1];
    for (let i = 0; i < wanted; i++) {
      tickets[i] = words[2 + (at + i) % (ROOM * NUMBERS)];
    }
    Atomics.store(words, 1, at + wanted);
    Atomics.notify(words, 1);
    return tickets;
  }
}
