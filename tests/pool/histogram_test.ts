// How long acquires waited and leases were held, as `stats()` tells it.

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { BlockPool, type Histogram, SizeClassPool } from "@smriti/pool";
import { OwnDurations, SharedDurations } from "../../pool/histogram.ts";
import { lawful } from "../support/invariants.ts";
import { rejected } from "../support/misuse.ts";

const ONE = { blockSize: 64, maxBlocks: 1, stallMs: Infinity };

const total = ({ counts }: Histogram) => counts.reduce((sum, n) => sum + n, 0);

/** The durations that a histogram has counted, each as the bound it lies below. */
function boundsOf({ bounds, counts }: Histogram): number[] {
  return counts.flatMap((count, at) =>
    new Array(count).fill(bounds[at] ?? Infinity)
  );
}

const KINDS = [
  () => new OwnDurations(),
  () => new SharedDurations(new BigInt64Array(SharedDurations.CELLS + 7), 7),
];

Deno.test("a duration is counted below the first bound that is not less", () => {
  for (const make of KINDS) {
    const { bounds } = make().snapshot();
    assertEquals([bounds[0], bounds.at(-1)], [1, 60_000]);
    assertEquals(bounds, [...bounds].sort((a, b) => a - b));
    for (const [at, bound] of bounds.entries()) {
      const durations = make();
      for (const ms of [bound, bound, bound + 1]) durations.add(ms);
      const { counts, sum } = durations.snapshot();
      assertEquals(counts.length, bounds.length + 1);
      // 1 ms and 2 ms are bounds themselves.
      const above = bounds.findIndex((next) => next >= bound + 1);
      assertEquals(counts[at], 2);
      assertEquals(counts.at(above), 1, `${bound}`);
      assertEquals(sum, 3 * bound + 1);
    }
  }
});

Deno.test("a clock that was set back has measured nothing", () => {
  for (const make of KINDS) {
    const durations = make();
    durations.add(-5);
    const { counts, sum } = durations.snapshot();
    assertEquals([counts[0], sum], [1, 0]);
  }
});

Deno.test("waitMs counts every acquire that waited, however it ended", async () => {
  using time = new FakeTime();
  using pool = new BlockPool(ONE);
  const block = pool.acquireSync();
  const stop = new AbortController();
  const ends = [
    rejected("timeout", pool.acquire({ timeoutMs: 30 })),
    assertRejects(() => pool.acquire({ signal: stop.signal })),
    pool.use(() => {}),
    pool.acquireMany(1).then(([one]) => one.release()),
  ];
  // These have not waited.
  await rejected("timeout", pool.acquire({ timeoutMs: 0 }));
  assertEquals(pool.tryAcquire(), undefined);
  assertEquals(total(lawful(pool).waitMs), 0);
  time.tick(30);
  stop.abort();
  time.tick(970);
  block.release();
  await Promise.all(ends);
  const late = pool.acquireSync();
  const closed = rejected("closed", pool.acquire());
  time.tick(70_000);
  pool[Symbol.dispose]();
  await closed;
  late.release();
  const { waitMs, waits } = lawful(pool);
  assertEquals(boundsOf(waitMs), [50, 50, 1_000, 1_000, Infinity]);
  assertEquals([waitMs.sum, waits], [30 + 30 + 1_000 + 1_000 + 70_000, 5]);
});

Deno.test("waitMs counts those who are refused because blocks were lost", async () => {
  using time = new FakeTime();
  using pool = new BlockPool({ ...ONE, maxAbandonedBytes: 0 });
  const block = pool.acquireSync();
  const wait = rejected("exhausted", pool.acquire());
  time.tick(7);
  block.abandon();
  await wait;
  assertEquals(boundsOf(lawful(pool).waitMs), [10]);
});

Deno.test("heldMs counts leases as leak detection watches them", async () => {
  using time = new FakeTime();
  for (
    const [leakDetection, counted] of [["all", 256], ["off", 0]] as const
  ) {
    using pool = new BlockPool({ ...ONE, leakDetection });
    for (let i = 0; i < 256; i++) {
      const block = pool.acquireSync();
      time.tick(3);
      block.release();
    }
    const { heldMs } = lawful(pool);
    assertEquals([total(heldMs), heldMs.sum], [counted, 3 * counted]);
  }
  using pool = new BlockPool(ONE);
  for (let i = 0; i < 5_000; i++) {
    const block = pool.acquireSync();
    time.tick(3);
    block.release();
  }
  const some = total(lawful(pool).heldMs);
  assert(some > 0 && some < 5_000, `${some} of 5 000`);
  assertEquals(pool.stats().heldMs.sum, 3 * some);

  // A block that is lent is held until the operation has ended, and an abandoned one until then.
  using strict = new BlockPool({ ...ONE, maxBlocks: 8, safety: "strict" });
  const gate = Promise.withResolvers<number>();
  const lent = strict.acquireSync();
  const lend = lent.lend(gate.promise);
  lent.release();
  time.tick(40);
  gate.resolve(1);
  await lend;
  const gone = strict.acquireSync();
  time.tick(400);
  gone.abandon();
  assertEquals(boundsOf(lawful(strict).heldMs), [50, 500]);
});

Deno.test("a lease that does not wait reads no clock, but for the sample", () => {
  const { now } = Date;
  const perf = performance.now;
  for (const leakDetection of ["off", "sampled"] as const) {
    using pool = new BlockPool({
      blockSize: 64,
      maxBlocks: 64,
      initialBlocks: 64,
      leakDetection,
    });
    let read = 0;
    Date.now = () => (read++, now());
    performance.now = () => (read++, perf.call(performance));
    try {
      for (let i = 0; i < 6_400; i++) {
        const block = pool.acquireSync();
        block.bytes[0] = 1;
        block.release();
      }
    } finally {
      Date.now = now;
      performance.now = perf;
    }
    const watched = total(pool.stats().heldMs);
    assertEquals(read, 2 * watched);
    assert(watched < 6_400);
    assertEquals(watched > 0, leakDetection === "sampled");
  }
});

Deno.test("stats() with its histograms is frozen, and survives being sent", () => {
  using pool = new BlockPool(ONE);
  using sized = new SizeClassPool([{ blockSize: 64, maxBlocks: 1 }]);
  for (const stats of [pool.stats(), ...sized.stats()]) {
    assertEquals(structuredClone(stats), stats);
    assertEquals(JSON.parse(JSON.stringify(stats)), stats);
    for (const { bounds, counts } of [stats.waitMs, stats.heldMs]) {
      for (const list of [bounds, counts] as number[][]) {
        assertThrows(() => (list[0] = 7), TypeError);
        assertThrows(() => list.push(7), TypeError);
      }
    }
    assertThrows(() => Object.assign(stats.waitMs, { sum: 7 }), TypeError);
  }
});

Deno.test("stats() is of its moment: later waits do not change it", async () => {
  using pool = new BlockPool(ONE);
  const before = pool.stats();
  const block = pool.acquireSync();
  const wait = pool.acquire();
  block.release();
  (await wait).release();
  assertEquals([total(before.waitMs), total(pool.stats().waitMs)], [0, 1]);
});
