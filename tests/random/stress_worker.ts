// One Worker of tests/random/stress.ts.

import type { Block, BlockTicket } from "../../mod.ts";
import type { SharedBlockPool } from "../../shared/mod.ts";
import { Rng } from "../support/rng.ts";
import {
  BOARD_WORDS,
  RING,
  RING_WORDS,
  type StressCounts,
  type StressTask,
} from "./stress.ts";

const scope = self as unknown as {
  onmessage: (event: MessageEvent) => void;
  postMessage(message: unknown): void;
};

/** A ring of tickets from one Worker to another. */
class Ring {
  readonly #words: Int32Array;

  constructor(rings: SharedArrayBuffer, index: number) {
    this.#words = new Int32Array(rings, 4 * RING_WORDS * index, RING_WORDS);
  }

  get isFull(): boolean {
    const [read, write] = this.#words;
    return write - read >= RING;
  }

  push(...ticket: [number, number, number, number]): void {
    const write = Atomics.load(this.#words, 1);
    this.#words.set(ticket, 2 + 4 * (write % RING));
    Atomics.store(this.#words, 1, write + 1);
  }

  pop(): Int32Array | undefined {
    const read = this.#words[0];
    if (Atomics.load(this.#words, 1) === read) return undefined;
    const at = 2 + 4 * (read % RING);
    const ticket = this.#words.slice(at, at + 4);
    Atomics.store(this.#words, 0, read + 1);
    return ticket;
  }
}

interface Held {
  readonly block: Block;
  readonly stamp: number;
}

class Stressed {
  readonly counts: StressCounts = {
    acquired: 0,
    released: 0,
    sent: 0,
    adopted: 0,
    missed: 0,
    refused: 0,
    wrong: [],
  };
  readonly #task: StressTask;
  readonly #pool: SharedBlockPool;
  readonly #rng: Rng;
  readonly #held: Held[] = [];
  readonly #most: number;
  readonly #registry: Int32Array;
  #stamp = 0;

  constructor(
    task: StressTask,
    pool: SharedBlockPool,
  ) {
    this.#task = task;
    this.#pool = pool;
    this.#rng = new Rng(task.seed + task.me);
    this.#registry = new Int32Array(
      task.rings,
      4 * RING_WORDS * task.workers ** 2,
      BOARD_WORDS,
    );
    // Together they want more than there is.
    this.#most = Math.ceil(1.5 * task.options.maxBlocks / task.workers);
  }

  run(): void {
    const { operations } = this.#task;
    for (let i = 0; i < operations; i++) {
      const what = this.#rng.below(1000);
      if (what < 420) this.#acquire(what < 20);
      else if (what < 700) this.#release();
      else if (what < 750) this.#send();
      else if (what < 780) this.#post();
      else if (what < 840) this.#duel();
      else if (what < 990) this.#receive(this.#rng.below(this.#task.workers));
      else this.#pool.trim();
    }
    while (this.#held.length > 0) this.#release();
  }

  /** No worker sends any more. */
  drain(): void {
    for (let from = 0; from < this.#task.workers; from++) {
      while (this.#receive(from)) this.#release();
    }
    this.#clear();
    while (this.#held.length > 0) this.#release();
    this.#pool.leave();
  }

  #acquire(reserved: boolean): void {
    if (this.#held.length >= this.#most) return this.#release();
    const block = reserved
      ? this.#pool.tryAcquire({ reserved })
      : this.#pool.tryAcquire();
    if (block === undefined) {
      this.counts.refused++;
      return;
    }
    this.counts.acquired++;
    this.#keep(block, 0);
  }

  #release(): void {
    const held = this.#drop();
    if (held === undefined) return;
    this.#check(held.block, held.stamp, "at release");
    held.block.release();
    this.counts.released++;
  }

  /** A ticket goes to two others; one of them gets the block. */
  #send(): void {
    const { workers, me } = this.#task;
    const first = this.#rng.below(workers);
    const second = (first + 1 + this.#rng.below(workers - 1)) % workers;
    const [a, b] = [first, second].map((to) => this.#ring(me, to));
    if (a.isFull || b.isFull) return;
    const held = this.#drop();
    if (held === undefined) return;
    this.#check(held.block, held.stamp, "at detach");
    const { pool, slot, serial } = held.block.detach();
    this.counts.sent++;
    a.push(pool, slot, serial, held.stamp);
    b.push(pool, slot, serial, held.stamp);
  }

  #receive(from: number): boolean {
    const ticket = this.#ring(from, this.#task.me).pop();
    if (ticket === undefined) return false;
    const [pool, slot, serial, stamp] = ticket;
    this.#adopt({ pool, slot, serial }, stamp);
    return true;
  }

  #adopt(ticket: BlockTicket, stamp: number): void {
    let block: Block;
    try {
      block = this.#pool.adopt(ticket);
    } catch (error) {
      if ((error as { code?: string }).code !== "foreign-block") throw error;
      this.counts.missed++;
      return;
    }
    this.counts.adopted++;
    this.#keep(block, stamp);
  }

  /** Puts a ticket where all can see it, in place of the one before. */
  #post(): void {
    const registry = this.#registry;
    const number = this.#write();
    if (number === undefined) return;
    const held = this.#drop();
    if (held === undefined) registry[4] = 0;
    else {
      this.#check(held.block, held.stamp, "at detach");
      const { pool, slot, serial } = held.block.detach();
      this.counts.sent++;
      registry.set([pool, slot, serial, held.stamp], 1);
    }
    Atomics.store(registry, 0, number + 2);
  }

  /** Takes the last ticket down. */
  #clear(): void {
    // Should a bug have ended the writer, this ends nevertheless.
    for (let i = 0; i < 1e6; i++) {
      const number = this.#write();
      if (number === undefined) continue;
      this.#registry[4] = 0;
      return void Atomics.store(this.#registry, 0, number + 2);
    }
  }

  /** Begins to write on the registry, unless another worker does; the ticket there is not to be lost. */
  #write(): number | undefined {
    const registry = this.#registry;
    const number = Atomics.load(registry, 0);
    if (number % 2 !== 0) return undefined;
    if (Atomics.compareExchange(registry, 0, number, number + 1) !== number) {
      return undefined;
    }
    const [, pool, slot, serial, stamp] = registry;
    if (stamp !== 0) this.#adopt({ pool, slot, serial }, stamp);
    return number;
  }

  /** Waits a moment for the next ticket on the registry, and goes for it together with the others. */
  #duel(): void {
    const registry = this.#registry;
    const before = Atomics.load(registry, 0);
    let now = before;
    for (let i = 0; i < 500 && now === before; i++) {
      now = Atomics.load(registry, 0);
    }
    if (now % 2 !== 0) now = Atomics.load(registry, 0);
    const [, pool, slot, serial, stamp] = registry;
    if (now % 2 !== 0 || Atomics.load(registry, 0) !== now || stamp === 0) {
      return;
    }
    this.#adopt({ pool, slot, serial }, stamp);
  }

  /** Begins to hold a block that must have this stamp, or none. */
  #keep(block: Block, stamp: number): void {
    this.#check(block, stamp, stamp === 0 ? "at acquire" : "at adopt");
    this.#stamp = this.#stamp % 0xff_ffff + 1;
    const mine = (this.#task.me + 1) << 24 | this.#stamp;
    const view = new DataView(block.bytes.buffer);
    view.setInt32(0, mine);
    view.setInt32(view.byteLength - 4, mine);
    this.#held.push({ block, stamp: mine });
  }

  #check(block: Block, stamp: number, when: string): void {
    const view = new DataView(block.bytes.buffer);
    const seen = [view.getInt32(0), view.getInt32(view.byteLength - 4)];
    if (seen[0] === stamp && seen[1] === stamp) return;
    if (this.counts.wrong.length < 20) {
      this.counts.wrong.push(`${when}: ${seen} instead of ${stamp}`);
    }
  }

  #drop(): Held | undefined {
    const held = this.#held;
    if (held.length === 0) return undefined;
    const at = this.#rng.below(held.length);
    const one = held[at];
    held[at] = held[held.length - 1];
    held.pop();
    return one;
  }

  #ring(from: number, to: number): Ring {
    const { rings, workers } = this.#task;
    return this.#rings[from * workers + to] ??= new Ring(
      rings,
      from * workers + to,
    );
  }

  readonly #rings: Ring[] = [];
}

let stressed: Stressed;

scope.onmessage = async ({ data }) => {
  try {
    if (data === "go") stressed.run();
    else if (data === "end") stressed.drain();
    else {
      const task = data as StressTask;
      const { SharedBlockPool } = await import(`${task.root}shared/mod.ts`);
      stressed = new Stressed(task, SharedBlockPool.attach(task.handle));
    }
  } catch (error) {
    stressed.counts.wrong.push(`${error}`);
  }
  scope.postMessage(stressed.counts);
};
