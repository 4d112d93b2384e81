/**
 * In front of an object store: takes a PUT whole, at most 16 MiB, and passes it on with its SHA-256,
 * which a store wants to have before the first byte. The body lies in blocks meanwhile, and each
 * goes back as soon as it was sent.
 *
 *     deno run --allow-net --allow-ffi examples/put_proxy.ts TARGET_PORT [PORT]
 *     curl -T README.md http://127.0.0.1:PORT/bucket/readme
 */
import { createHash } from "node:crypto";
import { BlockPool, SmritiError } from "@smriti/pool";
import { type BlockChain, collect } from "@smriti/pool/io";

const pool = new BlockPool({
  name: "objects",
  blockSize: 256 * 1024,
  maxBlocks: 1024,
});
const limit = 16 * 1024 * 1024;
const target = `http://127.0.0.1:${Deno.args[0]}`;

async function passOn(
  request: Request,
  chain: BlockChain,
  signal: AbortSignal,
) {
  const hash = createHash("sha256");
  for (const { bytes } of chain.chunks()) hash.update(bytes);
  const { pathname } = new URL(request.url);
  const { status, body } = await fetch(target + pathname, {
    method: "PUT",
    headers: { "x-amz-content-sha256": hash.digest("hex") },
    body: chain.stream({ signal }),
    signal,
  });
  return new Response(body, { status });
}

async function put(request: Request): Promise<Response> {
  if (request.method !== "PUT") {
    return new Response("PUT something\n", { status: 405 });
  }
  const signal = AbortSignal.timeout(60_000);
  try {
    const options = { limit, signal, timeoutMs: 5000 };
    using chain = await collect(request, pool, options);
    if (chain === null) return new Response("too large\n", { status: 413 });
    return await passOn(request, chain, signal);
  } catch (error) {
    if (error instanceof SmritiError && error.code === "timeout") {
      return new Response("busy\n", { status: 503 });
    }
    return new Response(`not stored: ${error}\n`, { status: 502 });
  }
}

const server = Deno.serve({
  hostname: "127.0.0.1",
  port: Number(Deno.args[1] ?? 0),
  onListen: ({ port }) => console.log(`listening on http://127.0.0.1:${port}/`),
}, put);

Deno.addSignalListener("SIGINT", async () => {
  await server.shutdown(); // answers what is under way
  await pool.close();
  console.log("every block came back");
  Deno.exit();
});
