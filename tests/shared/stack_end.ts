// A program: every public method of a shared pool and of its blocks, in each of the last frames of the
// stack. Each call happens or does not: the law holds, no two leases share a place, what is acquired is
// what a handle, a ticket or the abandoned have, and every acquire that waits is answered.
// Arguments: rounds for each method, and how many frames. With --v8-flags=--expose-gc,--stress-flush-code
// each function is compiled anew, for which V8 wants more stack than any of them needs.

import { assertEquals, assertInstanceOf } from "@std/assert";
import type { Block } from "../../mod.ts";
import {
  type BlockTicket,
  SharedBlockPool,
  type SharedPoolOptions,
} from "../../shared/mod.ts";
import { lawful } from "../support/invariants.ts";
import {
  type Act,
  ACTS as COMMON,
  answers,
  callsMade,
  check,
  dive,
  FRAMES,
  Hands,
  keep,
  OPTIONS,
  served,
} from "../support/stack_end_calls.ts";

const ROUNDS = Number(Deno.args[0] ?? 12);

class Mine extends Hands<SharedBlockPool> {
  readonly other = SharedBlockPool.attach(this.pool.handle);
  readonly tickets: BlockTicket[] = new Array(4096);
  sent = 0;
}

const ACTS: Record<string, Act<Mine>> = {
  ...COMMON,
  detach: (hands) => {
    const at = hands.count - 1;
    if (at < 0) return;
    const ticket = hands.blocks[at].detach();
    hands.tickets[hands.sent] = ticket;
    hands.sent = hands.sent + 1;
    hands.count = at;
  },
  adopt: keep<Mine>((hands) => {
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
  reclaim: ({ pool }) => void pool.reclaim({}),
  "come and go": ({ pool }) => SharedBlockPool.attach(pool.handle).leave(),
};

const VARIANTS: readonly Partial<SharedPoolOptions>[] = [
  { leakDetection: "all" },
  { blockSize: 100, reservedBlocks: 4 },
  { zero: false, overdueMs: 1e6 },
];

async function trial(name: string, options: SharedPoolOptions): Promise<void> {
  const act = ACTS[name];
  const hands = new Mine(SharedBlockPool.create(options));
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
    hands.keepOnly(8);
    while (hands.sent > 0) {
      hands.pool.adopt(hands.tickets[--hands.sent]).release();
    }
    await answers(hands);
    check(hands, where);
    if (hands.pool.stats().abandonedBlocks > 300) break;
    // Ordinary calls go on as ever.
    hands.fill(hands.count + 40);
    check(hands, `${where}, later`);
    hands.keepOnly(0);
    check(hands, `${where}, at the end`);
  }
  hands.other.leave();
  await hands.pool.close();
}

/** Others wait, here and elsewhere, while blocks are released in the last frames: each is served. */
async function waiters(round: number): Promise<void> {
  const maxBlocks = FRAMES + 2;
  await using pool = SharedBlockPool.create({ ...OPTIONS, maxBlocks });
  const other = SharedBlockPool.attach(pool.handle);
  const blocks = Array.from({ length: maxBlocks }, () => pool.acquireSync());
  const waiting = [pool, other].flatMap((attachment) =>
    Array.from({ length: maxBlocks / 2 }, () => attachment.acquire())
  );
  await served(round, blocks, waiting);
  assertEquals(lawful(pool).acquiredBlocks, 0);
  other.leave();
}

const MUCH: readonly number[] = new Array(7168).fill(0);

/** Whether 56 KiB of stack are left, more than any request asks for at once. */
function hasRoom(): boolean {
  try {
    Reflect.apply(() => {}, undefined, MUCH);
    return true;
  } catch {
    return false;
  }
}

/** Acquires begin to wait in the last frames, each in an attachment that listens from then on: each is answered. */
async function listeners(round: number): Promise<void> {
  await using pool = SharedBlockPool.create(OPTIONS);
  const blocks = await pool.acquireMany(OPTIONS.maxBlocks);
  const others = Array.from(
    { length: 200 },
    () => SharedBlockPool.attach(pool.handle),
  );
  const asked: Promise<Block[]>[] = new Array(others.length);
  let at = 0;
  dive(round, () => {
    if (at === others.length || hasRoom()) return;
    asked[at] = others[at].acquireMany(3);
    at = at + 1;
  }, 3000);
  const isKnown = (error: unknown) => assertInstanceOf(error, RangeError);
  const answered = asked.slice(0, at).map((promise) =>
    promise.then((got) => got.forEach((block) => block.release()), isKnown)
  );
  for (const block of blocks) block.release();
  await Promise.all(answered);
  assertEquals(lawful(pool).acquiredBlocks, 0);
  for (const other of others) other.leave();
}

/** A thread that stops for a block in the last frames, while acquires wait that cannot be served: none is lost. */
async function standing(round: number): Promise<void> {
  await using pool = SharedBlockPool.create(OPTIONS);
  const blocks = await pool.acquireMany(OPTIONS.maxBlocks - 2);
  const many = pool.acquireMany(3);
  many.catch(() => {});
  dive(round, () => {
    if (!hasRoom()) pool.acquireBlocking({ timeoutMs: 0 }).release();
  }, 3000);
  assertEquals(lawful(pool).acquiredBlocks, blocks.length);
  for (const block of blocks) block.release();
  for (const block of await many) block.release();
}

/** Left and closed in the last frames, with blocks out: nothing stays mapped. */
async function ends(round: number): Promise<void> {
  const attachments: SharedBlockPool[] = new Array(4096);
  let made = 0;
  const pool = SharedBlockPool.create(OPTIONS);
  dive(round, () => {
    attachments[made] = SharedBlockPool.attach(pool.handle);
    made = made + 1;
  });
  const all = attachments.slice(0, made);
  for (const attachment of all) attachment.acquireSync().bytes[0] = 1;
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
  for (const attachment of all) attachment.leave();
  await Promise.allSettled(closed.slice(0, asked));
  await pool.close();
  assertEquals(pool.stats().mappedBytes, 0);
}

// acquireBlocking() is for Workers, which have a stack of another size.
Object.defineProperty(globalThis, "WorkerGlobalScope", { value: Object });
for (const variant of VARIANTS) {
  for (const name of Object.keys(ACTS)) {
    await trial(name, { ...OPTIONS, ...variant });
  }
}
for (let round = 0; round < 8; round++) {
  await waiters(round);
  await listeners(round);
  await standing(round);
  await ends(round);
}
console.log(`${callsMade()} calls`);
Deno.exit(0);
