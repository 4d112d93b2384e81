// Calls made from inside other calls, at random: by listeners, by getters of options and results,
// by abort signals, by operations that a block is lent to. After each the counts agree, every block
// has one owner, and its bytes are what that owner wrote.

import { assert, assertEquals } from "@std/assert";
import {
  type Block,
  BlockPool,
  type PoolEventType,
  SmritiError,
} from "@smriti/pool";
import { lawful } from "../support/invariants.ts";
import { addressOf } from "../support/misuse.ts";
import { hasNative, isEmulated } from "../support/platform.ts";
import { Rng, seedOfRun } from "../support/rng.ts";

const ROUNDS = isEmulated ? 5 : 60;
const STEPS = 150;
/** Calls inside calls inside calls … */
const DEEPEST = 6;
const EVENTS: PoolEventType[] = [
  "grow",
  "shrink",
  "exhausted",
  "leak",
  "overdue",
  "close",
];

/** One pool and all that is done with it. */
class Round {
  calls = 0;
  /** Calls made from inside another one. */
  inner = 0;
  readonly #rng: Rng;
  readonly #pool: BlockPool;
  readonly #zero: boolean;
  /** What each owner wrote. */
  readonly #held = new Map<Block, number>();
  /** Buffers that left by themselves; written to all the time. */
  readonly #strays: Uint8Array<ArrayBuffer>[] = [];
  /** How many operations have the memory at an address. */
  readonly #running = new Map<bigint, number>();
  readonly #aborts: AbortController[] = [];
  readonly #pending: Promise<unknown>[] = [];
  #depth = 0;
  /** Calls under way that vouch, with `socket`, for every buffer that leaves in them. */
  #vouching = 0;
  #stamp = 0;
  #closed = false;
  /** An assertion that failed where the pool catches errors. */
  #failure: unknown;

