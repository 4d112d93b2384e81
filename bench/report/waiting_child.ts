/**
 * Many who wait for few blocks: one contestant in this process alone. Arguments: `hand` NAME or
 * `cancel` WAITERS.
 */
import { createPool as createGeneric } from "generic-pool";
import { createPool as createLightning } from "lightning-pool";
import { Pool as Tarn } from "tarn";
import { BlockPool } from "@smriti/pool";
import { timed, timedAsync } from "../measure.ts";
import { report } from "./child.ts";

/** Blocks of the pool. */
export const BLOCKS = 100;
/** Tasks that share them. */
export const TASKS = 10_000;
/** So often each task takes one. */
const TURNS = 5;
/** No work is done on a block, so small ones do. */
const SIZE = 4096;

/** What the crowd came to. */
export interface Hand {
  readonly handOffsPerSecond: number;
  /** Bytes of JavaScript heap for each that waits, its promise included. */
  readonly bytesPerWaiter: number;
  /** Most places by which one that asked was served early or late. */
  readonly outOfOrder: number;
}

/** Microseconds to cancel one in the middle. */
export interface Cancel {
  readonly micros: number;
}

/** Gives one back. */
type GiveBack = () => void;

/** A pool that makes callers wait. */
interface Contestant {
  take(): Promise<GiveBack>;
}

const CONTESTANTS: Record<string, () => Contestant> = {
  smriti() {
    const pool = new BlockPool({ blockSize: SIZE, maxBlocks: BLOCKS });
    return {
      async take() {
        const block = await pool.acquire();
        return () => block.release();
      },
    };
  },
  "generic-pool"() {
    const pool = createGeneric({
      create: () => Promise.resolve(new Uint8Array(SIZE)),
      destroy: () => Promise.resolve(),
    }, { max: BLOCKS });
    return {
      async take() {
        const bytes = await pool.acquire();
        return () => void pool.release(bytes);
      },
    };
  },
  "tarn"() {
    const pool = new Tarn<Uint8Array>({
      create: () => new Uint8Array(SIZE),
      destroy: () => {},
      min: 0,
      max: BLOCKS,
    });
    return {
      async take() {
        const bytes = await pool.acquire().promise;
        return () => void pool.release(bytes);
      },
    };
  },
  "lightning-pool"() {
    const pool = createLightning<Uint8Array>({
      create: () => new Uint8Array(SIZE),
      destroy: () => {},
    }, { max: BLOCKS, maxQueue: 2 * TASKS });
    return {
      async take() {
        const bytes = await pool.acquire();
        return () => pool.release(bytes);
      },
    };
  },
};

function heapUsed(): number {
  const { gc } = globalThis as unknown as { gc(): void };
  gc();
  return Deno.memoryUsage().heapUsed;
}

async function hand(name: string): Promise<Hand> {
  const { take } = CONTESTANTS[name]();
  const first = await Promise.all(Array.from({ length: BLOCKS }, take));
  // All are out: whoever asks now waits.
  const before = heapUsed();
  let served = 0;
  let outOfOrder = 0;
  const crowd = Array.from(
    { length: TASKS },
    (_, asked) =>
      take().then((giveBack) => {
        outOfOrder = Math.max(outOfOrder, Math.abs(asked - served++));
        giveBack();
      }),
  );
  // What the machine does by itself to a promise that is waited for has to be there.
  await Promise.resolve();
  const bytesPerWaiter = (heapUsed() - before) / TASKS;
  for (const giveBack of first) giveBack();
  await Promise.all(crowd);

  const task = async () => {
    for (let turn = 0; turn < TURNS; turn++) {
      const giveBack = await take();
      await Promise.resolve();
      giveBack();
    }
  };
  const ms = await timedAsync(async () => {
    await Promise.all(Array.from({ length: TASKS }, task));
  });
  const handOffsPerSecond = 1000 * TASKS * TURNS / ms;
  return { handOffsPerSecond, bytesPerWaiter, outOfOrder };
}

async function cancel(waiters: number): Promise<Cancel> {
  const pool = new BlockPool({
    blockSize: SIZE,
    maxBlocks: 1,
    maxWaiting: waiters,
  });
  const block = pool.acquireSync();
  const controllers = Array.from(
    { length: waiters },
    () => new AbortController(),
  );
  let aborted = 0;
  const crowd = controllers.map(({ signal }) =>
    pool.acquire({ signal }).then((block) => block.release(), () => aborted++)
  );
  // From the middle outwards, a thousand of them.
  const count = 1000;
  const middle = (waiters - count) >> 1;
  const reason = new Error("no longer wanted");
  (globalThis as unknown as { gc(): void }).gc();
  const ms = timed(() => {
    for (let i = 0; i < count; i++) controllers[middle + i].abort(reason);
  });
  block.release();
  await Promise.all(crowd);
  if (aborted !== count) throw new Error(`${aborted} were cancelled`);
  await pool.close();
  return { micros: 1000 * ms / count };
}

if (import.meta.main) {
  const [what, which] = Deno.args;
  if (what === "hand") report(await hand(which));
  else report(await cancel(Number(which)));
  Deno.exit(0);
}

/** Their names. */
export const NAMES: readonly string[] = Object.keys(CONTESTANTS);
