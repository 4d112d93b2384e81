// A pool that loses thousands of blocks has all of them afterwards, and the process no more memory
// than at the start. In children: only there the garbage collector comes when it is called.

import { assert, assertEquals, assertLess } from "@std/assert";
import type { BlockPool, PoolOptions } from "../../mod.ts";
import type { SharedBlockPool } from "../../shared/mod.ts";
import { survives } from "../support/child.ts";
import {
  canRunDeno,
  hasNative,
  hasProc,
  isEmulated,
} from "../support/platform.ts";

const ignore = !canRunDeno || !hasNative || !hasProc || isEmulated;

const RESIDENT = import.meta.resolve("../support/resident.ts");
type Resident = typeof import("../support/resident.ts");

const SHARED = new URL("../../shared/mod.ts", import.meta.url).href;

/** Makes a pool of one kind or the other. */
type Make = (options: PoolOptions) => BlockPool | SharedBlockPool;

/** Runs `body` with a collector that finds all garbage; gives what it returns. */
async function inChild<T>(
  body: (
    make: Make,
    resident: Resident,
    collect: (enough: () => boolean) => Promise<void>,
    word: string,
  ) => Promise<T>,
  word: string,
  isShared: boolean,
): Promise<T> {
  const lines = await survives(
    async (library, path, source, word, shared) => {
      const { gc } = globalThis as unknown as { gc: () => void };
      // Finalizers run in tasks of their own, after the collection.
      const collect = async (enough: () => boolean) => {
        for (let round = 0; round < 1000 && !enough(); round++) {
          await new Promise((resolve) => setTimeout(resolve, 0));
          gc();
        }
        await new Promise((resolve) => setTimeout(resolve, 1));
        gc();
      };
      const resident = await import(path);
      const run = (0, eval)(`(${source})`);
      const { SharedBlockPool } = shared === "" ? {} : await import(shared);
      const make: Make = (options) =>
        SharedBlockPool?.create(options) ?? new library.BlockPool(options);
      console.log(JSON.stringify(await run(make, resident, collect, word)));
    },
    ["--v8-flags=--expose-gc"],
    [RESIDENT, `${body}`, word, isShared ? SHARED : ""],
  );
  return JSON.parse(lines.at(-1)!);
}

