// A set of states by 64 bits of hash each: two states with one hash would be taken for one, which among a
// hundred million has a chance below one in a thousand.

/** Open addressing, linear probing. */
export class StateSet {
  #cells = new Uint32Array(2 << 12);
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

  /** It is described. Whether it is new. */
  add(): boolean {
    const low = finish(this.#low ^ this.#high >>> 7);
    // 0 marks an empty cell.
    const high = finish(this.#high + this.#low | 0) || 1;
    if (2 * this.size > this.#mask) this.#grow();
    if (!this.#put(low >>> 0, high >>> 0)) return false;
    this.size++;
    return true;
  }

  #put(low: number, high: number): boolean {
    const cells = this.#cells;
    for (let at = low & this.#mask;; at = at + 1 & this.#mask) {
      if (cells[2 * at + 1] === 0) {
        cells[2 * at] = low;
        cells[2 * at + 1] = high;
        return true;
      }
      if (cells[2 * at] === low && cells[2 * at + 1] === high) return false;
    }
  }

  #grow(): void {
    const before = this.#cells;
    this.#cells = new Uint32Array(2 * before.length);
    this.#mask = 2 * this.#mask + 1;
    for (let at = 0; at < before.length; at += 2) {
      if (before[at + 1] !== 0) this.#put(before[at]!, before[at + 1]!);
    }
  }
}

/** The finalizer of MurmurHash3. */
function finish(value: number): number {
  value = Math.imul(value ^ value >>> 16, 0x85ebca6b);
  value = Math.imul(value ^ value >>> 13, 0xc2b2ae35);
  return value ^ value >>> 16;
}
