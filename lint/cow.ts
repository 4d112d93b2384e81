/**
 * A Map and a Set that are copied on write: a clone costs nothing until one of the two changes.
 *
 * Control flow parts far more often than it changes anything.
 */

/** A Map whose clones share its entries until one of them changes. */
export class CowMap<K, V> {
  #entries: Map<K, V>;
  #isShared: boolean;

  constructor(entries: Map<K, V> = new Map(), isShared = false) {
    this.#entries = entries;
    this.#isShared = isShared;
  }

  /** The number of entries. */
  get size(): number {
    return this.#entries.size;
  }

  /** The value of a key. */
  get(key: K): V | undefined {
    return this.#entries.get(key);
  }

  /** Whether there is a value for a key. */
  has(key: K): boolean {
    return this.#entries.has(key);
  }

  /** Gives a key a value. */
  set(key: K, value: V): void {
    const { size } = this.#entries;
    if (size > 0 && this.#entries.get(key) === value && value !== undefined) return;
    this.#own().set(key, value);
  }

  /** Takes a key out. */
  delete(key: K): void {
    if (this.#entries.has(key)) this.#own().delete(key);
  }

  /** Takes all keys out. */
  clear(): void {
    if (this.#entries.size === 0) return;
    this.#entries = new Map();
    this.#isShared = false;
  }

  /** The same entries. */
  clone(): CowMap<K, V> {
    this.#isShared = true;
    return new CowMap(this.#entries, true);
  }

  /** Takes over the entries of another. */
  become(other: CowMap<K, V>): void {
    other.#isShared = true;
    this.#entries = other.#entries;
    this.#isShared = true;
  }

  /** Whether neither has changed since one was made from the other. */
  isSame(other: CowMap<K, V>): boolean {
    return this.#entries === other.#entries;
  }

  /** The keys. */
  keys(): IterableIterator<K> {
    return this.#entries.keys();
  }

  /** The entries. */
  [Symbol.iterator](): IterableIterator<[K, V]> {
    return this.#entries[Symbol.iterator]();
  }

  #own(): Map<K, V> {
    if (this.#isShared) {
      this.#entries = new Map(this.#entries);
      this.#isShared = false;
    }
    return this.#entries;
  }
}

/** A Set whose clones share its values until one of them changes. */
export class CowSet<T> {
  readonly #map: CowMap<T, true>;

  constructor(map: CowMap<T, true> = new CowMap()) {
    this.#map = map;
  }

  /** The number of values. */
  get size(): number {
    return this.#map.size;
  }

  /** Puts a value in. */
  add(value: T): void {
    this.#map.set(value, true);
  }

  /** Takes a value out. */
  delete(value: T): void {
    this.#map.delete(value);
  }

  /** Takes all values out. */
  clear(): void {
    this.#map.clear();
  }

  /** The same values. */
  clone(): CowSet<T> {
    return new CowSet(this.#map.clone());
  }

  /** Takes over the values of another. */
  become(other: CowSet<T>): void {
    this.#map.become(other.#map);
  }

  /** Whether neither has changed since one was made from the other. */
  isSame(other: CowSet<T>): boolean {
    return this.#map.isSame(other.#map);
  }

  /** The values. */
  [Symbol.iterator](): IterableIterator<T> {
    return this.#map.keys();
  }
}
