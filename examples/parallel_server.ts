/**
 * Answers each upload with its SHA-256, on as many threads as there are processors, all with one
 * pool: each finds it by its name, or makes it. A GET answers with the numbers of the pool.
 *
 *     deno serve --parallel --allow-net --allow-ffi examples/parallel_server.ts
 *     curl --data-binary @README.md http://127.0.0.1:8000/
 */
import { createHash } from "node:crypto";
import { SmritiError } from "@smriti/pool";
import { readBody } from "@smriti/pool/io";
import { SharedBlockPool } from "@smriti/pool/shared";

const pool = await SharedBlockPool.join("uploads", {
  blockSize: 1024 * 1024,
  maxBlocks: 64,
});

// On SIGTERM a thread ends when it has answered what is under way: the pool keeps none of them.
addEventListener("unload", () => pool.leave());

async function upload(request: Request): Promise<Response> {
  const signal = AbortSignal.timeout(30_000);
  try {
    using block = await pool.acquire({ timeoutMs: 1000 });
    const body = await readBody(request, block, { signal });
    if (body === null) return new Response("too large\n", { status: 413 });
    const hash = createHash("sha256").update(body).digest("hex");
    return new Response(`${hash}\n`);
  } catch (error) {
    if (error instanceof SmritiError && error.code === "timeout") {
      await request.body?.cancel();
      return new Response("busy\n", { status: 503 });
    }
    // Too slow, or gone: then no client reads this.
    return new Response("incomplete\n", { status: signal.aborted ? 408 : 400 });
  }
}

export default {
  fetch(request) {
    if (request.method === "POST") return upload(request);
    return Response.json({ worker: pool.workerId, pool: pool.stats() });
  },
} satisfies Deno.ServeDefaultExport;
