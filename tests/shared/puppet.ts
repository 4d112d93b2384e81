// Workers for the tests of shared pools, each attached to one pool, that run what they are given.

import { type Block, SmritiError, type SmritiErrorCode } from "../../mod.ts";
import type { SharedBlockPool } from "../../shared/mod.ts";

/** What a function in a Worker has at hand. */
export interface Strings {
  readonly pool: SharedBlockPool;
  /** Blocks to be kept from one call to the next. */
  readonly held: Block[];
  readonly SharedBlockPool: typeof SharedBlockPool;
}

const SCRIPT = new URL("./puppet_worker.ts", import.meta.url).href;

/** A Worker attached to a pool. Terminated when disposed. */
export class Puppet implements Disposable {
  readonly #worker = new Worker(SCRIPT, { type: "module" });
  readonly #asked = new Map<number, PromiseWithResolvers<unknown>>();
  #number = 0;
  /** Its id in the pool. */
  id = 0;

  private constructor() {
    this.#worker.onmessage = ({ data: { number, result, error } }) => {
      const { resolve, reject } = this.#asked.get(number)!;
      this.#asked.delete(number);
      if (error === undefined) return resolve(result);
      reject(
        error.code === undefined
          ? new Error(error.message)
          : new SmritiError(error.code as SmritiErrorCode, error.message),
      );
    };
  }

  /** A new Worker that has attached to the pool. */
  static async start(pool: SharedBlockPool): Promise<Puppet> {
    const puppet = new Puppet();
    const give = ({ pool }: Strings) => pool.workerId;
    puppet.id = await puppet.#send(give, [], pool) as number;
    return puppet;
  }

  /**
   * Runs `fn` in the Worker. It goes there as its source, so it must use nothing but its arguments,
   * which are cloned, and what is global.
   */
  run<A extends unknown[], R>(
    fn: (strings: Strings, ...args: A) => R | PromiseLike<R>,
    ...args: A
  ): Promise<R> {
    return this.#send(fn, args) as Promise<R>;
  }

  /** Ends the Worker as a program would: whatever it holds, it holds. */
  kill(): void {
    this.#worker.terminate();
  }

  [Symbol.dispose](): void {
    this.kill();
  }

  #send(
    fn: unknown,
    args: unknown[],
    pool?: SharedBlockPool,
  ): Promise<unknown> {
    const answer = Promise.withResolvers<unknown>();
    const number = this.#number++;
    this.#asked.set(number, answer);
    const handle = pool?.handle;
    this.#worker.postMessage({ number, handle, source: `${fn}`, args });
    return answer.promise;
  }
}

/** Several of them. */
export async function troupe(
  pool: SharedBlockPool,
  count: number,
): Promise<Puppet[] & Disposable> {
  const puppets = await Promise.all(
    Array.from({ length: count }, () => Puppet.start(pool)),
  );
  return Object.assign(puppets, {
    [Symbol.dispose]: () => puppets.forEach((puppet) => puppet.kill()),
  });
}
