/**
 * Finds a shared pool by name among the threads of one process, or has exactly one of them make it.
 *
 * A Web Lock picks the creator; a channel between the threads carries the handle. Both are let go or
 * unref'd: held ones would keep a server from ending on SIGTERM. Every member answers, so the
 * creator may die.
 */
import { show } from "../pool/checks.ts";
import { SmritiError } from "../pool/errors.ts";
import { unref } from "../pool/sizer.ts";
import type { SharedFilledOptions, SharedPoolHandle } from "./handle.ts";
import { fillSharedOptions, type SharedPoolOptions } from "./options.ts";
import type { SharedBlockPool } from "./shared_block_pool.ts";

/** How long the members have to answer before there are taken to be none, in ms. */
const ANSWER_MS = 200;
/** How often one who waits asks again, in ms. */
const ASK_MS = 20;
/** How long the creator must have been able to answer before others may be creators, in ms. */
const SETTLE_MS = 250;
/** After this a lock held without an answer is an error, in ms. */
const PATIENCE_MS = 10_000;

/** The part of the Web Locks API used here; Deno has it, its types do not yet. */
interface Locks {
  request<T>(
    name: string,
    options: { ifAvailable: true },
    run: (lock: object | null) => Promise<T>,
  ): Promise<T>;
}

/** The part of a channel used here. */
interface Channel {
  onmessage: (event: never) => void;
  postMessage(message: unknown): void;
  close(): void;
  unref(): unknown;
}

interface Maker {
  create(options: SharedPoolOptions): SharedBlockPool;
  attach(handle: SharedPoolHandle): SharedBlockPool;
}

/** One thread's search for the pool of a name. */
class Search {
  readonly #maker: Maker;
  readonly #options: SharedFilledOptions;
  readonly #channel: Channel;

  constructor(maker: Maker, options: SharedFilledOptions, channel: Channel) {
    this.#maker = maker;
    this.#options = options;
    this.#channel = channel;
  }

  /** Asks the members for the handle for so long. */
  ask(ms: number): Promise<SharedBlockPool | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<
      SharedBlockPool | undefined
    >();
    const channel = this.#channel;
    channel.onmessage = ({ data }: MessageEvent) => {
      if (data?.handle === undefined) return;
      try {
        resolve(this.#attach(data.handle));
        // Every member answers: with the next answer this thread would take a second seat.
        channel.onmessage = () => {};
      } catch (error) {
        // A pool that is just closing is none: the next answer, or nobody's, counts.
        if ((error as SmritiError).code !== "closed") reject(error);
      }
    };
    const question = () => channel.postMessage({ ask: true });
    question();
    const asking = setInterval(question, ASK_MS);
    const giveUp = setTimeout(() => resolve(undefined), ms);
    return promise.finally(() => {
      clearInterval(asking);
      clearTimeout(giveUp);
      channel.onmessage = () => {};
    });
  }

  #attach(handle: SharedPoolHandle): SharedBlockPool {
    for (const [name, wanted] of Object.entries(this.#options)) {
      const there = handle.options[name as keyof SharedFilledOptions];
      if (there === wanted) continue;
      throw new RangeError(
        `${name} must be ${show(there)}, as in the pool ${
          show(this.#options.name)
        } that is there, got ${show(wanted)}`,
      );
    }
    return this.#maker.attach(handle);
  }
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
  const filled = fillSharedOptions(
    { ...options, name: options?.name ?? name },
  );
  const place = `smriti:${Deno.pid}:${name}`;
  const { locks } = navigator as unknown as { locks: Locks };
  const channel = await open(place);
  const search = new Search(maker, filled, channel);
  const end = Date.now() + PATIENCE_MS;
  try {
    while (Date.now() < end) {
      const pool = await elect(locks, place, async () => {
        const found = await search.ask(ANSWER_MS);
        return await answer(place, found ?? maker.create(filled));
      });
      if (pool !== undefined) return pool;
      // Somebody is making it, or has, and answers as soon as it has nothing else to do.
      const found = await search.ask(ANSWER_MS);
      if (found !== undefined) return await answer(place, found);
    }
  } finally {
    channel.close();
  }
  throw new SmritiError(
    "timeout",
    `the creator of pool ${show(name)} did not answer within ${PATIENCE_MS} ms`,
  );
}

/**
 * Runs `make` under the lock of that name, or gives `undefined` if somebody else has it. The lock
 * stays held until this thread has been able to answer for a while: a server that computes for
 * seconds after it made the pool cannot answer, and nobody may take that for there being none.
 */
function elect(
  locks: Locks,
  place: string,
  make: () => Promise<SharedBlockPool>,
): Promise<SharedBlockPool | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<
    SharedBlockPool | undefined
  >();
  locks.request(place, { ifAvailable: true }, async (lock) => {
    if (lock === null) return resolve(undefined);
    try {
      resolve(await make());
    } catch (error) {
      return reject(error);
    }
    await new Promise((settled) => unref(setTimeout(settled, SETTLE_MS)));
  }).catch(reject);
  return promise;
}

/** Lets this thread answer those who ask, as long as the pool is open here. */
async function answer(
  place: string,
  pool: SharedBlockPool,
): Promise<SharedBlockPool> {
  const channel = await open(place);
  channel.unref();
  channel.onmessage = ({ data }: MessageEvent) => {
    if (data?.ask !== true) return;
    if (pool.closed) channel.close();
    else channel.postMessage({ handle: pool.handle });
  };
  pool.addEventListener("close", () => channel.close());
  return pool;
}

/** A channel that can be unref'd: only Node's can. Loaded by those who join, and nobody else. */
async function open(place: string): Promise<Channel> {
  const { BroadcastChannel } = await import("node:worker_threads");
  return new BroadcastChannel(place) as unknown as Channel;
}
