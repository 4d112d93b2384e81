// A shared pool of small size in one isolate, an actor with an attachment in it, and ways into every state;
// and what must be true of it when the actor has died, or when all is over.

import { assert, assertEquals } from "@std/assert";
import type { Block } from "@smriti/pool";
import {
  type BlockTicket,
  SharedBlockPool,
  type SharedPoolOptions,
} from "../../shared/mod.ts";
import {
  ABANDONED,
  Control,
  FREE,
  HEADER,
  isOpen,
  isUnreplaced,
  kindOf,
  MOST_WORKERS,
  UNCOMMITTED,
  USED,
  WORKER,
  workerOf,
} from "../../shared/control.ts";
import { numbers, PAGE } from "./pools.ts";
import { Actor, NO_THREAD } from "./access_hooks.ts";

/** A pool and what its users have in hand. */
export class Stage {
  readonly pool: SharedBlockPool;
  readonly control: Control;
  readonly actor = new Actor();
  /** The actor's attachment, once it has one. */
  attachment!: SharedBlockPool;
  /** The id of the attachment that it has or takes. */
  id = 2;
  /** Blocks of the actor. */
  readonly held: Block[] = [];
  /** Blocks of others. */
  readonly ours: Block[] = [];
  readonly others: SharedBlockPool[] = [];
  tickets: BlockTicket[] = [];
  numbers = new Int32Array(0);
  closed: Promise<unknown> | undefined;

  constructor(options: Partial<SharedPoolOptions> = {}) {
    const { maxBlocks = 6 } = options;
    this.pool = SharedBlockPool.create({
      blockSize: PAGE,
      maxBlocks,
      initialBlocks: 3,
      growStep: 0.2,
      ticketTimeoutMs: 1,
      // Also how often the pool looks after itself.
      shrinkIntervalMs: 5,
      leakDetection: "off",
      ...options,
    });
    this.control = new Control(maxBlocks, this.pool.handle.control);
  }

  /** The actor takes its attachment. */
  sit(): void {
    this.attachment = this.actor.as(() =>
      SharedBlockPool.attach(this.pool.handle)
    );
    this.id = this.attachment.workerId;
  }

  /** The others take a block, if there is one. */
  take(): void {
    const block = this.pool.tryAcquire();
    if (block !== undefined) this.ours.push(block);
  }

  /** The others give a block back, if they have one. */
  give(): void {
    this.ours.pop()?.release();
  }

  /** Owner words. */
  get owners(): number[] {
    return Array.from(this.control.owner);
  }

  /** Free slots without a hint: no search would ever find them. */
  lost(): number[] {
    return this.owners.flatMap((word, slot) => {
      const hint = this.control.hints[slot >>> 5] & (1 << (slot & 31));
      if (kindOf(word) !== FREE || isOpen(word)) {
        return isOpen(word) && hint === 0 ? [slot] : [];
      }
      // In a cache: its owner must know of it.
      return this.#isCached(slot, workerOf(word)) ? [] : [slot];
    });
  }

