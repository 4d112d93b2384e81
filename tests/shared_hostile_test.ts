// Code of the caller that runs in the middle of a call, and closes the pool there or answers otherwise
// the second time. Once, each of these ended the process or lent a block twice.

import { assert, assertEquals, assertThrows } from "@std/assert";
import type { Block } from "@smriti/pool";
import type { SharedBlockPool } from "../shared/mod.ts";
import { sharedPool, whole } from "./shared/pools.ts";
import { refused, rejected } from "./support/misuse.ts";
import { gone } from "./support/law.ts";

/** How a caller may end the pool under itself. */
const ENDS: Record<string, (pool: SharedBlockPool) => void> = {
  "close()": (pool) => void pool.close().catch(() => {}),
  "leave()": (pool) => pool.leave(),
};

for (const [how, end] of Object.entries(ENDS)) {
  Deno.test(`acquireMany() is refused when a listener of "grow" calls ${how}`, async () => {
    const pool = sharedPool({ initialBlocks: 1 });
    pool.addEventListener("grow", () => end(pool));
    await rejected("closed", pool.acquireMany(2));
    await gone(pool);
  });

  Deno.test(`a block acquired while a listener of "grow" calls ${how} harms nobody`, async () => {
    const ways = [
      (pool: SharedBlockPool) => pool.acquire(),
      (pool: SharedBlockPool) => pool.acquireMany(1).then(([block]) => block),
      (pool: SharedBlockPool) => pool.acquireSync(),
    ];
    for (const acquire of ways) {
      const pool = sharedPool({ initialBlocks: 1 });
      pool.addEventListener("grow", () => end(pool));
      const block = await acquire(pool);
      if (how === "leave()") refused("released", () => block.bytes);
      else {
        block.bytes.fill(1);
        block.release();
      }
      await gone(pool);
    }
  });

  Deno.test(`adopt() is refused when reading its options calls ${how}`, async () => {
    for (const many of [false, true]) {
      const pool = sharedPool();
      const tickets = pool.detachMany([pool.acquireSync()]);
      const [id, slot, serial] = tickets;
      const options = {
        get tag() {
          end(pool);
          return undefined;
        },
      };
      refused(
        "closed",
        () =>
          many
            ? pool.adoptMany(tickets, options as never)
            : pool.adopt({ pool: id, slot, serial }, options as never),
      );
      await gone(pool);
    }
  });

  Deno.test(`acquire() is refused when its signal calls ${how}`, async () => {
    const pool = sharedPool();
    const signal = Object.assign(new AbortController().signal, {
      throwIfAborted: () => end(pool),
    });
    await rejected("closed", pool.acquire({ signal }));
    await gone(pool);
  });
}

Deno.test("adopt() reads a ticket once", async () => {
  const pool = sharedPool();
  const [first, second] = await pool.acquireMany(2);
  first.bytes[0] = 1;
  second.bytes[0] = 2;
  const [one, two] = [first.detach(), second.detach()];
  const sly = {
    [Symbol.toPrimitive]: (hint: string) =>
      hint === "string" ? `${one.slot}` : two.slot,
  };
  let reads = 0;
  const ticket = {
    ...one,
    get slot() {
      return reads++ === 0 ? one.slot : sly as never;
    },
  };
  const block = pool.adopt(ticket);
  assertEquals(block.bytes[0], 1);
  refused("foreign-block", () => pool.adopt(one));
  const other = pool.adopt(two);
  assertEquals(other.bytes[0], 2);
  for (const wrong of [{ ...one, slot: sly }, { ...one, serial: sly }]) {
    assertThrows(() => pool.adopt(wrong as never), TypeError);
  }
  block.release();
  other.release();
  whole(pool);
  await pool.close();
});

Deno.test("adoptMany() refuses what only looks like an Int32Array", async () => {
  const pool = sharedPool();
  const tickets = pool.detachMany([pool.acquireSync()]);
  const proxy = new Proxy(tickets, {
    get: (target, key) => Reflect.get(target, key),
  });
  assertThrows(() => pool.adoptMany(proxy), TypeError);
  pool.adoptMany(tickets)[0].release();
  whole(pool);
  await pool.close();
});

Deno.test("a lease does not end by what blocks are built of", async () => {
  const pool = sharedPool();
  const block = pool.acquireSync();
  const { part } = block.constructor as unknown as {
    part: (block: Block) => void;
  };
  part(block);
  block.bytes[0] = 1;
  assert(!block.released);
  block.release();
  whole(pool);
  await pool.close();
});
