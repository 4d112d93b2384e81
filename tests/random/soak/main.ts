// Run by `deno task soak --seconds N --seed S`: many tasks on many pools among faults of every
// kind, their content checked at each step. Ends with a table; fails if a block was lost, a foreign
// byte was seen or the law of a pool's numbers was broken.

import { Rng } from "../../support/rng.ts";
import { Home, HOMES } from "./pools.ts";
import { digest, streamOf } from "./plan.ts";
import { Score } from "./score.ts";
import type { World } from "./block_operations.ts";
import { work } from "./task.ts";
import { EchoServer, EchoWorker } from "./peers.ts";
import { shut } from "../../support/connections.ts";

const TASKS = 48;

const { seconds, seed } = parse(Deno.args);
const score = new Score();
console.log(`seed ${seed}, ${seconds} s, ${TASKS} tasks, ${HOMES} pools`);
console.log(`decisions ${digest(seed, TASKS)}: the same for the same seed`);

const started = performance.now();
const elapsed = () => (performance.now() - started) / 1000;
const isOver = () => elapsed() >= seconds || score.surprises.length > 20;
const progress = setInterval(() => {
  console.log(`${elapsed().toFixed(0).padStart(5)} s  ${score.line()}`);
}, seconds > 20 ? 5000 : 1000);

// A block that never comes back would be waited for without end.
const watchdog = setTimeout(() => {
  console.error(`${score.table()}\n\nHANGS: seed ${seed}`);
  Deno.exit(1);
}, (seconds + 60) * 1000);

const folder = await Deno.makeTempDir({ prefix: "smriti_soak_" });
try {
  await soak();
} finally {
  clearInterval(progress);
  clearTimeout(watchdog);
  await Deno.remove(folder, { recursive: true });
}

console.log(`\n${score.table()}`);
for (const surprise of score.surprises.slice(0, 10)) console.error(surprise);
console.log(score.isClean ? "\nclean" : `\nNOT CLEAN: seed ${seed}`);
if (!score.isClean) Deno.exit(1);

async function soak(): Promise<void> {
  using server = new EchoServer();
  using worker = new EchoWorker();
  const strays: Uint8Array[] = [];
  const homes: Home[] = [];
  const homeAt = (share: number) => homes[Math.floor(share * HOMES)];
  const wardens = Array.from({ length: HOMES }, (_, kind) => {
    const rng = streamOf(seed, TASKS + kind);
    homes[kind] = new Home(kind, new Rng(rng.next()), score);
    return ward(homes, kind, rng);
  });
  await Promise.all(Array.from({ length: TASKS }, async (_, task) => {
    const options = { read: true, write: true, create: true };
    using file = await Deno.open(`${folder}/${task}`, options);
    const own = await server.connect();
    const reader = own.readable.getReader({ mode: "byob" });
    const byob = { conn: own, reader };
    const conn = await server.connect();
    const world: World = { score, server, worker, strays, file, conn, byob };
    try {
      await work(world, streamOf(seed, task), homeAt, isOver);
    } finally {
      await reader.cancel();
      shut(own);
      shut(world.conn);
    }
  }));
  await Promise.all(wardens);
  await Promise.all(homes.map((home) => home.end()));
}

/** Puts a new pool in place of an old one from time to time, under those who use it. */
async function ward(homes: Home[], kind: number, rng: Rng): Promise<void> {
  while (!isOver()) {
    const end = elapsed() + 0.2 + rng.below(2000) / 1000;
    while (elapsed() < end && !isOver()) {
      await new Promise((go) => setTimeout(go, 50));
      homes[kind].pool.trim();
    }
    if (isOver()) return;
    const old = homes[kind];
    homes[kind] = new Home(kind, new Rng(rng.next()), score);
    await old.end();
  }
}

function parse(args: string[]): { seconds: number; seed: number } {
  const given = new Map<string, number>();
  for (let at = 0; at < args.length; at += 2) {
    const name = args[at].replace(/^--/, "");
    const value = Number(args[at + 1]);
    const isKnown = name === "seconds" || name === "seed";
    if (!isKnown || !(value >= 0)) {
      console.error("usage: deno task soak [--seconds N] [--seed S]");
      Deno.exit(2);
    }
    given.set(name, value);
  }
  return {
    seconds: given.get("seconds") ?? 60,
    seed: (given.get("seed") ?? Math.random() * 2 ** 32) >>> 0,
  };
}
