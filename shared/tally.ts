/**
 * How many blocks of a shared pool are in use: about, at most, or exactly.
 *
 * Each worker counts what it took and what it freed, in words that only it writes while it lives.
 * What they add up to is only right when nothing runs, so it serves for growing ahead and for reports;
 * a limit is kept by `atMost`, and a refusal rests on the owner words themselves.
 */
import {
  ABANDONED,
  type Control,
  FREE,
  HEADER,
  isHeldBy,
  isOpen,
  isUnreplaced,
  KEEPS_ORDER,
  kindOf,
  MOST_WORKERS,
  UNCOMMITTED,
  WORKER,
} from "./control.ts";

// Hot constants: see ARCHITECTURE.md.
const { UNREPLACED, TOP_WORKER } = HEADER;
const { TAKES, FREES } = WORKER;

/** The counts of one pool, as one worker sees and keeps them. */
export class Tally {
  readonly #control: Control;
  readonly #words: Int32Array;
  readonly #owner: Int32Array;
  readonly #worker: number;
  /** This worker's words. */
  readonly #own: Int32Array;
  /** The worker that was looked at last, and what was seen of each. */
  #looked = 0;
  readonly #seen = new Int32Array(MOST_WORKERS + 1);
  /** What was seen of all others together. */
  #others = 0;

  /** Acts for one worker id, which holds nothing yet. */
  constructor(control: Control, worker: number) {
    this.#control = control;
    this.#words = control.words;
    this.#owner = control.owner;
    this.#worker = worker;
    this.#own = control.of(worker);
    const own = this.#own;
    // The counts go on from those of the id's earlier owner.
    own[WORKER.MOVED] = own[FREES]! - own[TAKES]!;
    own[WORKER.MOVING] = 0;
  }

  /** Slots that this worker holds, by its own counts. */
  get held(): number {
    return this.#heldBy(this.#own);
  }

  /**
   * Blocks that are in use or were given up unreplaced, about: exact in what this worker did, and of the
   * others as they were at the last look.
   */
  get used(): number {
    const own = this.#own;
    return this.#others + own[TAKES]! - own[FREES]! | 0;
  }

  /** Blocks in use, after a look at all others. */
  recount(): number {
    const top = this.#words[TOP_WORKER]!;
    for (let worker = 1; worker <= top; worker++) this.#look(worker);
    return Math.max(0, this.used - this.#words[UNREPLACED]!);
  }

  /** Looks at one of the others, the next each time. */
  lookOn(): void {
    if (this.#words[TOP_WORKER] === 1) return;
    const next = this.#looked < this.#words[TOP_WORKER]! ? this.#looked + 1 : 1;
    this.#looked = next;
    this.#look(next);
  }

  #look(other: number): void {
    if (other === this.#worker) return;
    const words = this.#words;
    const at = this.#control.at(other, 0);
    const now = words[at + TAKES]! - words[at + FREES]! | 0;
    this.#others += now - this.#seen[other]!;
    this.#seen[other] = now;
  }

  /**
   * No fewer blocks than are in use at one moment of this call, announced takes (`say`) included. So of
   * two that announce first and look then, one at least sees the other (Dekker).
   */
  atMost(): number {
    const words = this.#words;
    // Before what was taken: what is lost from here on is in use for this look.
    let used = 0 - words[UNREPLACED]!;
    const top = words[TOP_WORKER]!;
    // First what was freed, then what was taken: what is in use all the while is counted even if one
    // worker took it and another one frees what was sent to it.
    for (let worker = 1; worker <= top; worker++) {
      used -= words[this.#control.at(worker, FREES)]!;
    }
    this.#fence();
    for (let worker = 1; worker <= top; worker++) {
      used += words[this.#control.at(worker, TAKES)]!;
    }
    this.#fence();
    return used | 0;
  }

  /** Free blocks that any worker may take, by the owner words. Looks at every slot. */
  countFree(): number {
    return this.#count(isOpen);
  }

  /** Blocks held, in transit or claimed, by the owner words. Looks at every slot. */
  countUsed(): number {
    return this.#count((word) => {
      const kind = kindOf(word);
      return kind !== FREE && kind !== UNCOMMITTED && kind !== ABANDONED;
    });
  }

  /** Addresses given up: those dealt with, and those that the owner words tell. Looks at every slot. */
  countAbandoned(): number {
    return Atomics.load(this.#words, HEADER.GIVEN_UP) +
      this.#count((word) => kindOf(word) === ABANDONED && !isUnreplaced(word));
  }

  /** The most blocks that there can be. */
  get capacity(): number {
    return this.#owner.length - Atomics.load(this.#words, UNREPLACED);
  }

  /** Blocks that a worker holds, by the owner words. Looks at every slot. */
  countHeld(worker: number): number {
    return this.#count((word) => isHeldBy(word, worker));
  }

  /**
   * Compares the counts of a worker that has died with the slots that it holds: where they differ, the
   * step that its death has cut short is the difference.
   */
  settle(dead: number): void {
    const words = this.#words;
    const at = this.#control.at(dead, 0);
    // Once its slots go to others there is nothing to compare with any more.
    if (Atomics.load(words, at + WORKER.SETTLED) !== 0) return;
    const off = this.#heldBy(this.#control.of(dead)) - this.countHeld(dead) | 0;
    const which = words[at + WORKER.MOVING] !== 0 ? WORKER.MOVED : TAKES;
    Atomics.sub(words, at + which, off);
    Atomics.store(words, at + WORKER.SETTLED, 1);
  }

  #heldBy(words: Int32Array): number {
    return words[TAKES]! - words[FREES]! + words[WORKER.MOVED]! | 0;
  }

  #count(is: (word: number) => boolean): number {
    const owner = this.#owner;
    const top = Atomics.load(this.#words, HEADER.TOP);
    let count = 0;
    // Plain reads, ten times as fast. What is seen was so at some moment of the walk.
    for (let slot = 0; slot < top; slot++) {
      if (is(owner[slot]!)) count++;
    }
    return count;
  }

  /**
   * A memory fence: no later read of this thread moves before an earlier access. On x86-64 reads keep
   * their order by themselves, and none moves before an earlier atomic operation.
   */
  #fence(): void {
    if (KEEPS_ORDER) return;
    // Elsewhere two atomic operations: the first keeps earlier accesses before it, the second later
    // ones behind it.
    Atomics.add(this.#own, TAKES, 0);
    Atomics.load(this.#own, TAKES);
  }
}
