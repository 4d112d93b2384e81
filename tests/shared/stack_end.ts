// A program: every public method of a shared pool and of its blocks, in each of the last frames of the
// stack. Each call happens or does not: the law holds, no two leases share a place, what is acquired is
// what is in somebody's hands, on its way, or out of the pool, and everybody who waits is answered.
// Arguments: rounds for each method, and how many frames. With --v8-flags=--expose-gc,--stress-flush-code
// each function is compiled anew, for which V8 wants more stack than any of them needs.

import { assert, assertEquals } from "@std/assert";
import { type Block, SmritiError } from "../../mod.ts";
import {
  type BlockTicket,
  SharedBlockPool,
  type SharedPoolOptions,
} from "../../shared/mod.ts";
import { lawful } from "../support/invariants.ts";
import { inLastFrames } from "../support/last_frames.ts";
import { addressOf } from "../support/misuse.ts";

const ROUNDS = Number(Deno.args[0] ?? 12);
const FRAMES = Number(Deno.args[1] ?? 60);

const { gc } = globalThis as { gc?: () => void };

let calls = 0;

/** Calls `act` in the last frames; it has run before, what it calls may have to be compiled. */
function dive(round: number, act: () => void): void {
  const counted = () => {
    calls = calls + 1;
    act();
  };
  if (gc === undefined) counted();
  else gc();
  inLastFrames(round, FRAMES, counted);
}

/** What a program has in its hands. Filled by stores alone: a call could fail in the last frames. */
class Hands {
  readonly pool: SharedBlockPool;
  readonly other: SharedBlockPool;
  readonly blocks: Block[] = new Array(4096);
  count = 0;
  readonly tickets: BlockTicket[] = new Array(4096);
  sent = 0;
  readonly promises: Promise<unknown>[] = new Array(4096);
  asked = 0;

  constructor(options: SharedPoolOptions) {
    this.pool = SharedBlockPool.create(options);
    this.other = SharedBlockPool.attach(this.pool.handle);
  }

  fill(count: number): void {
    while (this.count < count) {
      this.blocks[this.count++] = this.pool.acquireSync();
    }
  }
}

type Act = (hands: Hands) => void;

/** Keeps what was made, if it was. */
const keep = (make: (hands: Hands) => Block | undefined): Act => (hands) => {
  const block = make(hands);
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
  tryAcquire: keep(({ pool }) => pool.tryAcquire()),
  "tryAcquire, tagged": keep(({ pool }) => pool.tryAcquire({ tag: "a" })),
  "tryAcquire, reserved": keep(({ pool }) =>
    pool.tryAcquire({ reserved: true })
  ),
  acquireSync: keep(({ pool }) => pool.acquireSync()),
  acquire: ask(({ pool }) => pool.acquire()),
  "acquire, timed": ask(({ pool }) => pool.acquire({ timeoutMs: 20 })),
  acquireMany: ask(({ pool }) => pool.acquireMany(3)),
  use: ask(({ pool }) => pool.use((block) => void (block.bytes[0] = 1))),
  release: drop((block) => block.release()),
  "release, written": drop((block) => {
    block.bytes[0] = 1;
    block.release();
  }),
  "release by the pool": drop((block, { pool }) => pool.release(block)),
  dispose: drop((block) => block[Symbol.dispose]()),
  abandon: drop((block) => block.abandon()),
  bytes: (hands) => void (hands.count > 0 && newest(hands).bytes),
  pointer: (hands) => void (hands.count > 0 && newest(hands).pointer),
  lend: ask((hands) => newest(hands).lend(Promise.resolve())),
  "lend, called": ask((hands) => newest(hands).lend(() => 1)),
  reattach: (hands) => newest(hands).reattach(newest(hands).bytes),
  detach: (hands) => {
    const at = hands.count - 1;
    if (at < 0) return;
    const ticket = hands.blocks[at].detach();
    hands.tickets[hands.sent] = ticket;
    hands.sent = hands.sent + 1;
    hands.count = at;
  },
  adopt: keep((hands) => {
    const at = hands.sent - 1;
    if (at < 0) return undefined;
    const block = hands.pool.adopt(hands.tickets[at]);
    hands.sent = at;
    return block;
  }),
  "detachMany and adoptMany": (hands) => {
    const at = hands.count - 1;
    if (at < 0) return;
    const numbers = hands.pool.detachMany([hands.blocks[at]]);
    hands.count = at;
    const [block] = hands.pool.adoptMany(numbers);
    hands.blocks[at] = block;
    hands.count = at + 1;
  },
  trim: ({ pool }) => void pool.trim(),
  stats: ({ pool }) => void pool.stats(),
  reclaim: ({ pool }) => void pool.reclaim({}),
  "come and go": ({ pool }) => SharedBlockPool.attach(pool.handle).leave(),
  "console.log": ({ pool }) => void Deno.inspect(pool),
  addEventListener: ({ pool }) => pool.addEventListener("grow", () => {}),
};

