// Every instruction at which isolates can meet. The atomic operations are the only ones: here each of
// them, one after the other, is where a Worker dies, or where others run in between. The pool's own
// code runs, in one isolate with several seats; only `Atomics` is in the test's hands.

import { endedThread } from "./support/ended_thread.ts";
import { provesDeath } from "./support/platform.ts";
import { assert, assertEquals } from "@std/assert";
import type { Block } from "@smriti/pool";
import { type BlockTicket, SharedBlockPool } from "../shared/mod.ts";
import { Control, FREE, HEADER, kindOf, WORKER } from "../shared/control.ts";
import { numbers, PAGE } from "./shared/pools.ts";

const real = globalThis.Atomics;
addEventListener("unhandledrejection", (event) => {
  if (event.reason instanceof Death) event.preventDefault();
});
/** No thread has this number any more. */
const NO_THREAD = await endedThread();

class Death extends Error {}

/** Waits for nothing. */
const deaf = new Proxy(real, {
  get: (target, name) =>
    name === "waitAsync"
      ? () => ({ async: true, value: new Promise(() => {}) })
      : Reflect.get(target, name),
});

/**
 * Runs `act` and calls `at` before its atomic operation number `step`, or after it, counted from 0.
 * Returns whether it came so far.
 */
function interrupt(
  step: number,
  when: "before" | "after",
  at: () => void,
  act: () => void,
): boolean {
  let count = 0;
  let reached = false;
  let isDead = false;
  const wrapped = new Proxy(real, {
    get(target, name) {
      const value = Reflect.get(deaf, name);
      if (typeof value !== "function" || name === "notify") return value;
      return (...args: unknown[]) => {
        // The dead do not tidy up, whatever stands in a "finally".
        if (isDead) throw new Death();
        const isIt = count++ === step;
        if (isIt && when === "before") meet();
        const result = Reflect.apply(value, target, args);
        if (isIt && when === "after") meet();
        return result;
      };
    },
  });
  // What runs in between is not interrupted itself.
  const meet = () => {
    reached = true;
    globalThis.Atomics = real;
    try {
      at();
    } catch (error) {
      isDead = error instanceof Death;
      throw error;
    } finally {
      globalThis.Atomics = wrapped;
    }
  };
  globalThis.Atomics = wrapped;
  try {
    act();
  } finally {
    globalThis.Atomics = real;
  }
  return reached;
}

/** A pool of small size with two seats, and ways into every state. */
class Stage {
  readonly pool: SharedBlockPool;
  readonly actor: SharedBlockPool;
  readonly control: Control;
  /** Blocks of the actor. */
  readonly held: Block[] = [];
  /** Blocks of others. */
  readonly ours: Block[] = [];
  readonly #timers: ReturnType<typeof setInterval>[] = [];
  tickets: BlockTicket[] = [];
  numbers = new Int32Array(0);

  constructor(options: { maxBlocks?: number; reservedBlocks?: number } = {}) {
    const { maxBlocks = 6 } = options;
    this.pool = SharedBlockPool.create({
      blockSize: PAGE,
      maxBlocks,
      initialBlocks: 3,
      growStep: 0.2,
      ticketTimeoutMs: 1,
      // Also how often the pool looks after itself.
      shrinkIntervalMs: 5,
      leakDetection: "off",
      ...options,
    });
    this.actor = this.alone(() => SharedBlockPool.attach(this.pool.handle));
    this.control = new Control(maxBlocks, this.pool.handle.control);
  }

  /** The others take a block, if there is one. */
  take(): void {
    const block = this.pool.tryAcquire();
    if (block !== undefined) this.ours.push(block);
  }

  /** The others give a block back, if they have one. */
  give(): void {
    this.ours.pop()?.release();
  }

  /** Gives everything back and closes; at the end no block may be missing. */
  async end(): Promise<void> {
    this.actor.leave();
    for (const block of [...this.held, ...this.ours]) block[Symbol.dispose]();
    await this.pool.close();
  }

  /** Runs what the actor does: its timers are its own, and the dead hear nothing. */
  alone<T>(act: () => T): T {
    const { setInterval } = globalThis;
    globalThis.setInterval = ((...args: Parameters<typeof setInterval>) => {
      const timer = setInterval(...args);
      this.#timers.push(timer);
      return timer;
    }) as typeof setInterval;
    globalThis.Atomics = deaf;
    try {
      return act();
    } finally {
      globalThis.setInterval = setInterval;
      globalThis.Atomics = real;
    }
  }

  /** Slots by kind. */
  kinds(): number[] {
    return Array.from(this.control.owner, kindOf);
  }

  /** Free slots without a hint: nobody would ever find them. */
  lost(): number[] {
    return this.kinds().flatMap((kind, slot) => {
      const hint = this.control.hints[slot >>> 5] & (1 << (slot & 31));
      return kind === FREE && hint === 0 ? [slot] : [];
    });
  }

