/**
 * Receives syslog messages by UDP and prints them with their severity. Each datagram lies in a block
 * while it is looked at; the next one is received meanwhile, in another.
 *
 *     deno run --unstable-net --allow-net --allow-ffi examples/udp_receiver.ts [PORT]
 *     logger -n 127.0.0.1 -P PORT -d "hello"
 */
import { type Block, BlockPool } from "@smriti/pool";

const pool = new BlockPool({
  name: "syslog",
  blockSize: 64 * 1024, // no datagram is larger
  maxBlocks: 64,
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

function print(block: Block, size: number): void {
  using _block = block;
  const text = decoder.decode(block.bytes.subarray(0, size)).trimEnd();
  const [, priority = "14", message = text] = /^<(\d{1,3})>(.*)$/s.exec(text) ??
    [];
  console.log(`${SEVERITIES[Number(priority) % 8]}: ${message}`);
}

Deno.addSignalListener("SIGINT", () => socket.close());

try {
  while (true) {
    const block = await pool.acquire();
    try {
      const receiving = block.lend((bytes) => socket.receive(bytes), {
        socket: true,
      });
      const [{ length }] = await receiving;
      // Not awaited: the socket's buffer is small, and what does not fit is lost.
      queueMicrotask(() => print(block, length));
    } catch (error) {
      block.release();
      throw error;
    }
  }
} catch (error) {
  // The socket was closed, before or in a receive.
  const { BadResource, Interrupted } = Deno.errors;
  const isClosed = error instanceof BadResource || error instanceof Interrupted;
  if (!isClosed) throw error;
}
await pool.close();
console.log("every block came back");
