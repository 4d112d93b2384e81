/**
 * Buffers of 64 KiB, each written whole, the last so many kept alive, beside a heap of small
 * objects: one contestant in this process alone.
 *
 * Arguments: the contestant, MB of live heap, buffers kept, operations a second (0: as many as will),
 * milliseconds.
 */
import { BlockPool, type PoolOptions } from "@smriti/pool";
import { waitedMs } from "../measure.ts";
import { report } from "./child.ts";
import { Histogram } from "./histogram.ts";

const SIZE = 65_536;
/** Operations between two turns of the event loop. */
const BATCH = 32;
const WARM_MS = 400;

/** What one run came to. */
export interface Churn {
  readonly operationsPerSecond: number;
  /** Microseconds of one operation; when paced, from the time it was due. */
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
  /** The longest time between two turns of the event loop, in ms. */
  readonly stallMs: number;
  readonly peakBytes: number;
  /** Share of the time that the main thread waited for a processor. */
  readonly waitedShare: number;
  /** On the clock of `--trace-gc`. */
  readonly startMs: number;
  readonly endMs: number;
}

/** One operation on the ring. */
type Operation = (at: number, byte: number) => void;

function fresh(kept: number): Operation {
  const ring = new Array<Uint8Array | undefined>(kept).fill(undefined);
  return (at, byte) => {
    const bytes = new Uint8Array(SIZE);
    bytes.fill(byte);
    ring[at] = bytes;
  };
}

/** What any pool of arrays can reach: it checks nothing and clears nothing. */
function list(kept: number): Operation {
  const ring = Array.from({ length: kept }, () => new Uint8Array(SIZE));
  const free: Uint8Array<ArrayBuffer>[] = [];
  return (at, byte) => {
    free.push(ring[at]);
    const bytes = free.pop()!;
    bytes.fill(byte);
    ring[at] = bytes;
  };
}

function pooled(options: Partial<PoolOptions>): (kept: number) => Operation {
  return (kept) => {
    const pool = new BlockPool({
      blockSize: SIZE,
      maxBlocks: kept + 64,
      ...options,
    });
    const ring = Array.from({ length: kept }, () => pool.acquireSync());
    return (at, byte) => {
      ring[at].release();
      // Not `tryAcquire`: `strict` may have all that is free in quarantine, and then grows.
      const block = pool.acquireSync();
      block.bytes.fill(byte);
      ring[at] = block;
    };
  };
}

const CONTESTANTS: Record<string, (kept: number) => Operation> = {
  "new Uint8Array": fresh,
  "bare array free list": list,
  "smriti trust, not zeroed": pooled({ safety: "trust", zero: false }),
  "smriti trust, not zeroed, huge pages": pooled({
    safety: "trust",
    zero: false,
    hugePages: true,
  }),
  "smriti trust": pooled({ safety: "trust" }),
  "smriti revoke (default)": pooled({}),
  "smriti strict": pooled({ safety: "strict" }),
};

/** So many MB of small objects, alive as long as the result is. */
function liveHeap(megabytes: number): unknown {
  const chunks: unknown[] = [];
  while (Deno.memoryUsage().heapUsed < megabytes * 1e6) {
    let list: unknown = null;
    for (let i = 0; i < 50_000; i++) list = { i, next: list };
    chunks.push(list);
  }
  return chunks;
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Runs until `endMs`; counts what it did. */
async function drive(
  operate: Operation,
  kept: number,
  perSecond: number,
  endMs: number,
  latencies: Histogram,
  stalls: Histogram,
): Promise<number> {
  let done = 0;
  const start = performance.now();
  const period = perSecond === 0 ? 0 : 1000 / perSecond;
  let lastTurn = start;
  for (let now = start; now < endMs;) {
    for (let i = 0; i < BATCH; i++) {
      const due = start + done * period;
      if (now < due) break;
      operate(done % kept, done & 255);
      const after = performance.now();
      latencies.add(1000 * (after - (period === 0 ? now : due)));
      now = after;
      done++;
    }
    await turn();
    now = performance.now();
    stalls.add(1000 * (now - lastTurn));
    lastTurn = now;
  }
  return done;
}

if (import.meta.main) {
  const [name, megabytes, keptText, rate, runMs] = Deno.args;
  const kept = Number(keptText);
  const heap = liveHeap(Number(megabytes));
  const operate = CONTESTANTS[name](kept);
  for (let i = 0; i < kept; i++) operate(i, i & 255);
  const warmEnd = performance.now() + WARM_MS;
  const unused = new Histogram();
  await drive(operate, kept, Number(rate), warmEnd, unused, unused);
  const latencies = new Histogram();
  const stalls = new Histogram();
  const waited = waitedMs();
  const startMs = performance.now();
  const end = startMs + Number(runMs);
  const done = await drive(operate, kept, Number(rate), end, latencies, stalls);
  const endMs = performance.now();
  const busyMs = endMs - startMs - (waitedMs() - waited);
  const status = Deno.readTextFileSync("/proc/self/status");
  report(
    {
      operationsPerSecond: 1000 * done /
        (Number(rate) === 0 ? busyMs : endMs - startMs),
      p50: latencies.quantile(0.5),
      p99: latencies.quantile(0.99),
      p999: latencies.quantile(0.999),
      max: latencies.max,
      stallMs: stalls.max / 1000,
      peakBytes: 1024 * Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)![1]),
      waitedShare: 1 - busyMs / (endMs - startMs),
      startMs,
      endMs,
    } satisfies Churn,
  );
  // The heap has to live until here.
  if (heap === undefined) throw new Error("never");
  Deno.exit(0);
}
