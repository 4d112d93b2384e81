// A careful program takes the permission for native code back once its pools are made. What goes on
// without it goes on; what needs a new view says so, loses no ticket, and never ends the process.

import { assertEquals } from "@std/assert";
import { survives } from "../support/child.ts";
import { canRunDeno, hasNative, provesDeath } from "../support/platform.ts";

const SHARED = new URL("../../shared/mod.ts", import.meta.url).href;
const ignore = !canRunDeno || !hasNative;

Deno.test(
  "a ticket that cannot be adopted for want of the permission stays good, and its block is not lost",
  {
    ignore,
  },
  async () => {
    const told = await survives(
      async (_, shared) => {
        const { SharedBlockPool }: typeof import("../../shared/mod.ts") =
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
        const tickets = [pool, other, other, pool].map((attachment) => {
          const block = attachment.acquireSync();
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
        const { SharedBlockPool }: typeof import("../../shared/mod.ts") =
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
        // Given up: what was used; what it had adopted and what it sent, which cannot be zeroed here.
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
    assertEquals(told, ["0 8 3 1", "true"]);
  },
);

Deno.test("without the permission attach() says so, and create() does", {
  ignore,
}, async () => {
  const told = await survives(
    async (_, shared) => {
      const { SharedBlockPool }: typeof import("../../shared/mod.ts") =
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

Deno.test(
  "a shared pool that each isolate has sealed needs the permission no more",
  { ignore: ignore || !provesDeath },
  async () => {
    const told = await survives(
      async (_, shared) => {
        const { SharedBlockPool }: typeof import("../../shared/mod.ts") =
          await import(shared);
        const pool = SharedBlockPool.create({
          blockSize: 4096,
          maxBlocks: 64,
          initialBlocks: 4,
          shrinkIntervalMs: 20,
          ticketTimeoutMs: 40,
        });
        // Sends each block on that it is sent.
        const script = `
          import { SharedBlockPool } from ${JSON.stringify(shared)};
          let pool;
          onmessage = async ({ data }) => {
            if (data.control) {
              pool = SharedBlockPool.attach(data);
              pool.seal();
              return postMessage("sealed");
            }
            if (data === "state") {
              return postMessage((await Deno.permissions.query({ name: "ffi" })).state);
            }
            const blocks = pool.adoptMany(data);
            for (const { bytes } of blocks) bytes[1] = bytes[0] + 1;
            const own = pool.tryAcquire();
            if (own !== undefined) own.bytes.fill(9);
            own?.release();
            postMessage(pool.detachMany(blocks));
          };`;
        const worker = new Worker(
          URL.createObjectURL(new Blob([script])),
          { type: "module" },
        );
        const ask = (message: unknown) =>
          new Promise<never>((resolve) => {
            worker.onmessage = ({ data }) => resolve(data);
            worker.postMessage(message);
          });
        await ask(pool.handle);
        // One is out while the views are made.
        const early = pool.acquireSync();
        early.bytes[0] = 1;
        pool.seal();
        early.release();
        await Deno.permissions.revoke({ name: "ffi" });
        console.log(await ask("state"));
        let shrinks = 0;
        let rounds = 0;
        pool.addEventListener("shrink", () => shrinks++);
        const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
        const { port } = listener.addr as Deno.NetAddr;
        const end = performance.now() + 700;
        while (performance.now() < end || shrinks < 2) {
          rounds++;
          const blocks = await pool.acquireMany(60);
          const isOld = ({ bytes }: (typeof blocks)[number]) =>
            bytes.some((byte) => byte !== 0);
          if (blocks.some(isOld)) throw new Error("old bytes");
          const [client, server] = await Promise.all([
            Deno.connect({ hostname: "127.0.0.1", port }),
            listener.accept(),
          ]);
          blocks[0].bytes.fill(rounds);
          const [n] = await Promise.all([
            blocks[1].lend((bytes) => server.read(bytes)),
            blocks[0].lend((bytes) => client.write(bytes)),
          ]);
          client.close();
          server.close();
          if (n === 0 || blocks[1].bytes[0] !== rounds % 256) {
            throw new Error("lost bytes");
          }
          const out = new Uint8Array(blocks[2].bytes.buffer.transfer());
          blocks[2].reattach(out);
          const sent = blocks.splice(0, 20);
          for (const { bytes } of sent) bytes[0] = rounds;
          const back = pool.adoptMany(await ask(pool.detachMany(sent)));
          for (const block of back) {
            const seen = block.bytes[1];
            if (seen !== (rounds + 1) % 256) throw new Error(`sent ${seen}`);
            block.release();
          }
          // A ticket that is never adopted comes back by itself.
          blocks.pop()!.detach();
          blocks[Symbol.dispose]();
          await new Promise((resolve) => setTimeout(resolve, 30));
          pool.trim();
        }
        listener.close();
        const { grows, abandonedBlocks } = pool.stats();
        console.log(rounds > 2, grows > 2, shrinks >= 2, abandonedBlocks);
        const lost = await pool.acquire();
        lost.bytes.buffer.transfer(0);
        lost.release();
        console.log(pool.stats().abandonedBlocks);
        worker.terminate();
        await pool.close({ timeoutMs: 5000 });
        console.log("closed");
      },
      [],
      [SHARED],
    );
    assertEquals(told, ["prompt", "true true true 0", "1", "closed"]);
  },
);

Deno.test("seal() of a shared pool without the permission names it", {
  ignore,
}, async () => {
  const told = await survives(
    async (_, shared) => {
      const { SharedBlockPool }: typeof import("../../shared/mod.ts") =
        await import(shared);
      const pool = SharedBlockPool.create({ blockSize: 4096, maxBlocks: 4 });
      await Deno.permissions.revoke({ name: "ffi" });
      const codeOf = (act: () => void) => {
        try {
          act();
        } catch (error) {
          return (error as { code?: string }).code;
        }
      };
      console.log(codeOf(() => pool.seal()));
      pool.acquireSync().release();
      await pool.close();
      console.log(codeOf(() => pool.seal()));
    },
    [],
    [SHARED],
  );
  assertEquals(told, ["permission", "closed"]);
});
