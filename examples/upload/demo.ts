/**
 * The measurement: two servers, each in a process of its own, in rounds that alternate between
 * them, so that the noise of the machine hits both. It owns the order of things and the exit code.
 */
import { setTimeout as delay } from "node:timers/promises";
import { killChildren, MeasuredServer } from "./child.ts";
import { makeBodies, run } from "./client.ts";
import type { Flags } from "./flags.ts";
import { LEGEND, Screen } from "./screen.ts";
import { conclusion, table, Totals } from "./table.ts";

/** One server under test. */
interface Side {
  readonly server: MeasuredServer;
  readonly port: number;
  readonly totals: Totals;
}

const ROUNDS = 3;
/** In each round a quarter of the connections, then all, then none: the pool grows and shrinks. */
const CALM_SHARE = 0.2, BURST_SHARE = 0.45, PAUSE_SHARE = 0.35;
/** Both servers run this long uncounted first: compiling is no part of the comparison. */
const WARM_UP_MS = 800;
const LOOK_MS = 100;
/** What the run may take beyond the seconds asked for, before it counts as stuck. */
const GRACE_MS = 90_000;

/** Runs the whole demo. Returns the exit code: 0 if every upload got its right digest. */
export async function runDemo(flags: Flags): Promise<number> {
  const deadline = setTimeout(() => {
    killChildren();
    console.error("The demo is stuck; it was ended.");
    Deno.exit(1);
  }, flags.seconds * 1_000 + GRACE_MS);
  try {
    const { port, minSize, maxSize, connections, maxBlocks } = flags;
    const sizes = { maxSize, maxBlocks };
    await using pooled = new MeasuredServer({ kind: "pooled", port, ...sizes });
    await using bytes = new MeasuredServer({
      kind: "req.bytes()",
      port: 0,
      ...sizes,
    });
    const sides = await Promise.all([pooled, bytes].map(async (server) => ({
      server,
      port: await server.port(),
      totals: new Totals(server.name),
    })));
    console.log(
      `Uploads of ${minSize} to ${maxSize} bytes over ${connections} connections, ` +
        `at most ${maxBlocks} blocks.\n${LEGEND}\n`,
    );
    await measure(sides, flags);
    return judge(sides, await finish(sides));
  } finally {
    clearTimeout(deadline);
  }
}

async function measure(
  sides: Side[],
  { seconds, connections, maxBlocks, minSize, maxSize }: Flags,
): Promise<void> {
  const bodies = makeBodies(minSize, maxSize);
  const screen = new Screen(maxBlocks);
  for (const side of sides) {
    const totals = new Totals("warm-up");
    await round("warm-up", 0, WARM_UP_MS, { ...side, totals });
    if (totals.wrong > 0 || totals.failed > 0) {
      throw new Error(`warm-up: ${totals.failure ?? "wrong digests"}`);
    }
  }
  const ms = seconds * 1_000 / (ROUNDS * sides.length);
  for (let seed = 1; seed <= ROUNDS; seed++) {
    // They take turns at being the first, so that no slow noise meets always the same one.
    for (const side of seed % 2 === 1 ? sides : sides.toReversed()) {
      await round(`${side.server.name} ${seed}/${ROUNDS}`, seed, ms, side);
    }
  }

  async function round(label: string, seed: number, ms: number, side: Side) {
    const { server, port, totals } = side;
    const look = async () => {
      screen.show(label, await server.snapshot());
      await delay(LOOK_MS);
    };
    const before = await server.snapshot();
    const calmMs = ms * CALM_SHARE, burstMs = ms * BURST_SHARE;
    let isLoaded = true;
    const load = run({ port, seed, connections, calmMs, burstMs }, bodies)
      .finally(() => isLoaded = false);
    while (isLoaded) await look();
    const end = performance.now() + ms * PAUSE_SHARE;
    while (performance.now() < end) await look();
    totals.add(await load, before, await server.snapshot());
    screen.end();
  }
}

/** Ends both servers. Returns what the pool still had out: more than nothing is a mistake. */
async function finish(sides: Side[]): Promise<string[]> {
  const problems: string[] = [];
  for (const { server, totals } of sides) {
    const { pool } = await server.snapshot();
    if (pool && pool.acquiredBlocks + pool.abandonedBlocks > 0) {
      problems.push(
        `pooled: ${pool.acquiredBlocks} blocks were never released, ${pool.abandonedBlocks} were abandoned`,
      );
    }
    totals.markCompacts = await server.stop();
  }
  return problems;
}

function judge(sides: Side[], problems: string[]): number {
  const [pooled, bytes] = sides.map(({ totals }) => totals);
  console.log(`\n${table(pooled, bytes)}\n\n${conclusion(pooled, bytes)}`);
  for (const { name, waitedMs, wrong, failed, failure } of [pooled, bytes]) {
    if (waitedMs.length === 0) {
      problems.push(`${name}: no request was answered`);
    }
    if (wrong > 0) problems.push(`${name}: ${wrong} wrong digests`);
    if (failed > 0) {
      problems.push(`${name}: ${failed} failed requests, first: ${failure}`);
    }
  }
  for (const problem of problems) console.error(`FAILED  ${problem}`);
  return problems.length === 0 ? 0 : 1;
}
