/**
 * Experimental: rests on Web Locks and broadcast channels. Finds a shared pool by name among the
 * threads of one process, or has exactly one of them make it.
 *
 * The process registry says whether a thread has the pool; its handle comes over a broadcast channel,
 * and every thread that has it answers, so its maker may die. A Web Lock lets one thread look at a
 * time. It is released at once: held, it would keep a server from shutting down on SIGTERM.
 */
import { show } from "../../pool/checks.ts";
import { SmritiError } from "../../pool/errors.ts";
import { chooseBackend } from "../../pool/region.ts";
import { runtime } from "../../pool/runtime.ts";
import {
  type Entry,
  type Key,
  keyOf,
  MAKING,
  ProcessRegistry,
} from "./process_registry.ts";
import { HEADER } from "../control.ts";
import {
  readHandle,
  type SharedFilledOptions,
  type SharedPoolHandle,
} from "../handle.ts";
import { JoinChannel } from "./channel.ts";
import { fillSharedOptions, type SharedPoolOptions } from "../options.ts";
import type { SharedBlockPool } from "../shared_block_pool.ts";

/** How often the registry is looked at and the other threads are asked, in ms. */
const ASK_MS = 20;
/** An attempt that takes longer counts as this, in ms. */
const LONGEST_TRY_MS = 100;
/** The shortest time between two answers of a thread, in ms: an answer reaches all that have asked. */
const ANSWER_MS = 10;
/** After this long without an answer the join fails, in ms. */
const PATIENCE_MS = 10_000;

/** The part of the Web Locks API used here; Deno has it, its types do not yet. */
interface Locks {
  request(
    name: string,
    options: { ifAvailable: true },
    run: (lock: object | null) => void,
  ): Promise<void>;
}

/** A message on the channel of a name. */
interface Message {
  /** Asks for the pool. */
  readonly ask?: true;
  /** Answers with its handle. */
  readonly handle?: SharedPoolHandle;
}

interface Maker {
  create(options: SharedPoolOptions): SharedBlockPool;
  attach(handle: SharedPoolHandle): SharedBlockPool;
}

/** A pool that this thread has, and its entry in the registry. */
interface Found {
  readonly pool: SharedBlockPool;
  readonly entry: Entry;
}

/** One thread's search for the pool of a name. */
class Search {
  readonly #key: Key;
  readonly #options: SharedFilledOptions;
  readonly #maker: Maker;
  readonly #line: JoinChannel;
  #registry: ProcessRegistry | undefined;
  /** Ends the wait for an answer. */
  #wake = (): void => {};
  #found: Found | undefined;
  #refusal: { readonly error: unknown } | undefined;

  constructor(
    key: Key,
    options: SharedFilledOptions,
    maker: Maker,
    line: JoinChannel,
  ) {
    this.#key = key;
    this.#options = options;
    this.#maker = maker;
    this.#line = line;
    line.hear(({ handle }: Message) => {
      if (handle !== undefined && !this.#isOver) this.#hear(handle);
    });
  }

  /** Looks and asks until it has the pool. `undefined` if no thread answers. */
  async run(): Promise<Found | undefined> {
    for (let left = PATIENCE_MS; left > 0 && !this.#isOver;) {
      const began = performance.now();
      await this.#make();
      if (!this.#isOver) await this.#ask();
      // While this thread was busy it could not receive answers: that time counts as `LONGEST_TRY_MS`
      // at most.
      const took = performance.now() - began;
      left -= Math.max(ASK_MS, Math.min(took, LONGEST_TRY_MS));
    }
    // Later answers are ignored: with an entry in the registry other threads would wait for this one.
    this.#line.hear(() => {});
    if (this.#refusal !== undefined) throw this.#refusal.error;
    return this.#found;
  }

  get #isOver(): boolean {
    return this.#found !== undefined || this.#refusal !== undefined;
  }

  /** Makes the pool, unless a thread has it or another one is looking at this moment. */
  async #make(): Promise<void> {
    const { locks } = navigator as unknown as { locks: Locks };
    const place = `smriti:${Deno.pid}`;
    await locks.request(place, { ifAvailable: true }, (lock) => {
      if (lock === null || this.#isOver) return;
      try {
        this.#registry ??= ProcessRegistry.open();
        this.#take(this.#registry, MAKING, (entry) => {
          const pool = this.#maker.create(this.#options);
          entry.made(numberOf(pool.handle));
          return pool;
        });
      } catch (error) {
        this.#refusal = { error };
      }
    });
  }

