/**
 * The load: a process of its own, so that its work is not counted as the server's. It sends
 * bodies of random size and content over many connections, and checks the digest in every
 * answer. It is a closed loop: a connection sends its next body when it has the answer to the
 * last, so a slow server gets fewer requests instead of a longer queue.
 */

import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { commands, report } from "./child.ts";
import { Connection } from "./connection.ts";

export interface ClientOptions {
  readonly minSize: number;
  readonly maxSize: number;
}

/** First a quarter of the connections, then all: the burst in which the pool has to grow. */
export interface LoadCommand {
  readonly port: number;
  readonly seed: number;
  readonly connections: number;
  readonly calmMs: number;
  readonly burstMs: number;
}

export interface LoadReport {
  readonly requests: number;
  readonly wrong: number;
  readonly failed: number;
  /** What the first failed request said. */
  readonly failure: string | null;
  readonly activeMs: number;
  /** How long each request waited for its answer, in microseconds. */
  readonly micros: readonly number[];
}

interface Body {
  readonly bytes: Uint8Array;
  readonly digest: string;
}

/**
 * Bodies are made and hashed before the first request: the load must not compete with the server
 * for the processor. Fewer of them when they are large, so that it starts soon.
 */
const MAX_BODIES = 256;
const MAX_BODIES_BYTES = 256 * 1024 * 1024;

function makeBodies({ minSize, maxSize }: ClientOptions): Body[] {
  const fitting = Math.floor(MAX_BODIES_BYTES / ((minSize + maxSize) / 2));
  const count = Math.max(16, Math.min(MAX_BODIES, fitting));
  // Every body is a window of its own on one random array: no two are equal, the array stays small.
  const noise = new Uint8Array(maxSize + count);
  for (let at = 0; at < noise.length; at += 65_536) {
    crypto.getRandomValues(noise.subarray(at, at + 65_536));
  }
  return Array.from({ length: count }, (_, index) => {
    // The extremes are always among them: the smallest, and the one that fills its whole block.
    const size = index === 0
      ? minSize
      : index === 1
      ? maxSize
      : minSize + below(Math.random(), maxSize - minSize + 1);
    const bytes = noise.subarray(index, index + size);
    return { bytes, digest: createHash("sha256").update(bytes).digest("hex") };
  });
}

async function load(command: LoadCommand, bodies: Body[]): Promise<LoadReport> {
  const micros: number[] = [];
  let wrong = 0, failed = 0, failure: string | null = null;
  const start = performance.now();
  const end = start + command.calmMs + command.burstMs;

  async function send(index: number): Promise<void> {
    const random = randomNumbers(command.seed * 1_000 + index);
    if (index >= Math.ceil(command.connections / 4)) {
      await delay(command.calmMs);
    }
    let connection: Connection | null = null;
    while (performance.now() < end) {
      const body = bodies[below(random(), bodies.length)];
      try {
        connection ??= await Connection.open(command.port);
        const { status, text, waitedMs } = await connection.post(body.bytes);
        micros.push(Math.round(waitedMs * 1_000));
        if (status !== 200) throw new Error(`status ${status}: ${text}`);
        if (text.trim() !== body.digest) wrong++;
      } catch (error) {
        failed++;
        failure ??= String(error);
        connection?.close();
        connection = null;
        await delay(50); // a server that refuses everything must not be hammered
      }
    }
    connection?.close();
  }

  await Promise.all(
    Array.from({ length: command.connections }, (_, index) => send(index)),
  );
  const activeMs = performance.now() - start;
  return { requests: micros.length, wrong, failed, failure, activeMs, micros };
}

/** Both servers get the same bodies in the same order. (mulberry32; Math.random has no seed.) */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function below(random: number, limit: number): number {
  return Math.floor(random * limit);
}

if (import.meta.main) {
  const bodies = makeBodies(JSON.parse(Deno.args[0]));
  report({ bodies: bodies.length });
  // Not awaited: a parent that dies in a round must end this loop, and with it the process.
  for await (const command of commands<LoadCommand>()) {
    load(command, bodies).then(report);
  }
  Deno.exit();
}
