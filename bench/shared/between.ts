/**
 * What one thread waits for others: for a slot that one of them has cached while it computes, and for a
 * block that another releases, beside a bare `Atomics.notify`. Run as a Worker, this file is an owner of
 * cached slots in the first case, the one that waits in the second.
 */
import { spread } from "../measure.ts";
import { SharedBlockPool, type SharedPoolHandle } from "@smriti/pool/shared";

/** What is measured. */
export type Way =
  | "a cached block"
  | "a cached block, 32 owners"
  | "a release"
  | "Atomics.notify";

interface Order {
  readonly handle: SharedPoolHandle;
  readonly memory: SharedArrayBuffer;
  readonly way: Way;
  /** Which of the owners it is. */
  readonly me: number;
  readonly owners: number;
}

/** How often; the median counts. */
const TIMES = 101;
/** More blocks than a worker gives back without caching any, once others were short of some. */
const RETREAT = 2048;
/** Blocks that the other one takes and gives back at a time. */
const FEW = 64;
/** For how long a wait is under way before it is ended. */
const WAIT_MS = 0.3;
/** Words of the memory, each in a line of its own: the turn that may begin, has begun, and is over. */
const GO = 0;
const BEGUN = 16;
const OVER = 32;
/** Its number of 64 bits that says when a wait was over. */
const AT = 24;

/** Milliseconds by a clock that all threads share. */
function clock(): number {
  return performance.timeOrigin + performance.now();
}

/** Waits by computing: what comes after a sleep comes late. */
function until(words: Int32Array, word: number, turn: number): void {
  while (Atomics.load(words, word) < turn);
}

function sleepUntil(words: Int32Array, word: number, value: number): void {
  let now;
  while ((now = Atomics.load(words, word)) < value) {
    Atomics.wait(words, word, now);
  }
}

/** How long the slowest of so many acquires takes. */
function slowestMs(pool: SharedBlockPool, blocks: number): number {
  let most = 0;
  const held = Array.from({ length: blocks }, () => {
    const start = performance.now();
    const block = pool.tryAcquire()!;
    most = Math.max(most, performance.now() - start);
    return block;
  });
  for (const block of held) block.release();
  return most;
}

/** Nanoseconds to have it, from when that could be. */
export function nsBetween(way: Way): number {
  const isTheft = way.startsWith("a cached block");
  const owners = way.endsWith("owners") ? 32 : 1;
  const blocks = isTheft ? 1024 + 96 * (owners - 1) : 1;
  const pool = SharedBlockPool.create({
    blockSize: 4096,
    maxBlocks: blocks,
    initialBlocks: blocks,
  });
  const memory = new SharedArrayBuffer(256);
  const words = new Int32Array(memory);
  const times = new Float64Array(memory);
  const workers = Array.from({ length: owners }, (_, me) => {
    const worker = new Worker(import.meta.url, { type: "module" });
    const order: Order = { handle: pool.handle, memory, way, me, owners };
    worker.postMessage(order);
    return worker;
  });
  const all: number[] = [];
  for (let turn = 1; turn <= TIMES; turn++) {
    const block = isTheft ? undefined : pool.tryAcquire()!;
    Atomics.store(words, GO, turn);
    Atomics.notify(words, GO);
    until(words, BEGUN, turn * owners);
    if (block === undefined) {
      all.push(slowestMs(pool, blocks));
      Atomics.store(words, OVER, turn);
      continue;
    }
    const start = clock();
    while (clock() < start + WAIT_MS);
    const from = clock();
    block.release();
    Atomics.notify(words, OVER);
    until(words, OVER, turn);
    all.push(times[AT] - from);
  }
  for (const worker of workers) worker.terminate();
  return spread(all).median * 1e6;
}

function serve({ handle, memory, way, me, owners }: Order): void {
  const words = new Int32Array(memory);
  const times = new Float64Array(memory);
  const pool = SharedBlockPool.attach(handle);
  for (let turn = 1; turn <= TIMES; turn++) {
    if (way.startsWith("a cached block")) {
      // One after the other. All but the last sleep then; that one computes.
      sleepUntil(words, GO, turn);
      sleepUntil(words, BEGUN, (turn - 1) * owners + me);
      for (let i = 0; i < RETREAT; i += FEW) slowestMs(pool, FEW);
      Atomics.add(words, BEGUN, 1);
      Atomics.notify(words, BEGUN);
      if (me === owners - 1) until(words, OVER, turn);
      continue;
    }
    until(words, GO, turn);
    Atomics.store(words, BEGUN, turn);
    if (way === "a release") {
      pool.acquireBlocking({ timeoutMs: 60_000 }).release();
    } else Atomics.wait(words, OVER, turn - 1);
    times[AT] = clock();
    Atomics.store(words, OVER, turn);
  }
}

if ("WorkerGlobalScope" in globalThis) {
  const scope = self as unknown as Worker;
  scope.onmessage = ({ data }: MessageEvent<Order>) => serve(data);
}
