// What a steady load, an idle pool and kept views cost the garbage collector: nothing that stops the
// program. V8 itself tells, so each case has a process of its own.

import {
  assertEquals,
  assertGreaterOrEqual,
  assertLessOrEqual,
} from "@std/assert";
import { BlockPool } from "@smriti/pool";
import { inChild, type Library, survives } from "../support/child.ts";
import { addressOf } from "../support/misuse.ts";
import { canRunDeno, hasNative } from "../support/platform.ts";

/** On Windows what V8 still has in its buffer at the end of the process is lost. */
const alone = { ignore: !hasNative || !canRunDeno || !await traces() };

async function traces(): Promise<boolean> {
  const { stdout } = await inChild(
    () => (globalThis as unknown as { gc(): void }).gc(),
    ["--v8-flags=--trace-gc,--expose-gc"],
  );
  return stdout.includes("Mark-Compact");
}

interface Cost {
  /** Collections of the whole heap, from the start of the process to its end. */
  readonly markCompacts: number;
  /** What `body` wrote by `console.error`. */
  readonly told: string[];
}

async function cost(
  body: (library: Library, ...args: string[]) => unknown,
  ...args: string[]
): Promise<Cost> {
  const { code, stdout, stderr } = await inChild(
    body,
    ["--v8-flags=--trace-gc,--expose-gc"],
    args,
  );
  assertEquals(code, 0, stderr);
  // V8 writes there when it likes, also into the middle of a line of others.
  const trace = stdout.replace("the child came to its end\n", "");
  // A short trace may be lost with the child's buffer; NaN then fails every comparison.
  const isTraced = /Scavenge|Mark-Compact/.test(trace);
  return {
    markCompacts: isTraced ? trace.split("Mark-Compact").length - 1 : NaN,
    told: stderr.trimEnd().split("\n"),
  };
}

/** A million leases of a few blocks at a time; tells how external memory changed meanwhile. */
function cycles({ BlockPool }: Library, safety: string): void {
  const pool = new BlockPool({
    blockSize: 65_536,
    maxBlocks: 64,
    safety: safety as "trust",
  });
  const cycle = (i: number) => {
    const block = pool.tryAcquire()!;
    block.bytes[i % 65_536] = i;
    // Zeroing is not what is looked at, and would take a minute.
    block.release(0);
  };
  for (let i = 0; i < 10_000; i++) cycle(i);
  const before = Deno.memoryUsage().external;
  for (let i = 0; i < 1_000_000; i++) cycle(i);
  console.error(Deno.memoryUsage().external - before);
  pool[Symbol.dispose]();
}

Deno.test(
  "a million leases under trust add no mark-compact and no external memory",
  {
    ...alone,
  },
  async () => {
    const { markCompacts, told } = await cost(cycles, "trust");
    assertEquals([markCompacts, told], [0, ["0"]]);
  },
);

Deno.test(
  "a million leases under revoke add one mark-compact at most, and no external memory",
  {
    ...alone,
  },
  async () => {
    const { markCompacts, told } = await cost(cycles, "revoke");
    assertLessOrEqual(markCompacts, 1);
    assertEquals(told, ["0"]);
  },
);

Deno.test(
  "growing, shrinking and growing again leave external memory where it was",
  {
    ...alone,
  },
  async () => {
    const { told } = await cost(({ BlockPool }) => {
      const pool = new BlockPool({
        blockSize: 65_536,
        maxBlocks: 1000,
        initialBlocks: 1,
      });
      const round = () => {
        const blocks = Array.from({ length: 1000 }, () => pool.acquireSync());
        for (const block of blocks) block.bytes[0] = 1;
        const { external } = Deno.memoryUsage();
        for (const block of blocks) block.release(1);
        pool.trim();
        return external;
      };
      // What else is external goes before it is counted; some of it by a second collection only.
      const { gc } = globalThis as unknown as { gc(): void };
      gc();
      gc();
      const before = Deno.memoryUsage().external;
      const first = round();
      for (let i = 0; i < 20; i++) round();
      const last = round();
      // All views alive at once count; those of the blocks given back do not.
      console.error(first - before >= 1000 * 65_536, last - first < 65_536);
      console.error(Deno.memoryUsage().external - before <= 65_536);
      pool[Symbol.dispose]();
      console.error(Deno.memoryUsage().external <= before);
    });
    assertEquals(told, ["true true", "true", "true"]);
  },
);

Deno.test(
  "collections are seen where there are some, so those above could be",
  {
    ...alone,
  },
  async () => {
    const { markCompacts } = await cost(() => {
      const { gc } = globalThis as unknown as { gc(): void };
      // So many that their lines do not fit into the buffer.
      for (let i = 0; i < 100; i++) gc();
    });
    assertGreaterOrEqual(markCompacts, 5);
  },
);

// V8 counts the bytes of every view as external memory, and far above the heap limit it collects without
// a pause. A pool that was in use once and lies idle must not bring that about.

