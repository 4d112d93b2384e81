// What a lease costs in things that can be counted: bytes of heap, ArrayBuffers, system calls. No
// clock is looked at, so these hold on any machine; how fast it is, bench/ tells.

import { assertEquals, assertLess, assertLessOrEqual } from "@std/assert";
import { BlockPool, type PoolOptions } from "../../mod.ts";
import type { Range } from "../../ffi/backend.ts";
import { type Library, survives } from "../support/child.ts";
import { FailingBackend } from "../support/failing_backend.ts";
import { canRunDeno, hasNative } from "../support/platform.ts";

/** Bytes of heap for one turn of each loop. */
interface Bytes {
  /** An object of a class with one private field, as the handle of a lease is. */
  readonly handle: number;
  /** Acquire, write, release. */
  readonly lease: number;
  /** The same by `await`. */
  readonly awaited: number;
  /** A fresh promise that is resolved, awaited. */
  readonly promise: number;
  /** A buffer moved and looked at anew. */
  readonly move: number;
}

/**
 * Runs in a child without V8's optimising compilers, which sometimes save an object: what the source
 * asks for is counted, and no luck. All loops together allocate less than the young generation has
 * room for, so that nothing is collected while it is counted.
 */
async function heapBytes(
  { BlockPool }: Library,
  options: string,
): Promise<void> {
  const COUNT = 5000;
  const { gc } = globalThis as unknown as { gc(): void };
  const pool = new BlockPool({
    blockSize: 256,
    maxBlocks: COUNT,
    initialBlocks: COUNT,
    ...JSON.parse(options),
  });
  /** The middle of five. */
  const each = async (run: (n: number) => unknown) => {
    const found: number[] = [];
    await run(COUNT);
    for (let i = 0; i < 5; i++) {
      gc();
      const start = Deno.memoryUsage().heapUsed;
      const idle = run(0);
      if (idle instanceof Promise) await idle;
      const before = Deno.memoryUsage().heapUsed;
      const busy = run(COUNT);
      if (busy instanceof Promise) await busy;
      const after = Deno.memoryUsage().heapUsed;
      // What asking and starting cost is in both.
      found.push((after - before - (before - start)) / COUNT);
    }
    return Math.round(found.sort((a, b) => a - b)[2]);
  };
  class Handle {
    readonly #slot: unknown;
    constructor(slot: unknown) {
      this.#slot = slot;
    }
    get slot() {
      return this.#slot;
    }
  }
  let kept: unknown;
  const handle = await each((n) => {
    for (let i = 0; i < n; i++) kept = new Handle(pool);
  });
  const lease = await each((n) => {
    for (let i = 0; i < n; i++) {
      const block = pool.tryAcquire()!;
      block.bytes[0] = 1;
      block.release();
    }
  });
  const awaited = await each(async (n) => {
    for (let i = 0; i < n; i++) {
      const block = await pool.acquire();
      block.bytes[0] = 1;
      block.release();
    }
  });
  const promise = await each(async (n) => {
    for (let i = 0; i < n; i++) await Promise.resolve(kept);
  });
  let bytes = new Uint8Array(256);
  const move = await each((n) => {
    for (let i = 0; i < n; i++) bytes = new Uint8Array(bytes.buffer.transfer());
  });
  console.log(JSON.stringify({ handle, lease, awaited, promise, move }));
  pool[Symbol.dispose]();
}

async function bytesOf(options: Partial<PoolOptions>): Promise<Bytes> {
  const lines = await survives(
    heapBytes,
    ["--v8-flags=--expose-gc,--no-opt,--no-maglev,--min-semi-space-size=64"],
    [JSON.stringify(options)],
  );
  return JSON.parse(lines[0]);
}

const TRUST: Partial<PoolOptions> = { safety: "trust", leakDetection: "off" };
const counting = { ignore: !hasNative || !canRunDeno };

Deno.test(
  "a lease under trust allocates a handle, and two boxed numbers at most",
  counting,
  async () => {
    const { handle, lease } = await bytesOf(TRUST);
    // Optimised code boxes nothing, and then the handle is all. The smallest object is 16 bytes.
    assertLessOrEqual(lease, handle + 2 * 16);
  },
);

Deno.test(
  "a lease under revoke adds one moved buffer with its view, and nothing else",
  counting,
  async () => {
    const { lease } = await bytesOf(TRUST);
    const revoked = await bytesOf({ leakDetection: "off" });
    assertEquals(revoked.lease, lease + revoked.move);
  },
);

Deno.test(
  "an awaited lease of a free block adds one promise, and nothing else",
  counting,
  async () => {
    const { lease, awaited, promise } = await bytesOf(TRUST);
    assertEquals(awaited, lease + promise);
  },
);

Deno.test(
  "sampled leak detection adds less than an object to a lease",
  counting,
  async () => {
    const { lease } = await bytesOf(TRUST);
    const sampled = await bytesOf({ safety: "trust" });
    assertLess(sampled.lease - lease, 16);
  },
);

/** Counts the ArrayBuffers made over native memory as well. */
class CountingBackend extends FailingBackend {
  views = 0;

