// Blocks that become unreachable without a release. In children, because only
// there the garbage collector comes when it is called.

import { assert, assertEquals, assertGreater, assertMatch } from "@std/assert";
import { type Library, survives } from "../support/child.ts";
import { canRunDeno, hasNative } from "../support/platform.ts";

/** What a child prints at its end. */
interface Findings {
  events: { pool: string; tag?: string; stack?: string }[];
  leaks: number;
  held: number;
  abandoned: number;
  acquired: number;
  [more: string]: unknown;
}

/** Runs `body` where `collect()` finds all garbage; hands back what it returns. */
async function find(
  body: (library: Library, collect: () => Promise<void>) => unknown,
): Promise<Findings> {
  const lines = await survives(
    async (library, source) => {
      const { gc } = globalThis as unknown as { gc: () => void };
      // Finalizers run in tasks of their own, after the collection.
      const collect = async () => {
        for (let i = 0; i < 3; i++) {
          await new Promise((resolve) => setTimeout(resolve, 0));
          gc();
        }
        await new Promise((resolve) => setTimeout(resolve, 5));
      };
      const run = (0, eval)(`(${source})`);
      console.log(JSON.stringify(await run(library, collect)));
    },
    ["--v8-flags=--expose-gc"],
    [`${body}`],
  );
  return JSON.parse(lines.at(-1)!);
}

Deno.test("a dropped block is reported with its tag and the place that acquired it", async () => {
  const { events, leaks, abandoned, acquired, waited, law } = await find(
    async ({ BlockPool }, collect) => {
      const pool = new BlockPool({
        blockSize: 64,
        maxBlocks: 2,
        name: "leaky",
        leakDetection: "all",
      });
      const events: unknown[] = [];
      pool.addEventListener("leak", ({ detail }) => events.push(detail));
      function handlerThatForgets() {
        pool.acquireSync({ tag: "request 7" }).bytes[0] = 1;
      }
      handlerThatForgets();
      using kept = pool.acquireSync();
      // Who waits for one gets what takes the place of the leak, who waits for two is not refused.
      const one = pool.acquire();
      const two = pool.acquireMany(2);
      await collect();
      const { leaks, abandonedBlocks, acquiredBlocks, ...stats } = pool.stats();
      const law = stats.committedBlocks === 2 && stats.capacityBlocks === 2 &&
        stats.freeBlocks === 0 && stats.waiting === 1 && !kept.released;
      (await one).release();
      kept.release();
      return {
        events,
        leaks,
        abandoned: abandonedBlocks,
        acquired: acquiredBlocks,
        waited: (await two).length,
        law,
      };
    },
  );
  assertEquals([leaks, abandoned, acquired], [1, 1, 2]);
  assertEquals([waited, law], [2, true]);
  assertEquals(events.length, 1);
  assertEquals([events[0].pool, events[0].tag], ["leaky", "request 7"]);
  assertMatch(events[0].stack!, /handlerThatForgets/);
  assert(!events[0].stack!.includes("/pool/"), events[0].stack);
});

Deno.test("the slot of a leak is never lent again, and its raw views are dead", async () => {
  const { leaks, abandoned, again, length, isFresh } = await find(
    async ({ BlockPool }, collect) => {
      const pool = new BlockPool({
        blockSize: 64,
        maxBlocks: 4,
        initialBlocks: 4,
        leakDetection: "all",
      });
      // The view is kept, the block is not: a read may still be under way.
      const addressOf = (view: Uint8Array<ArrayBuffer>) =>
        Deno.UnsafePointer.value(Deno.UnsafePointer.of(view));
      const drop = () => pool.acquireSync().bytes;
      const view = drop();
      const address = addressOf(view);
      await collect();
      const blocks = [];
      for (let block; (block = pool.tryAcquire()) !== undefined;) {
        blocks.push(block);
      }
      const { leaks, abandonedBlocks } = pool.stats();
      const again = blocks.length;
      const isFresh = blocks.every(({ bytes }) => addressOf(bytes) !== address);
      for (const block of blocks) block.release();
      const abandoned = abandonedBlocks;
      return { leaks, abandoned, again, length: view.length, isFresh };
    },
  );
  assertEquals([leaks, abandoned, again, length], [1, 1, 4, 0]);
  assert(isFresh);
});

