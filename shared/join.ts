/**
 * Finds a shared pool by name among the threads of one process, or has exactly one of them make it.
 *
 * A Web Lock held for the moment of the election picks the creator; a channel between the threads
 * carries the handle. Both are let go or unref'd afterwards: held ones would keep a server from
 * ending on SIGTERM. Every member answers, so the creator may die.
 */
import { BroadcastChannel } from "node:worker_threads";
import { show } from "../pool/checks.ts";
import { SmritiError } from "../pool/errors.ts";
import type { SharedPoolHandle } from "./handle.ts";
import type { SharedPoolOptions } from "./options.ts";
import type { SharedBlockPool } from "./shared_block_pool.ts";

/** How long an election waits for somebody to answer that the pool is there, in ms. */
const ANSWER_MS = 60;
/** How often one who waits asks again, in ms. */
const ASK_MS = 20;
/** After this the pool's members are taken to be gone, in ms. */
const PATIENCE_MS = 5000;

/** The part of the Web Locks API used here; Deno has it, its types do not yet. */
interface Locks {
  request<T>(
    name: string,
    options: { ifAvailable: true },
    run: (lock: object | null) => Promise<T>,
  ): Promise<T>;
}

interface Maker {
  create(options: SharedPoolOptions): SharedBlockPool;
  attach(handle: SharedPoolHandle): SharedBlockPool;
}

/** The pool of that name, made or joined. */
export async function joinByName(
  name: string,
  options: SharedPoolOptions,
  maker: Maker,
): Promise<SharedBlockPool> {
  if (typeof name !== "string" || name === "") {
    throw new TypeError(
      `name must be a string that is not empty, got ${show(name)}`,
    );
  }
  const end = Date.now() + PATIENCE_MS;
  const channel = new BroadcastChannel(`smriti:${Deno.pid}:${name}`);
  try {
    while (Date.now() < end) {
      const found = await ask(channel, maker);
      if (found !== undefined) return answerFor(name, found);
      const { locks } = navigator as unknown as { locks: Locks };
      const made = await locks.request(
        `smriti:${Deno.pid}:${name}`,
        { ifAvailable: true },
        async (lock) => {
          if (lock === null) return undefined;
          // Whoever held the lock before may have made it in the meantime.
          const late = await ask(channel, maker);
          // Answering before the lock goes: the next election finds this pool.
          return answerFor(name, late ?? maker.create(options));
        },
      );
      if (made !== undefined) return made;
    }
  } finally {
    channel.close();
  }
  throw new SmritiError(
    "timeout",
    `no member of pool ${show(name)} answered within ${PATIENCE_MS} ms`,
  );
}

/** Asks the members for the handle, for a moment. */
function ask(
  channel: BroadcastChannel,
  maker: Maker,
): Promise<SharedBlockPool | undefined> {
  return new Promise((resolve, reject) => {
    const finish = (pool?: SharedBlockPool) => {
      clearInterval(asking);
      clearTimeout(giveUp);
      channel.onmessage = () => {};
      resolve(pool);
    };
    channel.onmessage = (event: unknown) => {
      const { data } = event as MessageEvent;
      if (data?.handle === undefined) return;
      try {
        finish(maker.attach(data.handle));
      } catch (error) {
        // The pool that answered is just closing: another one is to be made.
        if (error instanceof SmritiError && error.code === "closed") {
          return finish();
        }
        finish();
        reject(error);
      }
    };
    const asking = setInterval(
      () => channel.postMessage({ ask: true }),
      ASK_MS,
    );
    const giveUp = setTimeout(() => finish(), ANSWER_MS);
    channel.postMessage({ ask: true });
  });
}

/** Lets this thread answer those who ask, as long as the pool is open here. */
function answerFor(name: string, pool: SharedBlockPool): SharedBlockPool {
  const channel = new BroadcastChannel(`smriti:${Deno.pid}:${name}`);
  channel.unref();
  channel.onmessage = (event: unknown) => {
    const { data } = event as MessageEvent;
    if (data?.ask !== true) return;
    if (pool.closed) channel.close();
    else channel.postMessage({ handle: pool.handle });
  };
  pool.addEventListener("close", () => channel.close());
  return pool;
}
