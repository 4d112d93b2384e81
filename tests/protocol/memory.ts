// Shared words under three memory models, as a state that is copied and compared: what an access by a
// worker may give, and what others see of it then. Knows no pools. docs/protocol.md says what each model
// covers.

/** Which model: sequentially consistent, with store buffers (TSO), or with stale plain loads as well. */
export type Mode = "sc" | "tso" | "stale";
export const MODES: readonly Mode[] = ["sc", "tso", "stale"];

/** How many values back a worker may read at each word; absent means none. */
type Ages = readonly number[];

/** The words and what workers see of them. What it is made of is shared with its copies, and never changed. */
export class Memory {
  private constructor(
    readonly mode: Mode,
    /** By word: a bit for each worker that reads it plainly. */
    readonly readers: readonly number[],
    /** By word: its latest value. */
    readonly words: number[],
    /** By worker: stores that no other sees yet, word and value by turns, the oldest first. */
    readonly late: (readonly number[])[],
    /** By word: earlier values that some worker may still read, the latest first. */
    readonly past: (readonly number[])[],
    /** By worker, by word. */
    readonly ages: Ages[],
    /** By word: what its last atomic write releases to those that acquire it. */
    readonly released: (Ages | undefined)[],
  ) {}

  /** These words, of which all workers see the same. */
  static of(
    mode: Mode,
    words: number[],
    workers: number,
    readers: readonly number[],
  ): Memory {
    const isStale = mode === "stale";
    const late = Array.from({ length: workers }, () => []);
    const past = isStale ? words.map(() => []) : [];
    const ages = late.map(() => past.map(() => 0));
    const released = past.map(() => undefined);
    return new Memory(mode, readers, words, late, past, ages, released);
  }

  copy(): Memory {
    const { mode, readers, words, late, past, ages, released } = this;
    if (mode === "sc") {
      return new Memory(
        mode,
        readers,
        words.slice(),
        late,
        past,
        ages,
        released,
      );
    }
    return new Memory(
      mode,
      readers,
      words.slice(),
      late.slice(),
      past.slice(),
      ages.slice(),
      released.slice(),
    );
  }

  /** What a plain load may give, the latest value first. */
  loads(worker: number, word: number): readonly number[] {
    const own = this.#ownLate(worker, word);
    if (own !== undefined) return [own];
    const latest = this.words[word]!;
    const age = this.ages[worker]![word] ?? 0;
    if (age === 0) return [latest];
    return [...new Set([latest, ...this.past[word]!.slice(0, age)])];
  }

