/**
 * What the Workers of a bench do with a pool: allocator benches known by these names, ported, and
 * the plain cycle. Each does `count` operations as one of several Workers.
 */
import type { Block } from "@smriti/pool";
import type { SharedBlockPool } from "@smriti/pool/shared";
import { Ring } from "./rings.ts";

/** What a Worker is given. */
export interface Task {
  readonly pool: SharedBlockPool;
  readonly rings: SharedArrayBuffer;
  readonly me: number;
  readonly workers: number;
  readonly count: number;
}

/** Tickets handed over at once. */
const BATCH = 32;
/** Blocks a Worker holds at once. */
const HELD = 64;

function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = Math.imul(state, 1103515245) + 12345 & 0x7fffffff;
    return (state >> 8) % below;
  };
}

/** Taking and giving back, nothing else. */
function cycle({ pool, count }: Task): void {
  for (let i = 0; i < count; i++) pool.tryAcquire()!.release();
}

/**
 * Larson: each holds a set of blocks and replaces random ones; now and then the whole set goes to
 * another Worker, as when a server's thread ends and its successor frees what it took.
 */
function larson({ pool, rings, me, workers, count }: Task): void {
  const out = new Ring(rings, me);
  const input = new Ring(rings, (me + 1) % workers);
  const below = random(me + 1);
  let held = Array.from({ length: HELD }, () => pool.acquireSync());
  for (let i = 0; i < count; i++) {
    const at = below(HELD);
    held[at].release();
    held[at] = pool.acquireSync();
    if (i % 1000 !== 999) continue;
    out.write(pool.detachMany(held));
    held = pool.adoptMany(input.read(HELD));
  }
  for (const block of held) block.release();
}

/** xmalloc: half of the Workers only take, the other half only gives back. */
function xmalloc({ pool, rings, me, workers, count }: Task): void {
  const pairs = workers / 2;
  const ring = new Ring(rings, me % pairs);
  if (me >= pairs) {
    for (let i = 0; i < count; i += BATCH) {
      for (const block of pool.adoptMany(ring.read(BATCH))) block.release();
    }
    return;
  }
  for (let i = 0; i < count; i += BATCH) {
    const blocks: Block[] = [];
    while (blocks.length < BATCH) {
      blocks.push(pool.acquireBlocking({ timeoutMs: 60_000 }));
    }
    ring.write(pool.detachMany(blocks));
  }
}

/** mstress: random holds of random length, each block written and looked at before it goes. */
function mstress({ pool, me, count }: Task): void {
  const below = random(me + 1);
  const held: { block: Block; stamp: number }[] = [];
  for (let i = 0; i < count; i++) {
    if (held.length < HELD && below(2) === 0) {
      const block = pool.acquireSync();
      const stamp = below(256);
      block.bytes[0] = block.bytes[block.size - 1] = stamp;
      held.push({ block, stamp });
    } else if (held.length > 0) {
      const at = below(held.length);
      const { block, stamp } = held[at];
      held[at] = held[held.length - 1];
      held.pop();
      const { bytes } = block;
      if (bytes[0] !== stamp || bytes[block.size - 1] !== stamp) {
        throw new Error(`${bytes[0]} instead of ${stamp}`);
      }
      block.release();
    }
  }
  for (const { block } of held) block.release();
}

/** Writes to a block between taking it and giving it back. */
const WRITES = 1000;

/**
 * cache-scratch: small blocks that lie side by side, each written to by another Worker. Where two
 * share a cache line, Workers slow each other down.
 */
function scratch({ pool, count }: Task): void {
  for (let i = 0; i < count; i += WRITES) {
    const block = pool.acquireSync();
    const { bytes } = block;
    for (let write = 0; write < WRITES; write++) bytes[write & 7]++;
    block.release();
  }
}

/** Blocks under way between two Workers. */
const WINDOW = 256;

/**
 * Blocks go from the first Worker to the second, which looks at a byte, and back, so many at a time:
 * their tickets lie in shared memory, and no message is sent.
 */
function thereAndBack(batch: number): (task: Task) => void {
  return ({ pool, rings, me, count }) => {
    const out = new Ring(rings, me);
    const input = new Ring(rings, 1 - me);
    const receive = (): Block[] => {
      const blocks = pool.adoptMany(input.read(batch));
      for (const { bytes } of blocks) {
        if (bytes[0] !== 1) throw new Error(`${bytes[0]} instead of 1`);
      }
      return blocks;
    };
    const fresh = () => {
      const blocks = Array.from({ length: batch }, () => pool.acquireSync());
      for (const { bytes } of blocks) bytes[0] = 1;
      return blocks;
    };
    for (let i = 0; i < count; i += batch) {
      const blocks = me === 0 && i < WINDOW ? fresh() : receive();
      out.write(pool.detachMany(blocks));
    }
    if (me !== 0) return;
    for (let i = 0; i < Math.min(WINDOW, count); i += batch) {
      for (const block of receive()) block.release();
    }
  };
}

/** By name. */
export const PATTERNS: Readonly<Record<string, (task: Task) => void>> = {
  cycle,
  larson,
  xmalloc,
  mstress,
  scratch,
  "ticket by ticket": thereAndBack(1),
  "ticket batches": thereAndBack(64),
};
