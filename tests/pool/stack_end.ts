// A program: every public method of every pool and of its blocks, in each of the last frames of the
// stack. Each call happens or does not: the law holds, no two leases share a place, what is acquired is
// what is in somebody's hands, everybody who waits is answered. Arguments: rounds for each method, and
// how many frames. With --v8-flags=--expose-gc,--stress-flush-code each function is compiled anew, for
// which V8 wants more stack than any of them needs.

import { assert, assertEquals } from "@std/assert";
import {
  type Block,
  BlockPool,
  type PoolOptions,
  SizeClassPool,
  SmritiError,
} from "../../mod.ts";
import { lawful } from "../support/invariants.ts";
import { inLastFrames } from "../support/last_frames.ts";
import { addressOf } from "../support/misuse.ts";
import { hasNative } from "../support/platform.ts";

const ROUNDS = Number(Deno.args[0] ?? 8);
const FRAMES = Number(Deno.args[1] ?? 60);

const { gc } = globalThis as { gc?: () => void };

let calls = 0;

/** Calls `act` in the last frames; it has run before, what it calls may have to be compiled. */
function dive(
  round: number,
  act: () => void,
  frames = FRAMES,
  prepare = () => {},
): void {
  const counted = () => {
    calls = calls + 1;
    act();
  };
  if (gc === undefined) counted();
  prepare();
  gc?.();
  inLastFrames(round, frames, counted);
}

/** What a program has in its hands. Filled by stores alone: a call could fail in the last frames. */
class Hands {
  readonly pool: BlockPool;
  readonly blocks: Block[] = new Array(4096);
  count = 0;
  readonly promises: Promise<unknown>[] = new Array(4096);
  asked = 0;

  constructor(options: PoolOptions) {
    this.pool = new BlockPool(options);
  }

  /** The pool has grown, and has something to give back. */
  useMore(more: number, look = () => {}): void {
    const before = this.count;
    this.fill(before + more);
    look();
    while (this.count > before) this.blocks[--this.count].release();
  }

  fill(count: number): void {
    while (this.count < count) {
      this.blocks[this.count++] = this.pool.acquireSync();
    }
  }
}

type Act = (hands: Hands) => void;

/** Keeps what was made, if it was. */
const keep = (make: (pool: BlockPool) => Block | undefined): Act => (hands) => {
  const block = make(hands.pool);
  if (block !== undefined) {
    hands.blocks[hands.count] = block;
    hands.count = hands.count + 1;
  }
};

/** Lets go of the newest block once the call has come back. */
const drop = (end: (block: Block, hands: Hands) => void): Act => (hands) => {
  const at = hands.count - 1;
  if (at < 0) return;
  end(hands.blocks[at], hands);
  hands.count = at;
};

/** Keeps the promise of a call. */
const ask = (make: (hands: Hands) => Promise<unknown>): Act => (hands) => {
  const promise = make(hands);
  hands.promises[hands.asked] = promise;
  hands.asked = hands.asked + 1;
};

const newest = ({ blocks, count }: Hands): Block => blocks[count - 1];

const ACTS: Record<string, Act> = {
  tryAcquire: keep((pool) => pool.tryAcquire()),
  "tryAcquire, tagged": keep((pool) => pool.tryAcquire({ tag: "a" })),
  "tryAcquire, reserved": keep((pool) => pool.tryAcquire({ reserved: true })),
  acquireSync: keep((pool) => pool.acquireSync()),
  acquire: ask(({ pool }) => pool.acquire()),
  "acquire, timed": ask(({ pool }) => pool.acquire({ timeoutMs: 20 })),
  acquireMany: ask(({ pool }) => pool.acquireMany(3)),
  use: ask(({ pool }) => pool.use((block) => void (block.bytes[0] = 1))),
  release: drop((block) => block.release()),
  "release, written": drop((block) => {
    block.bytes[0] = 1;
    block.release();
  }),
  "release, in part": drop((block) => block.release(1)),
  "release by the pool": drop((block, { pool }) => pool.release(block)),
  dispose: drop((block) => block[Symbol.dispose]()),
  "release, buffer away": drop((block) => {
    block.bytes.buffer.transfer();
    block.release();
  }),
  abandon: drop((block) => block.abandon()),
  bytes: (hands) => void (hands.count > 0 && newest(hands).bytes),
  pointer: (hands) => void (hands.count > 0 && newest(hands).pointer),
  lend: ask((hands) => newest(hands).lend(Promise.resolve())),
  "lend, called": ask((hands) => newest(hands).lend(() => 1)),
  reattach: (hands) => newest(hands).reattach(newest(hands).bytes),
  trim: ({ pool }) => void pool.trim(),
  stats: ({ pool }) => void pool.stats(),
  slots: ({ pool }) => void pool.slots(),
  "console.log": ({ pool }) => void Deno.inspect(pool),
  addEventListener: ({ pool }) => pool.addEventListener("grow", () => {}),
};

