// What a pool does when the OS really refuses memory. In children, each with a limit of its own:
// RLIMIT_DATA makes the kernel refuse to commit and leaves V8 alone, if the rest is large enough
// for it (under RLIMIT_AS V8 would end the process first).

import { assertEquals, assertGreater, assertLess } from "@std/assert";
import { BlockPool, type OsRefusal, type PoolStats } from "@smriti/pool";
import { type Library, survives } from "../support/child.ts";
import { lawful } from "../support/invariants.ts";
import { refused } from "../support/misuse.ts";
import { canRunDeno, hasNative, hasProc } from "../support/platform.ts";

const ignore = !hasNative || !hasProc || !canRunDeno ||
  Deno.build.os !== "linux";

/** What a child may do to its own limits. Sent there as source. */
function limitsOfChild() {
  const libc = Deno.dlopen("libc.so.6", {
    setrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  });
  const set = (what: number, bytes: number, most = 2n ** 64n - 1n) => {
    const limits = new BigUint64Array([BigInt(bytes), most]);
    if (libc.symbols.setrlimit(what, limits) !== 0) {
      throw new Error("setrlimit");
    }
  };
  const status = (field: string) => {
    const text = Deno.readTextFileSync("/proc/self/status");
    return Number(text.match(new RegExp(`^${field}:\\s+(\\d+)`, "m"))![1]) *
      1024;
  };
  return {
    /** Lets the process have so many more bytes of writable memory than it has now. */
    moreData: (bytes: number) => set(2, status("VmData") + bytes),
    /** Lets it lock nothing. */
    noLocks: () => set(8, 0, 0n),
    /** Bytes of address space in use. */
    addressSpace: () => status("VmSize"),
  };
}

type Limits = ReturnType<typeof limitsOfChild>;

/** Runs `body` in a child that can set its limits; gives what it printed as JSON. */
async function limited(
  body: (library: Library, limits: Limits) => unknown,
): Promise<unknown[]> {
  const source = `(library) => (${body})(library, (${limitsOfChild})())`;
  const lines = await survives(
    Object.assign(() => {}, { toString: () => source }),
  );
  return lines.map((line) => JSON.parse(line));
}

Deno.test({
  name:
    "an OS that refuses to grow is told of, and callers are served with what there is",
  ignore,
}, async () => {
  const [events, ...stats] = await limited(async (library, limits) => {
    const { BlockPool, SmritiError } = library;
    const pool = new BlockPool({
      blockSize: 32 << 20,
      maxBlocks: 16,
      initialBlocks: 1,
    });
    const events: unknown[] = [];
    pool.addEventListener("grow", ({ detail: { blocks, error } }) => {
      const { call, bytes, error: name } = (error?.cause ?? {}) as {
        [key: string]: unknown;
      };
      events.push([blocks, error?.code, call, bytes, name]);
    });
    // Enough for two blocks more, and for V8.
    limits.moreData(80 << 20);
    const held = [];
    const told: unknown[] = [];
    for (let block; (block = pool.tryAcquire()) !== undefined;) {
      block.bytes[0] = 1;
      held.push(block);
      told.push(pool.stats());
    }
    // No error for one who can wait: with the first release it goes on.
    const first = pool.acquire();
    held.pop()!.release();
    held.push(await first);
    told.push(pool.stats());
    // Nor for one who waits until the OS has memory again.
    const second = pool.acquire({ timeoutMs: 20_000 });
    const third = pool.acquireMany(2, { timeoutMs: 20_000 });
    limits.moreData(400 << 20);
    held.push(await second, ...await third);
    told.push(pool.stats());
    for (const block of held) block.release();
    pool.trim();
    told.push(pool.stats());
    await pool.close();
    told.push(pool.stats());
    if (SmritiError === undefined) throw new Error("no library");
    console.log(JSON.stringify(events));
    for (const stats of told) console.log(JSON.stringify(stats));
  }) as [unknown[][], ...PoolStats[]];
  for (const each of stats) lawful({ stats: () => Object.freeze(each) });
  const full = stats[2];
  assertEquals([full.committedBlocks, full.acquiredBlocks], [3, 3]);
  assertGreater(full.growFailures, 0);
  const refusal = [0, "out-of-memory", "commit", 32 << 20, "ENOMEM"];
  assertEquals(events.find(([blocks]) => blocks === 0), refusal);
  const [served, more, trimmed, closed] = stats.slice(-4);
  assertEquals([served.committedBlocks, served.acquiredBlocks], [3, 3]);
  assertEquals(more.acquiredBlocks, 6);
  assertEquals([more.waiting, more.exhaustions], [0, 1]);
  assertEquals(trimmed.committedBlocks, 1);
  assertEquals([closed.committedBytes, closed.mappedBytes], [0, 0]);
});

