/**
 * A hierarchical bitmap: a set of small integers that finds its lowest member in a few steps, however
 * many there are. Words of 32 bits, and over them levels that say which words are not empty.
 *
 * Knows nothing of slots, slabs or memory.
 */
export class Bitmap {
  #levels: Int32Array[] = [];
  /** No member lies below. Keeps the common look-up to one word. */
  floor = 0;

  /** An empty set over `0 … size − 1`. */
  constructor(size: number) {
    this.#levels = levelsOf(size);
  }

  /** Makes room for numbers up to `size − 1`. */
  extend(size: number): void {
    const before = this.#levels;
    const levels = levelsOf(size);
    before.forEach((level, depth) => levels[depth]!.set(level));
    for (let depth = before.length; depth < levels.length; depth++) {
      // The word that was the top one is now the first of its level.
      levels[depth]![0] = levels[depth - 1]![0] !== 0 ? 1 : 0;
    }
    this.#levels = levels;
  }

  /** Puts one number in. */
  add(index: number): void {
    if (index < this.floor) this.floor = index;
    const levels = this.#levels;
    for (let depth = 0; depth < levels.length; depth++) {
      const level = levels[depth]!;
      const word = index >>> 5;
      const before = level[word]!;
      level[word] = before | (1 << (index & 31));
      // The word was not empty, so the levels above know of it already.
      if (before !== 0) return;
      index = word;
    }
  }

  /** Puts `start … end − 1` in. */
  addRange(start: number, end: number): void {
    for (let index = start; index < end;) {
      this.add(index);
      if ((index & 31) === 0 && end - index >= 32) {
        this.#levels[0]![index >>> 5] = -1;
        index += 32;
      } else {
        index++;
      }
    }
  }

  /** Takes one number out. */
  remove(index: number): void {
    const levels = this.#levels;
    for (let depth = 0; depth < levels.length; depth++) {
      const level = levels[depth]!;
      const word = index >>> 5;
      const after = level[word]! & ~(1 << (index & 31));
      level[word] = after;
      if (after !== 0) return;
      index = word;
    }
  }

  /** Whether the number is in. */
  has(index: number): boolean {
    return (this.#levels[0]![index >>> 5]! & (1 << (index & 31))) !== 0;
  }

  /** The lowest member, or -1. */
  lowest(): number {
    const bottom = this.#levels[0]!;
    const start = this.floor;
    const word = start >>> 5;
    if (word < bottom.length) {
      const bits = bottom[word]! & (-1 << (start & 31));
      if (bits !== 0) {
        return this.floor = (word << 5) + lowestBit(bits);
      }
    }
    const found = this.#climb(word);
    if (found >= 0) this.floor = found;
    return found;
  }

  /** The lowest member whose word comes after `word`. */
  #climb(word: number): number {
    const levels = this.#levels;
    let index = word + 1;
    for (let depth = 1; depth < levels.length; depth++) {
      const level = levels[depth]!;
      const at = index >>> 5;
      const bits = at < level.length ? level[at]! & (-1 << (index & 31)) : 0;
      if (bits !== 0) {
        index = (at << 5) + lowestBit(bits);
        while (--depth >= 0) {
          index = (index << 5) + lowestBit(levels[depth]![index]!);
        }
        return index;
      }
      index = at + 1;
    }
    return -1;
  }
}

/** Empty levels for so many numbers. */
function levelsOf(size: number): Int32Array[] {
  const levels: Int32Array[] = [];
  let words = size;
  do {
    words = (words + 31) >>> 5;
    levels.push(new Int32Array(words));
  } while (words > 1);
  return levels;
}

/** Position of the lowest bit set. */
export function lowestBit(bits: number): number {
  return 31 - Math.clz32(bits & -bits);
}
