/**
 * Receives syslog messages by UDP and prints them with their severity. Each datagram is received into
 * the same block; without a buffer of yours `receive()` allocates 64 KiB for each.
 *
 *     deno run --unstable-net --allow-net --allow-ffi examples/udp_receiver.ts [PORT]
 *     logger -n 127.0.0.1 -P PORT -d "hello"
 */
import { BlockPool } from "@smriti/pool";

const pool = new BlockPool({
  name: "syslog",
  blockSize: 64 * 1024, // no datagram is larger
  maxBlocks: 1,
});
const SEVERITIES = "emerg alert crit err warning notice info debug".split(" ");
const decoder = new TextDecoder();

const socket = Deno.listenDatagram({
  transport: "udp",
  hostname: "127.0.0.1",
  port: Number(Deno.args[0] ?? 0),
});
const { port } = socket.addr as Deno.NetAddr;
console.log(`listening on 127.0.0.1:${port}`);

function print(bytes: Uint8Array): void {
  const text = decoder.decode(bytes).trimEnd();
  const [, priority = "14", message = text] = /^<(\d{1,3})>(.*)$/s.exec(text) ??
    [];
  console.log(`${SEVERITIES[Number(priority) % 8]}: ${message}`);
}

Deno.addSignalListener("SIGINT", () => socket.close());

try {
  while (true) {
    using block = await pool.acquire();
    const [{ length }] = await block.lend((bytes) => socket.receive(bytes), {
      socket: true,
    });
    print(block.bytes.subarray(0, length));
  }
} catch (error) {
  // The socket was closed, before or in a receive.
  const { BadResource, Interrupted } = Deno.errors;
  const isClosed = error instanceof BadResource || error instanceof Interrupted;
  if (!isClosed) throw error;
}
await pool.close();
console.log("every block came back");