Deno.test({
  name:
    "new BlockPool() without memory for its first blocks leaves nothing mapped",
  ignore,
}, async () => {
  const [error, cause, more, stats] = await limited((library, limits) => {
    const { BlockPool, SmritiError } = library;
    const options = { blockSize: 32 << 20, maxBlocks: 1024, initialBlocks: 8 };
    limits.moreData(80 << 20);
    const before = limits.addressSpace();
    try {
      new BlockPool(options);
    } catch (error) {
      if (!(error instanceof SmritiError)) throw error;
      console.log(JSON.stringify(error.code));
      console.log(JSON.stringify(error.cause));
    }
    console.log(limits.addressSpace() - before);
    // A smaller one is still to be had.
    using pool = new BlockPool({ ...options, initialBlocks: 1 });
    pool.acquireSync().bytes[0] = 1;
    console.log(JSON.stringify(pool.stats()));
  }) as [string, OsRefusal, number, PoolStats];
  assertEquals(error, "out-of-memory");
  assertEquals([cause.call, cause.error], ["commit", "ENOMEM"]);
  assertEquals(cause.bytes % (32 << 20), 0);
  // The address space of 32 GiB has gone back.
  assertLess(more, 1 << 30);
  assertEquals(stats.acquiredBlocks, 1);
});

Deno.test({
  name:
    "new SizeClassPool() leaves no class mapped when the last gets no memory",
  ignore,
}, async () => {
  const [error, more] = await limited((library, limits) => {
    const { SizeClassPool } = library;
    const maxBlocks = 1024;
    limits.moreData(80 << 20);
    const before = limits.addressSpace();
    try {
      new SizeClassPool([
        { blockSize: 1 << 20, maxBlocks, initialBlocks: 1 },
        { blockSize: 2 << 20, maxBlocks, initialBlocks: 1 },
        { blockSize: 32 << 20, maxBlocks, initialBlocks: 8 },
      ]);
    } catch (error) {
      console.log(JSON.stringify((error as { code: string }).code));
    }
    console.log(limits.addressSpace() - before);
  }) as [string, number];
  assertEquals(error, "out-of-memory");
  assertLess(more, 1 << 30);
});

Deno.test({
  name: "a process that may lock no memory has pools all the same",
  ignore,
}, async () => {
  const [stats] = await limited(async (library, limits) => {
    limits.noLocks();
    await using pool = new library.BlockPool({
      blockSize: 1 << 20,
      maxBlocks: 8,
      prefault: true,
      hugePages: true,
      safety: "strict",
    });
    const blocks = await pool.acquireMany(8);
    for (const block of blocks) block.bytes.fill(1);
    blocks[Symbol.dispose]();
    pool.trim();
    console.log(JSON.stringify(pool.stats()));
  }) as [PoolStats];
  assertEquals([stats.releases, stats.growFailures], [8, 0]);
});

Deno.test({
  name: "new BlockPool() for more addresses than there are is out of memory",
  // Elsewhere there may be as many, and no refusal before they are used.
  ignore: !hasNative || !hasProc,
}, () => {
  const options = { blockSize: 2 ** 30, maxBlocks: 2 ** 16 };
  const error = refused("out-of-memory", () => new BlockPool(options));
  assertEquals((error.cause as { call: string }).call, "map");
});