  /** Asks the threads that have it, and waits for `ASK_MS`. */
  async #ask(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    const timer = setTimeout(resolve, ASK_MS);
    this.#line.say({ ask: true } satisfies Message);
    await promise;
    clearTimeout(timer);
  }

  #hear(given: SharedPoolHandle): void {
    try {
      const handle = readHandle(given);
      this.#compare(handle.options);
      this.#registry ??= ProcessRegistry.find();
      // A thread that has the pool has made the registry, too.
      if (this.#registry === undefined) return;
      const attach = () => this.#maker.attach(handle);
      this.#take(this.#registry, numberOf(handle), attach);
    } catch (error) {
      // A message without a valid handle is ignored, and so is a pool that is closing: the next answer
      // counts.
      if (error instanceof TypeError) return;
      if ((error as SmritiError).code === "closed") return;
      this.#refusal = { error };
    }
    if (this.#isOver) this.#wake();
  }

  /**
   * Enters the registry, and then makes or attaches to the pool unless a thread has another of this
   * name.
   */
  #take(
    registry: ProcessRegistry,
    pool: number,
    take: (entry: Entry) => SharedBlockPool,
  ): void {
    const entry = registry.enter(this.#key, pool);
    try {
      if (!entry.isDisputed) this.#found = { entry, pool: take(entry) };
    } finally {
      if (this.#found === undefined) entry.leave();
    }
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

function refuseWithoutLocks(): void {
  if ("locks" in navigator) return;
  throw new SmritiError(
    "unsupported",
    `join() needs Web Locks, as in Deno 2.9 or newer; this is ${
      runtime().join(" ")
    }`,
  );
}

/** Joins the pool of that name, or makes it. */
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
  const filled = fillSharedOptions(options, name);
  chooseBackend(filled.backend);
  refuseWithoutLocks();
  const key = keyOf(name);
  const line = await JoinChannel.open(
    `smriti:${Deno.pid}:${key.hash}:${key.again}`,
  );
  try {
    const found = await new Search(key, filled, maker, line).run();
    if (found !== undefined) return answer(line, found);
    throw new SmritiError(
      "timeout",
      `pool ${show(name)} is there, but no worker that has it answered ` +
        `within ${PATIENCE_MS} ms`,
    );
  } catch (error) {
    line.close();
    throw error;
  }
}

/** Lets this thread answer others, as long as the pool is open here. */
function answer(line: JoinChannel, { pool, entry }: Found): SharedBlockPool {
  listen(line, new WeakRef(pool), entry);
  return pool;
}

/** Holds the pool weakly: an unreachable one counts as left. */
function listen(
  line: JoinChannel,
  ref: WeakRef<SharedBlockPool>,
  entry: Entry,
): void {
  let answered = -Infinity;
  const leave = () => {
    entry.leave();
    line.close();
    removeEventListener("unload", leave);
  };
  line.hear(({ ask }: Message) => {
    if (ask !== true) return;
    const pool = ref.deref();
    if (pool === undefined || pool.closed) return leave();
    const now = performance.now();
    if (now - answered < ANSWER_MS) return;
    answered = now;
    line.say({ handle: pool.handle } satisfies Message);
  });
  const pool = ref.deref()!;
  // It may have been closed before this listener was added.
  if (pool.closed) leave();
  else {
    pool.addEventListener("close", leave);
    addEventListener("unload", leave);
  }
}

function numberOf({ control }: SharedPoolHandle): number {
  return new Int32Array(control)[HEADER.POOL]!;
}
