/**
 * Answers each upload with its SHA-256. A body lies in one block of 1 MiB while it is hashed; what
 * is larger, too slow or too much at once is refused.
 *
 *     deno run --allow-net --allow-ffi examples/upload_hash.ts [PORT]
 *     curl --data-binary @README.md http://127.0.0.1:PORT/
 */
import { type Block, BlockPool, SmritiError } from "@smriti/pool";
import { readBody } from "@smriti/pool/io";

const pool = new BlockPool({
  name: "uploads",
  blockSize: 1024 * 1024,
  maxBlocks: 64,
});

async function upload(request: Request): Promise<Response> {
  if (request.method !== "POST") {
    return new Response("POST something\n", { status: 405 });
  }
  let block: Block;
  try {
    block = await pool.acquire({ timeoutMs: 1000 });
  } catch (error) {
    if (!(error instanceof SmritiError)) throw error;
    await request.body?.cancel();
    return new Response("busy\n", { status: 503 });
  }
  try {
    return await hash(request, block);
  } finally {
    block.release();
  }
}

async function hash(request: Request, block: Block): Promise<Response> {
  const signal = AbortSignal.timeout(30_000);
  try {
    const body = await readBody(request, block, { signal });
    if (body === null) return new Response("too large\n", { status: 413 });
    // digest() copies what it is given before it returns its promise.
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", body));
    return new Response(`${digest.toHex()}\n`);
  } catch {
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
  await pool.close();
  console.log("every block came back");
  Deno.exit();
});
