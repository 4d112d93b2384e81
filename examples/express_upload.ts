/**
 * Express on node:http: answers each upload with its SHA-256. The request is an async iterable of
 * bytes, so it is given as it is, and one that is too large gets its 413.
 *
 *     deno run --allow-net --allow-ffi --allow-env examples/express_upload.ts [PORT]
 *     curl -T README.md http://127.0.0.1:PORT/
 */
import type { AddressInfo } from "node:net";
import express, { type Request, type Response } from "express";
import { BlockPool, SmritiError } from "@smriti/pool";
import { readBody } from "@smriti/pool/io";

const pool = new BlockPool({
  name: "uploads",
  blockSize: 1024 * 1024,
  maxBlocks: 64,
});

async function upload(request: Request, response: Response): Promise<void> {
  const signal = AbortSignal.timeout(30_000);
  try {
    using block = await pool.acquire({ timeoutMs: 1000 });
    const body = await readBody(request, block, { signal });
    if (body === null) {
      response.status(413).send("too large\n");
      return;
    }
    // A string: what send() is given as bytes it keeps until they are sent.
    const hash = await crypto.subtle.digest("SHA-256", body);
    response.send(`${new Uint8Array(hash).toHex()}\n`);
  } catch (error) {
    const isBusy = error instanceof SmritiError && error.code === "timeout";
    response.status(isBusy ? 503 : 400).send(
      isBusy ? "busy\n" : "incomplete\n",
    );
  }
}

const app = express();
app.put("/{*path}", upload);
app.post("/{*path}", upload);

const server = app.listen(Number(Deno.args[0] ?? 0), "127.0.0.1", () => {
  const { port } = server.address() as AddressInfo;
  console.log(`listening on http://127.0.0.1:${port}/`);
});

Deno.addSignalListener("SIGINT", async () => {
  server.closeIdleConnections();
  await new Promise((resolve) => server.close(resolve)); // answers what is under way
  await pool.close();
  console.log("every block came back");
  Deno.exit();
});
