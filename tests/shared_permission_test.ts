// A careful program takes the permission for native code back once its pools are made. What goes on
// without it goes on; what needs a new view says so, loses no ticket, and never ends the process.

import { assertEquals } from "@std/assert";
import { survives } from "./support/child.ts";
import "./support/open_library.ts";
import { canRunDeno, hasNative, provesDeath } from "./support/platform.ts";

const SHARED = new URL("../shared/mod.ts", import.meta.url).href;
const ignore = !canRunDeno || !hasNative;

Deno.test(
  "a ticket that cannot be adopted for want of the permission stays good, and its block is not lost",
  {
    ignore,
  },
  async () => {
    const told = await survives(
      async (_, shared) => {
        const { SharedBlockPool }: typeof import("../shared/mod.ts") =
          await import(
            shared
          );
        const pool = SharedBlockPool.create({
          blockSize: 4096,
          maxBlocks: 8,
          initialBlocks: 8,
          ticketTimeoutMs: 400,
        });
        // It has a view of every block.
        const worker = new Worker(
          URL.createObjectURL(
            new Blob([`
          import { SharedBlockPool } from ${JSON.stringify(shared)};
          onmessage = ({ data }) => {
            if (data.handle) {
              globalThis.pool = SharedBlockPool.attach(data.handle);
              const all = Array.from({ length: 8 }, () => pool.acquireSync());
              for (const { bytes } of all) bytes[0] = 1;
              for (const block of all) block.release();
            } else if (data === "look") {
              const all = Array.from({ length: 8 }, () => pool.acquireSync());
              globalThis.first = all.filter(({ bytes }) => bytes[0] !== 0).length;
              for (const block of all) block.release();
            } else {
              const block = pool.adopt(data);
              globalThis.first = block.bytes[0];
              block.release();
            }
            postMessage(globalThis.first);
          };`]),
          ),
          { type: "module" },
        );
        const ask = (message: unknown) =>
          new Promise((resolve) => {
            worker.onmessage = ({ data }) => resolve(data);
            worker.postMessage(message);
          });
        await ask({ handle: pool.handle });
        const other = SharedBlockPool.attach(pool.handle);
        const tickets = [pool, other, other, pool].map((seat) => {
          const block = seat.acquireSync();
          block.bytes[0] = 7;
          return block.detach();
        });
        await Deno.permissions.revoke({ name: "ffi" });
        const codeOf = (act: () => unknown) => {
          try {
            act();
            return "done";
          } catch (error) {
            return (error as { code?: string }).code;
          }
        };
        // Its own view is still there, and another's is not.
        console.log(codeOf(() => pool.adopt(tickets[0]).release()));
        console.log(codeOf(() => pool.adopt(tickets[1])));
        const numbers = new Int32Array([
          tickets[3].pool,
          tickets[3].slot,
          tickets[3].serial,
          tickets[2].pool,
          tickets[2].slot,
          tickets[2].serial,
        ]);
        console.log(codeOf(() => pool.adoptMany(numbers)));
        console.log(pool.stats().transitBlocks);
        console.log(await ask(tickets[1]));
        // The other two come back, each where there is a view of it, and are clean.
        await new Promise((resolve) => setTimeout(resolve, 1500));
        const { transitBlocks, freeBlocks, abandonedBlocks } = pool.stats();
        console.log(transitBlocks, freeBlocks, abandonedBlocks);
        console.log(await ask("look"));
        worker.terminate();
        other.leave();
        await pool.close();
        console.log(pool.stats().mappedBytes);
      },
      [],
      [SHARED],
    );
    assertEquals(told, [
      "done",
      "permission",
      "permission",
      "3",
      "7",
      "0 8 0",
      "0",
      "0",
    ]);
  },
);

Deno.test(
  "what a dead Worker has left is dealt with although no view can be made",
  {
    ignore: ignore || !provesDeath,
  },
  async () => {
    const told = await survives(
      async (_, shared) => {
        const { SharedBlockPool }: typeof import("../shared/mod.ts") =
          await import(
            shared
          );
        const pool = SharedBlockPool.create({
          blockSize: 4096,
          maxBlocks: 8,
          initialBlocks: 8,
          ticketTimeoutMs: 100,
        });
        const worker = new Worker(
          URL.createObjectURL(
            new Blob([`
          import { SharedBlockPool } from ${JSON.stringify(shared)};
          onmessage = ({ data }) => {
            const pool = SharedBlockPool.attach(data);
            const [used, unused, sent, adopted] = [1, 2, 3, 4].map(() => pool.acquireSync());
            for (const block of [used, sent, adopted]) block.bytes[0] = 1;
            sent.detach();
            globalThis.held = [used, unused, pool.adopt(adopted.detach())];
            postMessage(0);
          };`]),
          ),
          { type: "module" },
        );
        await new Promise((resolve) => {
          worker.onmessage = resolve;
          worker.postMessage(pool.handle);
        });
        await Deno.permissions.revoke({ name: "ffi" });
        worker.terminate();
        await new Promise((resolve) => setTimeout(resolve, 1500));
        const { acquiredBlocks, freeBlocks, abandonedBlocks, attachedWorkers } =
          pool.stats();
        // What was used; what it had adopted and what it sent, which cannot be zeroed here.
        console.log(
          acquiredBlocks,
          freeBlocks,
          abandonedBlocks,
          attachedWorkers,
        );
        const blocks = await pool.acquireMany(5);
        for (const block of blocks) block.release();
        await pool.close();
        console.log(pool.stats().mappedBytes > 0);
      },
      [],
      [SHARED],
    );
    assertEquals(told, ["0 5 3 1", "true"]);
  },
);

Deno.test("without the permission attach() says so, and create() does", {
  ignore,
}, async () => {
  const told = await survives(
    async (_, shared) => {
      const { SharedBlockPool }: typeof import("../shared/mod.ts") =
        await import(
          shared
        );
      const options = { blockSize: 4096, maxBlocks: 4 };
      const pool = SharedBlockPool.create(options);
      await Deno.permissions.revoke({ name: "ffi" });
      for (
        const act of [
          () => SharedBlockPool.attach(pool.handle),
          () => SharedBlockPool.create(options),
        ]
      ) {
        try {
          act();
        } catch (error) {
          console.log((error as { code?: string }).code);
        }
      }
      console.log(pool.stats().attachedWorkers);
      pool.acquireSync().release();
      await pool.close();
    },
    [],
    [SHARED],
  );
  assertEquals(told, ["permission", "permission", "1"]);
});