Deno.test("a place that leaks is reported once, whatever tags it gives, every place that leaks is", async () => {
  const { events, leaks } = await find(async ({ BlockPool }, collect) => {
    const pool = new BlockPool({
      blockSize: 64,
      maxBlocks: 100,
      leakDetection: "all",
    });
    const events: unknown[] = [];
    pool.addEventListener("leak", ({ detail }) => events.push(detail));
    const one = (tag: string) => void pool.acquireSync({ tag });
    const other = () => void pool.acquire();
    for (let i = 0; i < 10; i++) {
      one(`request ${i}`);
      other();
    }
    await collect();
    return { events, leaks: pool.stats().leaks };
  });
  assertEquals([leaks, events.length], [20, 2]);
});

Deno.test("the handle of a block that was handed over is nobody's leak", async () => {
  const { leaks, held } = await find(async (_, collect) => {
    const { SharedBlockPool }: typeof import("../../shared/mod.ts") =
      await import(
        `file://${Deno.cwd()}/shared/mod.ts`
      );
    const pool = SharedBlockPool.create({ blockSize: 64, maxBlocks: 1 });
    let old = [pool.acquireSync(), pool.acquireSync.bind(pool)] as unknown[];
    const ticket = (old[0] as ReturnType<typeof pool.acquireSync>).detach();
    pool.adopt(ticket).release();
    const held = pool.acquireSync();
    held.bytes[0] = 7;
    old = [];
    await collect();
    return { leaks: pool.stats().leaks, held: old.length + held.bytes[0]! };
  });
  assertEquals([leaks, held], [0, 7]);
});

Deno.test("leases that end as they should are never reported, however many", async () => {
  const { leaks, events, abandoned, acquires } = await find(
    async ({ BlockPool }, collect) => {
      const pool = new BlockPool({
        blockSize: 64,
        maxBlocks: 50,
        leakDetection: "all",
      });
      const events: unknown[] = [];
      pool.addEventListener("leak", ({ detail }) => events.push(detail));
      for (let round = 0; round < 8; round++) {
        for (let i = 0; i < 50; i++) {
          const block = pool.acquireSync();
          block.bytes[0] = 1;
          block.release();
        }
        {
          using _a = await pool.acquire();
          using _b = await pool.acquireMany(5);
          await pool.use((block) => block.bytes);
        }
        const lent = pool.acquireSync();
        const settling = lent.lend(Promise.resolve());
        lent.release();
        await settling;
        await collect();
      }
      pool.acquireSync().abandon();
      await collect();
      const { leaks, abandonedBlocks, acquires } = pool.stats();
      return { leaks, events, abandoned: abandonedBlocks, acquires };
    },
  );
  assertEquals([leaks, events, abandoned], [0, [], 1]);
  assertEquals(acquires, 8 * 58 + 1);
});

Deno.test("a watched lease that has ended is not taken for the next lease of its slot", async () => {
  const { leaks, isWhole, abandoned } = await find(
    async ({ BlockPool }, collect) => {
      const pool = new BlockPool({ blockSize: 64, maxBlocks: 2 });
      const held: { released: boolean; bytes: Uint8Array }[] = [];
      // The 128th is watched, the one after it is not. Once it ends in the job it began in, before
      // the collector is asked about it, and once in another.
      for (const isLong of [false, true]) {
        for (let i = 0; i < 127 - held.length; i++) {
          pool.acquireSync().release();
        }
        await (async () => {
          const watched = pool.acquireSync();
          if (isLong) await collect();
          watched.release();
        })();
        const next = pool.acquireSync();
        next.bytes[0] = 7;
        held.push(next);
        await collect();
      }
      const { leaks, abandonedBlocks, acquires } = pool.stats();
      const isWhole = acquires === 257 &&
        held.every(({ released, bytes }) => !released && bytes[0] === 7);
      return { leaks, isWhole, abandoned: abandonedBlocks };
    },
  );
  assertEquals([leaks, isWhole, abandoned], [0, true, 0]);
});

