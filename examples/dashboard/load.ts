/**
 * What the buttons of the dashboard do to a pool. All that is acquired here is released, at the
 * latest when the load is disposed.
 */
import { setTimeout as delay } from "node:timers/promises";
import { type Block, type BlockPool, SmritiError } from "@smriti/pool";

const BURST_MS = 3_000;
/** Tasks begin and end one after the other: the pool is seen growing and emptying. */
const RAMP_MS = 1_000;

/** A load on one pool: what each button does, in words when it is done. */
export function loadOn(pool: BlockPool) {
  const held: Block[] = [];
  let endMs = 0;

  /** Like requests: take a block, fill it, do something with it, every third time by lending. */
  async function work(afterMs: number) {
    await delay(afterMs);
    while (endMs - performance.now() > RAMP_MS - afterMs) {
      using block = await pool.acquire({ timeoutMs: 5_000, tag: "burst" });
      block.bytes.fill(1);
      const ended = delay(40 + Math.random() * 160);
      await (Math.random() < 1 / 3 ? block.lend(ended) : ended);
    }
  }

  function release(): string {
    for (const block of held) block[Symbol.dispose]();
    return `${held.splice(0).length} blocks released.`;
  }

  return {
    burst(): string {
      const now = performance.now();
      if (now < endMs) return "A burst is at work.";
      endMs = now + BURST_MS;
      // A tenth more tasks than blocks: some have to wait, and that is to be seen.
      const tasks = Math.min(Math.ceil(pool.maxBlocks * 11 / 10), 4_000);
      for (let i = 0; i < tasks; i++) {
        // A pool that is closed or full ends a task, as it would end a request.
        work(i / tasks * RAMP_MS).catch((error) => {
          if (!(error instanceof SmritiError)) throw error;
        });
      }
      return `A burst of ${tasks} tasks began.`;
    },
    hold(): string {
      if (held.length > 0) return release();
      for (let left = Math.ceil(pool.maxBlocks / 4); left > 0; left--) {
        const block = pool.tryAcquire({ tag: "held" });
        block?.bytes.fill(1);
        if (block !== undefined) held.push(block);
      }
      return `${held.length} blocks held.`;
    },
    trim: (): string => `${pool.trim()} bytes given back.`,
    [Symbol.dispose](): void {
      endMs = 0; // the tasks of a burst end by themselves, soon
      release();
    },
  };
}