const OPTIONS: PoolOptions = {
  blockSize: 4096,
  maxBlocks: 400,
  initialBlocks: 8,
  growStep: 0.01,
  maxAbandonedBytes: Infinity,
  name: "stack",
};

const VARIANTS: readonly Partial<PoolOptions>[] = [
  { leakDetection: "all" },
  { safety: "trust", blockSize: 100, reservedBlocks: 4 },
  { safety: "strict" },
  { backend: "heap", overdueMs: 1e6 },
];

/** All that must hold between two calls, whatever became of the last. */
function check(hands: Hands, where: string): void {
  const { pool } = hands;
  const { acquiredBlocks, freeBlocks, capacityBlocks } = lawful(pool);
  assertEquals(capacityBlocks, pool.maxBlocks, `${where}: capacity`);
  const live = hands.blocks.slice(0, hands.count)
    .filter((block) => !block.released);
  assertEquals(acquiredBlocks, live.length, `${where}: acquired`);
  assert(freeBlocks >= 0, where);
  if (pool.backend === "native") {
    const places = new Set(live.map(({ bytes }) => addressOf(bytes)));
    assertEquals(places.size, live.length, `${where}: places`);
  }
}

/** An answer to everybody who has asked; blocks come into the hands. */
async function answers(hands: Hands): Promise<void> {
  const { promises, asked } = hands;
  hands.asked = 0;
  const deadline = setTimeout(() => {
    console.error("a promise does not settle");
    Deno.exit(1);
  }, 10_000);
  // A place for those who wait.
  while (hands.count > 8) hands.blocks[--hands.count].release();
  for (const promise of promises.slice(0, asked)) {
    const got = await promise.catch((error) => {
      const isKnown = error instanceof RangeError ||
        error instanceof SmritiError;
      assert(isKnown, String(error));
    });
    for (const block of [got].flat() as (Block | undefined)[]) {
      block?.release?.();
    }
  }
  clearTimeout(deadline);
}

async function trial(name: string, options: PoolOptions): Promise<void> {
  const act = ACTS[name];
  const hands = new Hands(options);
  const { pool } = hands;
  // The first trim that succeeds leaves nothing for the next: it begins ever deeper.
  const isOnce = name === "trim";
  for (let round = 0; round < (isOnce ? 20 : ROUNDS); round++) {
    const where = `${name}, ${JSON.stringify(options)}, round ${round}`;
    hands.fill(4 + round % 3);
    // Now there is room to grow, now there is something to give back.
    if (round % 2 === 0 && !isOnce) pool.trim();
    const frames = isOnce ? 3 * round + 1 : FRAMES;
    dive(round, () => act(hands), frames, () => hands.useMore(40));
    await answers(hands);
    check(hands, where);
    // Ordinary calls go on as ever; in the end, with as many blocks as there ever were.
    const isLast = round === ROUNDS - 1 && pool.stats().abandonedBlocks > 0;
    const more = isOnce || isLast ? 396 - hands.count : 40;
    hands.useMore(more, () => check(hands, `${where}, later`));
    while (hands.count > 0) hands.blocks[--hands.count].release();
    check(hands, `${where}, at the end`);
  }
  await pool.close();
}

