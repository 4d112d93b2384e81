// Whatever of the runtime can throw throws, at each of its calls in turn, in a shared pool: a call
// happens or does not, nothing is lost, no ticket is used up for nothing, and the pool goes on.

import {
  assert,
  assertEquals,
  assertGreater,
  assertNotEquals,
} from "@std/assert";
import { type Block, SmritiError } from "../../mod.ts";
import { type BlockTicket, SharedBlockPool } from "../../shared/mod.ts";
import { numbers, PAGE } from "./pools.ts";
import { type Call, failing, Refused } from "../support/failing_runtime.ts";
import { until } from "../support/misuse.ts";
import { hasNative } from "../support/platform.ts";

/** What a shared pool's words are reached by. No runtime refuses them, but the end of a stack may. */
const ATOMICS: readonly Call[] = [
  "add",
  "and",
  "compareExchange",
  "load",
  "or",
  "store",
  "sub",
].map((name) => [Atomics, name]);

interface Scene {
  readonly pool: SharedBlockPool;
  /** Written to, and held. */
  readonly block: Block;
  /** Of a block that another attachment has written to. */
  readonly ticket: BlockTicket;
}

type Act = (scene: Scene) => unknown;

const ACTS: Record<string, Act> = {
  tryAcquire: ({ pool }) => pool.tryAcquire(),
  "tryAcquire, tagged": ({ pool }) => pool.tryAcquire({ tag: "a" }),
  "tryAcquire, reserved": ({ pool }) => pool.tryAcquire({ reserved: true }),
  acquire: ({ pool }) => pool.acquire({ timeoutMs: 5 }),
  acquireMany: ({ pool }) => pool.acquireMany(2, { timeoutMs: 5 }),
  use: ({ pool }) => pool.use((block) => void block.bytes, { timeoutMs: 5 }),
  bytes: ({ block }) => void block.bytes,
  release: ({ block }) => block.release(),
  abandon: ({ block }) => block.abandon(),
  "bytes, healed": ({ block }) => {
    structuredClone(block.bytes.buffer, { transfer: [block.bytes.buffer] });
    void block.bytes;
  },
  "lend, brought back": ({ block }) =>
    block.lend((bytes) => new Uint8Array(bytes.buffer.transfer())),
  detach: ({ block }) => block.detach(),
  adopt: ({ pool, ticket }) => pool.adopt(ticket),
  "detachMany and adoptMany": ({ pool, block }) => {
    const [id, slot, serial] = pool.detachMany([block]);
    const ticket = { pool: id, slot, serial };
    try {
      return pool.adoptMany(new Int32Array([id, slot, serial]));
    } catch {
      return ticket;
    }
  },
  trim: ({ pool }) => void pool.trim(),
  reclaim: ({ pool }) => void pool.reclaim({}),
  attach: ({ pool }) => {
    const attachment = SharedBlockPool.attach(pool.handle);
    try {
      attachment.leave();
    } catch (error) {
      attachment.leave();
      throw error;
    }
  },
};

const ASK_FOR_ROOM: readonly string[] = ["trim", "reclaim", "attach"];
/** Gives a slot a fresh address when it is over, and asks for room then: the housekeeping finishes that. */
const HEALS: readonly string[] = ["abandon"];

/** Ways out. What is cut short here is made good by the housekeeping. */
const ENDS: Record<string, (pool: SharedBlockPool) => unknown> = {
  leave: (pool) => pool.leave(),
  close: (pool) => pool.close({ timeoutMs: 2000 }).catch(() => {}),
};

function isBlock(one: unknown): one is Block {
  return typeof one === "object" && one !== null && "lend" in one;
}

async function trial(
  act: Act,
  waits: boolean,
  calls: readonly Call[],
  number: number,
  where: string,
  heals: boolean,
): Promise<boolean> {
  const pool = SharedBlockPool.create({
    blockSize: PAGE,
    maxBlocks: waits ? 4 : 7,
    initialBlocks: 4,
    reservedBlocks: waits ? 0 : 1,
    leakDetection: "all",
    ticketTimeoutMs: 60_000,
    // Also how often the pool looks after itself.
    shrinkIntervalMs: heals ? 1 : 10_000,
  });
  const other = SharedBlockPool.attach(pool.handle);
  const sent = other.acquireSync();
  sent.bytes.fill(5);
  const ticket = sent.detach();
  const first = Array.from({ length: 3 }, () => pool.tryAcquire())
    .filter((block) => block !== undefined);
  for (const block of first) block.bytes[0] = 1;
  if (!waits) first.splice(1).forEach((block) => block.release());
  const [block] = first;
  const served = waits
    ? pool.acquire().catch(() => undefined)
    : Promise.resolve(undefined);
  const { count, result, error } = await failing(
    number,
    () => act({ pool, block, ticket }),
    calls,
  );
  if (error !== undefined) {
    const isKnown = error instanceof SmritiError || error instanceof Refused ||
      error instanceof Deno.errors.NotCapable || error instanceof DOMException;
    assert(isKnown, `${where}: ${error}`);
  }
  const got = [result].flat().filter(isBlock);
  const out = new Set([...got, ...first].filter((each) => !each.released));
  // What waits may have been served in this very turn.
  const isRight = () => {
    const { acquiredBlocks, transitBlocks } = numbers(pool);
    const taken = acquiredBlocks - transitBlocks;
    return taken === out.size || (waits && taken === out.size + 1);
  };
  if (heals) await until(isRight);
  assert(isRight(), where);
  const { transitBlocks } = numbers(pool);
  for (const each of out) each.release();
  (await served)?.release();
  // Both tickets are good, or their blocks are here.
  const tickets = [ticket, result].filter((one) =>
    typeof one === "object" && one !== null && "serial" in one
  ) as BlockTicket[];
  let adopted = 0;
  for (const each of tickets) {
    try {
      const again = other.adopt(each);
      if (each === ticket) assert(again.bytes.every((byte) => byte === 5));
      again.release();
      adopted++;
    } catch (failed) {
      assertEquals((failed as SmritiError).code, "foreign-block", where);
    }
  }
  assertEquals(adopted, transitBlocks, where);
  if (heals) {
    await until(() => {
      const { acquiredBlocks, waiting } = numbers(pool);
      return acquiredBlocks + waiting === 0;
    });
  }
  const { capacityBlocks, maxBlocks, waiting, ...left } = numbers(pool);
  assertEquals([left.acquiredBlocks, waiting], [0, 0], where);
  assertEquals(capacityBlocks, maxBlocks, where);
  const all = await pool.acquireMany(maxBlocks, { reserved: true });
  for (const each of all) {
    assertEquals(each.bytes.findIndex((byte) => byte !== 0), -1, where);
    each.release();
  }
  other.leave();
  await pool.close();
  return count > number;
}

