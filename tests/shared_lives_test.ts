// A thousand shared pools, one after the other, each with Workers attached, leave the process with the
// memory and the mappings that it had before.

import { assertEquals, assertLess } from "@std/assert";
import { survives } from "./support/child.ts";
import "./support/open_library.ts";
import { canRunDeno, hasNative, hasProc } from "./support/platform.ts";

const POOLS = 1000;
const MIB = 2 ** 20;

const MODULES = [
  "../shared/mod.ts",
  "./shared/puppet.ts",
  "./support/resident.ts",
].map((path) => new URL(path, import.meta.url).href);

/** What the process has. */
interface Footprint {
  readonly resident: number;
  readonly mappings: number;
  /** Mappings that belong to one of the pools. */
  readonly ours: number;
}

Deno.test({
  name: `${POOLS} shared pools with Workers attached leave nothing behind`,
  ignore: !canRunDeno || !hasProc || !hasNative,
  fn: async () => {
    const [line] = await survives(
      async (_, shared, puppets, resident, pools) => {
        const { SharedBlockPool }: typeof import("../shared/mod.ts") =
          await import(shared);
        const { troupe }: typeof import("./shared/puppet.ts") = await import(
          puppets
        );
        const { residentBytes }: typeof import("./support/resident.ts") =
          await import(resident);
        const { gc } = globalThis as unknown as { gc: () => void };
        // Of a size that no other mapping has: allocators take whole megabytes.
        const options = { blockSize: 16_384, maxBlocks: 83 };
        const ranges: [from: bigint, to: bigint][] = [];

        const first = SharedBlockPool.create(options);
        const workers = await troupe(first, 2);
        await first.close();

        /** A pool's whole life: three isolates use it, and leave it in one way or another. */
        const live = async (leaves: boolean) => {
          const pool = SharedBlockPool.create(options);
          const { mappedBase, mappedSize } = pool.handle.range;
          ranges.push([mappedBase, mappedBase + BigInt(mappedSize)]);
          await Promise.all(
            workers.map((worker) =>
              worker.run(
                async ({ SharedBlockPool }, handle, leaves) => {
                  const pool = SharedBlockPool.attach(handle);
                  const blocks = await pool.acquireMany(20);
                  for (const { bytes } of blocks) bytes.fill(1);
                  blocks[Symbol.dispose]();
                  if (leaves) {
                    pool.leave();
                  }
                },
                pool.handle,
                leaves,
              )
            ),
          );
          await pool.use(({ bytes }) => void bytes.fill(2));
          await pool.close();
        };
        const some = async (count: number) => {
          for (let i = 0; i < count; i++) await live(i % 2 === 0);
          await Promise.all(workers.map((worker) =>
            worker.run(() => {
              (globalThis as unknown as { gc: () => void }).gc();
            })
          ));
          // What V8 frees, it frees in steps.
          for (let i = 0; i < 3; i++) {
            gc();
            await new Promise((resolve) => setTimeout(resolve, 20));
          }
        };
        const footprint = async () => {
          // What V8 holds ready for objects to come is not the pools'.
          const heaps = await Promise.all(
            workers.map((worker) =>
              worker.run(() => Deno.memoryUsage().heapTotal)
            ),
          );
          const own = Deno.memoryUsage().heapTotal;
          const heap = heaps.reduce((sum, heap) => sum + heap, own);
          const maps = Deno.readTextFileSync("/proc/self/maps");
          const all = [...maps.matchAll(/^([0-9a-f]+)-([0-9a-f]+) /gm)];
          // Addresses are used again, for larger things too: a pool begins with blocks, where its range
          // does, and no mapping of it reaches beyond.
          const starts = new Map(
            all.map(([, start, end]) => [BigInt(`0x${start}`), end]),
          );
          const ours = ranges.filter(([from, to]) => {
            const end = starts.get(from);
            return end !== undefined && BigInt(`0x${end}`) <= to;
          });
          const mappings = all.length;
          const resident = residentBytes() - heap;
          return { resident, mappings, ours: ours.length };
        };

        // What V8 and the allocator keep for the next pool stops growing after about a thousand.
        await some(Number(pools));
        const before = await footprint();
        await some(Number(pools));
        const after = await footprint();
        for (const worker of workers) worker.kill();
        console.log(JSON.stringify({ before, after }));
      },
      ["--v8-flags=--expose-gc"],
      [...MODULES, String(POOLS)],
    );
    console.log(line);
    const { before, after }: Record<string, Footprint> = JSON.parse(line);
    // A pool kept would be a mapping of 1 MiB with two thirds of it in memory; a control block
    // kept, 33 KiB. What V8 and the allocator have more now than then is far below either.
    assertEquals(after.ours, 0);
    assertLess(after.mappings, before.mappings + POOLS / 10);
    assertLess(after.resident, before.resident + 30 * MIB);
  },
});
