/**
 * Answers each upload with its SHA-256, which Workers compute. The body is read into a block of
 * shared memory and only a ticket goes to a Worker: no byte is copied from thread to thread.
 *
 *     deno run --allow-net --allow-ffi --allow-read examples/worker_pipeline.ts [PORT]
 *     curl --data-binary @README.md http://127.0.0.1:PORT/
 */
import { type Block, SmritiError } from "@smriti/pool";
import { readBody } from "@smriti/pool/io";
import { SharedBlockPool } from "@smriti/pool/shared";
import type { Answer, Job } from "./pipeline/hasher.ts";

const pool = SharedBlockPool.create({
  name: "uploads",
  blockSize: 1024 * 1024,
  maxBlocks: 64,
});
const hasher = new URL("pipeline/hasher.ts", import.meta.url);
const waiting = new Map<number, (hash: string) => void>();
let jobs = 0;

const workers = Array.from({ length: 2 }, () => {
  const worker = new Worker(hasher, { type: "module" });
  worker.postMessage(pool.handle);
  worker.onmessage = ({ data: { id, hash } }: MessageEvent<Answer>) => {
    waiting.get(id)!(hash);
    waiting.delete(id);
  };
  return worker;
});

/** Gives the block away: from here on it is the Worker's, which releases it. */
function hash(block: Block, size: number): Promise<string> {
  const id = jobs++;
  const job: Job = { id, ticket: block.detach(), size };
  workers[id % workers.length].postMessage(job);
  return new Promise((resolve) => waiting.set(id, resolve));
}

async function upload(request: Request): Promise<Response> {
  if (request.method !== "POST") {
    return new Response("POST something\n", { status: 405 });
  }
  const signal = AbortSignal.timeout(30_000);
  try {
    // Released by `using` unless it was given away.
    using block = await pool.acquire({ timeoutMs: 1000 });
    const body = await readBody(request, block, { signal });
    if (body === null) return new Response("too large\n", { status: 413 });
    return new Response(`${await hash(block, body.length)}\n`);
  } catch (error) {
    if (error instanceof SmritiError && error.code === "timeout") {
      await request.body?.cancel();
      return new Response("busy\n", { status: 503 });
    }
    // Too slow, or gone: then no client reads this.
    return new Response("incomplete\n", { status: signal.aborted ? 408 : 400 });
  }
}

const server = Deno.serve({
  hostname: "127.0.0.1",
  port: Number(Deno.args[0] ?? 0),
  onListen: ({ port }) => console.log(`listening on http://127.0.0.1:${port}/`),
}, upload);

Deno.addSignalListener("SIGINT", async () => {
  await server.shutdown(); // answers what is under way
  await pool.close(); // the Workers end their views, the last one out unmaps
  console.log("every block came back");
  Deno.exit();
});
