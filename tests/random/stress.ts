// Several Workers that take, hold, hand over and give back blocks of one pool as fast as they can,
// each block stamped and looked at again. Runs on any copy of the sources: also on a broken one.

import type {
  SharedBlockPool,
  SharedPoolHandle,
  SharedPoolOptions,
} from "../../shared/mod.ts";

/** What one run is made of. */
export interface StressPlan {
  /** Folder of the sources, ending in a slash. */
  readonly root: string;
  readonly workers: number;
  /** Operations of each Worker. */
  readonly operations: number;
  readonly seed: number;
  readonly options: SharedPoolOptions;
}

/** What a Worker is given. */
export interface StressTask extends StressPlan {
  readonly me: number;
  readonly handle: SharedPoolHandle;
  /** Rings of tickets, one for each ordered pair of Workers; then the registry. */
  readonly rings: SharedArrayBuffer;
}

/** What a Worker counts. */
export interface StressCounts {
  acquired: number;
  released: number;
  sent: number;
  adopted: number;
  /** Tickets that another worker adopted first. */
  missed: number;
  refused: number;
  /** The first things that must not happen. */
  wrong: string[];
}

/** What came of it. */
export interface StressResult extends StressCounts {
  /** How long the Workers ran. */
  readonly nanoseconds: number;
}

/** Tickets in a ring. */
export const RING = 64;
/** Words of a ring: where it is read and written, and the tickets with their stamps. */
export const RING_WORDS = 2 + 4 * RING;
/** Words of the registry: a number that is odd while it is being written, and a ticket with its stamp. */
export const BOARD_WORDS = 5;

const SCRIPT = new URL("./stress_worker.ts", import.meta.url).href;

/** Runs the plan and looks at what is left; throws nothing. */
export async function stress(plan: StressPlan): Promise<StressResult> {
  const { SharedBlockPool } = await import(
    `${plan.root}shared/mod.ts`
  ) as typeof import("../../shared/mod.ts");
  const pool = SharedBlockPool.create(plan.options);
  const { handle } = pool;
  const rings = new SharedArrayBuffer(
    4 * (RING_WORDS * plan.workers ** 2 + BOARD_WORDS),
  );
  const workers = Array.from(
    { length: plan.workers },
    () => new Worker(SCRIPT, { type: "module" }),
  );
  const total: StressCounts = {
    acquired: 0,
    released: 0,
    sent: 0,
    adopted: 0,
    missed: 0,
    refused: 0,
    wrong: [],
  };
  const answers = (ask: (worker: Worker, me: number) => void) =>
    Promise.all(
      workers.map((worker, me) =>
        new Promise<StressCounts>((resolve, reject) => {
          worker.onmessage = ({ data }) => resolve(data);
          worker.onerror = (event) => {
            event.preventDefault();
            reject(new Error(event.message));
          };
          ask(worker, me);
        })
      ),
    );
  try {
    return await run(pool, plan, { handle, rings, total, answers });
  } catch (error) {
    // A Worker has thrown out of its event loop; the others may wait for it.
    total.wrong.push(`${error}`);
    pool.leave();
    return { ...total, nanoseconds: 0 };
  } finally {
    for (const worker of workers) worker.terminate();
  }
}

/** What a run works with. */
interface Running {
  readonly handle: SharedBlockPool["handle"];
  readonly rings: SharedArrayBuffer;
  readonly total: StressCounts;
  /** Asks every Worker for something, and waits for all. */
  readonly answers: (
    ask: (worker: Worker, me: number) => void,
  ) => Promise<StressCounts[]>;
}

async function run(
  pool: SharedBlockPool,
  plan: StressPlan,
  { handle, rings, total, answers }: Running,
): Promise<StressResult> {
  // First all are ready, then all begin, then the rings are emptied.
  await answers((worker, me) => {
    const task: StressTask = { ...plan, me, handle, rings };
    worker.postMessage(task);
  });
  const start = performance.now();
  await answers((worker) => worker.postMessage("go"));
  const nanoseconds = (performance.now() - start) * 1e6;
  for (const counts of await answers((worker) => worker.postMessage("end"))) {
    for (const name of ["acquired", "released", "sent", "adopted"] as const) {
      total[name] += counts[name];
    }
    total.missed += counts.missed;
    total.refused += counts.refused;
    total.wrong.push(...counts.wrong);
  }
  total.wrong.push(...await conservation(pool, total));
  return { ...total, nanoseconds };
}

/** Nothing is out, every block can be had, and the counts agree. */
async function conservation(
  pool: SharedBlockPool,
  { acquired, sent, adopted }: StressCounts,
): Promise<string[]> {
  const wrong: string[] = [];
  const stats = pool.stats();
  const expect = (what: string, seen: number, due: number) => {
    if (seen !== due) wrong.push(`${what} is ${seen}, not ${due}`);
  };
  expect("acquiredBlocks", stats.acquiredBlocks, 0);
  expect("abandonedBlocks", stats.abandonedBlocks, 0);
  expect("freeBlocks", stats.freeBlocks, stats.committedBlocks);
  expect("acquires", stats.acquires, acquired);
  expect("adopted", adopted, sent);
  const blocks = [];
  for (;;) {
    const block = pool.tryAcquire({ reserved: true });
    if (block === undefined) break;
    if (block.bytes.some((byte) => byte !== 0)) wrong.push("foreign bytes");
    blocks.push(block);
  }
  expect("blocks that can be had", blocks.length, pool.maxBlocks);
  for (const block of blocks) block.release();
  await pool.close({ timeoutMs: 2000 }).catch((error) =>
    wrong.push(`close: ${error.message}`)
  );
  return wrong;
}
