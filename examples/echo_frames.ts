/**
 * A server for a length-prefixed protocol: answers each message with the same message. On the wire
 * a message is its length in 4 bytes, most significant first, and then as many bytes.
 *
 *     deno run --allow-net --allow-ffi examples/echo_frames.ts [PORT]
 */
import { BlockPool } from "@smriti/pool";
import { readFrames } from "@smriti/pool/io";

const pool = new BlockPool({
  name: "frames",
  blockSize: 64 * 1024,
  maxBlocks: 1024,
});
const stopping = new AbortController();

async function echo(conn: Deno.TcpConn): Promise<void> {
  using _conn = conn;
  const frames = readFrames(conn, pool, {
    lengthBytes: 4,
    limit: 32 * 1024, // a longer message ends the connection
    timeoutMs: 5000,
    signal: stopping.signal,
  });
  for await (const { head, bytes } of frames) {
    await write(conn, head);
    await write(conn, bytes); // before the next step, which ends both
  }
}

/** A write may take only some of the bytes. */
async function write(conn: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  while (bytes.length > 0) bytes = bytes.subarray(await conn.write(bytes));
}

const hostname = "127.0.0.1";
const listener = Deno.listen({ hostname, port: Number(Deno.args[0] ?? 0) });
console.log(`listening on ${hostname}:${listener.addr.port}`);

Deno.addSignalListener("SIGINT", async () => {
  listener.close();
  stopping.abort("the server stops");
  await pool.close();
  console.log("every block came back");
  Deno.exit();
});

for await (const conn of listener) {
  conn.setNoDelay();
  echo(conn).catch((error) => console.error(`connection: ${error}`));
}
