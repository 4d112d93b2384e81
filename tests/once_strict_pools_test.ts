// Strict pools make slots inaccessible, which costs mappings; V8 ends a process that runs out of them
// (`vm.max_map_count`, 65 530 on Linux). So all pools of a process share one bound, Workers included.

import { assert, assertEquals, assertLess } from "@std/assert";
import { survives } from "./support/child.ts";
import { canRunDeno, hasNative, hasProc } from "./support/platform.ts";

Deno.test({
  name: "many strict pools together keep far below the limit of mappings",
  ignore: !hasNative || !hasProc || !canRunDeno,
}, async () => {
  const lines = await survives(({ BlockPool }) => {
    const pools = [];
    for (let i = 0; i < 12; i++) {
      const pool = new BlockPool({
        blockSize: 4096,
        maxBlocks: 8192,
        safety: "strict",
      });
      const blocks = Array.from({ length: 4096 }, () => pool.acquireSync());
      for (const block of blocks.filter((_, at) => at % 4 === 0)) {
        block.bytes[0] = 1;
        block.release();
      }
      // Kept: a pool that is collected would not be told from one that is bounded.
      pools.push(pool, blocks);
    }
    const maps = Deno.readTextFileSync("/proc/self/maps").split("\n").length;
    console.log(maps < 20_000 ? "far below" : `${maps} mappings`, pools.length);
  });
  assertEquals(lines, ["far below 24"]);
});

Deno.test({
  name: "strict pools of several Workers together keep far below it, too",
  ignore: !hasNative || !hasProc || !canRunDeno,
}, async () => {
  const library = new URL("../mod.ts", import.meta.url).href;
  const lines = await survives(
    async (_, library) => {
      const script = `
      const { BlockPool } = await import(${JSON.stringify(library)});
      for (let i = 0; i < 4; i++) {
        const pool = new BlockPool({ blockSize: 4096, maxBlocks: 8192, safety: "strict" });
        const blocks = await pool.acquireMany(4096);
        for (let at = 0; at < 4096; at += 4) {
          blocks[at].bytes[0] = 1;
          blocks[at].release();
        }
        (globalThis.kept ??= []).push(pool, blocks);
      }
      postMessage(0);
      setInterval(() => {}, 1000);`;
      const url = `data:application/javascript,${encodeURIComponent(script)}`;
      for (let worker = 0; worker < 4; worker++) {
        const { promise, resolve, reject } = Promise.withResolvers<void>();
        const thread = new Worker(url, { type: "module" });
        thread.onmessage = () => resolve();
        thread.onerror = ({ message }) => reject(new Error(message));
        await promise;
        // Its slots stay inaccessible, and count, after its end.
        if (worker === 0) thread.terminate();
      }
      console.log(Deno.readTextFileSync("/proc/self/maps").split("\n").length);
      // The others keep the process alive.
      setTimeout(() => Deno.exit());
    },
    [],
    [library],
  );
  const mappings = Number(lines[0]);
  assert(mappings > 8192, `${mappings} mappings: nothing was inaccessible`);
  assertLess(mappings, 20_000);
});
