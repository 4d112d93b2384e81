// A program: every public method of every pool and of its blocks, in each of the last frames of the
// stack. Each call happens or does not: the law holds, no two leases share a place, what is acquired is
// what handles have, every acquire that waits is answered. Arguments: rounds for each method, and
// how many frames. With --v8-flags=--expose-gc,--stress-flush-code each function is compiled anew, for
// which V8 wants more stack than any of them needs.

import { assert, assertEquals } from "@std/assert";
import {
  type Block,
  BlockPool,
  type PoolOptions,
  SizeClassPool,
} from "../../mod.ts";
import { lawful } from "../support/invariants.ts";
import { hasNative } from "../support/platform.ts";
import {
  type Act,
  ACTS as COMMON,
  answers,
  callsMade,
  check,
  dive,
  drop,
  FRAMES,
  Hands,
  OPTIONS as SMALL,
  served,
} from "../support/stack_end_calls.ts";

const ROUNDS = Number(Deno.args[0] ?? 8);

type Mine = Hands<BlockPool>;

const ACTS: Record<string, Act<Mine>> = {
  ...COMMON,
  "release, in part": drop((block) => block.release(1)),
  "release, buffer away": drop((block) => {
    block.bytes.buffer.transfer();
    block.release();
  }),
  slots: ({ pool }) => void pool.slots(),
};

/** In blocks that are large enough for their first bytes to have a buffer of their own. */
const FIRST = "release, first bytes written";
const LARGE: Record<string, Act<Mine>> = {
  [FIRST]: drop((block) => {
    block.first(100)[0] = 1;
    block.release();
  }),
};

const OPTIONS: PoolOptions = { ...SMALL, maxAbandonedBytes: Infinity };

const VARIANTS: readonly Partial<PoolOptions>[] = [
  { leakDetection: "all" },
  { safety: "trust", blockSize: 100, reservedBlocks: 4 },
  { safety: "strict" },
  { backend: "heap", overdueMs: 1e6 },
];

/** All that must hold between two calls; what has left the pool is replaced. */
function checkAll(hands: Mine, where: string): void {
  check(hands, where);
  const { freeBlocks, capacityBlocks } = hands.pool.stats();
  assertEquals(capacityBlocks, hands.pool.maxBlocks, `${where}: capacity`);
  assert(freeBlocks >= 0, where);
}

/** The pool has grown, and has something to give back. */
function useMore(hands: Mine, more: number, look = () => {}): void {
  const before = hands.count;
  hands.fill(before + more);
  look();
  hands.keepOnly(before);
}

async function trial(name: string, options: PoolOptions): Promise<void> {
  const act = ACTS[name] ?? LARGE[name];
  const pool = new BlockPool(options);
  const hands = new Hands(pool);
  // The first trim that succeeds leaves nothing for the next: it begins ever deeper.
  const isOnce = name === "trim";
  for (let round = 0; round < (isOnce ? 20 : ROUNDS); round++) {
    const where = `${name}, ${JSON.stringify(options)}, round ${round}`;
    hands.fill(4 + round % 3);
    // Now there is room to grow, now there is something to give back.
    if (round % 2 === 0 && !isOnce) pool.trim();
    const frames = isOnce ? 3 * round + 1 : FRAMES;
    let committed = 0;
    dive(round, () => act(hands), frames, () => {
      useMore(hands, 40);
      committed = pool.stats().committedBlocks;
    });
    // Less than it asks for is left in each of the frames; where code is compiled anew, these shrink.
    const isTight = isOnce && !("gc" in globalThis);
    if (isTight) assertEquals(pool.stats().committedBlocks, committed, where);
    await answers(hands);
    checkAll(hands, where);
    // Ordinary calls go on as ever; in the end, with as many blocks as there ever were.
    const isLast = round === ROUNDS - 1 && pool.stats().abandonedBlocks > 0;
    const more = isOnce || isLast ? 396 - hands.count : 40;
    useMore(hands, more, () => checkAll(hands, `${where}, later`));
    hands.keepOnly(0);
    checkAll(hands, `${where}, at the end`);
  }
  await pool.close();
}

/** Others wait while blocks are released in the last frames: each is served. */
async function waiters(round: number): Promise<void> {
  const maxBlocks = FRAMES + 2;
  await using pool = new BlockPool({ ...OPTIONS, maxBlocks });
  const blocks = Array.from({ length: maxBlocks }, () => pool.acquireSync());
  await served(round, blocks, blocks.map(() => pool.acquire()), () => {
    const { freeBlocks, waiting } = pool.stats();
    assert(freeBlocks === 0 || waiting === 0, "free, and no waiter was told");
  });
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
  await trial(FIRST, { ...OPTIONS, blockSize: 300 * 1024 });
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
console.log(`${callsMade()} calls`);
