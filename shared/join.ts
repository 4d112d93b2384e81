/**
 * Finds a shared pool by name among the threads of one process, or has exactly one of them make it.
 *
 * The board says whether anybody has the pool; its handle comes over a line between the threads, and
 * every member answers, so the one who made it may die. A Web Lock lets one thread look at a time. It
 * is let go at once: held, it would keep a server from ending on SIGTERM.
 */
import { show } from "../pool/checks.ts";
import { SmritiError } from "../pool/errors.ts";
import { Board, type Entry, MAKING } from "./board.ts";
import { HEADER } from "./control.ts";
import {
  readHandle,
  type SharedFilledOptions,
  type SharedPoolHandle,
} from "./handle.ts";
import { Line } from "./line.ts";
import { fillSharedOptions, type SharedPoolOptions } from "./options.ts";
import type { SharedBlockPool } from "./shared_block_pool.ts";

/** How often the board is looked at and the members are asked, in ms. */
const ASK_MS = 20;
/** After this a pool whose members do not answer is an error, in ms. */
const PATIENCE_MS = 10_000;

/** The part of the Web Locks API used here; Deno has it, its types do not yet. */
interface Locks {
  request<T>(
    name: string,
    options: { ifAvailable: true },
    run: (lock: object | null) => T,
  ): Promise<T>;
}

/** What is said on the line of a name. */
interface Message {
  /** Who has the pool? */
  readonly ask?: true;
  /** This is it. */
  readonly handle?: SharedPoolHandle;
}

interface Maker {
  create(options: SharedPoolOptions): SharedBlockPool;
  attach(handle: SharedPoolHandle): SharedBlockPool;
}

/** A pool that this thread has, and its entry on the board. */
interface Found {
  readonly pool: SharedBlockPool;
  readonly entry: Entry;
}

/** One thread's search for the pool of a name. */
class Search {
  readonly #name: string;
  readonly #options: SharedFilledOptions;
  readonly #maker: Maker;
  readonly #line: Line;
  readonly #answered: PromiseWithResolvers<Found> = Promise.withResolvers();

  constructor(
    name: string,
    options: SharedFilledOptions,
    maker: Maker,
    line: Line,
  ) {
    this.#name = name;
    this.#options = options;
    this.#maker = maker;
    this.#line = line;
    line.hear(({ handle }: Message) => {
      if (handle !== undefined) this.#hear(handle);
    });
    // It may come while nobody waits for it, and is then found by the next who does.
    this.#answered.promise.catch(() => {});
  }

  /** Makes the pool, unless somebody has it or another thread is just looking. */
  make(): Promise<Found | undefined> {
    const { locks } = navigator as unknown as { locks: Locks };
    const place = `smriti:${Deno.pid}`;
    return locks.request(place, { ifAvailable: true }, (lock) => {
      if (lock === null) return undefined;
      return this.#take(Board.open(), MAKING, (entry) => {
        const pool = this.#maker.create(this.#options);
        entry.made(numberOf(pool.handle));
        return pool;
      });
    });
  }

  /** Asks those who have it, and gives them a moment. */
  async ask(): Promise<Found | undefined> {
    const moment = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => moment.resolve(undefined), ASK_MS);
    this.#line.say({ ask: true } satisfies Message);
    try {
      return await Promise.race([this.#answered.promise, moment.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  #hear(given: SharedPoolHandle): void {
    try {
      const handle = readHandle(given);
      this.#compare(handle.options);
      const found = this.#take(
        Board.find(),
        numberOf(handle),
        () => this.#maker.attach(handle),
      );
      if (found === undefined) return;
      this.#answered.resolve(found);
      // Every member answers: with the next answer this thread would take a second seat.
      this.#line.hear(() => {});
    } catch (error) {
      // A pool that is just closing is none: the next answer, or nobody's, counts.
      if ((error as SmritiError).code === "closed") return;
      this.#answered.reject(error);
    }
  }

  /** Enters the board, and then makes or joins the pool if nobody has another. */
  #take(
    board: Board | undefined,
    pool: number,
    take: (entry: Entry) => SharedBlockPool,
  ): Found | undefined {
    const entry = board?.enter(this.#name, pool);
    if (entry === undefined) return undefined;
    try {
      if (!entry.isDisputed) return { entry, pool: take(entry) };
    } catch (error) {
      entry.leave();
      throw error;
    }
    entry.leave();
    return undefined;
  }

  #compare(there: SharedFilledOptions): void {
    for (const [name, wanted] of Object.entries(this.#options)) {
      const is = there[name as keyof SharedFilledOptions];
      if (is === wanted) continue;
      throw new RangeError(
        `${name} must be ${show(is)}, as in the pool ${
          show(this.#options.name)
        } that is there, got ${show(wanted)}`,
      );
    }
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
  const line = await Line.open(`smriti:${Deno.pid}:${name}`);
  try {
    const found = await search(new Search(name, filled, maker, line));
    if (found !== undefined) return answer(line, found);
  } catch (error) {
    line.close();
    throw error;
  }
  line.close();
  throw new SmritiError(
    "timeout",
    `pool ${show(name)} is there, but nobody who has it answered within ` +
      `${PATIENCE_MS} ms`,
  );
}

async function search(search: Search): Promise<Found | undefined> {
  const end = Date.now() + PATIENCE_MS;
  do {
    const found = await search.make() ?? await search.ask();
    if (found !== undefined) return found;
  } while (Date.now() < end);
}

/** Lets this thread answer those who ask, as long as the pool is open here. */
function answer(line: Line, { pool, entry }: Found): SharedBlockPool {
  const leave = () => {
    entry.leave();
    line.close();
  };
  line.hear(({ ask }: Message) => {
    if (ask !== true) return;
    if (pool.closed) leave();
    else line.say({ handle: pool.handle } satisfies Message);
  });
  // It may have been closed before anybody listened.
  if (pool.closed) leave();
  else pool.addEventListener("close", leave);
  return pool;
}

function numberOf({ control }: SharedPoolHandle): number {
  return new Int32Array(control)[HEADER.POOL];
}
