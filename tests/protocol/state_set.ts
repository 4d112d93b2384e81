// A set of states by 64 bits of hash each, with the least rank at which each was met: two states with one hash
// would be taken for one, which among a hundred million has a chance below one in a thousand.

/** Open addressing, linear probing. */
export class StateSet {
  #cells = new Uint32Array(2 << 12);
  #ranks = new Uint8Array(1 << 12);
  #mask = (1 << 12) - 1;
  #low = 0;
  #high = 0;
  size = 0;

  /** A state is described from here on, number by number. */
  begin(): void {
    this.#low = 0x9e3779b9;
    this.#high = 0x85ebca6b;
  }

  readonly mix = (value: number): void => {
    const low = Math.imul(this.#low ^ value, 0xcc9e2d51);
    const high = Math.imul(this.#high + value | 0, 0x1b873593);
    this.#low = (low << 15 | low >>> 17) + (high >>> 3) | 0;
    this.#high = (high << 13 | high >>> 19) ^ Math.imul(low, 5);
  };

  /** It is described. Whether it is new, or was met at higher ranks only. */
  add(rank = 0): boolean {
    const low = finish(this.#low ^ this.#high >>> 7);
    // 0 marks an empty cell.
    const high = finish(this.#high + this.#low | 0) || 1;
    if (2 * this.size > this.#mask) this.#grow();
    return this.#put(low >>> 0, high >>> 0, rank);
  }

  #put(low: number, high: number, rank: number): boolean {
    const cells = this.#cells;
    for (let at = low & this.#mask;; at = at + 1 & this.#mask) {
      const isNew = cells[2 * at + 1] === 0;
      if (!isNew && (cells[2 * at] !== low || cells[2 * at + 1] !== high)) {
        continue;
      }
      if (!isNew && this.#ranks[at]! <= rank) return false;
      if (isNew) this.size++;
      cells[2 * at] = low;
      cells[2 * at + 1] = high;
      this.#ranks[at] = rank;
      return true;
    }
  }

  #grow(): void {
    const cells = this.#cells;
    const ranks = this.#ranks;
    this.#cells = new Uint32Array(2 * cells.length);
    this.#ranks = new Uint8Array(2 * ranks.length);
    this.#mask = 2 * this.#mask + 1;
    this.size = 0;
    for (let at = 0; at < ranks.length; at++) {
      const high = cells[2 * at + 1]!;
      if (high !== 0) this.#put(cells[2 * at]!, high, ranks[at]!);
    }
  }
}

/** The finalizer of MurmurHash3. */
function finish(value: number): number {
  value = Math.imul(value ^ value >>> 16, 0x85ebca6b);
  value = Math.imul(value ^ value >>> 13, 0xc2b2ae35);
  return value ^ value >>> 16;
}