  /** Whether the counts agree with the slots. */
  isCountedRight(): boolean {
    const { words } = this.control;
    const { transitBlocks, abandonedBlocks } = numbers(this.pool);
    return words[HEADER.TICKETS] === transitBlocks &&
      words[HEADER.ABANDONED] === abandonedBlocks;
  }

  /** From now on the actor's thread has ended, for all that anybody can know. */
  kill(): void {
    const at = this.control.at(this.actor.workerId, WORKER.THREAD);
    real.store(this.control.words, at, NO_THREAD);
    for (const timer of this.#timers) clearInterval(timer);
  }
}

/** Things an actor does, with what must be there before. */
const ACTS: Record<string, {
  before?: (stage: Stage) => void;
  act: (stage: Stage) => void;
}> = {
  "acquire": { act: ({ actor, held }) => held.push(actor.acquireSync()) },
  "acquire that grows": {
    before: (stage) => stage.take(),
    act: ({ actor, held }) => {
      held.push(actor.acquireSync(), actor.acquireSync());
    },
  },
  "acquire that is refused": {
    before: ({ pool, ours }) => {
      for (let b; (b = pool.tryAcquire()) !== undefined;) ours.push(b);
    },
    act: ({ actor }) => void actor.tryAcquire(),
  },
  "release": {
    before: ({ actor, held }) => held.push(actor.acquireSync()),
    act: ({ held }) => held.pop()!.release(),
  },
  "acquire of what was given back last": {
    before: ({ actor }) => actor.acquireSync().release(),
    act: ({ actor, held }) => held.push(actor.acquireSync()),
  },
  "release of what was taken again": {
    before: ({ actor, held }) => {
      actor.acquireSync().release();
      held.push(actor.acquireSync());
    },
    act: ({ held }) => held.pop()!.release(),
  },
  "acquireMany": {
    act: ({ actor }) => void actor.acquireMany(4).catch(() => {}),
  },
  "acquireMany that waits": {
    before: (stage) => stage.take(),
    act: ({ actor }) => void actor.acquireMany(6).catch(() => {}),
  },
  "detach": {
    before: ({ actor, held }) => held.push(actor.acquireSync()),
    act: ({ held, tickets }) => tickets.push(held.pop()!.detach()),
  },
  "adopt": {
    before: ({ pool, tickets }) => tickets.push(pool.acquireSync().detach()),
    act: ({ actor, tickets, held }) => held.push(actor.adopt(tickets[0])),
  },
  "detachMany": {
    before: ({ actor, held }) => {
      held.push(actor.acquireSync(), actor.acquireSync());
    },
    act: ({ actor, held }) => void actor.detachMany(held.splice(0)),
  },
  "adoptMany": {
    before: (stage) => {
      const blocks = [stage.pool.acquireSync(), stage.pool.acquireSync()];
      stage.numbers = stage.pool.detachMany(blocks);
    },
    act: ({ actor, numbers, held }) => held.push(...actor.adoptMany(numbers)),
  },
  "abandon": {
    before: ({ actor, held }) => held.push(actor.acquireSync()),
    act: ({ held }) => held.pop()!.abandon(),
  },
  "lend": {
    before: ({ actor, held }) => held.push(actor.acquireSync()),
    act: ({ held }) => void held[0].lend(new Promise(() => {})),
  },
  "trim": {
    before: ({ pool }) => {
      const blocks = [1, 2, 3, 4, 5].map(() => pool.acquireSync());
      for (const block of blocks) block.release();
    },
    act: ({ actor }) => void actor.trim(),
  },
  "leave": {
    before: ({ actor }) => {
      actor.acquireSync().bytes[0] = 1;
      actor.acquireSync();
    },
    act: ({ actor }) => actor.leave(),
  },
  "reclaim of a third": {
    before: ({ pool, control }) => {
      const third = SharedBlockPool.attach(pool.handle);
      third.acquireSync().bytes[0] = 1;
      void third.acquireSync().lend(new Promise(() => {}));
      real.store(
        control.words,
        control.at(third.workerId, WORKER.THREAD),
        NO_THREAD,
      );
    },
    act: ({ actor }) => void actor.reclaim({}),
  },
};

/** Waits until the housekeeping of `pool` has been round. */
async function rounds(condition: () => boolean): Promise<boolean> {
  for (let i = 0; i < 200; i++) {
    if (condition()) return true;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return condition();
}

for (const [name, { before, act }] of Object.entries(ACTS)) {
  Deno.test({
    name: `no block is lost when a Worker dies at any instruction of: ${name}`,
    ignore: !provesDeath,
    // A Worker that has died leaves its timers to nobody; here they are left to this isolate.
    sanitizeResources: false,
    sanitizeOps: false,
    fn: async () => {
      for (const when of ["before", "after"] as const) {
        for (let step = 0;; step++) {
          const stage = new Stage();
          const { pool, ours, control } = stage;
          before?.(stage);
          let died = false;
          try {
            stage.alone(() =>
              interrupt(step, when, () => {
                died = true;
                throw new Death();
              }, () => act(stage))
            );
          } catch (error) {
            if (!(error instanceof Death)) throw error;
          }
          if (!died) {
            await stage.end();
            break;
          }
          stage.kill();
          const where = `${name}: ${when} operation ${step}`;
          // A death between taking the id of the pool and showing the thread costs an id; not here.
          pool.reclaim({});
          pool.reclaim({});
          assertEquals(numbers(pool).attachedWorkers, 1, where);
          for (const block of ours.splice(0)) block.release();
          // What was in transit comes back, what has lost its hint is found again, and counts that
          // the death left wrong are set right.
          assert(
            await rounds(() =>
              numbers(pool).acquiredBlocks === 0 && stage.lost().length === 0 &&
              stage.isCountedRight()
            ),
            `${where}: ${Deno.inspect(numbers(pool))}`,
          );
          const stats = numbers(pool);
          const lends = control.lends.filter((count) => count !== 0).length;
          // Only what native code may still write to is out of the pool, or what was to be.
          assert(
            stats.abandonedBlocks <=
              Math.max(lends, name === "abandon" ? 1 : 0),
            where,
          );
          assertEquals(control.words[HEADER.RESIZER], 0, where);
          assertEquals(control.words[HEADER.COMMITTED], stats.committedBlocks);
          assertEquals(control.words[HEADER.WAITERS], 0, where);
          // Every block that is left can be had, and given back.
          const all = pool.acquireMany(6 - stats.abandonedBlocks);
          all.catch(() => {});
          const got = await Promise.race([
            all,
            new Promise<void>((resolve) => setTimeout(resolve, 500)),
          ]);
          if (got === undefined) {
            throw new Error(`${where}: ${Deno.inspect(numbers(pool))}`);
          }
          got[Symbol.dispose]();
          await pool.close();
        }
      }
    },
  });
}

/** What others do in between. Each leaves the stage as lawful as it found it. */
const OTHERS: Record<string, (stage: Stage) => void> = {
  "ask for the numbers": ({ pool }) => void numbers(pool),
  "acquire": (stage) => stage.take(),
  "release": (stage) => stage.give(),
  "acquire and release": ({ pool }) => pool.tryAcquire()?.release(),
  "acquire all and release": ({ pool }) => {
    const all: Block[] = [];
    for (let b; (b = pool.tryAcquire()) !== undefined;) all.push(b);
    for (const block of all.reverse()) block.release();
  },
  "acquire twice and release the first": (stage) => {
    const first = stage.pool.tryAcquire();
    stage.take();
    first?.release();
  },
  "trim": ({ pool }) => void pool.trim(),
  "trim and grow": (stage) => {
    stage.pool.trim();
    for (let i = 0; i < 4; i++) stage.take();
  },
  "send and receive": ({ pool }) => {
    const block = pool.tryAcquire();
    if (block !== undefined) pool.adopt(block.detach()).release();
  },
  "adopt": ({ pool, tickets, ours }) => {
    for (const ticket of tickets) {
      try {
        ours.push(pool.adopt(ticket));
      } catch (error) {
        if ((error as { code?: string }).code !== "foreign-block") throw error;
      }
    }
  },
};

for (const [name, { before, act }] of Object.entries(ACTS)) {
  Deno.test({
    name: `whatever others do at any instruction of ${name}, all is in order`,
    ignore: name.startsWith("reclaim") && !provesDeath,
    fn: async () => {
      for (const [other, between] of Object.entries(OTHERS)) {
        for (let step = 0;; step++) {
          const stage = new Stage();
          stage.take();
          before?.(stage);
          const where = `${other} before operation ${step} of ${name}`;
          let reached = false;
          try {
            reached = interrupt(
              step,
              "before",
              () => between(stage),
              () => act(stage),
            );
          } catch (error) {
            reached = true;
            const { code } = error as { code?: string };
            // What the others took, the actor may miss.
            if (code !== "exhausted" && code !== "foreign-block") {
              throw new Error(where, { cause: error });
            }
          }
          // A free block that no hint tells of would be lost.
          assertEquals(stage.lost(), [], where);
          const blocks = [...stage.held, ...stage.ours];
          const places = blocks.map(({ pointer }) =>
            Deno.UnsafePointer.value(pointer)
          );
          assertEquals(new Set(places).size, blocks.length, `${where}: twice`);
          await stage.end();
          const stats = numbers(stage.pool);
          assertEquals(stats.acquiredBlocks, 0, where);
          if (!reached) break;
        }
      }
    },
  });
}
