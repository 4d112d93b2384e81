// Blocks of a shared pool that become unreachable without a release: each is found, and no other. In
// children, because only there the garbage collector comes when it is called.

import { assertEquals } from "@std/assert";
import { survives } from "../support/child.ts";
import { canRunDeno, hasNative } from "../support/platform.ts";

const SHARED = new URL("../../shared/mod.ts", import.meta.url).href;

type Shared = typeof import("../../shared/mod.ts");
type Body = (shared: Shared, collect: () => Promise<void>) => unknown;

/** Runs `body` where `collect()` finds all garbage; hands back what it returns. */
async function find(body: Body): Promise<Record<string, unknown>> {
  const lines = await survives(
    async (_, url, source) => {
      const { gc } = globalThis as unknown as { gc: () => void };
      const collect = async () => {
        for (let i = 0; i < 3; i++) {
          await new Promise((resolve) => setTimeout(resolve, 0));
          gc();
        }
        await new Promise((resolve) => setTimeout(resolve, 5));
      };
      const shared: Shared = await import(url);
      const run: Body = (0, eval)(`(${source})`);
      console.log(JSON.stringify(await run(shared, collect)));
    },
    ["--v8-flags=--expose-gc"],
    [SHARED, `${body}`],
  );
  return JSON.parse(lines.at(-1)!);
}

const ignore = !canRunDeno || !hasNative;

Deno.test({
  name: "every dropped block of a shared pool is found, however it came here",
  ignore,
  fn: async () => {
    const found = await find(async ({ SharedBlockPool }, collect) => {
      const pool = SharedBlockPool.create({ blockSize: 4096, maxBlocks: 64 });
      const other = SharedBlockPool.attach(pool.handle);
      const events: unknown[] = [];
      pool.addEventListener("leak", ({ detail }) => events.push(detail.tag));
      for (let i = 0; i < 10; i++) {
        pool.acquireSync();
        pool.acquireSync().bytes[0] = 1;
        pool.adopt(other.acquireSync().detach(), { tag: "adopted" });
        pool.adoptMany(other.detachMany([other.acquireSync()]));
      }
      await collect();
      const { leaks, abandonedBlocks, acquiredBlocks } = pool.stats();
      other.leave();
      const ended = await pool.close({ timeoutMs: 100 }).then(() => "closed");
      const isTold = events.includes("adopted");
      return { leaks, abandonedBlocks, acquiredBlocks, ended, isTold };
    });
    assertEquals(found, {
      leaks: 40,
      abandonedBlocks: 40,
      acquiredBlocks: 0,
      ended: "closed",
      isTold: true,
    });
  },
});

Deno.test({
  name:
    "a handle dropped after its block was sent, released or taken in vain is no leak",
  ignore,
  fn: async () => {
    const found = await find(async ({ SharedBlockPool }, collect) => {
      const pool = SharedBlockPool.create({
        blockSize: 4096,
        maxBlocks: 4,
        initialBlocks: 4,
      });
      const other = SharedBlockPool.attach(pool.handle);
      for (let round = 0; round < 20; round++) {
        // What is held below has slots whose earlier handles are garbage by now.
        for (let i = 0; i < 4; i++) {
          other.adopt(pool.acquireSync().detach()).release();
          const numbers = pool.detachMany([pool.acquireSync()]);
          for (const block of other.adoptMany(numbers)) block.release();
          const [ticket] = [other.acquireSync().detach()];
          try {
            const three = [ticket.pool, ticket.slot, ticket.serial];
            pool.adoptMany(new Int32Array([...three, ...three]));
          } catch {
            pool.adopt(ticket).release();
          }
        }
        const held = await pool.acquireMany(4);
        await collect();
        held[Symbol.dispose]();
      }
      const { leaks, abandonedBlocks, freeBlocks } = pool.stats();
      return { leaks, abandonedBlocks, freeBlocks };
    });
    assertEquals(found, { leaks: 0, abandonedBlocks: 0, freeBlocks: 4 });
  },
});

Deno.test({
  name: "who waits for a block of a shared pool has dropped ones looked for",
  ignore,
  fn: async () => {
    const found = await find(async ({ SharedBlockPool }) => {
      const pool = SharedBlockPool.create({ blockSize: 4096, maxBlocks: 4 });
      for (let i = 0; i < 3; i++) pool.acquireSync();
      const kept = pool.acquireSync();
      const got = await pool.acquireMany(3);
      const { leaks, capacityBlocks, abandonedBytes } = pool.stats();
      const { length } = got;
      got[Symbol.dispose]();
      kept.release();
      return { length, leaks, capacityBlocks, abandonedBytes };
    });
    // Fresh blocks have come in their place.
    assertEquals(found, {
      length: 3,
      leaks: 3,
      capacityBlocks: 4,
      abandonedBytes: 0,
    });
  },
});
