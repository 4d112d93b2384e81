// How many mappings pools cost: a process has 65 530 of them on Linux, and V8 ends it when they run out.
// Giving memory back in a thousand places must not cut a region into a thousand mappings.

import {
  assert,
  assertEquals,
  assertLess,
  assertLessOrEqual,
} from "@std/assert";
import { survives } from "../support/child.ts";
import { canRunDeno, hasNative, hasProc } from "../support/platform.ts";

const ignore = !hasNative || !hasProc || !canRunDeno;

Deno.test({
  name:
    "200 000 blocks released, trimmed and shrunk at random stay in a few mappings",
  ignore,
}, async () => {
  const [told] = await survives(
    async ({ BlockPool }, helper) => {
      const maxBlocks = 200_000;
      const pool = new BlockPool({
        blockSize: 4096,
        maxBlocks,
        initialBlocks: 1,
        shrinkIntervalMs: 20,
      });
      const { mappingsIn } = await import(helper);
      const held = Array.from({ length: maxBlocks }, () => pool.acquireSync());
      const base = BigInt(Deno.UnsafePointer.value(held[0].pointer));
      const maps = (): number => mappingsIn(base, maxBlocks * 4096);
      let most = maps();
      let state = 1;
      // The same numbers each time, and no two neighbours alike.
      const below = (end: number) =>
        (state = Math.imul(state, 1664525) + 1013904223 >>> 0) % end;
      for (let round = 0; round < 60; round++) {
        for (let i = 0; i < 8000 && held.length > 0; i++) {
          const at = below(held.length);
          const block = held[at];
          held[at] = held[held.length - 1];
          held.pop();
          // One in eight has been written to, which is what makes a page.
          if (i % 8 === 0) block.bytes[0] = 1;
          block.release();
        }
        if (round % 3 === 0) pool.trim();
        // Time for the pool to shrink by itself.
        else if (round % 3 === 1) await new Promise((go) => setTimeout(go, 25));
        for (let i = 0; i < 3000; i++) held.push(pool.acquireSync());
        most = Math.max(most, maps());
      }
      for (const block of held) block.release();
      const { shrinks, abandonedBlocks } = pool.stats();
      pool.trim();
      most = Math.max(most, maps());
      await pool.close();
      const { mappedBytes } = pool.stats();
      console.log(
        JSON.stringify({ most, shrinks, abandonedBlocks, mappedBytes }),
      );
    },
    [],
    [import.meta.resolve("../support/maps.ts")],
  );
  const { most, shrinks, abandonedBlocks, mappedBytes } = JSON.parse(told);
  assertLessOrEqual(20, shrinks);
  // What is committed, what is not yet, and perhaps a neighbour joined to it.
  assertLessOrEqual(most, 3);
  assertEquals([abandonedBlocks, mappedBytes], [0, 0]);
});

// Strict pools make slots inaccessible, which costs mappings: all pools of a process share one bound,
// Workers included.

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
  const library = new URL("../../mod.ts", import.meta.url).href;
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