  #isCached(slot: number, worker: number): boolean {
    const { CACHE, CACHE_AT } = WORKER;
    const [at, mask] = [CACHE_AT, CACHE].map((word) =>
      this.control.words[this.control.at(worker, word)]
    );
    return at === slot >>> 5 && (mask & (1 << (slot & 31))) !== 0;
  }

  /** Slots in the caches of all workers. */
  get cached(): number {
    return this.owners.filter((word) => kindOf(word) === FREE && !isOpen(word))
      .length;
  }

  /** Addresses that are given up, or will be once their worker is found dead. */
  doomed(): number {
    const { words } = this.control;
    // What is being replaced is counted already, or will be.
    const slot = words[HEADER.HEAL_SLOT] - 1;
    const isCounted = words[HEADER.HEAL_GIVEN_UP] === words[HEADER.GIVEN_UP] &&
      slot >= 0 && this.owners[slot] === words[HEADER.HEAL_WORD];
    return words[HEADER.GIVEN_UP] - (isCounted ? 1 : 0) +
      this.owners.filter((word) =>
        kindOf(word) === ABANDONED && !isUnreplaced(word) ||
        kindOf(word) === USED
      ).length;
  }

  /** Blocks in use by the owner words, less those by the workers' counts. */
  get miscounted(): number {
    const { control } = this;
    const { words } = control;
    let used = 0;
    for (let id = 1; id <= words[HEADER.TOP_WORKER]; id++) {
      used += words[control.at(id, WORKER.TAKES)];
      used -= words[control.at(id, WORKER.FREES)];
    }
    const kinds = this.owners.map(kindOf);
    const seen = kinds.filter((kind) => kind !== FREE && kind !== UNCOMMITTED);
    return seen.length - used | 0;
  }

  /** A third attachment, which looks after the pool when it is told to. */
  neighbour(): { attachment: SharedBlockPool; keepHouse(): void; end(): void } {
    const actor = new Actor();
    const attachment = actor.as(() => SharedBlockPool.attach(this.pool.handle));
    this.others.push(attachment);
    return {
      attachment,
      keepHouse: () => actor.keepHouse(),
      end: () => actor.end(),
    };
  }

  /** From now on the actor's thread has ended, as far as can be known. */
  kill(id = this.id): void {
    const at = this.control.at(id, WORKER.THREAD);
    // Without an attachment nothing is left.
    if (this.control.words[at] !== 0) this.control.words[at] = NO_THREAD;
    this.actor.end();
  }

  /** An attachment of a worker that dies with what `act` leaves. */
  third(act: (attachment: SharedBlockPool) => void): void {
    const attachment = new Actor().as(() =>
      SharedBlockPool.attach(this.pool.handle)
    );
    act(attachment);
    this.control.words[this.control.at(attachment.workerId, WORKER.THREAD)] =
      NO_THREAD;
  }

  /** Gives everything back and closes; at the end no block may be missing. */
  async end(): Promise<void> {
    for (const attachment of this.others) attachment.leave();
    this.attachment?.leave();
    for (const block of [...this.held, ...this.ours]) block[Symbol.dispose]();
    await this.pool.close();
  }
}

/** Checks that nothing of a pool is lost but `doomed` blocks, and that it works. */
export async function inOrder(
  { pool, control }: Stage,
  doomed: number,
  where: string,
): Promise<void> {
  const stats = numbers(pool);
  const told = `${where}: ${Deno.inspect(stats)}`;
  assertEquals(stats.attachedWorkers, 1, told);
  assertEquals(stats.acquiredBlocks, 0, told);
  assertEquals(stats.abandonedBlocks, doomed, told);
  assertEquals(control.words[HEADER.RESIZER], 0, told);
  const { committedBlocks, capacityBlocks } = stats;
  assertEquals(control.words[HEADER.COMMITTED], committedBlocks, told);
  assertEquals(control.words[HEADER.WAITERS], 0, told);
  // If not said otherwise, one and a half of six blocks may be kept for others.
  const { maxAbandonedBytes = 1.5 * PAGE } = pool.handle.options;
  const lost = Math.max(0, doomed - Math.floor(maxAbandonedBytes / PAGE));
  assertEquals(capacityBlocks, pool.maxBlocks - lost, told);
  assertEquals(stats.abandonedBytes, doomed * PAGE, told);
  assertEquals(control.words[HEADER.HEAL_SLOT], 0, told);
  assertEquals(stats.waiting, 0, told);
  // No attachment is taken that no reaper would find.
  const taken = Array.from(
    { length: MOST_WORKERS },
    (_, at) => control.words[control.at(at + 1, WORKER.THREAD)],
  ).filter((thread) => thread !== 0);
  assertEquals(taken.length, 1, told);
  // Every block that is left can be had, is clean, and can be given back.
  const all = pool.acquireMany(capacityBlocks, { reserved: true });
  let got: Awaited<typeof all> | undefined;
  all.then((blocks) => got = blocks, () => {});
  for (let turns = 0; turns < 20 && got === undefined; turns++) {
    await Promise.resolve();
  }
  assert(got !== undefined, told);
  for (const { bytes } of got) assert(bytes[0] === 0 && bytes.at(-1) === 0);
  got[Symbol.dispose]();
}
