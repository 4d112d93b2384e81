/**
 * What the buttons of the dashboard do to a pool: a burst of work, some blocks held, memory given
 * back. Everything it acquires it releases, at the latest when it is disposed.
 */

import { setTimeout as delay } from "node:timers/promises";
import { type Block, type BlockPool, SmritiError } from "@smriti/pool";

const BURST_MS = 3_000;
/** A tenth more tasks than there can be blocks: some have to wait, and that is to be seen. */
const MORE_TASKS_SHARE = 0.1;
const MOST_TASKS = 4_000;
/** Tasks begin and end one after the other, so that the pool is seen growing and emptying. */
const RAMP_MS = 1_000;
const HOLD_SHARE = 0.25;
/** What an operating system makes resident at a time. */
const PAGE_BYTES = 4_096;

/** A load on one pool. */
export class Load implements Disposable {
  readonly #pool: BlockPool;
  #held: Block[] = [];
  #burstEnd = 0;
  #tasks = 0;

  constructor(pool: BlockPool) {
    this.#pool = pool;
  }

  /** Whether tasks of a burst are at work. */
  get bursting(): boolean {
    return this.#tasks > 0;
  }

  /** Blocks held by {@linkcode Load.hold}. */
  get held(): number {
    return this.#held.length;
  }

  /** Starts a burst, or makes the one at work longer. Returns what it does, in words. */
  burst(): string {
    this.#burstEnd = performance.now() + BURST_MS;
    const { maxBlocks } = this.#pool;
    const more = Math.ceil(maxBlocks * MORE_TASKS_SHARE);
    const tasks = Math.min(maxBlocks + more, MOST_TASKS);
    if (this.bursting) return "The burst goes on.";
    for (let i = 0; i < tasks; i++) this.#start(i / tasks * RAMP_MS);
    return `A burst of ${tasks} tasks began.`;
  }

  /** Holds a quarter of the pool's blocks, or lets go of them. */
  hold(): string {
    if (this.#held.length > 0) {
      const count = this.#held.length;
      this.#letGo();
      return `${count} blocks released.`;
    }
    const wanted = Math.ceil(this.#pool.maxBlocks * HOLD_SHARE);
    while (this.#held.length < wanted) {
      const block = this.#pool.tryAcquire({ tag: "held" });
      if (block === undefined) break;
      touch(block);
      this.#held.push(block);
    }
    return `${this.#held.length} blocks held.`;
  }

  /** Gives free memory back now. */
  trim(): string {
    const bytes = this.#pool.trim();
    const mib = (bytes / 2 ** 20).toFixed(1);
    return bytes === 0 ? "Nothing to give back." : `${mib} MiB given back.`;
  }

  /** Lets go of what is held; tasks of a burst end by themselves, soon. */
  [Symbol.dispose](): void {
    this.#burstEnd = 0;
    this.#letGo();
  }

  #letGo(): void {
    for (const block of this.#held) block[Symbol.dispose]();
    this.#held = [];
  }

  async #start(afterMs: number): Promise<void> {
    this.#tasks++;
    try {
      await delay(afterMs);
      const left = () => this.#burstEnd - performance.now();
      while (left() > RAMP_MS - afterMs) await this.#work();
    } catch (error) {
      // A pool that is closed or full ends the task, as it would end a request.
      if (!(error instanceof SmritiError)) throw error;
    } finally {
      this.#tasks--;
    }
  }

  /** Like a request: fills a block, does something with it, and every third time by lending. */
  async #work(): Promise<void> {
    using block = await this.#pool.acquire({ timeoutMs: 5_000, tag: "burst" });
    touch(block);
    const ms = 40 + Math.random() * 160;
    await (Math.random() < 1 / 3 ? block.lend(delay(ms)) : delay(ms));
  }
}

/** Makes the block's memory resident, as filling it would. */
function touch({ bytes }: Block): void {
  for (let at = 0; at < bytes.length; at += PAGE_BYTES) bytes[at] = 1;
}
