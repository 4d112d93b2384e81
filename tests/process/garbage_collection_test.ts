// What a steady load costs the garbage collector: nothing that stops the program. V8 itself tells,
// so each case has a process of its own.

import {
  assertEquals,
  assertGreaterOrEqual,
  assertLessOrEqual,
} from "@std/assert";
import { inChild, type Library } from "../support/child.ts";
import "../support/open_library.ts";
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