for (const isShared of [false, true]) {
  const of = isShared ? "in a shared pool " : "";
  for (const kind of ["leak", "interruption"]) {
    Deno.test({
      name:
        `${of}thousands of blocks lost by ${kind} leave 64 of 64, and memory as it was`,
      ignore,
    }, async () => {
      const { before, after, lost, stats } = await inChild(
        async (make, { residentBytes }, collect, kind) => {
          const pool = make({
            blockSize: 65_536,
            maxBlocks: 64,
            leakDetection: "all",
          });
          const leak = () => {
            for (let i = 0; i < 64; i++) pool.acquireSync().bytes.fill(1);
          };
          const interrupt = async () => {
            const blocks = await pool.acquireMany(64);
            await Promise.allSettled(blocks.map((block) => {
              block.bytes.fill(1);
              return block.lend(Promise.reject(new Deno.errors.Interrupted()));
            }));
          };
          let lost = 0;
          const round = async () => {
            if (kind === "leak") leak();
            else await interrupt();
            lost += 64;
            await collect(() => pool.stats().abandonedBlocks === lost);
          };
          // In the first dozen rounds the process grows by 2 to 5 MB of its own, and then no more.
          for (let i = 0; i < 20; i++) await round();
          const before = residentBytes();
          for (let i = 0; i < 40; i++) await round();
          const after = residentBytes();
          const { capacityBlocks, abandonedBlocks, abandonedBytes } = pool
            .stats();
          const all = await pool.acquireMany(64);
          for (const block of all) block.bytes.fill(2);
          all[Symbol.dispose]();
          await pool.close();
          const { mappedBytes } = pool.stats();
          const stats = [
            capacityBlocks,
            abandonedBlocks,
            abandonedBytes,
            mappedBytes,
          ];
          return { before, after, lost, stats };
        },
        kind,
        isShared,
      );
      assertEquals(lost, 60 * 64);
      assertEquals(stats, [64, lost, 0, lost * 65_536]);
      // 160 MB, were the pages of what was lost not given back.
      assertLess(after - before, before / 10);
    });
  }

  Deno.test({
    name: `${of}a leak whose buffer is out keeps its bytes, and counts`,
    ignore,
  }, async () => {
    const { intact, stats, reused } = await inChild(
      async (make, _, collect) => {
        const pool = make({
          blockSize: 16_384,
          maxBlocks: 8,
          leakDetection: "all",
          maxAbandonedBytes: Infinity,
        });
        const addressOf = (view: Uint8Array<ArrayBuffer>) =>
          Deno.UnsafePointer.value(Deno.UnsafePointer.of(view));
        const outs: Uint8Array<ArrayBuffer>[] = [];
        const drop = (isHealed: boolean) => {
          for (let i = 0; i < 8; i++) {
            const block = pool.acquireSync();
            const { bytes } = block;
            bytes.fill(outs.length + 1);
            outs.push(structuredClone(bytes, { transfer: [bytes.buffer] }));
            if (isHealed) void block.bytes;
          }
        };
        for (let round = 0; round < 6; round++) {
          drop(round % 2 === 0);
          await collect(() => pool.stats().leaks === outs.length);
        }
        const { abandonedBlocks, abandonedBytes, capacityBlocks } = pool
          .stats();
        const all = await pool.acquireMany(8);
        for (const block of all) block.bytes.fill(0xff);
        const old = new Set(outs.map(addressOf));
        const reused = all.some(({ bytes }) => old.has(addressOf(bytes)));
        all[Symbol.dispose]();
        await pool.close();
        const intact = outs.every((out, at) =>
          out.every((byte) => byte === at + 1)
        );
        return {
          intact,
          reused,
          stats: [abandonedBlocks, abandonedBytes, capacityBlocks],
        };
      },
      "",
      isShared,
    );
    assert(intact && !reused);
    assertEquals(stats, [48, 48 * 16_384, 8]);
  });

  Deno.test({
    name:
      `${of}a buffer that was posted to a Worker keeps its bytes when its block is replaced`,
    ignore,
  }, async () => {
    const { seen, stats } = await inChild(
      async (make) => {
        const pool = make({
          blockSize: 65_536,
          maxBlocks: 4,
          maxAbandonedBytes: Infinity,
        });
        const source = `
      const kept = [];
      onmessage = ({ data }) => {
        if (data !== "tell") return void kept.push(data);
        postMessage(kept.map((view) =>
          view.every((byte) => byte === view[0]) ? view[0] : -1
        ));
      };`;
        const worker = new Worker(
          URL.createObjectURL(new Blob([source], { type: "text/javascript" })),
          { type: "module" },
        );
        for (let number = 1; number <= 20; number++) {
          using block = pool.acquireSync();
          block.bytes.fill(number);
          worker.postMessage(block.bytes, [block.bytes.buffer]);
        }
        // Others use all that there is meanwhile, and the pool ends.
        for (let round = 0; round < 5; round++) {
          using blocks = await pool.acquireMany(4);
          for (const block of blocks) block.bytes.fill(0xff);
        }
        const { abandonedBlocks, abandonedBytes, capacityBlocks } = pool
          .stats();
        await pool.close();
        const told = Promise.withResolvers<number[]>();
        worker.onmessage = ({ data }) => told.resolve(data);
        worker.postMessage("tell");
        const seen = await told.promise;
        worker.terminate();
        return {
          seen,
          stats: [abandonedBlocks, abandonedBytes, capacityBlocks],
        };
      },
      "",
      isShared,
    );
    assertEquals(seen, Array.from({ length: 20 }, (_, at) => at + 1));
    assertEquals(stats, [20, 20 * 65_536, 4]);
  });
}