/** Others wait while blocks are released in the last frames: each is served. */
async function waiters(round: number): Promise<void> {
  await using pool = new BlockPool({ ...OPTIONS, maxBlocks: 8 });
  const blocks = Array.from({ length: 8 }, () => pool.acquireSync());
  const waiting = blocks.map(() => pool.acquire());
  let left = blocks.length;
  dive(round, () => {
    if (left > 0) blocks[left - 1].release();
    left = left - 1;
  });
  for (const block of blocks) block[Symbol.dispose]();
  for (const wait of waiting) (await wait).release();
  assertEquals(lawful(pool).acquiredBlocks, 0);
}

/** Aborted in the last frames: each is refused whose `abort` came back. Another's may never be told. */
async function aborts(round: number): Promise<void> {
  const one = { ...OPTIONS, maxBlocks: 1, initialBlocks: 1 };
  const pool = new BlockPool(one);
  using _all = pool.acquireSync();
  const controllers = Array.from(
    { length: FRAMES + 2 },
    () => new AbortController(),
  );
  const waits = controllers.map(({ signal }) => pool.acquire({ signal }));
  const ends = waits.map((wait) => wait.catch((reason) => reason));
  let at = 0;
  const aborted: boolean[] = new Array(FRAMES + 2);
  dive(round, () => {
    const mine = at;
    at = at + 1;
    controllers[mine].abort("enough");
    aborted[mine] = true;
  });
  for (let mine = 0; mine < at; mine++) {
    if (aborted[mine]) assertEquals(await ends[mine], "enough");
  }
  pool[Symbol.dispose]();
  for (const end of ends) assert(await end !== undefined);
  assertEquals(pool.stats().waiting, 0);
}

/** Made and closed in the last frames: what failed has left nothing mapped. */
async function ends(round: number): Promise<void> {
  const pools: BlockPool[] = new Array(4096);
  let made = 0;
  dive(round, () => {
    pools[made] = new BlockPool(OPTIONS);
    made = made + 1;
  });
  const all = pools.slice(0, made);
  let at = 0;
  const closed: Promise<void>[] = new Array(4096);
  dive(round, () => {
    const pool = all[at % made];
    closed[at] = pool.close();
    at = at + 1;
  });
  await Promise.allSettled(closed.filter((promise) => promise !== undefined));
  for (const pool of all) {
    await pool.close();
    assertEquals(pool.stats().mappedBytes, 0);
  }
}

/** Classes count what they gave only with what they gave. */
async function classes(round: number): Promise<void> {
  await using pool = new SizeClassPool([
    { blockSize: 64, maxBlocks: 100 },
    { blockSize: 256, maxBlocks: 100 },
  ]);
  const blocks: Block[] = new Array(4096);
  let count = 0;
  dive(round, () => {
    const block = count % 3 === 0
      ? pool.tryAcquire(40, { upgrade: true })
      : pool.tryAcquire(100);
    if (block !== undefined) {
      blocks[count] = block;
      count = count + 1;
    }
  });
  const acquired = pool.stats()
    .reduce((sum, { acquiredBlocks }) => sum + acquiredBlocks, 0);
  assertEquals(acquired, count);
  for (const block of blocks.slice(0, count)) pool.release(block);
}

function addressSpace(): number {
  if (Deno.build.os !== "linux") return 0;
  return Number(Deno.readTextFileSync("/proc/self/statm").split(" ")[0]) * 4096;
}

const variants = VARIANTS.filter(({ backend }) => backend || hasNative);
for (const variant of variants) {
  const options = { ...OPTIONS, ...variant };
  if (!hasNative) options.backend = "heap";
  for (const name of Object.keys(ACTS)) {
    if (name === "pointer" && options.backend === "heap") continue;
    await trial(name, options);
  }
}
if (hasNative) {
  for (let round = 0; round < 8; round++) {
    await waiters(round);
    await aborts(round);
    await classes(round);
    await ends(round);
    const before = addressSpace();
    await ends(round);
    // A pool has 1.6 MB; all that failed to be made would be many.
    assert(addressSpace() - before < 2 ** 26, "what was not made stays mapped");
  }
}
console.log(`${calls} calls`);
