/**
 * A live picture of a pool in your browser, with buttons that put a load on it.
 *
 * deno run -A examples/dashboard.ts [--port N] [--block-size BYTES] [--max-blocks N] [--strict]
 *
 * dashboard/mod.ts is a request handler that you can mount in a server of your own.
 */

import { parseArgs } from "node:util";
import { BlockPool } from "@smriti/pool";
import { dashboard } from "./dashboard/mod.ts";

const { values } = parseArgs({
  options: {
    "port": { type: "string", default: "0" },
    "block-size": { type: "string", default: "65536" },
    "max-blocks": { type: "string", default: "512" },
    "strict": { type: "boolean", default: false },
  },
});

const pool = new BlockPool({
  name: "demo",
  blockSize: Number(values["block-size"]),
  maxBlocks: Number(values["max-blocks"]),
  // By default a pool looks once a minute. Here nobody wants to wait for that.
  shrinkIntervalMs: 1_000,
  safety: values.strict ? "strict" : "revoke", // strict has a quarantine to be seen
});
const picture = dashboard(pool);

const server = Deno.serve(
  {
    hostname: "127.0.0.1", // this machine only: there is no password
    port: Number(values.port),
    onListen({ port }) {
      console.log(
        `Open http://127.0.0.1:${port}/ (this machine only). Ctrl-C ends it.`,
      );
    },
  },
  (request) =>
    picture.handle(request) ?? new Response("not found\n", { status: 404 }),
);

Deno.addSignalListener("SIGINT", async () => {
  picture[Symbol.dispose]();
  await server.shutdown();
  await pool.close();
  console.log("\nClosed: no block is out, the memory is unmapped.");
  Deno.exit(0); // a task of a burst may still be asleep
});
