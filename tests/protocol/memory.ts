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
    /** By word: how far back one may read everywhere who has read it by an operation that acquires. */
    readonly since: (Ages | undefined)[],
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
    const since = past.map(() => undefined);
    return new Memory(mode, readers, words, late, past, ages, since);
  }

  copy(): Memory {
    const { mode, readers, words, late, past, ages, since } = this;
    if (mode === "sc") {
      return new Memory(
        mode,
        readers,
        words.slice(),
        late,
        past,
        ages,
        since,
      );
    }
    return new Memory(
      mode,
      readers,
      words.slice(),
      late.slice(),
      past.slice(),
      ages.slice(),
      since.slice(),
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

  /**
   * An atomic load: of the latest value, or of the own one that is late. Drains nothing. Later loads come
   * after it.
   */
  atomicLoad(worker: number, word: number): number {
    const own = this.#ownLate(worker, word);
    this.acquireAll(worker);
    return own ?? this.words[word]!;
  }

  /** An atomic store: all that is late comes before it. Later loads may come before it, too. */
  atomicStore(worker: number, word: number, value: number): void {
    this.drain(worker);
    this.#write(worker, word, value);
  }

  /**
   * An atomic operation that reads and writes: all that is late comes before its write, and later loads
   * after its read, though maybe before its write.
   */
  atomicUpdate(worker: number, word: number, value: number): void {
    this.drain(worker);
    const since = this.since[word];
    if (this.mode === "stale") {
      if (since !== undefined) {
        this.ages[worker] = least(this.ages[worker]!, since);
        for (let other = 0; other < this.words.length; other++) {
          this.#trim(other);
        }
      }
      // Where nothing was written there is nothing that could come late.
      if (value === this.words[word]) return;
    }
    this.#write(worker, word, value);
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

  /** Nothing older than what is there now is read by this worker any more. */
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
      for (let other = 0; other < this.since.length; other++) {
        const since = this.since[other];
        if (since === undefined) continue;
        // Older than all that can be read is as good as nothing.
        mix(other);
        mix(Math.min(past.length, since[word]!));
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
    this.since.forEach((ages, other) =>
      this.since[other] = ages?.with(word, ages[word]! + 1)
    );
    this.since[word] = this.words.map(() => 0);
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
