// What a lease writes into its block, so that no other lease's bytes can pass for it.

import type { Score } from "./score.ts";

let last = 0;

/** The mark of one lease. */
export class Stamp {
  #word: number;
  readonly #score: Score;

  /** A new one; it is in no block yet. */
  constructor(score: Score) {
    this.#score = score;
    this.#word = ++last >>> 0;
  }

  /** Counts what a fresh block shows of others: it must be empty. */
  expectEmpty(bytes: Uint8Array<ArrayBuffer>): void {
    this.#expect(bytes, 0);
  }

  /** Fills the block with the mark. */
  put(bytes: Uint8Array<ArrayBuffer>): void {
    words(bytes).fill(this.#word);
  }

  /** The same with another mark. */
  renew(bytes: Uint8Array<ArrayBuffer>): void {
    this.#word = ++last >>> 0;
    this.put(bytes);
  }

  /** Counts what in the block is not of this lease. */
  check(bytes: Uint8Array<ArrayBuffer>): void {
    this.#expect(bytes, this.#word);
  }

  #expect(bytes: Uint8Array<ArrayBuffer>, word: number): void {
    let foreign = bytes.length === 0 ? 1 : 0;
    for (const seen of words(bytes)) if (seen !== word) foreign += 4;
    this.#score.foreignBytes += foreign;
  }
}

function words({ buffer, byteOffset, length }: Uint8Array<ArrayBuffer>) {
  return new Uint32Array(buffer, byteOffset, length / 4);
}