/** Ordinary work beside some live objects and a pool of 96 blocks of so many MiB that was once in use. */
async function work(
  { BlockPool }: Library,
  safety: string,
  megabytes: string,
): Promise<void> {
  const { gc } = globalThis as unknown as { gc: () => void };
  const live = Array.from({ length: 100_000 }, (_, i) => ({ i, own: [i] }));
  const maxBlocks = 96;
  if (Number(megabytes) > 0) {
    const pool = new BlockPool({
      blockSize: 2 ** 20 * Number(megabytes),
      maxBlocks,
      initialBlocks: maxBlocks,
      zero: false,
      safety: safety as "trust",
    });
    const blocks = await pool.acquireMany(maxBlocks);
    for (const block of blocks) block.bytes[0] = 1;
    for (const block of blocks) block.release();
  }
  gc();
  for (let turn = 0; turn < 1500; turn++) {
    const bytes = new Uint8Array(50_000);
    bytes[0] = live.length + turn;
    if (turn % 50 === 0) await new Promise((go) => setTimeout(go, 0));
  }
}

/** Mark-compacts after the one that was asked for. */
async function markCompacts(limit: number, safety: string, megabytes: number) {
  const flags = `--expose-gc,--trace-gc,--max-old-space-size=${limit}`;
  const { code, stdout, stderr } = await inChild(
    work,
    [`--v8-flags=${flags}`],
    [safety, `${megabytes}`],
  );
  assertEquals(code, 0, stderr);
  const lines = stdout.split("\n").filter((line) =>
    line.includes("Mark-Compact")
  );
  // The one that was asked for begins at once; its line may be cut short by what the child prints.
  const asked = lines.findIndex((line) => line.includes("ms: Mark-Compact"));
  assertGreaterOrEqual(asked, 0, stdout);
  return lines.length - 1 - asked;
}

for (const limit of [128, 512, 4096]) {
  Deno.test({
    name: `an idle pool adds no mark-compact at a heap limit of ${limit} MB`,
    // On Windows what V8 still has in its buffer when the child ends is lost.
    ignore: !canRunDeno || !hasNative || Deno.build.os === "windows",
  }, async () => {
    const without = await markCompacts(limit, "revoke", 0);
    for (const safety of ["trust", "revoke"]) {
      const beside = await markCompacts(limit, safety, limit / 32);
      assertLessOrEqual(beside, without + 1, safety);
    }
  });
}

Deno.test({
  name: "a block whose view was shed has its place and its zeroes again",
  ignore: !hasNative,
}, async () => {
  const { getHeapStatistics } = await import("node:v8");
  const blockSize = 2 ** 24;
  const maxBlocks = Math.ceil(getHeapStatistics().heap_size_limit / blockSize);
  await using pool = new BlockPool({ blockSize, maxBlocks });
  const blocks = await pool.acquireMany(maxBlocks);
  const places = blocks.map(({ bytes }) => {
    bytes[7] = 1;
    return addressOf(bytes);
  });
  // Only so much was written: clearing it all would touch every page.
  for (const block of blocks) block.release(8);
  const again = await pool.acquireMany(maxBlocks);
  assertEquals(
    new Set(again.map(({ bytes }) => addressOf(bytes))),
    new Set(places),
  );
  assertEquals(again.every(({ bytes }) => bytes[7] === 0), true);
  for (const block of again) block.release(0);
});

const SHARED = new URL("../../shared/mod.ts", import.meta.url).href;

Deno.test({
  name: "an isolate keeps views of a shared pool up to a budget, sealed all",
  ignore: !canRunDeno || !hasNative,
}, async () => {
  const told = await survives(
    async (_, shared) => {
      const { SharedBlockPool }: typeof import("../../shared/mod.ts") =
        await import(shared);
      const { gc } = globalThis as unknown as { gc: () => void };
      // A gigabyte of views, at a heap limit of half of that.
      const pool = SharedBlockPool.create({
        blockSize: 2 ** 24,
        maxBlocks: 64,
        zero: false,
      });
      const other = SharedBlockPool.attach(pool.handle);
      /** Views in units of a quarter of the heap limit, about. */
      const views = () => {
        gc();
        return Math.floor(Deno.memoryUsage().external / 2 ** 27.5);
      };
      const blocks = await pool.acquireMany(64);
      for (const [i, { bytes }] of blocks.entries()) bytes[0] = i;
      console.log("in use", views());
      const numbers = pool.detachMany(blocks);
      console.log("sent", views());
      // The housekeeping finds them.
      await new Promise((resolve) => setTimeout(resolve, 600));
      console.log("looked after", views());
      const there = other.adoptMany(numbers);
      console.log(there.every(({ bytes }, i) => bytes[0] === i));
      for (const block of there) block.release();
      console.log("released", views());
      const again = await pool.acquireMany(64);
      for (const block of again) block.bytes[0] = 1;
      for (const block of again) block.release();
      console.log("again", views());
      pool.seal();
      await new Promise((resolve) => setTimeout(resolve, 600));
      console.log("sealed", views());
      other.leave();
      await pool.close();
      console.log("closed", views());
    },
    ["--v8-flags=--expose-gc,--max-old-space-size=512"],
    [SHARED],
  );
  assertEquals(told, [
    "in use 5",
    "sent 5",
    "looked after 0",
    "true",
    "released 0",
    "again 0",
    "sealed 5",
    "closed 0",
  ]);
});
