/**
 * Hono: answers each upload with its SHA-256. A body lies in one block of 1 MiB while it is hashed.
 *
 *     deno run --allow-net --allow-ffi --allow-env examples/hono_upload.ts [PORT]
 *     curl -T README.md http://127.0.0.1:PORT/
 */
import { Hono } from "hono";
import { BlockPool, SmritiError } from "@smriti/pool";
import { readBody } from "@smriti/pool/io";

const pool = new BlockPool({
  name: "uploads",
  blockSize: 1024 * 1024,
  maxBlocks: 64,
});
const app = new Hono();

app.on(["POST", "PUT"], "/*", async (c) => {
  using block = await pool.acquire({ timeoutMs: 1000 });
  const signal = AbortSignal.timeout(30_000);
  const body = await readBody(c.req.raw, block, { signal });
  if (body === null) return c.text("too large\n", 413);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", body));
  return c.text(`${hash.toHex()}\n`);
});

app.onError((error, c) => {
  const isBusy = error instanceof SmritiError && error.code === "timeout";
  return isBusy ? c.text("busy\n", 503) : c.text("incomplete\n", 400);
});

const server = Deno.serve({
  hostname: "127.0.0.1",
  port: Number(Deno.args[0] ?? 0),
  onListen: ({ port }) => console.log(`listening on http://127.0.0.1:${port}/`),
}, app.fetch);

Deno.addSignalListener("SIGINT", async () => {
  await server.shutdown(); // answers what is under way
  await pool.close();
  console.log("every block came back");
  Deno.exit();
});
