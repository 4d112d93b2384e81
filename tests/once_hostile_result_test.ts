// What a lent operation gives is looked at for a returned buffer, and looking may run the user's
// code. When that threw, a block that had been released meanwhile never came back and was not
// counted as lost either; when it threw a little earlier, the block's memory got a second buffer.

import { assertEquals, assertStrictEquals } from "@std/assert";
import { type Block, BlockPool } from "../mod.ts";
import { gone, lawful } from "./support/invariants.ts";
import "./support/open_library.ts";

/** Takes a view's buffer away and keeps it. */
function steal(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return structuredClone(bytes, { transfer: [bytes.buffer] });
}

/** An object of which looking at a property throws. */
function mined(name: string, more: object = {}): object {
  return Object.defineProperty(more, name, {
    get() {
      throw new Error("mine");
    },
  });
}

async function counts(lent: (block: Block) => Promise<unknown>) {
  const pool = new BlockPool({ blockSize: 64, maxBlocks: 4 });
  const block = pool.acquireSync();
  const pending = lent(block);
  block.release();
  await pending;
  const { acquiredBlocks, lentBlocks, abandonedBlocks } = lawful(pool);
  await pool.close();
  if (abandonedBlocks === 0) gone(pool);
  return { acquiredBlocks, lentBlocks, abandonedBlocks };
}

const LOST = { acquiredBlocks: 0, lentBlocks: 0, abandonedBlocks: 1 };

Deno.test("a result that throws when it is looked at loses its block, and says so", async () => {
  const kept: unknown[] = [];
  assertEquals(
    await counts((block) =>
      block.lend((bytes) => {
        kept.push(steal(bytes));
        return mined("value");
      })
    ),
    LOST,
  );
});

Deno.test("a result that throws when asked whether it was cancelled is taken for what it is", async () => {
  const kept: Uint8Array[] = [];
  for (const result of [mined("done"), mined("value", { done: true })]) {
    const told = await counts(async (block) => {
      const given = await block.lend((bytes) => {
        kept.push(steal(bytes));
        return result;
      }, { socket: true });
      assertStrictEquals(given, result);
    });
    // Somebody has the memory still.
    assertEquals(told, LOST);
  }
});

Deno.test("an error that throws when it is looked at may stand for a read that goes on", async () => {
  const error = new Proxy(new Error("opaque"), {
    getPrototypeOf() {
      throw new Error("mine");
    },
  });
  const told = await counts((block) =>
    block.lend((bytes) => {
      bytes.fill(1);
      return Promise.reject(error);
    }).catch(() => {})
  );
  assertEquals(told, LOST);
});

Deno.test("an interrupted read costs its block also when the error was wrapped", async () => {
  const wrap = (cause: unknown) => new Error("upload failed", { cause });
  const circle = new Error("a circle");
  circle.cause = circle;
  const errors: [unknown, number][] = [
    [wrap(new Deno.errors.Interrupted()), 1],
    [wrap(wrap(new Deno.errors.Interrupted())), 1],
    [wrap(new Deno.errors.ConnectionReset()), 0],
    [circle, 0],
    [undefined, 0],
  ];
  for (const [error, abandonedBlocks] of errors) {
    const told = await counts((block) =>
      block.lend((bytes) => {
        bytes.fill(1);
        return Promise.reject(error);
      }).catch(() => {})
    );
    assertEquals(told, { ...LOST, abandonedBlocks });
  }
});

Deno.test("a block lent anew while the result is looked at waits for that, too", async () => {
  await using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  const gate = Promise.withResolvers<void>();
  const block = pool.acquireSync();
  let second: Promise<void> | undefined;
  let looked = 0;
  await block.lend((bytes) => {
    const stolen = steal(bytes);
    return {
      get value() {
        looked++;
        second = block.lend(gate.promise);
        block.release();
        return stolen;
      },
    };
  });
  assertEquals(looked, 1);
  const { lentBlocks, acquiredBlocks } = lawful(pool);
  assertEquals([lentBlocks, acquiredBlocks], [1, 1]);
  assertEquals(pool.tryAcquire(), undefined);
  gate.resolve();
  await second;
  assertEquals(lawful(pool).freeBlocks, 1);
});
