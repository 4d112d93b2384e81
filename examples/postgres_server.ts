/**
 * Speaks the Postgres protocol, as far as psql needs it: answers each query with its own text. A
 * message is a letter and a length that counts itself; the first one has no letter.
 *
 *     deno run --allow-net --allow-ffi examples/postgres_server.ts [PORT]
 *     psql -h 127.0.0.1 -p PORT -c "select 1"
 */
import { BlockPool } from "@smriti/pool";
import { readFrames } from "@smriti/pool/io";

const pool = new BlockPool({ blockSize: 64 * 1024, maxBlocks: 256 });
const stopping = new AbortController();
const encoder = new TextEncoder();

const int = (n: number) => [n >>> 24, n >> 16 & 255, n >> 8 & 255, n & 255];
const text = (value: string) => [...encoder.encode(value), 0];

function message(letter: string, ...body: number[]): number[] {
  return [letter.charCodeAt(0), ...int(body.length + 4), ...body];
}

const READY = message("Z", 73);
const WELCOME = [
  ...message("R", ...int(0)), // no password
  ...message("S", ...text("client_encoding"), ...text("UTF8")),
  ...READY,
];
const COLUMN = [...text("query"), ...int(0), 0, 0, ...int(25), 255, 255];

function row(query: string): number[] {
  const bytes = encoder.encode(query);
  return [
    ...message("T", 0, 1, ...COLUMN, ...int(-1), 0, 0),
    ...message("D", 0, 1, ...int(bytes.length), ...bytes),
    ...message("C", ...text("SELECT 1")),
    ...READY,
  ];
}

async function serve(conn: Deno.TcpConn): Promise<void> {
  using _conn = conn;
  let started = false;
  const messages = readFrames(conn, pool, {
    header: 4,
    length(head) {
      if (started && head.length < 5) return undefined; // with its letter
      return new DataView(head.buffer).getInt32(started ? 1 : 0) - 4;
    },
    signal: stopping.signal,
  });
  for await (const { head, bytes } of messages) {
    let answer: number[];
    if (!started) {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      started = view.getInt32(0) >> 16 === 3; // else it asks for TLS: no
      answer = started ? WELCOME : [78];
    } else if (head[0] === 88) return; // X: farewell
    else answer = row(new TextDecoder().decode(bytes.subarray(0, -1)));
    let left = new Uint8Array(answer);
    while (left.length > 0) left = left.subarray(await conn.write(left));
  }
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
  serve(conn).catch((error) => console.error(`connection: ${error}`));
}