for (const waits of [false, true]) {
  for (const [what, calls] of [["runtime", []], ["word", ATOMICS]] as const) {
    Deno.test({
      name:
        `a ${what} that throws at any call cuts no call of a shared pool in two${
          waits ? " while others wait" : ""
        }`,
      ignore: !hasNative,
      fn: async () => {
        let trials = 0;
        for (const [name, act] of Object.entries(ACTS)) {
          // What asks for room on the stack before it begins is not cut short by its end.
          if (what === "word" && ASK_FOR_ROOM.includes(name)) continue;
          for (let number = 0;; number++) {
            const where = `${name}, call ${number}`;
            trials++;
            const heals = what === "word" && HEALS.includes(name);
            if (!await trial(act, waits, calls, number, where, heals)) break;
          }
        }
        assertGreater(trials, 25);
      },
    });
  }
}

for (const [name, end] of Object.entries(ENDS)) {
  Deno.test({
    name: `${name}() ends a shared pool although anything throws once`,
    ignore: !hasNative,
    // Where the last step was cut short, the next housekeeping ends the timers.
    sanitizeResources: false,
    sanitizeOps: false,
    fn: async () => {
      for (let number = 0, goesOn = true; goesOn; number++) {
        const pool = SharedBlockPool.create({
          blockSize: PAGE,
          maxBlocks: 4,
          shrinkIntervalMs: 2,
        });
        const other = SharedBlockPool.attach(pool.handle);
        const blocks = [other, other, pool].map((attachment) =>
          attachment.acquireSync()
        );
        for (const { bytes } of blocks.slice(1)) bytes[0] = 1;
        const { count } = await failing(number, () => void end(other));
        goesOn = count > number;
        for (const block of blocks) block[Symbol.dispose]();
        const where = `${name}, call ${number}`;
        // The timers are unref'd.
        const alive = setInterval(() => {}, 1000);
        // Where it was refused before it began.
        if (!other.closed) other.leave();
        await pool.close();
        clearInterval(alive);
        assertEquals(numbers(pool).mappedBytes, 0, where);
      }
    },
  });
}

// A block whose promise could not be made is given back once, though giving it back is cut short: a second
// time it would be another lease's.

const fail = (): never => {
  throw new RangeError("Maximum call stack size exceeded");
};

/** Runs `act` while the call of that name and number of `home` fails. */
function failingAt<T extends object>(
  home: T,
  name: keyof T,
  number: number,
  act: () => unknown,
): void {
  const real = home[name] as (...args: unknown[]) => unknown;
  let count = 0;
  home[name] =
    ((...args: unknown[]) =>
      count++ === number ? fail() : Reflect.apply(real, home, args)) as never;
  try {
    act();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  } finally {
    home[name] = real as never;
  }
}

for (const name of ["add", "load", "notify", "compareExchange"] as const) {
  Deno.test({
    name:
      `what a caller did not get is given back once, though Atomics.${name} fails`,
    ignore: !hasNative,
    fn: async () => {
      for (let number = 0; number < 4; number++) {
        const pool = SharedBlockPool.create({
          blockSize: PAGE,
          maxBlocks: 2,
          initialBlocks: 2,
        });
        const other = SharedBlockPool.attach(pool.handle);
        const held = pool.acquireSync();
        let asked: Promise<unknown> | undefined;
        failingAt(Promise, "resolve", 0, () => asked = pool.acquire());
        await asked?.then(() => {}, () => {});
        const controller = new AbortController();
        const waits = other.acquire({ signal: controller.signal });
        failingAt(Atomics, name, number, () => pool.stats());
        controller.abort();
        await waits.then((block) => block.release(), () => {});
        const first = pool.tryAcquire();
        if (first !== undefined) first.bytes[0] = 1;
        pool.stats();
        const second = pool.tryAcquire();
        // One of them has the only block there is.
        assertNotEquals(first === undefined, second === undefined);
        for (const block of [held, first, second]) block?.release();
        assertEquals(pool.stats().acquiredBlocks, 0);
        other.leave();
        await pool.close();
      }
    },
  });
}
