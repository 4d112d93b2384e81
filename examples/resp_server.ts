/**
 * Speaks the Redis protocol: PING, ECHO, SET, GET, QUIT. With a certificate it listens for TLS.
 *
 *     deno run --allow-net --allow-ffi --allow-read examples/resp_server.ts [PORT [CERT KEY]]
 *     redis-cli -p PORT
 */
import { Buffer } from "node:buffer";
import { BlockPool } from "@smriti/pool";
import { type BufferedReader, bufferedReader } from "@smriti/pool/io";

const pool = new BlockPool({ blockSize: 65536, maxBlocks: 1024 });
const stopping = new AbortController();
const values = new Map<string, string>();

/** The words of the next command, a character a byte; `null` at the end. */
async function command(reader: BufferedReader): Promise<string[] | null> {
  const line = await reader.readLine({ limit: 1024 });
  if (line === null || line[0] !== "*") return line?.split(" ") ?? null;
  const words: string[] = [];
  for (let left = count(line, 1024); left > 0; left--) {
    const size = count(await reader.readLine({ limit: 32 }), 32 * 1024);
    if (!await reader.fill(size + 2)) throw new Error("cut in a command");
    const word = reader.take(size + 2).subarray(0, size); // without the end of its line
    words.push(Buffer.from(word).toString("latin1"));
  }
  return words;
}

function count(line: string | null, most: number): number {
  const value = Number(line?.slice(1));
  if (/^[*$]\d+$/.test(line ?? "") && value <= most) return value;
  throw new Error(`not a count up to ${most}: ${line}`);
}

function answer(name: string, key = "", value = ""): string {
  if (name === "") return "";
  if (name === "PING") return "+PONG\r\n";
  if (name === "QUIT") return "+OK\r\n";
  if (name === "SET") return values.set(key, value) && "+OK\r\n";
  const text = name === "ECHO" ? key : values.get(key);
  if (name !== "GET" && name !== "ECHO") return "-ERR unknown command\r\n";
  return text === undefined ? "$-1\r\n" : `$${text.length}\r\n${text}\r\n`;
}

async function serve(conn: Deno.Conn): Promise<void> {
  using _conn = conn;
  using reader = bufferedReader(conn, pool, { signal: stopping.signal });
  for (let words; (words = await command(reader)) !== null;) {
    const name = (words[0] ?? "").toUpperCase();
    let left: Uint8Array = Buffer.from(
      answer(name, ...words.slice(1)),
      "latin1",
    );
    while (left.length > 0) left = left.subarray(await conn.write(left));
    if (name === "QUIT") return;
  }
}

const [port = 0, ...files] = Deno.args;
const address = { hostname: "127.0.0.1", port: Number(port) };
const [cert, key] = files.map((path) => Deno.readTextFileSync(path));
const listener: Deno.TlsListener | Deno.TcpListener = files.length < 2
  ? Deno.listen(address)
  : Deno.listenTls({ ...address, cert, key });
console.log(`listening on ${address.hostname}:${listener.addr.port}`);

Deno.addSignalListener("SIGINT", async () => {
  listener.close();
  stopping.abort("the server stops");
  await pool.close();
  console.log("every block came back");
  Deno.exit();
});

for await (const conn of listener) {
  serve(conn).catch((error) => console.error(`connection: ${error}`));
}