Deno.test("a block whose handle is dropped while it is lent is no leak: the pool holds it", async () => {
  const { leaks, lent, abandoned, afterwards } = await find(
    async ({ BlockPool }, collect) => {
      const pool = new BlockPool({
        blockSize: 64,
        maxBlocks: 2,
        leakDetection: "all",
      });
      const gate = Promise.withResolvers<void>();
      // Nothing but the pool knows the handles while these run, and nothing
      // at all the second operation: native code may still be at work.
      (() => {
        pool.acquireSync().lend(gate.promise);
        pool.acquireSync().lend(new Promise(() => {}));
      })();
      await collect();
      const { leaks, lentBlocks, abandonedBlocks } = pool.stats();
      gate.resolve();
      await collect();
      return {
        leaks,
        lent: lentBlocks,
        abandoned: abandonedBlocks,
        afterwards: pool.stats().leaks,
      };
    },
  );
  assertEquals([leaks, lent, abandoned], [0, 2, 0]);
  // When the first operation is over, no code is left to release its block.
  assertEquals(afterwards, 1);
});

Deno.test("sampled detection finds every leak, and tells the place once", async () => {
  const { leaks, events, abandoned } = await find(
    async ({ BlockPool }, collect) => {
      const pool = new BlockPool({ blockSize: 64, maxBlocks: 1280 });
      const events: unknown[] = [];
      pool.addEventListener("leak", ({ detail }) => events.push(detail));
      for (let i = 0; i < 1280; i++) pool.tryAcquire();
      await collect();
      const { leaks, abandonedBlocks } = pool.stats();
      return { leaks, events, abandoned: abandonedBlocks };
    },
  );
  assertEquals([leaks, abandoned], [1280, 1280]);
  const told = events.filter(({ stack }) => stack !== undefined);
  assertEquals(told.length, 1);
  assertMatch(told[0]!.stack!, /eval/);
});

Deno.test("off reports nothing and loses nothing that is held", async () => {
  const { leaks, events, acquired } = await find(
    async ({ BlockPool }, collect) => {
      const pool = new BlockPool({
        blockSize: 64,
        maxBlocks: 300,
        leakDetection: "off",
      });
      const events: unknown[] = [];
      pool.addEventListener("leak", ({ detail }) => events.push(detail));
      for (let i = 0; i < 300; i++) pool.tryAcquire();
      await collect();
      const { leaks, acquiredBlocks } = pool.stats();
      return { leaks, events, acquired: acquiredBlocks };
    },
  );
  assertEquals([leaks, events, acquired], [0, [], 300]);
});

Deno.test("close() does not wait for blocks that were found to be leaks", async () => {
  const { closed, abandoned, mapped } = await find(
    async ({ BlockPool }, collect) => {
      const pool = new BlockPool({
        blockSize: 64,
        maxBlocks: 2,
        leakDetection: "all",
      });
      (() => void pool.acquireSync())();
      const closing = pool.close().then(() => "closed");
      await collect();
      const closed = await closing;
      const { abandonedBlocks, mappedBytes } = pool.stats();
      return { closed, abandoned: abandonedBlocks, mapped: mappedBytes > 0 };
    },
  );
  // A raw view may be left somewhere, so the addresses stay.
  assertEquals([closed, abandoned, mapped], ["closed", 1, true]);
});

// Every leaked block is found, counted and replaced, whatever the size of the pool and however often a
// program leaks; a program that releases is never accused.

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
