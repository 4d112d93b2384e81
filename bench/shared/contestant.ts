/**
 * One measurement, in a process of its own: nanoseconds of one operation.
 *
 *     deno run -A bench/shared/contestant.ts KIND NAME [WORKERS]
 */
import { BlockPool } from "@smriti/pool";
import { SharedBlockPool } from "@smriti/pool/shared";
import { report } from "../child.ts";
import { nsPerOperation } from "../measure.ts";
import { nsBetween, type Way } from "./between.ts";
import { nsWith, type Run } from "./crew.ts";
import { nsByWay } from "./handover.ts";

/** About so long does one measurement take. */
const SLICE_MS = 500;

const OPTIONS = { blockSize: 65_536, maxBlocks: 1024 };
const SMALL = { blockSize: 4096, maxBlocks: 2048 };

/** Those of two Workers that hand over without messages. */
const SILENT: Record<string, string> = {
  "tickets, shared memory": "ticket by ticket",
  "batches, shared memory": "ticket batches",
};

/** Operations of each Worker, and the pool they use. */
const RUNS: Record<string, Pick<Run, "count" | "options">> = {
  cycle: { count: 600_000, options: OPTIONS },
  larson: { count: 200_000, options: SMALL },
  xmalloc: { count: 128_000, options: SMALL },
  mstress: { count: 100_000, options: SMALL },
  "ticket by ticket": { count: 102_400, options: OPTIONS },
  // Half a second: with a fifth of that, pages and compiler were still cold in much of it.
  "ticket batches": { count: 512_000, options: OPTIONS },
  scratch: { count: 20_000_000, options: { blockSize: 64, maxBlocks: 1024 } },
};

async function alone(
  pool: BlockPool | SharedBlockPool,
): Promise<number> {
  // Both are warmed up, or the first loop would pay for being compiled.
  const cycle = (n: number) => {
    for (let i = 0; i < n; i++) pool.tryAcquire()!.release();
  };
  await nsPerOperation(cycle, SLICE_MS / 3);
  return await nsPerOperation(cycle, SLICE_MS);
}

/** With as many that have come and gone. */
async function after(workers: number): Promise<number> {
  const pool = SharedBlockPool.create(OPTIONS);
  const others = Array.from(
    { length: workers },
    () => SharedBlockPool.attach(pool.handle),
  );
  for (const other of others) {
    other.acquireSync().release();
    other.leave();
  }
  return await alone(pool);
}

async function together(pattern: string, workers: number): Promise<number> {
  return await nsWith({ ...RUNS[pattern], pattern, workers });
}

async function measure(kind: string, name: string, workers: number) {
  switch (kind) {
    case "alone":
      return await alone(
        name === "BlockPool"
          ? new BlockPool(OPTIONS)
          : SharedBlockPool.create(OPTIONS),
      );
    case "after":
      return await after(Number(name));
    case "between":
      return nsBetween(name as Way);
    case "handover":
      return name in SILENT
        ? 2 * await together(SILENT[name], 2) // both Workers have each block once
        : await nsByWay(name, SLICE_MS);
    default:
      return await together(name, workers);
  }
}

const [kind, name, workers] = Deno.args;
report({ ns: await measure(kind, name, Number(workers)) });
// The pools of the measurement are not closed one by one.
Deno.exit(0);
