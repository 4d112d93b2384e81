// The table of what APIs do with bytes: what it says of those that were measured, and that the rules
// go by it.

import { assert, assertEquals } from "@std/assert";
import { FUNCTIONS, RECEIVERS } from "../../lint/apis.ts";
import { lint } from "./programs.ts";

const HEAD = `import { BlockPool } from "@smriti/pool";
import crypto_ from "node:crypto";
import fs from "node:fs";
import fsp from "node:fs/promises";
import zlib from "node:zlib";
import http from "node:http";
import net from "node:net";
import dgram from "node:dgram";
import stream from "node:stream";
import { spawn } from "node:child_process";
const pool = new BlockPool({ blockSize: 64, maxBlocks: 8 });
export async function f(
  cb: () => void,
  ws: WebSocket,
  kv: Deno.Kv,
  conn: Deno.TcpConn,
  file: Deno.FsFile,
  res: http.ServerResponse,
  worker: Worker,
  channel: BroadcastChannel,
  controller: ReadableStreamDefaultController<Uint8Array>,
  writer: WritableStreamDefaultWriter<Uint8Array>,
) {
  using block = await pool.acquire();
  const bytes = block.bytes;
`;

function rulesOf(call: string): string[] {
  return lint("a.ts", `${HEAD}  ${call};\n}\n`).map(({ id }) => id);
}

const COPY = [
  "new Response(bytes)",
  "new Request('http://localhost', { method: 'POST', body: bytes })",
  "new Blob([bytes])",
  "new File([bytes], 'name')",
  "Deno.writeFile('path', bytes)",
  "structuredClone(bytes)",
  "worker.postMessage(bytes)",
  "channel.postMessage(bytes)",
  "crypto.subtle.digest('SHA-256', bytes)",
  "crypto.subtle.encrypt('AES-GCM', key, bytes)",
  "crypto.getRandomValues(bytes)",
  "ws.send(bytes)",
  "fetch('http://localhost', { method: 'POST', body: bytes })",
  "kv.set(['key'], bytes)",
  "WebAssembly.compile(bytes)",
  "new TextDecoder().decode(bytes)",
  "zlib.gzip(bytes, cb)",
  "zlib.brotliCompress(bytes, cb)",
  "crypto_.hkdf('sha256', bytes, 'salt', 'info', 32, cb)",
  "crypto_.sign('sha256', bytes, key, cb)",
  "crypto_.createHash('sha256').update(bytes)",
  "fs.write(1, bytes, cb)",
  "fs.writeFileSync('path', bytes)",
  "conn.readable.getReader()",
  "file.readSync(bytes)",
];

const KEEP = [
  "conn.read(bytes)",
  "conn.write(bytes)",
  "file.read(bytes)",
  "file.write(bytes)",
  "crypto_.scrypt(bytes, 'salt', 32, cb)",
  "crypto_.scrypt('password', bytes, 32, cb)",
  "crypto_.pbkdf2(bytes, 'salt', 1, 32, 'sha256', cb)",
  "crypto_.randomFill(bytes, cb)",
  "res.end(bytes)",
  "res.write(bytes)",
  "http.request('http://localhost').write(bytes)",
  "http.request('http://localhost').end(bytes)",
  "net.connect(80).write(bytes)",
  "spawn('cat').stdin.write(bytes)",
  "dgram.createSocket('udp4').send(bytes, 80)",
  "Deno.listenDatagram({ port: 0, transport: 'udp' }).send(bytes, addr)",
  "fs.writeFile('path', bytes, cb)",
  "fs.appendFile('path', bytes, cb)",
  "fs.read(1, bytes, 0, 1, 0, cb)",
  "fs.promises.writeFile('path', bytes)",
  "fsp.appendFile('path', bytes)",
  "(await fsp.open('path')).writeFile(bytes)",
  "fs.createWriteStream('path').write(bytes)",
];

const QUEUE = [
  "controller.enqueue(bytes)",
  "writer.write(bytes)",
  "ReadableStream.from([bytes])",
  "stream.Readable.from([bytes])",
  "stream.pipeline([bytes], res, cb)",
];

Deno.test("what copies is never reported", () => {
  for (const call of COPY) assertEquals(rulesOf(call), [], call);
});

Deno.test("what goes on using the bytes is reported by lend-io", () => {
  for (const call of KEEP) {
    assertEquals(rulesOf(call), ["smriti/lend-io"], call);
  }
});

Deno.test("what queues the bytes is reported by no-queue", () => {
  for (const call of QUEUE) {
    assertEquals(rulesOf(call), ["smriti/no-queue"], call);
  }
});

Deno.test("names in the table are written as code has them", () => {
  for (const name of Object.keys(FUNCTIONS)) {
    assert(/^(node:[\w/]+\.)?(\w+\.)*[\w*]+$/.test(name), name);
  }
  for (const [kind, { types, makers, names }] of Object.entries(RECEIVERS)) {
    assert(types.length + makers.length + (names ? 1 : 0) > 0, kind);
  }
});
