/**
 * A Map and a Set of a few entries that are copied on write: a clone costs nothing until one of the
 * two changes.
 *
 * Control flow parts far more often than it changes anything, and a function has few variables and
 * fewer leases: entries lie in arrays that are searched from the start.
 */

const NO_KEYS: readonly never[] = [];

/** A Map whose clones share its entries until one of them changes. */
export class CowMap<K, V> {
  #keys: K[];
  #values: V[];
  #isShared = true;

  constructor(
    keys: K[] = NO_KEYS as unknown as K[],
    values: V[] = NO_KEYS as unknown as V[],
  ) {
    this.#keys = keys;
    this.#values = values;
  }

  /** The number of entries. */
  get size(): number {
    return this.#keys.length;
  }

  /** The value of a key. */
  get(key: K): V | undefined {
    const at = this.#keys.indexOf(key);
    return at < 0 ? undefined : this.#values[at];
  }

  /** Whether there is a value for a key. */
  has(key: K): boolean {
    return this.#keys.includes(key);
  }

  /** Gives a key a value. */
  set(key: K, value: V): void {
    const at = this.#keys.indexOf(key);
    if (at >= 0 && this.#values[at] === value) return;
    this.#own();
    if (at >= 0) this.#values[at] = value;
    else {
      this.#keys.push(key);
      this.#values.push(value);
    }
  }

  /** Takes a key out. */
  delete(key: K): void {
    const at = this.#keys.indexOf(key);
    if (at < 0) return;
    this.#own();
    this.#keys.splice(at, 1);
    this.#values.splice(at, 1);
  }

  /** Takes all keys out. */
  clear(): void {
    this.#keys = NO_KEYS as unknown as K[];
    this.#values = NO_KEYS as unknown as V[];
    this.#isShared = true;
  }

  /** The same entries. */
  clone(): CowMap<K, V> {
    this.#isShared = true;
    return new CowMap(this.#keys, this.#values);
  }

  /** Takes over the entries of another. */
  become(other: CowMap<K, V>): void {
    other.#isShared = true;
    this.#keys = other.#keys;
    this.#values = other.#values;
    this.#isShared = true;
  }

  /** Whether neither has changed since one was made from the other. */
  isSame(other: CowMap<K, V>): boolean {
    return this.#keys === other.#keys;
  }

  /** The keys. */
  keys(): readonly K[] {
    this.#isShared = true;
    return this.#keys;
  }

  /** The entries, as they are now. */
  [Symbol.iterator](): IterableIterator<[K, V]> {
    const values = this.#values;
    return this.#keys.map((key, i): [K, V] => [key, values[i]!])
      [Symbol.iterator]();
  }

  #own(): void {
    if (!this.#isShared) return;
    this.#keys = this.#keys.slice();
    this.#values = this.#values.slice();
    this.#isShared = false;
  }
}

/** A Set whose clones share its values until one of them changes. */
export class CowSet<T> {
  #values: readonly T[] = NO_KEYS;

  /** The number of values. */
  get size(): number {
    return this.#values.length;
  }

  /** Puts a value in. */
  add(value: T): void {
    if (!this.#values.includes(value)) this.#values = [...this.#values, value];
  }

  /** Takes a value out. */
  delete(value: T): void {
    if (this.#values.includes(value)) {
      this.#values = this.#values.filter((each) => each !== value);
    }
  }

  /** Takes all values out. */
  clear(): void {
    this.#values = NO_KEYS;
  }

  /** The same values. */
  clone(): CowSet<T> {
    const copy = new CowSet<T>();
    copy.#values = this.#values;
    return copy;
  }

  /** Takes over the values of another. */
  become(other: CowSet<T>): void {
    this.#values = other.#values;
  }

  /** Whether neither has changed since one was made from the other. */
  isSame(other: CowSet<T>): boolean {
    return this.#values === other.#values;
  }

  /** The values, as they are now. */
  [Symbol.iterator](): IterableIterator<T> {
    return this.#values[Symbol.iterator]();
  }
}
