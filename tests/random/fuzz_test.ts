// A million calls at random, most of them sensible, many with arguments that no program would pass: no
// crash, no broken law, no foreign byte, and every refusal an error made for it.

import { assert, assertEquals, assertGreater } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { BlockPool, type SmritiErrorCode } from "@smriti/pool";
import { Home } from "./fuzz/fuzzed_pool.ts";
import { leaseMove, release, settle, type World } from "./fuzz/lease_moves.ts";
import { poolMove } from "./fuzz/pool_moves.ts";
import { Tally } from "./fuzz/tally.ts";
import { lawful } from "../support/invariants.ts";
import { canRunDeno, hasNative, isEmulated } from "../support/platform.ts";
import { Rng, seedOfRun } from "../support/rng.ts";

const CALLS = isEmulated ? 20_000 : 1_000_000;
const BATCH = 600;
const HOMES = 5;

const CODES: SmritiErrorCode[] = [
  "exhausted",
  "timeout",
  "closed",
  "released",
  "lent",
  "foreign-block",
  "out-of-memory",
  "permission",
  "unsupported",
  "corrupted",
];

Deno.test({
  name: "a million random calls break nothing and are answered by what fits",
  ignore: !hasNative,
}, async () => {
  const seed = seedOfRun();
  console.log(`SMRITI_SEED=${seed} replays this run, but for its last tenth`);
  const tally = new Tally();
  const rng = new Rng(seed);
  const world: World = {
    rng,
    tally,
    homes: [],
    ghosts: [],
    strays: [],
    dropped: [],
  };
  const { error } = console;
  const { stackTraceLimit } = Error;
  // Half a million errors: their stacks would take most of the time.
  Error.stackTraceLimit = 2;
  // Listeners that fail are part of it, and are reported there.
  console.error = () => {};
  // The clock moves by decision, or the same seed would not give the same run.
  const time = new FakeTime();
  try {
    await run(world, time);
  } finally {
    time.restore();
    console.error = error;
    Error.stackTraceLimit = stackTraceLimit;
  }
  if (canRunDeno) tally.saw("permission", await refusedByPermission());
  const share = tally.succeeded / tally.calls;
  console.log(`${tally.calls} calls, ${(share * 100).toFixed(1)} % succeeded`);
  console.log(Object.fromEntries([...tally.codes].sort()));
  assertGreater(share, 0.3);
  const missing = CODES.filter((code) =>
    !tally.codes.has(code) && (canRunDeno || code !== "permission")
  );
  assertEquals(missing, [], "codes never seen");
});

async function run(world: World, time: FakeTime): Promise<void> {
  const { rng, tally, homes } = world;
  // What other threads and the garbage collector do cannot be had again: that
  // is for the last calls only.
  const isLate = () => tally.calls > 0.9 * CALLS;
  while (tally.calls < CALLS) {
    while (homes.length < HOMES) homes.push(new Home(rng, isLate()));
    const end = tally.calls + BATCH;
    while (tally.calls < end) step(world);
    // Settled promises, timers and, towards the end, finalizers run here.
    await time.tickAsync(rng.below(4));
    await time.runMicrotasks();
    if (isLate()) world.dropped.length = 0;
    for (const home of [...homes]) {
      for (const stats of home.stats()) checkLaw(stats, rng.chance(0.02));
      const isWorn = home.stats().some((stats) =>
        stats.capacityBlocks < stats.maxBlocks / 2
      );
      if ((home.life -= BATCH / HOMES) < 0 || isWorn) {
        await retire(world, home, time);
      }
    }
    tally.check();
  }
  for (const home of [...homes]) await retire(world, home, time);
  assertEquals(tally.pending, 0, "every promise has settled");
  tally.check();
}

function step(world: World): void {
  const { rng, homes, tally } = world;
  const home = rng.pick(homes);
  try {
    const { held } = home;
    if (home.gates.length > 0 && rng.chance(0.1)) {
      settle(rng, home.gates.pop()!);
    } else if (held.length > 0 && rng.chance(0.65)) {
      leaseMove(world, rng.pick(held));
    } else {
      poolMove(world, home);
    }
  } catch (error) {
    tally.fail("a move", error);
    tally.check();
  }
}

/** The law, cheap; now and then with all that follows from it. */
function checkLaw(stats: ReturnType<BlockPool["stats"]>, all: boolean): void {
  const { freeBlocks, acquiredBlocks, quarantinedBlocks } = stats;
  const sum = freeBlocks + acquiredBlocks + quarantinedBlocks;
  if (sum !== stats.committedBlocks || all) lawful({ stats: () => stats });
}

/** Closes a pool with some of its blocks still out, and looks at what is left. */
async function retire(
  world: World,
  home: Home,
  time: FakeTime,
): Promise<void> {
  const { rng, tally, homes } = world;
  homes.splice(homes.indexOf(home), 1);
  if (rng.chance(0.3)) {
    home.forgetful = true;
    for (const lease of [...home.held]) {
      if (rng.chance(0.5)) home.forget(lease);
    }
  }
  // Those who wait are served meanwhile, so look again.
  while (home.held.length > 0 || home.gates.length > 0) {
    for (const lease of [...home.held]) release(world, lease);
    for (const gate of home.gates.splice(0)) settle(rng, gate);
    await time.runMicrotasks();
  }
  const timeoutMs = home.forgetful ? rng.below(3) : 30_000;
  tally.ask("close", () => home.pool.close({ timeoutMs }));
  tally.call(
    "acquire of closed",
    () =>
      home.pool instanceof BlockPool
        ? home.pool.tryAcquire()
        : home.pool.tryAcquire(1),
  );
  tally.call("trim of closed", () => assertEquals(home.pool.trim(), 0));
  const closed = home.pool.close().catch(({ code }) => {
    assert(home.forgetful || code === "corrupted", "every block came back");
  });
  await time.tickAsync(5);
  await closed;
  for (const stats of home.stats()) {
    checkLaw(stats, true);
    assertEquals([stats.acquiredBlocks, stats.waiting], [0, 0]);
    // On the heap nothing stays behind: the memory is the buffer's.
    const isWhole = stats.abandonedBlocks === 0 ||
      home.options.backend === "heap";
    assert(isWhole === (stats.mappedBytes === 0), "unmapped when it may be");
    assert(!isWhole || stats.abandonedBytes === 0, "nothing stays behind");
  }
}

/** Acquires of a process without permission; returns how many were refused. */
async function refusedByPermission(): Promise<number> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-prompt",
      import.meta.resolve("../support/backend_choices.ts"),
    ],
  }).output();
  return new TextDecoder().decode(stdout).match(/is permission/g)?.length ?? 0;
}