  /** A plain load has given this value: nothing older is read by this worker any more. */
  loaded(worker: number, word: number, value: number): void {
    if (this.mode !== "stale") return;
    if (this.#ownLate(worker, word) !== undefined) return;
    const age = this.words[word] === value
      ? 0
      // The oldest of equal ones: it leaves most open.
      : 1 + this.past[word]!.lastIndexOf(value);
    this.#setAge(worker, word, Math.min(age, this.ages[worker]![word]!));
    this.#trim(word);
  }

  /** A plain store. */
  store(worker: number, word: number, value: number): void {
    if (this.mode === "sc") this.words[word] = value;
    else this.late[worker] = [...this.late[worker]!, word, value];
  }

  /** An atomic load: of the latest value, or of the own one that is late. Drains nothing. */
  atomicLoad(worker: number, word: number): number {
    const own = this.#ownLate(worker, word);
    if (own !== undefined) return own;
    this.#acquire(worker, word);
    return this.words[word]!;
  }

  /** An atomic operation that may write: acquires what was released there, and releases all that is late. */
  atomicUpdate(worker: number, word: number, value: number): void {
    this.drain(worker);
    const acquired = this.released[word];
    this.#acquire(worker, word);
    if (this.mode !== "stale") {
      this.words[word] = value;
      return;
    }
    this.#write(worker, word, value);
    const own = this.ages[worker]!;
    this.released[word] = acquired === undefined ? own : least(own, acquired);
    this.#trim(word);
  }

  /** A fence for one worker alone: the end of its thread, or its part of the one for all. */
  drain(worker: number): void {
    const late = this.late[worker]!;
    for (let at = 0; at < late.length; at += 2) {
      this.#write(worker, late[at]!, late[at + 1]!);
    }
    if (late.length > 0) this.late[worker] = [];
  }

  /** The stores of a worker that may be seen next, as places in its buffer: the first, or of each word the first. */
  drainable(worker: number): number[] {
    const late = this.late[worker]!;
    if (late.length === 0) return [];
    if (this.mode === "tso") return [0];
    const words = new Set<number>();
    const places: number[] = [];
    for (let at = 0; at < late.length; at += 2) {
      if (!words.has(late[at]!)) places.push(at);
      words.add(late[at]!);
    }
    return places;
  }

  /** One of them is seen. */
  drainOne(worker: number, place: number): void {
    const late = this.late[worker]!;
    this.late[worker] = late.toSpliced(place, 2);
    this.#write(worker, late[place]!, late[place + 1]!);
  }

  /** An asymmetric fence: all that any worker has stored is seen, and none reads what is older. */
  fenceAll(): void {
    for (let worker = 0; worker < this.late.length; worker++) {
      this.drain(worker);
    }
    if (this.mode !== "stale") return;
    for (let worker = 0; worker < this.late.length; worker++) {
      this.ages[worker] = this.ages[worker]!.map(() => 0);
    }
    this.past.fill([]);
  }

  /** All that another worker has seen is seen by this one. */
  acquireAll(worker: number): void {
    if (this.mode !== "stale") return;
    this.ages[worker] = this.ages[worker]!.map(() => 0);
    for (let word = 0; word < this.words.length; word++) this.#trim(word);
  }

  /** A worker reads nothing any more. */
  forget(worker: number): void {
    this.drain(worker);
    this.acquireAll(worker);
  }

  /** Feeds all that tells two states apart to a hash. */
  hash(mix: (value: number) => void): void {
    for (const value of this.words) mix(value);
    for (const late of this.late) {
      mix(late.length);
      for (const value of late) mix(value);
    }
    if (this.mode !== "stale") return;
    for (let word = 0; word < this.past.length; word++) {
      const past = this.past[word]!;
      if (past.length === 0) continue;
      mix(word);
      mix(past.length);
      for (const value of past) mix(value);
      for (const ages of this.ages) mix(ages[word]!);
      for (let other = 0; other < this.released.length; other++) {
        const released = this.released[other];
        if (released === undefined) continue;
        // Older than all that can be read is as good as nothing.
        mix(other);
        mix(Math.min(past.length, released[word]!));
      }
    }
  }

  #ownLate(worker: number, word: number): number | undefined {
    const late = this.late[worker]!;
    for (let at = late.length - 2; at >= 0; at -= 2) {
      if (late[at] === word) return late[at + 1];
    }
    return undefined;
  }

  #acquire(worker: number, word: number): void {
    if (this.mode !== "stale") return;
    this.#setAge(worker, word, 0);
    const released = this.released[word];
    if (released !== undefined) {
      this.ages[worker] = least(this.ages[worker]!, released);
      for (let other = 0; other < this.words.length; other++) this.#trim(other);
    } else this.#trim(word);
  }

  /** A write becomes visible: all others may read what was there before for a while. */
  #write(worker: number, word: number, value: number): void {
    if (this.mode !== "stale") {
      this.words[word] = value;
      return;
    }
    this.past[word] = [this.words[word]!, ...this.past[word]!];
    this.words[word] = value;
    for (let other = 0; other < this.ages.length; other++) {
      const reads = (this.readers[word]! >>> other & 1) !== 0;
      const age = other === worker || !reads ? 0 : this.ages[other]![word]! + 1;
      this.#setAge(other, word, age);
    }
    this.released.forEach((ages, other) =>
      this.released[other] = ages?.with(word, ages[word]! + 1)
    );
    this.released[word] = undefined;
    this.#trim(word);
  }

  #setAge(worker: number, word: number, age: number): void {
    if (this.ages[worker]![word] === age) return;
    this.ages[worker] = this.ages[worker]!.with(word, age);
  }

  /** Drops values that no worker can read. */
  #trim(word: number): void {
    const past = this.past[word]!;
    if (past.length === 0) return;
    let oldest = 0;
    for (const ages of this.ages) oldest = Math.max(oldest, ages[word]!);
    if (oldest < past.length) this.past[word] = past.slice(0, oldest);
  }
}

function least(one: Ages, other: Ages): Ages {
  return one.map((age, word) => Math.min(age, other[word]!));
}
