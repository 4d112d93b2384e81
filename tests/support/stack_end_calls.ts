// What the programs of stack_end_test.ts share: every public method that all pools and their blocks have,
// called in each of the last frames of the stack, and what must hold after that.

import { assert, assertEquals } from "@std/assert";
import { type Block, type Pool, SmritiError } from "../../mod.ts";
import { lawful } from "./invariants.ts";
import { inLastFrames } from "./last_frames.ts";
import { addressOf } from "./misuse.ts";

const { gc } = globalThis as { gc?: () => void };

/** Frames at the end of the stack in which each call is made. */
export const FRAMES = Number(Deno.args[1] ?? 60);

let calls = 0;

/** Calls `act` in the last frames; it has run before, what it calls may have to be compiled. */
export function dive(
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

/** Calls made until now. */
export function callsMade(): number {
  return calls;
}

/** What a program has in its hands. Filled by stores alone: a call could fail in the last frames. */
export class Hands<P extends Pool = Pool> {
  readonly blocks: Block[] = new Array(4096);
  count = 0;
  readonly promises: Promise<unknown>[] = new Array(4096);
  asked = 0;

  constructor(readonly pool: P) {}

  fill(count: number): void {
    while (this.count < count) {
      this.blocks[this.count++] = this.pool.acquireSync();
    }
  }

  /** Gives blocks back until so many are left. */
  keepOnly(count: number): void {
    while (this.count > count) this.blocks[--this.count].release();
  }
}

export type Act<H = Hands> = (hands: H) => void;

/** Keeps what was made, if it was. */
export function keep<H extends Hands = Hands>(
  make: (hands: H) => Block | undefined,
): Act<H> {
  return (hands) => {
    const block = make(hands);
    if (block !== undefined) {
      hands.blocks[hands.count] = block;
      hands.count = hands.count + 1;
    }
  };
}

/** Lets go of the newest block once the call has come back. */
export function drop(end: (block: Block, hands: Hands) => void): Act {
  return (hands) => {
    const at = hands.count - 1;
    if (at < 0) return;
    end(hands.blocks[at], hands);
    hands.count = at;
  };
}

/** Keeps the promise of a call. */
function ask(make: (hands: Hands) => Promise<unknown>): Act {
  return (hands) => {
    const promise = make(hands);
    hands.promises[hands.asked] = promise;
    hands.asked = hands.asked + 1;
  };
}

const newest = ({ blocks, count }: Hands): Block => blocks[count - 1];

/** What every pool and its blocks can. */
export const ACTS: Record<string, Act> = {
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
  trim: ({ pool }) => void pool.trim(),
  stats: ({ pool }) => void pool.stats(),
  "console.log": ({ pool }) => void Deno.inspect(pool),
  addEventListener: ({ pool }) => pool.addEventListener("grow", () => {}),
};

export const OPTIONS = {
  blockSize: 4096,
  maxBlocks: 400,
  initialBlocks: 8,
  growStep: 0.01,
  name: "stack",
};

/** All that must hold between two calls, whatever became of the last. */
export function check({ pool, blocks, count }: Hands, where: string): void {
  const { acquiredBlocks } = lawful(pool);
  const live = blocks.slice(0, count).filter((block) => !block.released);
  assertEquals(acquiredBlocks, live.length, `${where}: acquired`);
  if (pool.backend === "native") {
    const places = new Set(live.map(({ bytes }) => addressOf(bytes)));
    assertEquals(places.size, live.length, `${where}: places`);
  }
}

/** An answer to every acquire; what was got goes back. */
export async function answers(hands: Hands): Promise<void> {
  const { promises, asked } = hands;
  hands.asked = 0;
  const deadline = setTimeout(() => {
    console.error("a promise does not settle");
    Deno.exit(1);
  }, 20_000);
  // A place for those who wait.
  hands.keepOnly(8);
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

/** Blocks are released in the last frames; each of those who wait is served. `look`s in between. */
export async function served(
  round: number,
  blocks: Block[],
  waiting: Promise<Block>[],
  look = () => {},
): Promise<void> {
  let left = blocks.length;
  dive(round, () => {
    if (left > 0) blocks[left - 1].release();
    left = left - 1;
  });
  // What a release could not tell any more is told by a microtask.
  await Promise.resolve();
  look();
  for (const block of blocks) block[Symbol.dispose]();
  for (const wait of waiting) (await wait).release();
}
