/**
 * Several Workers that run one pattern on one pool, all at once. Run as a Worker, this file is one
 * of them.
 */
import {
  SharedBlockPool,
  type SharedPoolHandle,
  type SharedPoolOptions,
} from "@smriti/pool/shared";
import { PATTERNS, type Task } from "./patterns.ts";
import { Ring } from "./rings.ts";

/** What one run is made of. */
export interface Run {
  readonly pattern: string;
  readonly workers: number;
  /** Operations of each. */
  readonly count: number;
  readonly options: SharedPoolOptions;
}

type Order =
  & Omit<Task, "pool">
  & { readonly pattern: string; readonly handle: SharedPoolHandle };

/** Nanoseconds for one operation, all Workers together, warm. */
export async function nsWith(run: Run): Promise<number> {
  const pool = SharedBlockPool.create(run.options);
  const { handle } = pool;
  const crew = Array.from(
    { length: run.workers },
    () => new Worker(import.meta.url, { type: "module" }),
  );
  const all = (count: number) => {
    const rings = new SharedArrayBuffer(Ring.bytes(run.workers));
    return Promise.all(crew.map((worker, me) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      worker.onmessage = () => resolve();
      worker.onerror = reject;
      const { pattern, workers } = run;
      const order: Order = { pattern, workers, count, handle, rings, me };
      worker.postMessage(order);
      return promise;
    }));
  };
  await all(Math.ceil(run.count / 4));
  const start = performance.now();
  await all(run.count);
  const ms = performance.now() - start;
  const { acquiredBlocks } = pool.stats();
  if (acquiredBlocks > 0) throw new Error(`${acquiredBlocks} blocks are out`);
  for (const worker of crew) worker.terminate();
  return ms * 1e6 / (run.count * run.workers);
}

if ("WorkerGlobalScope" in globalThis) {
  let pool: SharedBlockPool | undefined;
  const scope = self as unknown as Worker;
  scope.onmessage = ({ data }: MessageEvent<Order>) => {
    pool ??= SharedBlockPool.attach(data.handle);
    PATTERNS[data.pattern]({ ...data, pool });
    scope.postMessage("done");
  };
}
