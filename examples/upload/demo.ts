/**
 * The measurement: two servers and one client, each in a process of its own, in rounds that
 * alternate between the servers so that the noise of the machine hits both. It owns the order of
 * things and the exit code.
 */

import { setTimeout as delay } from "node:timers/promises";
import { Child, killChildren } from "./child.ts";
import type { ClientOptions, LoadCommand, LoadReport } from "./client.ts";
import type { Flags } from "./flags.ts";
import { LEGEND, Screen } from "./screen.ts";
import type * as server from "./server.ts";
import { conclusion, table, Totals } from "./table.ts";

type Server = Child<server.ServerCommand, server.ServerReady, server.Snapshot>;
type Client = Child<LoadCommand, { bodies: number }, LoadReport>;

/** One server under test. */
interface Side {
  readonly server: Server;
  readonly port: number;
  readonly totals: Totals;
}

/** The same load for one server after the other. */
interface Round {
  readonly label: string;
  readonly seed: number;
  readonly ms: number;
}

const ROUNDS = 3;
/** In each round a quarter of the connections, then all, then none: the pool grows and shrinks. */
const CALM_SHARE = 0.2, BURST_SHARE = 0.45, PAUSE_SHARE = 0.35;
/** Both servers run this long uncounted first: compiling is no part of the comparison. */
const WARM_UP: Round = { label: "warm-up", seed: 0, ms: 800 };
const LOOK_MS = 100;
/** What the run may take beyond the seconds asked for, before it counts as stuck. */
const GRACE_MS = 12_000;

/** Runs the whole demo. Returns the exit code: 0 if every upload got its right digest. */
export async function runDemo(flags: Flags): Promise<number> {
  const deadline = setTimeout(() => {
    killChildren();
    console.error("The demo is stuck; it was ended.");
    Deno.exit(1);
  }, flags.seconds * 1_000 + GRACE_MS);
  try {
    await using pooled = startServer("pooled", flags, flags.port);
    await using bytes = startServer("req.bytes()", flags, 0);
    await using client = startClient(flags);
    const sides = await Promise.all([pooled, bytes].map(ready));
    await client.ready;
    const { minSize, maxSize, connections, maxBlocks } = flags;
    console.log(
      `Uploads of ${minSize} to ${maxSize} bytes over ${connections} connections, ` +
        `at most ${maxBlocks} blocks.\n${LEGEND}\n`,
    );
    await measure(sides, client, flags);
    const leaks = await finish(sides);
    await client.stop();
    return judge(sides[0].totals, sides[1].totals, leaks);
  } finally {
    clearTimeout(deadline);
  }
}

function startServer(
  kind: server.ServerOptions["kind"],
  { maxSize, maxBlocks }: Flags,
  port: number,
): Server {
  const options: server.ServerOptions = { kind, port, maxSize, maxBlocks };
  return new Child(kind, "./server.ts", options, ["--trace-gc"]);
}

function startClient({ minSize, maxSize }: Flags): Client {
  const options: ClientOptions = { minSize, maxSize };
  return new Child("client", "./client.ts", options);
}

async function ready(server: Server): Promise<Side> {
  const { port } = await server.ready;
  return { server, port, totals: new Totals(server.name) };
}

async function measure(
  sides: Side[],
  client: Client,
  { seconds, connections, maxBlocks }: Flags,
): Promise<void> {
  const screen = new Screen(maxBlocks);
  for (const { server, port } of sides) {
    const totals = new Totals("warm-up");
    await run(WARM_UP, { server, port, totals });
    if (totals.wrong > 0 || totals.failed > 0) {
      throw new Error(`warm-up: ${totals.failure ?? "wrong digests"}`);
    }
  }
  const ms = seconds * 1_000 / (ROUNDS * sides.length);
  for (let seed = 1; seed <= ROUNDS; seed++) {
    // They take turns at being the first, so that no slow noise meets always the same one.
    for (const side of seed % 2 === 1 ? sides : sides.toReversed()) {
      const label = `${side.server.name} ${seed}/${ROUNDS}`;
      await run({ label, seed, ms }, side);
    }
  }

  async function run({ label, seed, ms }: Round, side: Side): Promise<void> {
    const { server, port, totals } = side;
    const look = async () => {
      screen.show(label, await server.ask("snapshot"));
      await delay(LOOK_MS);
    };
    const before = await server.ask("snapshot");
    const calmMs = ms * CALM_SHARE, burstMs = ms * BURST_SHARE;
    let loading = true;
    const load = client.ask({ port, seed, connections, calmMs, burstMs });
    load.finally(() => loading = false).catch(() => {}); // awaited below
    while (loading) await look();
    const report = await load;
    const end = performance.now() + ms * PAUSE_SHARE;
    while (performance.now() < end) await look();
    totals.add(report, before, await server.ask("snapshot"));
    screen.end();
  }
}

/** Ends both servers. Returns what the pool still had out: more than nothing is a mistake. */
async function finish(sides: Side[]): Promise<string> {
  let leaks = "";
  for (const { server, totals } of sides) {
    const { pool } = await server.ask("snapshot");
    if (pool !== null && pool.acquiredBlocks + pool.abandonedBlocks > 0) {
      leaks = `${pool.acquiredBlocks} blocks were never released and ` +
        `${pool.abandonedBlocks} were abandoned`;
    }
    await server.ask("close");
    totals.markCompacts = await server.stop();
  }
  return leaks;
}

function judge(pooled: Totals, bytes: Totals, leaks: string): number {
  console.log(`\n${table(pooled, bytes)}\n\n${conclusion(pooled, bytes)}`);
  const problems = leaks === "" ? [] : [`${pooled.name}: ${leaks}`];
  for (const { name, requests, wrong, failed, failure } of [pooled, bytes]) {
    if (requests === 0) problems.push(`${name}: no request was answered`);
    if (wrong > 0) problems.push(`${name}: ${wrong} wrong digests`);
    if (failed > 0) {
      problems.push(`${name}: ${failed} failed requests, first: ${failure}`);
    }
  }
  for (const problem of problems) console.error(`FAILED  ${problem}`);
  return problems.length === 0 ? 0 : 1;
}
