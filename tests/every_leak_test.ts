// Every leaked block is found, counted and replaced, whatever the size of the pool and however often a
// program leaks; an honest program is never accused.

import { assert, assertEquals, assertGreater } from "@std/assert";
import { type Library, survives } from "./support/child.ts";
import { canRunDeno, hasNative } from "./support/platform.ts";

const child = { ignore: !canRunDeno || !hasNative };

/** One lease in `every` is leaked; prints what was leaked, what was found, and what was told. */
async function leak(
  { BlockPool }: Library,
  ...[size, every, leases]: string[]
): Promise<void> {
  const { gc } = globalThis as unknown as { gc: () => void };
  const pool = new BlockPool({ blockSize: 256, maxBlocks: Number(size) });
  const places: (string | undefined)[] = [];
  pool.addEventListener("leak", ({ detail }) => places.push(detail.stack));
  const collect = async () => {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 0));
  };
  let leaked = 0;
  function handlerThatForgets(number: number) {
    const block = pool.tryAcquire();
    if (block === undefined) return false;
    block.bytes[0] = 1;
    if (number % Number(every) === 0) leaked++;
    else block.release();
    return true;
  }
  for (let number = 1; number <= Number(leases); number++) {
    while (!handlerThatForgets(number)) await collect();
  }
  for (let turn = 0; turn < 3; turn++) await collect();
  const { leaks, acquiredBlocks, capacityBlocks } = pool.stats();
  const isPlaced = places.some((stack) =>
    stack?.includes("handlerThatForgets")
  );
  console.log(leaked - leaks, acquiredBlocks, capacityBlocks, isPlaced, leaked);
}

for (const size of [1, 8, 64, 1024]) {
  Deno.test(
    `every leak of a pool of ${size} is found, and a place is told`,
    child,
    async () => {
      for (const every of [1, 2, 10, 50, 128]) {
        // Each time the pool is used up it takes a collection to go on.
        const leases = Math.min(10_000, 80 * size * every);
        const [line] = await survives(
          leak,
          ["--v8-flags=--expose-gc"],
          [`${size}`, `${every}`, `${leases}`],
        );
        const [missed, acquired, capacity, isPlaced, leaked] = line.split(" ");
        const where = `1 in ${every}: ${line}`;
        assertEquals(
          [missed, acquired, capacity],
          ["0", "0", `${size}`],
          where,
        );
        assertGreater(Number(leaked), 10, where);
        assert(isPlaced === "true", where);
      }
    },
  );
}

Deno.test(
  "a server whose every request leaks goes on without anybody calling the collector",
  child,
  async () => {
    const [line] = await survives(async ({ BlockPool }) => {
      const pool = new BlockPool({ blockSize: 4096, maxBlocks: 8 });
      const forget = () => pool.acquire({ timeoutMs: 9000 }).then(() => true);
      let served = 0;
      const begun = performance.now();
      // Two collections are asked for: one at once, one five seconds later.
      while (served < 20) {
        if (await forget()) served++;
      }
      console.log(
        served,
        pool.stats().leaks >= 12,
        performance.now() - begun < 9000,
      );
    });
    assertEquals(line, "20 true true");
  },
);

Deno.test(
  "no honest lease is taken for a leak, in whatever pattern it is held",
  child,
  async () => {
    const [line] = await survives(async ({ BlockPool }) => {
      const { gc } = globalThis as unknown as { gc: () => void };
      let leases = 0;
      for (const leakDetection of ["sampled", "all"] as const) {
        const pool = new BlockPool({
          blockSize: 64,
          maxBlocks: 512,
          leakDetection,
        });
        const count = leakDetection === "all" ? 20_000 : 1_000_000;
        const held: ReturnType<typeof pool.acquireSync>[] = [];
        let state = 1;
        const below = (end: number) =>
          (state = Math.imul(state, 1664525) + 1013904223 >>> 0) % end;
        for (let number = 0; number < count; number++, leases++) {
          // Now taken and given back at once, now held for long, now handed to a promise.
          const block = pool.tryAcquire() ??
            held.splice(below(held.length), 1)[0];
          if (block.released || held.includes(block)) throw new Error("twice");
          if (below(3) === 0) held.push(block);
          else block.release();
          if (held.length > 400) {
            held.splice(0, 200).forEach((each) => each.release());
          }
          if (number % 50_000 === 0) {
            const lent = pool.acquireSync();
            void lent.lend(new Promise((resolve) => setTimeout(resolve, 5)));
            lent.release();
            gc();
            await new Promise((resolve) => setTimeout(resolve, 0));
          }
        }
        for (const block of held) block.release();
        await new Promise((resolve) => setTimeout(resolve, 20));
        const { leaks, abandonedBlocks, acquiredBlocks } = pool.stats();
        if (leaks + abandonedBlocks + acquiredBlocks > 0) {
          throw new Error(`${leaks} leaks`);
        }
        await pool.close();
      }
      console.log(leases);
    }, ["--v8-flags=--expose-gc"]);
    assertEquals(line, "1020000");
  },
);
