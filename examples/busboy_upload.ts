/**
 * Multipart forms with busboy: each file of a form is collected in blocks, at most 5 MB of it, and
 * answered with its name, size and SHA-256. A file that is larger is left out.
 *
 *     deno run --allow-net --allow-ffi examples/busboy_upload.ts [PORT]
 *     curl -F file=@README.md -F file=@LICENSE http://127.0.0.1:PORT/
 */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import busboy from "busboy";
import { BlockPool, SmritiError } from "@smriti/pool";
import { collector } from "@smriti/pool/io";

const pool = new BlockPool({
  name: "forms",
  blockSize: 64 * 1024,
  maxBlocks: 4096,
});
const limit = 5_000_000;

async function file(name: string, stream: Readable): Promise<string> {
  using filling = collector(pool, { limit, timeoutMs: 5000 });
  try {
    // Not destroyed when it is too large: the parser has to come to the next part.
    const parts = stream.iterator({ destroyOnReturn: false });
    for await (const part of parts) await filling.write(part);
  } catch (error) {
    stream.resume();
    if (!(error instanceof RangeError)) throw error;
  }
  using chain = filling.finish();
  if (chain === null) return `${name} too large\n`;
  const hash = createHash("sha256");
  for (const { bytes } of chain.chunks()) hash.update(bytes);
  return `${name} ${chain.byteLength} ${hash.digest("hex")}\n`;
}

async function upload(request: Request): Promise<Response> {
  if (request.body === null) return new Response("no form\n", { status: 400 });
  try {
    const files: Promise<string>[] = [];
    const form = busboy({
      headers: Object.fromEntries(request.headers),
      limits: { files: 20 },
    });
    form.on("file", (_, stream, { filename = "file" }) => {
      const answer = file(filename, stream);
      answer.catch((error) => form.destroy(error));
      files.push(answer);
    });
    const signal = AbortSignal.timeout(60_000);
    await pipeline(Readable.fromWeb(request.body as never), form, { signal });
    return new Response((await Promise.all(files)).join(""));
  } catch (error) {
    const isBusy = error instanceof SmritiError && error.code === "timeout";
    return isBusy
      ? new Response("busy\n", { status: 503 })
      : new Response("incomplete\n", { status: 400 });
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