  constructor(rng: Rng) {
    this.#rng = rng;
    this.#zero = rng.chance(0.8);
    // Few blocks: what is done inside a call is often done to the very block it is about.
    const maxBlocks = rng.pick([1, 1, 2, 3, 40]);
    this.#pool = new BlockPool({
      blockSize: rng.pick([64, 1000, 4096, 20_000]),
      maxBlocks,
      initialBlocks: 1 + rng.below(maxBlocks),
      safety: rng.pick(["trust", "revoke", "strict"] as const),
      zero: this.#zero,
      shrinkIntervalMs: 1 + rng.below(5),
      leakDetection: rng.pick(["off", "all"] as const),
      overdueMs: rng.chance(0.3) ? 1 : undefined,
      maxWaiting: rng.pick([0, 3, 100]),
    });
    for (const type of EVENTS) {
      if (rng.chance(0.7)) this.#pool.addEventListener(type, () => this.act());
    }
  }

  async run(): Promise<void> {
    const rng = this.#rng;
    for (let step = 0; step < STEPS; step++) {
      this.act();
      if (step % 15 === 0) await new Promise((go) => setTimeout(go, 1));
      else if (rng.chance(0.2)) await Promise.resolve();
    }
    for (const abort of this.#aborts.splice(0)) abort.abort();
    const closing = this.#pool.close({ timeoutMs: 30_000 }).catch((error) => {
      assert(this.#closed || error.code === "corrupted", error);
    });
    // Waiters may be served meanwhile, so look again.
    for (let turns = 0; this.#pool.stats().acquiredBlocks > 0; turns++) {
      assert(turns < 5_000, "every block comes back");
      for (const block of this.#held.keys()) {
        this.#end(block, () => block[Symbol.dispose]());
      }
      await new Promise((go) => setTimeout(go, 1));
    }
    await closing;
    await Promise.all(this.#pending);
    if (this.#failure !== undefined) throw this.#failure;
    const {
      acquiredBlocks,
      waiting,
      lentBlocks,
      abandonedBlocks,
      mappedBytes,
    } = lawful(this.#pool);
    assertEquals([acquiredBlocks, waiting, lentBlocks], [0, 0, 0]);
    assertEquals(mappedBytes === 0, abandonedBlocks === 0);
  }

  /** One call, from wherever. */
  act(): void {
    if (this.#depth >= DEEPEST) return;
    if (this.#depth++ > 0) this.inner++;
    this.calls++;
    try {
      this.#step();
      for (const stray of this.#strays) if (stray.length > 0) stray[1] = 0xee;
      lawful(this.#pool);
    } catch (error) {
      const isRefusal = error instanceof SmritiError ||
        error instanceof DOMException;
      if (!isRefusal) this.#failure ??= error;
    } finally {
      this.#depth--;
    }
  }

  #step(): void {
    const rng = this.#rng;
    const pool = this.#pool;
    const block = rng.pick([...this.#held.keys(), undefined]);
    switch (rng.below(20)) {
      case 0:
      case 1:
      case 2:
        return this.#took(
          pool.tryAcquire(rng.chance(0.5) ? undefined : this.#options(false)),
        );
      case 3:
      case 4:
        return this.#later(pool.acquire(this.#options(true)), (got) => [got]);
      case 5: {
        const count = 1 + rng.below(5);
        return this.#later(
          pool.acquireMany(count, this.#options(true)),
          (got) => got,
        );
      }
      case 6:
      case 7:
      case 8:
        return this.#end(block, () => block!.release());
      case 9:
        return this.#end(block, () => pool.release(block!));
      case 10:
        return this.#end(block, () => block![Symbol.dispose]());
      case 11:
        if (rng.chance(0.1)) this.#end(block, () => block!.abandon());
        return;
      case 12:
        return void pool.trim();
      case 13:
      case 14:
      case 15:
      case 16:
        return this.#lend(block);
      case 17:
        if (rng.chance(0.2)) this.#escape(block);
        return;
      case 18:
        return this.#aborts.pop()?.abort();
      case 19:
        if (rng.chance(0.02)) {
          this.#closed = true;
          pool.close({ timeoutMs: rng.below(4) }).catch(() => {});
        }
    }
  }

  /** Options of which some are getters that call the pool. */
  #options(waits: boolean): object {
    const rng = this.#rng;
    const options = {};
    const put = (name: string, value: unknown) => {
      const get = () => {
        if (rng.chance(0.3)) this.act();
        return value;
      };
      Object.defineProperty(options, name, { enumerable: true, get });
    };
    if (rng.chance(0.5)) put("tag", `${rng.below(9)}`);
    if (waits && rng.chance(0.6)) put("timeoutMs", rng.below(3));
    if (waits && rng.chance(0.4)) {
      const abort = new AbortController();
      abort.signal.addEventListener("abort", () => this.act());
      put("signal", abort.signal);
      if (rng.chance(0.2)) abort.abort();
      else this.#aborts.push(abort);
    }
    return options;
  }

  #later<T>(promise: Promise<T>, blocks: (got: T) => Block[]): void {
    this.#pending.push(promise.then((got) => {
      for (const block of blocks(got)) this.#took(block);
    }, () => {}));
  }

  /** A block has a lease now, one alone, and is empty. */
  #took(block: Block | undefined): void {
    // Revoked by a close that was called before the promise was looked at.
    if (block === undefined || block.released) return;
    assert(!this.#held.has(block), "one handle a lease");
    const { bytes } = block;
    assertEquals(bytes.length, block.size);
    const running = this.#running.get(addressOf(bytes)) ?? 0;
    assertEquals(running, 0, "an operation still has it");
    const at = placesOf(block);
    if (this.#zero) assert(at.every((place) => bytes[place] === 0), "zeroed");
    const stamp = this.#stamp++ % 255 + 1;
    for (const place of at) bytes[place] = stamp;
    this.#held.set(block, stamp);
  }

  /** Its bytes are what its owner wrote, as long as the lease lasts. */
  #check(block: Block): void {
    if (block.released) return;
    let bytes;
    try {
      bytes = block.bytes;
    } catch (error) {
      if (error instanceof SmritiError) return;
      throw error;
    }
    const stamp = this.#held.get(block);
    for (const at of placesOf(block)) assertEquals(bytes[at], stamp, "foreign");
  }

  #end(block: Block | undefined, how: () => void): void {
    if (block === undefined) return;
    this.#check(block);
    this.#held.delete(block);
    how();
  }

  #lend(block: Block | undefined): void {
    if (block === undefined) return;
    const kind = this.#rng.below(8);
    const act = () => {
      for (let times = this.#rng.below(4); times > 0; times--) this.act();
    };
    const socket = this.#rng.chance(0.5);
    const lent = block.lend<unknown>((bytes) => {
      if (socket) this.#vouching++;
      act();
      if (socket) this.#vouching--;
      const moves = kind > 3 && bytes.length > 0;
      if (moves) {
        const value = structuredClone(bytes, { transfer: [bytes.buffer] });
        return kind < 6 ? { value, done: false } : {
          get value() {
            act();
            return value;
          },
          get done() {
            act();
            return false;
          },
        };
      }
      if (kind === 1) return Promise.reject(new Error("failed"));
      if (kind > 1) return this.#operate(bytes);
      return Promise.resolve().then(act);
    }, {
      get socket() {
        act();
        return socket;
      },
    });
    this.#pending.push(lent.catch(() => {}));
  }

  /** An operation that has the block's memory for a while, whatever becomes of the block. */
  async #operate(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    if (bytes.length === 0) return;
    const address = addressOf(bytes);
    this.#running.set(address, (this.#running.get(address) ?? 0) + 1);
    await new Promise((go) => setTimeout(go, 1));
    this.#running.set(address, this.#running.get(address)! - 1);
  }

  /** A buffer leaves by itself, and may come back. */
  #escape(block: Block | undefined): void {
    if (block === undefined || block.released || this.#vouching > 0) return;
    const { bytes } = block;
    const stray = structuredClone(bytes, { transfer: [bytes.buffer] });
    if (this.#rng.chance(0.5)) block.reattach(stray);
    else this.#strays.push(stray);
  }
}

/** Where a block is stamped. Not at 1: strays write there. */
function placesOf({ size }: Block): number[] {
  return [0, size >> 1, size - 1];
}

Deno.test({
  name: "calls from inside other calls give no block two owners",
  ignore: !hasNative,
}, async () => {
  const seed = seedOfRun();
  const { error } = console;
  // Listeners are refused much of what they ask for, and that is shown there.
  console.error = () => {};
  let calls = 0;
  let inner = 0;
  try {
    const rng = new Rng(seed);
    for (let at = 0; at < ROUNDS; at++) {
      const round = new Round(new Rng(rng.next()));
      await round.run();
      calls += round.calls;
      inner += round.inner;
    }
  } catch (failure) {
    error(`SMRITI_SEED=${seed} runs this again, timers aside`);
    throw failure;
  } finally {
    console.error = error;
  }
  console.log(`${calls} calls, ${inner} of them from inside another`);
  assert(inner > calls / 20, "most came from outside");
});