  override view(range: Range, offset: number, size: number): ArrayBuffer {
    this.views++;
    return super.view(range, offset, size);
  }

  /** The calls to the OS so far, by kind. */
  get calls(): Record<string, number> {
    const calls: Record<string, number> = {};
    for (const { call } of this.made) calls[call] = (calls[call] ?? 0) + 1;
    return calls;
  }
}

const native = { ignore: !hasNative };

for (const safety of ["trust", "revoke"] as const) {
  Deno.test(
    `under ${safety} a slot is wrapped once, however often it is lent`,
    native,
    async () => {
      using backend = new CountingBackend();
      const pool = new BlockPool({
        blockSize: 65_536,
        maxBlocks: 16,
        initialBlocks: 16,
        safety,
      });
      for (let turn = 0; turn < 1000; turn++) {
        const blocks = Array.from({ length: 8 }, () => pool.acquireSync());
        for (const block of blocks) block.bytes[0] = turn;
        for (const block of blocks) block.release();
      }
      assertEquals(backend.views, 8);
      assertEquals(backend.calls, { map: 1, commit: 1 });
      // The bytes are not asked for: nothing is wrapped.
      for (const block of await pool.acquireMany(16)) block.release();
      assertEquals(backend.views, 8);
      await pool.close();
      assertEquals(backend.violations, []);
    },
  );
}

Deno.test(
  "a grow is one call, a trim is one call, and slots are wrapped anew after it",
  native,
  async () => {
    using backend = new CountingBackend();
    const pool = new BlockPool({
      blockSize: 65_536,
      maxBlocks: 100,
      initialBlocks: 10,
    });
    assertEquals(backend.calls, { map: 1, commit: 1 });
    for (let round = 1; round <= 3; round++) {
      const blocks = Array.from({ length: 100 }, () => pool.acquireSync());
      for (const block of blocks) block.bytes[0] = 1;
      for (const block of blocks) block.release();
      pool.trim();
      assertEquals(backend.calls, {
        map: 1,
        commit: 1 + 9 * round,
        decommit: round,
      });
      // The ten that are never given back keep theirs.
      assertEquals(backend.views, 10 + 90 * round);
    }
    await pool.close();
    assertEquals(backend.mapped, 0);
    assertEquals(backend.calls.unmap, 1);
  },
);

/** The system calls on memory and files of a script in a Deno of its own; undefined if they cannot be seen. */
async function memoryCalls(
  script: string,
): Promise<{ calls: string; stdout: string } | undefined> {
  const file = await Deno.makeTempFile();
  const flags = ["-f", "-e", "trace=%memory,%file", "-o", file];
  const run = ["run", "-A", "--no-check", "--quiet"];
  try {
    const { success, stdout } = await new Deno.Command("strace", {
      args: [
        ...flags,
        Deno.execPath(),
        ...run,
        `data:text/javascript,${encodeURIComponent(script)}`,
      ],
      stderr: "null",
    }).output();
    if (!success) return undefined;
    const calls = await Deno.readTextFile(file);
    return { calls, stdout: new TextDecoder().decode(stdout) };
  } catch (error) {
    // No strace here.
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  } finally {
    await Deno.remove(file);
  }
}

const canTrace = Deno.build.os === "linux" && hasNative && canRunDeno &&
  await memoryCalls("0") !== undefined;

Deno.test("a steady load makes no system call on the pool's memory", {
  ignore: !canTrace,
}, async () => {
  const library = new URL("../../mod.ts", import.meta.url).href;
  const traced = await memoryCalls(`
    import { BlockPool } from ${JSON.stringify(library)};
    const pool = new BlockPool({ blockSize: 65536, maxBlocks: 16, initialBlocks: 8 });
    const lease = (count) => {
      const blocks = Array.from({ length: count }, () => pool.acquireSync());
      for (const block of blocks) block.bytes[0] = 1;
      for (const block of blocks) block.release();
    };
    // A file that is not there: a mark in the trace. Before and after, the addresses are others'.
    const mark = () => {
      try {
        Deno.statSync("/the/mark");
      } catch {}
    };
    mark();
    const first = pool.acquireSync();
    console.log(String(Deno.UnsafePointer.value(first.pointer)));
    first.release();
    for (let turn = 0; turn < 10_000; turn++) lease(4);
    lease(16);
    pool.trim();
    await pool.close();
    mark();
  `);
  const { calls, stdout } = traced!;
  const base = BigInt(stdout.trim());
  const inside = (address: string) =>
    BigInt(address) >= base && BigInt(address) < base + 16n * 65_536n;
  const [, between] = calls.split(/^.*"\/the\/mark".*$/m);
  const seen = [...between.matchAll(/(\w+)\((0x[0-9a-f]+)/g)]
    .filter(([, , address]) => inside(address))
    .map(([, call]) => call);
  assertEquals(seen, [
    // 40 000 leases that call nothing; then four times a tenth more.
    ...new Array(4).fill("mprotect"),
    // The trim; what was free at the end; the end.
    "madvise",
    "madvise",
    "munmap",
  ]);
});
