/**
 * Passes TCP connections on to another address, through two blocks for each: one in, one out.
 *
 *     deno run --allow-net --allow-ffi examples/tcp_proxy.ts TARGET_PORT [PORT]
 */
import { BlockPool } from "@smriti/pool";
import { copy } from "@smriti/pool/io";

const pool = new BlockPool({
  name: "proxy",
  blockSize: 64 * 1024,
  maxBlocks: 1024,
});
const stopping = new AbortController();
const hostname = "127.0.0.1";
const target = { hostname, port: Number(Deno.args[0]) };

async function pass(client: Deno.TcpConn): Promise<void> {
  using _client = client;
  using upstream = await Deno.connect(target);
  // Both or none: two half-served connections cannot wait for each other.
  using blocks = await pool.acquireMany(2, { timeoutMs: 5000 });
  const { signal } = stopping;
  await Promise.all([
    copy(client, upstream, blocks[0], { signal }).then(() =>
      upstream.closeWrite()
    ),
    copy(upstream, client, blocks[1], { signal }).then(() =>
      client.closeWrite()
    ),
  ]);
  // Whatever happens, the blocks are released, then both sides are closed. That ends a copy that
  // is still reading, and only then its block is used again.
}

const listener = Deno.listen({ hostname, port: Number(Deno.args[1] ?? 0) });
console.log(`listening on ${hostname}:${listener.addr.port}`);

Deno.addSignalListener("SIGINT", async () => {
  listener.close();
  stopping.abort("the proxy stops");
  await pool.close();
  console.log("every block came back");
  Deno.exit();
});

for await (const client of listener) {
  pass(client).catch((error) => console.error(`connection: ${error}`));
}
