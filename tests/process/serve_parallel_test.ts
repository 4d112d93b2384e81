// `deno serve --parallel` on one shared pool, under load: all threads have the same pool, and SIGTERM
// ends the server as if it had none. SMRITI_PARALLEL_RUNS says how often; the server is the example.

import { assertEquals, AssertionError, assertLess } from "@std/assert";
import { kill } from "../support/child.ts";
import { canRunDeno, hasPosixShell } from "../support/platform.ts";
import { Client, pattern } from "../support/uploads.ts";
import type { SharedPoolStats } from "../../shared/mod.ts";

const RUNS = Number(Deno.env.get("SMRITI_PARALLEL_RUNS") ?? 3);
const THREADS = 4;
/** From the signal to the end of the process. */
const MOST_MS = 3000;
/** For all threads to begin. */
const PATIENCE_MS = 60_000;
const SERVER =
  new URL("../../examples/parallel_server.ts", import.meta.url).href;
const hostname = "127.0.0.1";
const PERMISSIONS = "--allow-net --allow-ffi --no-prompt --quiet".split(" ");

/** What one thread says of itself and of the pool. */
interface Said {
  readonly worker: number;
  readonly pool: SharedPoolStats;
}

function freePort(): number {
  using listener = Deno.listen({ hostname, port: 0 });
  return listener.addr.port;
}

/** Asks whichever thread gets a new connection. */
async function ask(port: number): Promise<Said> {
  const client = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
  try {
    const response = await fetch(`http://${hostname}:${port}/`, { client });
    return await response.json();
  } finally {
    client.close();
  }
}

/** Asks until every thread has its attachment. */
async function joined(port: number): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  for (let attachments = 0; attachments < THREADS;) {
    if (performance.now() > end) {
      throw new Error(`only ${attachments} have joined`);
    }
    try {
      attachments = (await ask(port)).pool.attachedWorkers;
    } catch (error) {
      // A thread that listens before the others do, or none yet.
      if (!(error instanceof TypeError)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What every thread says, by its attachment. */
async function all(port: number): Promise<Map<number, SharedPoolStats>> {
  const said = new Map<number, SharedPoolStats>();
  for (let asked = 0; said.size < THREADS && asked < 1000; asked++) {
    const { worker, pool } = await ask(port);
    said.set(worker, pool);
  }
  return said;
}

/** Uploads until it is told to stop; gives how many were answered. */
async function load(port: number, seed: number, goesOn: () => boolean) {
  const body = pattern(300_000, seed);
  const hash = await crypto.subtle.digest("SHA-256", body);
  const text = `${new Uint8Array(hash).toHex()}\n`;
  using client = await Client.connect({ port });
  let answered = 0;
  while (goesOn()) {
    const answer = await client.upload(body);
    // On SIGTERM the runtime itself cuts bodies short, and the handler says so.
    if (answer.status === 400 && !goesOn()) break;
    assertEquals(answer, { status: 200, text });
    answered++;
  }
  return answered;
}

for (let run = 1; run <= RUNS; run++) {
  Deno.test({
    name: `parallel threads share one pool and end on SIGTERM: ${run}/${RUNS}`,
    ignore: !canRunDeno || !hasPosixShell,
    fn: async () => {
      const port = freePort();
      const args = ["--parallel", "--host", hostname, "--port", String(port)];
      const child = new Deno.Command(Deno.execPath(), {
        args: ["serve", ...args, ...PERMISSIONS, SERVER],
        env: { DENO_JOBS: String(THREADS) },
        stdout: "null",
        stderr: "piped",
      }).spawn();
      const errors = new Response(child.stderr).text();
      try {
        await joined(port);
        const end = performance.now() + 500;
        const seeds = Array.from({ length: 8 }, (_, i) => i);
        const counts = await Promise.all(
          seeds.map((seed) => load(port, seed, () => performance.now() < end)),
        );
        const uploads = counts.reduce((sum, count) => sum + count);

        const said = await all(port);
        assertEquals(said.size, THREADS);
        for (const pool of said.values()) {
          assertEquals(pool, said.values().next().value);
          assertEquals(pool.attachedWorkers, THREADS);
          assertEquals([pool.acquires, pool.releases], [uploads, uploads]);
        }

        // The signal comes while all connections have uploads under way.
        let isOver = false;
        const cut = Promise.allSettled(
          seeds.map((seed) =>
            load(port, seed, () => !isOver).catch((error) => {
              // Hung up on, as it may be, but not before the signal, and never answered wrong.
              if (!isOver || error instanceof AssertionError) throw error;
            })
          ),
        );
        await new Promise((resolve) => setTimeout(resolve, 200));
        isOver = true;
        const start = performance.now();
        child.kill("SIGTERM");
        const { code, signal } = await child.status;
        const took = performance.now() - start;
        const wrong = (await cut).filter(({ status }) => status === "rejected");
        assertEquals(wrong, [], await errors);
        console.log(`${uploads} uploads; ended ${took.toFixed()} ms after`);
        assertEquals([code, signal, await errors], [0, null, ""]);
        assertLess(took, MOST_MS);
      } finally {
        kill(child);
        await child.status;
        await errors;
      }
    },
  });
}
