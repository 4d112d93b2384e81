// A block of a shared pool whose promise could not be made was given back twice, if giving it back was
// cut short in between: the second time it was another lease's, and was lent to a third.

import { assertEquals, assertNotEquals } from "@std/assert";
import { SharedBlockPool } from "../shared/mod.ts";
import { PAGE } from "./shared/pools.ts";
import { hasNative } from "./support/platform.ts";

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
