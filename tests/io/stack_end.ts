// A program: what holds blocks of the adaptors, called in each of the last frames of the stack. Each call
// happens or does not: once all that was made has been ended, no block is out. Arguments: rounds for
// each call, and how many frames. Leak detection is off: it would find what was lost.

import { assertEquals } from "@std/assert";
import { BlockPool, type PoolOptions } from "../../mod.ts";
import {
  type BlockChain,
  bufferedReader,
  chunks,
  collect,
  collector,
  lines,
  readFrames,
} from "../../io/mod.ts";
import { callsMade, dive, FRAMES } from "../support/stack_end_calls.ts";

const ROUNDS = Number(Deno.args[0] ?? 8);
/** In three blocks of the pool. */
const SIZE = 10_000;

/** What is made before the dive, called in it once, and ended after it. */
interface Item {
  call(): unknown;
  end(made: unknown): unknown;
}

type Make = (pool: BlockPool) => Promise<Item>;

/** No stream: one that is read at the end of the stack rejects promises that nothing can handle. */
async function* source(): AsyncGenerator<Uint8Array> {
  const part = new TextEncoder().encode("a\n".repeat(SIZE / 4));
  yield part;
  yield part;
}

function ofChain(call: (chain: BlockChain) => unknown): Make {
  return async (pool) => {
    const chain = (await collect(source(), pool))!;
    return {
      call: () => call(chain),
      end: async (made) => {
        chain[Symbol.dispose]();
        if (made instanceof ReadableStream) await made.cancel();
      },
    };
  };
}

function ofCollector(
  call: (of: ReturnType<typeof collector>) => unknown,
): Make {
  return async (pool) => {
    const of = collector(pool, { limit: 2 * SIZE });
    await of.write(new Uint8Array(SIZE));
    return {
      call: () => call(of),
      end: (made) => {
        (made as BlockChain | null | undefined)?.[Symbol.dispose]();
        of[Symbol.dispose]();
      },
    };
  };
}

function ofReader(
  call: (of: ReturnType<typeof bufferedReader>) => unknown,
): Make {
  return async (pool) => {
    const of = bufferedReader(source(), pool);
    await of.fill(5);
    return { call: () => call(of), end: () => of[Symbol.dispose]() };
  };
}

function ofLoop(
  make: (pool: BlockPool) => AsyncIterableIterator<unknown>,
): Make {
  return async (pool) => {
    const steps = make(pool);
    await steps.next();
    return { call: () => steps.next(), end: () => steps.return!() };
  };
}

const MAKERS: Record<string, Make> = {
  "chain.release": ofChain((chain) => chain.release()),
  "chain, disposed": ofChain((chain) => chain[Symbol.dispose]()),
  "chain.stream": ofChain((chain) => chain.stream()),
  "collector.write": ofCollector((of) => of.write(new Uint8Array(SIZE))),
  "collector.finish": ofCollector((of) => of.finish()),
  "collector, disposed": ofCollector((of) => of[Symbol.dispose]()),
  "reader.rest": ofReader((of) => of.rest()),
  "reader, disposed": ofReader((of) => of[Symbol.dispose]()),
  chunks: ofLoop((pool) => chunks(source(), pool)),
  lines: ofLoop((pool) => lines(source(), pool)),
  readFrames: ofLoop((pool) => readFrames(source(), pool, { lengthBytes: 1 })),
};

async function trial(
  name: string,
  options: Partial<PoolOptions>,
): Promise<void> {
  const blocks = 16 * FRAMES;
  await using pool = new BlockPool({
    blockSize: 4096,
    maxBlocks: blocks,
    leakDetection: "off",
    ...options,
  });
  for (let round = 0; round < ROUNDS; round++) {
    const items: Item[] = [];
    for (let i = 0; i < FRAMES + 2; i++) items.push(await MAKERS[name](pool));
    const made: unknown[] = new Array(items.length);
    let at = 0;
    dive(round, () => {
      const mine = at;
      at = at + 1;
      if (mine < items.length) made[mine] = items[mine].call();
    });
    for (const [mine, item] of items.entries()) {
      const result = await Promise.resolve(made[mine]).catch(() => undefined);
      await item.end(result);
    }
    const where = `${name}, ${JSON.stringify(options)}, round ${round}`;
    assertEquals(pool.stats().acquiredBlocks, 0, where);
  }
}

/** A signal's operations are told of its abort, also where the first of them has no room. */
async function aborted(round: number): Promise<void> {
  await using pool = new BlockPool({
    blockSize: 4096,
    maxBlocks: 16 * FRAMES,
    leakDetection: "off",
  });
  const controllers = Array.from(
    { length: FRAMES + 2 },
    () => new AbortController(),
  );
  const collectors = await Promise.all(controllers.map(async ({ signal }) => {
    const of = collector(pool, { signal, limit: SIZE });
    await of.write(new Uint8Array(SIZE));
    return of;
  }));
  let at = 0;
  dive(round, () => {
    const mine = at;
    at = at + 1;
    controllers[mine]?.abort("enough");
  });
  await Promise.resolve();
  for (const of of collectors) of[Symbol.dispose]();
  assertEquals(pool.stats().acquiredBlocks, 0, `aborted, round ${round}`);
}

for (const safety of ["revoke", "strict"] as const) {
  for (const name of Object.keys(MAKERS)) await trial(name, { safety });
}
for (let round = 0; round < ROUNDS; round++) await aborted(round);
console.log(`${callsMade()} calls`);
