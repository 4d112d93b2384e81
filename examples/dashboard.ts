/**
 * A live picture of a pool in your browser, with buttons that put a load on it. In your own server
 * mount the request handler of dashboard/mod.ts.
 *
 *     deno run -A examples/dashboard.ts [--port N] [--block-size BYTES] [--max-blocks N] [--strict]
 */
import { parseArgs } from "node:util";
import { BlockPool } from "@smriti/pool";
import { dashboard } from "./dashboard/mod.ts";

const { values } = parseArgs({
  options: {
    "port": { type: "string", default: "0" },
    "block-size": { type: "string", default: "65536" },
    "max-blocks": { type: "string", default: "512" },
    "strict": { type: "boolean" },
  },
});
const pool = new BlockPool({
  blockSize: Number(values["block-size"]),
  maxBlocks: Number(values["max-blocks"]),
  shrinkIntervalMs: 1_000, // by default a minute
  safety: values.strict ? "strict" : "revoke",
});
const picture = dashboard(pool);
const server = Deno.serve({
  hostname: "127.0.0.1",
  port: Number(values.port),
  onListen: ({ port }) => console.log(`listening on http://127.0.0.1:${port}/`),
}, (request) => picture.handle(request) ?? new Response(null, { status: 404 }));

Deno.addSignalListener("SIGINT", async () => {
  picture[Symbol.dispose]();
  await server.shutdown();
  await pool.close();
  console.log("every block came back");
  Deno.exit();
});