const OPTIONS: SharedPoolOptions = {
  blockSize: 4096,
  maxBlocks: 400,
  initialBlocks: 8,
  growStep: 0.01,
  name: "stack",
};

const VARIANTS: readonly Partial<SharedPoolOptions>[] = [
  { leakDetection: "all" },
  { blockSize: 100, reservedBlocks: 4 },
  { zero: false, overdueMs: 1e6 },
];

/** All that must hold between two calls, whatever became of the last. */
function check(hands: Hands, where: string): void {
  const { acquiredBlocks } = lawful(hands.pool);
  const live = hands.blocks.slice(0, hands.count)
    .filter((block) => !block.released);
  assertEquals(acquiredBlocks, live.length, `${where}: acquired`);
  const places = new Set(live.map(({ bytes }) => addressOf(bytes)));
  assertEquals(places.size, live.length, `${where}: places`);
}

/** An answer to everybody who has asked; blocks come into the hands. */
async function answers(hands: Hands): Promise<void> {
  const { promises, asked } = hands;
  hands.asked = 0;
  const deadline = setTimeout(() => {
    console.error("a promise does not settle");
    Deno.exit(1);
  }, 20_000);
  // A place for those who wait.
  while (hands.count > 8) hands.blocks[--hands.count].release();
  while (hands.sent > 0) {
    hands.pool.adopt(hands.tickets[--hands.sent]).release();
  }
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

async function trial(name: string, options: SharedPoolOptions): Promise<void> {
  const act = ACTS[name];
  const hands = new Hands(options);
  for (let round = 0; round < ROUNDS; round++) {
    const where = `${name}, ${JSON.stringify(options)}, round ${round}`;
    hands.fill(4 + round % 3);
    if (name === "adopt") {
      for (let i = 0; i < 40; i++) {
        hands.tickets[hands.sent++] = hands.other.acquireSync().detach();
      }
    }
    hands.pool.trim();
    dive(round, () => act(hands));
    await answers(hands);
    check(hands, where);
    if (hands.pool.stats().abandonedBlocks > 300) break;
    // Ordinary calls go on as ever.
    for (let count = 0; count < 40; count++) {
      hands.blocks[hands.count++] = hands.pool.acquireSync();
    }
    check(hands, `${where}, later`);
    while (hands.count > 0) hands.blocks[--hands.count].release();
    check(hands, `${where}, at the end`);
  }
  hands.other.leave();
  await hands.pool.close();
}

/** Others wait, here and elsewhere, while blocks are released in the last frames: each is served. */
async function waiters(round: number): Promise<void> {
  await using pool = SharedBlockPool.create({ ...OPTIONS, maxBlocks: 8 });
  const other = SharedBlockPool.attach(pool.handle);
  const blocks = Array.from({ length: 8 }, () => pool.acquireSync());
  const waiting = [pool, other].flatMap((seat) =>
    Array.from({ length: 4 }, () => seat.acquire())
  );
  let left = blocks.length;
  dive(round, () => {
    if (left > 0) blocks[left - 1].release();
    left = left - 1;
  });
  for (const block of blocks) block[Symbol.dispose]();
  for (const wait of waiting) (await wait).release();
  assertEquals(lawful(pool).acquiredBlocks, 0);
  other.leave();
}

/** Left and closed in the last frames, with blocks out: nothing stays mapped. */
async function ends(round: number): Promise<void> {
  const seats: SharedBlockPool[] = new Array(4096);
  let made = 0;
  const pool = SharedBlockPool.create(OPTIONS);
  dive(round, () => {
    seats[made] = SharedBlockPool.attach(pool.handle);
    made = made + 1;
  });
  const all = seats.slice(0, made);
  for (const seat of all) seat.acquireSync().bytes[0] = 1;
  let at = 0;
  dive(round, () => {
    all[at % made].leave();
    at = at + 1;
  });
  const closed: Promise<void>[] = new Array(4096);
  let asked = 0;
  dive(round, () => {
    closed[asked] = pool.close();
    asked = asked + 1;
  });
  for (const seat of all) seat.leave();
  await Promise.allSettled(closed.slice(0, asked));
  await pool.close();
  assertEquals(pool.stats().mappedBytes, 0);
}

for (const variant of VARIANTS) {
  for (const name of Object.keys(ACTS)) {
    await trial(name, { ...OPTIONS, ...variant });
  }
}
for (let round = 0; round < 8; round++) {
  await waiters(round);
  await ends(round);
}
console.log(`${calls} calls`);
Deno.exit(0);
