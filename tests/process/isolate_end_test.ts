// Nothing outlives its isolate: the memory of pools that were not closed goes back at a reload, at a Worker's
// end, at the end of a test file, and when a pool has become unreachable. What was posted keeps its bytes.

import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import { survives } from "../support/child.ts";
import { ENDS, POOL, reloaded, run, TOOLS } from "../support/leave_open.ts";
import {
  canRunDeno,
  hasNative,
  hasProc,
  provesDeath,
} from "../support/platform.ts";

const LIBRARY = new URL("../../mod.ts", import.meta.url).href;
/** Source that makes a pool of 64 MiB, writes it all, and leaves it open with nothing out. */
const USED = `
import { BlockPool, SizeClassPool } from ${JSON.stringify(LIBRARY)};
const options = { blockSize: 2 ** 20, maxBlocks: 64, initialBlocks: 64 };
const make = { one: () => new BlockPool(options), classes: () => new SizeClassPool([options]) };
async function use(kind) {
  const pool = make[kind]();
  const blocks = [];
  for (let block; (block = pool.tryAcquire(...(kind === "one" ? [] : [2 ** 20]))) !== undefined;) blocks.push(block);
  for (const block of blocks) block.bytes.fill(7);
  for (const block of blocks) block.release();
  return pool;
}`;

const proc = { ignore: !canRunDeno || !hasNative || !hasProc };

for (const kind of ["one", "classes"]) {
  Deno.test(
    `pools that became unreachable give their memory back, and say so once each (${kind})`,
    proc,
    async () => {
      const { lines, told } = await run(
        `${USED}${TOOLS}
      // An own listener and a timer of the pool's do not keep it alive.
      const drop = async () => {
        const pool = await use("${kind}");
        pool.addEventListener?.("grow", () => pool.stats());
      };
      await drop();
      await collect();
      const before = rss();
      for (let i = 0; i < 10; i++) { await drop(); await collect(); }
      console.log(rss() - before);`,
        ["--v8-flags=--expose-gc"],
      );
      assertLess(Number(lines[0]), 1.5 * POOL);
      assertEquals(told.match(/was dropped open/g)?.length, 11);
      assertMatch(told, /at (async )?use|at Object\.(one|classes)/);
    },
  );
}

Deno.test(
  "a dropped pool with blocks out lives until they are gone",
  proc,
  async () => {
    const { lines, told } = await run(
      `${USED}${TOOLS}
    let block = (() => { const pool = new BlockPool(options); return pool.acquireSync(); })();
    block.bytes.fill(3);
    await collect();
    console.log(block.bytes.every((byte) => byte === 3));
    block.release();
    block = undefined;
    await collect();
    console.log("gone");`,
      ["--v8-flags=--expose-gc"],
    );
    assertEquals(lines, ["true", "gone"]);
    assertEquals(told.match(/was dropped open/g)?.length, 1);
  },
);

Deno.test(
  "a view kept of a dropped pool keeps its bytes, or is empty",
  proc,
  async () => {
    for (const safety of ["trust", "revoke", "strict"]) {
      const { lines } = await run(
        `${USED}${TOOLS}
      const [held, released] = (() => {
        const pool = new BlockPool({ ...options, safety: "${safety}", leakDetection: "off" });
        const [a, b] = [pool.acquireSync(), pool.acquireSync()];
        const views = [a.bytes.fill(5), b.bytes.fill(6)];
        b.release();
        return views;
      })();
      await collect();
      console.log(held.length > 0 ? held.every((byte) => byte === 5) : 'empty', (released[77] ?? 0) === 0);`,
        ["--v8-flags=--expose-gc"],
      );
      // In strict mode each leaked block is found, and its views end.
      const held = safety === "strict" ? "empty" : "true";
      assertEquals(lines, [`${held} true`], safety);
    }
  },
);

for (const end of ["terminate", "close", "throw"] as const) {
  Deno.test({
    name:
      `Workers that ended leave nothing behind but what they posted (${end})`,
    ignore: proc.ignore || !provesDeath,
  }, async () => {
    const { lines, told } = await run(`${TOOLS}
      const source = ${JSON.stringify(USED)} + \`
        const pool = await use("one");
        const block = pool.acquireSync();
        const bytes = block.bytes.fill(9);
        postMessage(bytes, [bytes.buffer]);
        ${ENDS[end]}\`;
      const posted = [];
      let before;
      for (let i = 0; i < 12; i++) {
        const worker = workerOf(source);
        worker.onerror = (event) => event.preventDefault();
        posted.push(await heard(worker));
        if ("${end}" === "terminate") worker.terminate();
        await pause(60);
        if (i === 1) before = rss();
      }
      console.log(rss() - before);
      console.log(posted.every((bytes) => bytes.length === 2 ** 20 && bytes.every((byte) => byte === 9)));`);
    assertLess(Number(lines[0]), 1.5 * POOL + 12 * 2 ** 20);
    assertEquals(lines[1], "true");
    assertMatch(told, /a Worker ended and left pool "smriti" open/);
  });
}

Deno.test(
  "a reload under --watch gives the memory back, silently",
  proc,
  async () => {
    const { sizes, told } = await reloaded(
      `${USED}${TOOLS}
      globalThis.kept = [await use("one"), await use("classes")];
      console.log("rss", rss());
      setInterval(() => {}, 1e6);`,
      7,
    );
    assertEquals(sizes.length, 7);
    assertLess(sizes[6] - sizes[0], 1.5 * POOL, `${sizes}`);
    assert(!told.includes("@smriti"));
  },
);

Deno.test(
  "views end with their isolate, and calls on its pools fail in order",
  proc,
  async () => {
    const lines = await survives(({ BlockPool }) => {
      const pool = new BlockPool({ blockSize: 4096, maxBlocks: 8 });
      const [block, lent] = [pool.acquireSync(), pool.acquireSync()];
      const bytes = block.bytes.fill(1);
      const taken = lent.bytes.fill(2);
      void lent.lend(new Promise(() => {})).catch(() => {});
      dispatchEvent(new Event("unload"));
      const { acquiredBlocks, mappedBytes } = pool.stats();
      let code = "";
      try {
        pool.acquireSync();
      } catch (error) {
        code = (error as { code: string }).code;
      }
      block.release();
      console.log(
        bytes.length,
        taken.length,
        acquiredBlocks,
        mappedBytes > 0,
        code,
      );
    });
    assertEquals(lines, ["0 0 0 true closed"]);
  },
);
