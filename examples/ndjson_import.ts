/**
 * Imports NDJSON: adds the `amount` of each line up by its `name` and answers the sums. A body of
 * any size costs one block; a line that is no JSON, or too long, is named.
 *
 *     deno run --allow-net --allow-ffi examples/ndjson_import.ts [PORT]
 *     curl -T lines.ndjson http://127.0.0.1:PORT/
 */
import { BlockPool, SmritiError } from "@smriti/pool";
import { lines } from "@smriti/pool/io";

const pool = new BlockPool({
  name: "import",
  blockSize: 64 * 1024,
  maxBlocks: 256,
});

async function sums(request: Request): Promise<Response> {
  const signal = AbortSignal.timeout(60_000);
  const options = { limit: 10_000, timeoutMs: 1000, signal };
  const totals = new Map<string, number>();
  let count = 0;
  try {
    for await (const line of lines(request, pool, options)) {
      if (line !== "") {
        const { name, amount } = JSON.parse(line);
        totals.set(name, (totals.get(name) ?? 0) + amount);
      }
      count++;
    }
  } catch (error) {
    if (error instanceof SmritiError && error.code === "timeout") {
      return new Response("busy\n", { status: 503 });
    }
    return new Response(`line ${count + 1}: ${error}\n`, { status: 400 });
  }
  return Response.json(Object.fromEntries(totals));
}

const server = Deno.serve({
  hostname: "127.0.0.1",
  port: Number(Deno.args[0] ?? 0),
  onListen: ({ port }) => console.log(`listening on http://127.0.0.1:${port}/`),
}, sums);

Deno.addSignalListener("SIGINT", async () => {
  await server.shutdown(); // answers what is under way
  await pool.close();
  console.log("every block came back");
  Deno.exit();
});
