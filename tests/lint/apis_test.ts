// The rules go by docs/sinks.md, the measured table of what APIs do with the bytes they are given:
// what may be released after the call is not reported, what may not is, until it is waited for.

import { assert, assertEquals } from "@std/assert";
import { FUNCTIONS, RECEIVERS } from "../../lint/apis.ts";
import { lint } from "./programs.ts";

const HEAD = `import { BlockPool } from "@smriti/pool";
import nodeCrypto from "node:crypto";
import fs from "node:fs";
import fsp, { type FileHandle } from "node:fs/promises";
import zlib from "node:zlib";
import http from "node:http";
import type { ServerHttp2Stream } from "node:http2";
import net from "node:net";
import tls from "node:tls";
import dgram from "node:dgram";
import stream from "node:stream";
import v8 from "node:v8";
import { DatabaseSync } from "node:sqlite";
import { StringDecoder } from "node:string_decoder";
import { spawn, spawnSync } from "node:child_process";
const pool = new BlockPool({ blockSize: 64, maxBlocks: 8 });
`;
const PARAMETERS = `
  kv: Deno.Kv,
  cache: Cache,
  port: MessagePort,
  worker: Worker,
  channel: BroadcastChannel,
  socket: WebSocket,
  session: WebTransport,
  tcp: Deno.TcpConn,
  secure: Deno.TlsConn,
  unix: Deno.UnixConn,
  udp: Deno.DatagramConn,
  file: Deno.FsFile,
  handle: FileHandle,
  res: http.ServerResponse,
  http2: ServerHttp2Stream,
  controller: ReadableStreamDefaultController<Uint8Array>,
  byob: ReadableStreamBYOBReader,
  kept: Uint8Array[],
  lib: { now(bytes: Uint8Array): void; later(bytes: Uint8Array): Promise<void> },
`;

/** How code calls each API of the table; `cb` is its callback. */
const CALLS: Readonly<Record<string, string>> = {
  "Deno.TcpConn.write": "tcp.write(bytes)",
  "Deno.TlsConn.write": "secure.write(bytes)",
  "Deno.UnixConn.write": "unix.write(bytes)",
  "Deno.TcpConn.read": "tcp.read(bytes)",
  "Deno.DatagramConn.send": "udp.send(bytes, addr)",
  "Deno.DatagramConn.receive": "udp.receive(bytes)",
  "Deno.FsFile.write": "file.write(bytes)",
  "Deno.FsFile.read": "file.read(bytes)",
  "Deno.FsFile.writeSync": "file.writeSync(bytes)",
  "Deno.FsFile.readSync": "file.readSync(bytes)",
  "Deno.writeFile": "Deno.writeFile(path, bytes)",
  "Deno.writeFileSync": "Deno.writeFileSync(path, bytes)",
  "Deno.ChildProcess.stdin: writer.write":
    "new Deno.Command('cat').spawn().stdin.getWriter().write(bytes)",
  "Deno.Kv.set": "kv.set(['key'], bytes)",
  "Deno.Kv.atomic().set, before commit()": "kv.atomic().set(['key'], bytes)",
  "Deno.Kv.atomic().set, after commit()":
    "kv.atomic().set(['key'], bytes).commit()",
  "Deno.serve: new Response(bytes)":
    "Deno.serve(() => new Response(bytes.slice()))",
  "Deno.upgradeWebSocket: socket.send":
    "Deno.upgradeWebSocket(request).socket.send(bytes)",
  "FFI: a buffer argument": "lib.now(bytes)",
  "FFI: a buffer argument, nonblocking": "lib.later(bytes)",

  "new Response(bytes)": "new Response(bytes)",
  "new Request(url, { body: bytes })": "new Request(url, { body: bytes })",
  "fetch(url, { body: bytes })": "fetch(url, { method: 'POST', body: bytes })",
  "new Blob([bytes])": "new Blob([bytes])",
  "new File([bytes], name)": "new File([bytes], 'name')",
  "structuredClone(bytes)": "structuredClone(bytes)",
  "structuredClone(bytes, { transfer })":
    "structuredClone(bytes, { transfer: [bytes.buffer] })",
  "MessagePort.postMessage(bytes)": "port.postMessage(bytes)",
  "MessagePort.postMessage(bytes, [bytes.buffer])":
    "port.postMessage(bytes, [bytes.buffer])",
  "Worker.postMessage(bytes)": "worker.postMessage(bytes)",
  "BroadcastChannel.postMessage(bytes)": "channel.postMessage(bytes)",
  "WebSocket.send(bytes)": "socket.send(bytes)",
  "WebSocketStream: writer.write":
    "(await new WebSocketStream(url).opened).writable.getWriter().write(bytes)",
  "WebTransport: a stream's writer.write":
    "(await session.createUnidirectionalStream()).getWriter().write(bytes)",
  "TextDecoder.decode(bytes)": "new TextDecoder().decode(bytes)",
  "TextEncoder.encodeInto(text, bytes)":
    "new TextEncoder().encodeInto('text', bytes)",
  "TextDecoderStream: writer.write":
    "new TextDecoderStream().writable.getWriter().write(bytes)",
  "CompressionStream: writer.write":
    "new CompressionStream('gzip').writable.getWriter().write(bytes)",
  "DecompressionStream: writer.write":
    "new DecompressionStream('gzip').writable.getWriter().write(bytes)",
  "TransformStream (identity): writer.write":
    "new TransformStream().writable.getWriter().write(bytes)",
  "crypto.getRandomValues(bytes)": "crypto.getRandomValues(bytes)",
  "crypto.subtle.digest": "crypto.subtle.digest('SHA-256', bytes)",
  "crypto.subtle.encrypt": "crypto.subtle.encrypt('AES-GCM', key, bytes)",
  "crypto.subtle.decrypt": "crypto.subtle.decrypt('AES-GCM', key, bytes)",
  "crypto.subtle.sign": "crypto.subtle.sign('HMAC', key, bytes)",
  "crypto.subtle.verify": "crypto.subtle.verify('HMAC', key, bytes, bytes)",
  "crypto.subtle.importKey":
    "crypto.subtle.importKey('raw', bytes, 'HMAC', false, [])",
  "crypto.subtle.deriveBits (salt)":
    "crypto.subtle.deriveBits({ name: 'PBKDF2', salt: bytes }, key, 256)",
  "crypto.subtle.unwrapKey":
    "crypto.subtle.unwrapKey('raw', bytes, key, 'AES-KW', 'HMAC', false, [])",
  "WebAssembly.compile": "WebAssembly.compile(bytes)",
  "WebAssembly.instantiate": "WebAssembly.instantiate(bytes)",
  "new WebAssembly.Module(bytes)": "new WebAssembly.Module(bytes)",
  "Cache.put(request, new Response(bytes))":
    "cache.put(request, new Response(bytes))",
  "controller.enqueue(bytes)": "controller.enqueue(bytes)",
  'controller.enqueue(bytes), type: "bytes"':
    "new ReadableStream({ type: 'bytes', pull: (c) => c.enqueue(bytes) })",
  "ReadableStream.from([bytes])": "ReadableStream.from([bytes])",
  "a response of a stream that enqueues bytes":
    "new Response(new ReadableStream({ pull: (c) => c.enqueue(bytes) }))",
  "Deno.TcpConn.writable: writer.write":
    "tcp.writable.getWriter().write(bytes)",
  "Deno.FsFile.writable: writer.write":
    "file.writable.getWriter().write(bytes)",
  "BYOB reader.read(bytes)": "byob.read(bytes)",

  "Buffer.from(bytes)": "Buffer.from(bytes)",
  "Buffer.concat([bytes])": "Buffer.concat([bytes])",
  "Buffer.from(bytes.buffer)": "kept.push(Buffer.from(bytes.buffer))",
  "crypto.createHash().update": "nodeCrypto.createHash('sha256').update(bytes)",
  "crypto.createHmac(algorithm, bytes)":
    "nodeCrypto.createHmac('sha256', bytes)",
  "crypto.createHmac().update":
    "nodeCrypto.createHmac('sha256', key).update(bytes)",
  "crypto.createCipheriv().update":
    "nodeCrypto.createCipheriv('aes-256-gcm', key, iv).update(bytes)",
  "crypto.createSecretKey(bytes)": "nodeCrypto.createSecretKey(bytes)",
  "crypto.createSecretKey(bytes), used later":
    "nodeCrypto.createSecretKey(bytes)",
  "crypto.createHash(): write(bytes, cb)":
    "nodeCrypto.createHash('sha256').write(bytes, cb)",
  "crypto.scrypt(bytes, …, cb)": "nodeCrypto.scrypt(bytes, 'salt', 32, cb)",
  "crypto.scrypt(…, bytes, …, cb)":
    "nodeCrypto.scrypt('password', bytes, 32, cb)",
  "crypto.scryptSync": "nodeCrypto.scryptSync(bytes, 'salt', 32)",
  "crypto.pbkdf2(bytes, …, cb)":
    "nodeCrypto.pbkdf2(bytes, 'salt', 1, 32, 'sha256', cb)",
  "crypto.pbkdf2(…, bytes, …, cb)":
    "nodeCrypto.pbkdf2('password', bytes, 1, 32, 'sha256', cb)",
  "crypto.hkdf(…, bytes, …, cb)":
    "nodeCrypto.hkdf('sha256', bytes, 'salt', 'info', 32, cb)",
  "crypto.randomFill(bytes, cb)": "nodeCrypto.randomFill(bytes, cb)",
  "crypto.randomFillSync": "nodeCrypto.randomFillSync(bytes)",
  "crypto.sign(…, bytes, …, cb)": "nodeCrypto.sign('sha256', bytes, key, cb)",
  "crypto.verify(…, bytes, …, cb)":
    "nodeCrypto.verify('sha256', bytes, key, signature, cb)",
  "crypto.timingSafeEqual": "nodeCrypto.timingSafeEqual(bytes, bytes)",
  "zlib.gzip(bytes, cb)": "zlib.gzip(bytes, cb)",
  "zlib.deflate(bytes, cb)": "zlib.deflate(bytes, cb)",
  "zlib.brotliCompress(bytes, cb)": "zlib.brotliCompress(bytes, cb)",
  "zlib.gzipSync": "zlib.gzipSync(bytes)",
  "zlib.crc32": "zlib.crc32(bytes)",
  "zlib.createGzip(): write(bytes, cb)": "zlib.createGzip().write(bytes, cb)",
  "fs.writeFile(path, bytes, cb)": "fs.writeFile(path, bytes, cb)",
  "fs.appendFile(path, bytes, cb)": "fs.appendFile(path, bytes, cb)",
  "fs.writeFileSync": "fs.writeFileSync(path, bytes)",
  "fs.appendFileSync": "fs.appendFileSync(path, bytes)",
  "fs.promises.writeFile": "fs.promises.writeFile(path, bytes)",
  "fs.promises.appendFile": "fsp.appendFile(path, bytes)",
  "FileHandle.write": "handle.write(bytes)",
  "FileHandle.writeFile": "handle.writeFile(bytes)",
  "FileHandle.appendFile": "handle.appendFile(bytes)",
  "FileHandle.writev": "handle.writev([bytes])",
  "fs.write(fd, bytes, cb)": "fs.write(1, bytes, cb)",
  "fs.writev(fd, [bytes], cb)": "fs.writev(1, [bytes], cb)",
  "fs.writeSync(fd, bytes)": "fs.writeSync(1, bytes)",
  "fs.createWriteStream(): write(bytes, cb)":
    "fs.createWriteStream(path).write(bytes, cb)",
  "fs.createWriteStream(): end(bytes, cb)":
    "fs.createWriteStream(path).end(bytes, cb)",
  "fs.read(fd, bytes, cb)": "fs.read(1, bytes, 0, 1, 0, cb)",
  "FileHandle.read(bytes)": "handle.read(bytes)",
  "net.Socket.write(bytes, cb)": "net.connect(80).write(bytes, cb)",
  "net.Socket.end(bytes, cb)": "net.connect(80).end(bytes, cb)",
  "tls.TLSSocket.write(bytes, cb)": "tls.connect(443).write(bytes, cb)",
  "http.ServerResponse.write(bytes, cb)": "res.write(bytes, cb)",
  "http.ServerResponse.end(bytes, cb)": "res.end(bytes, cb)",
  "http.ClientRequest.write(bytes, cb)": "http.request(url).write(bytes, cb)",
  "http.ClientRequest.end(bytes, cb)": "http.request(url).end(bytes, cb)",
  "http2 stream.write(bytes, cb)": "http2.write(bytes, cb)",
  "http2 stream.end(bytes, cb)": "http2.end(bytes, cb)",
  "dgram.Socket.send(bytes, port, cb)":
    "dgram.createSocket('udp4').send(bytes, 80, cb)",
  "child_process.spawn(): stdin.write(bytes, cb)":
    "spawn('cat').stdin.write(bytes, cb)",
  "child_process.spawnSync(…, { input: bytes })":
    "spawnSync('cat', { input: bytes })",
  "stream.PassThrough.write(bytes, cb)":
    "new stream.PassThrough().write(bytes, cb)",
  "stream.Readable.from([bytes])": "stream.Readable.from([bytes])",
  "StringDecoder.write": "new StringDecoder('utf8').write(bytes)",
  "v8.serialize": "v8.serialize(bytes)",
  "sqlite StatementSync.run(bytes)":
    "new DatabaseSync(path).prepare(sql).run(bytes)",
};

/** What the plugin says nothing of. */
const NOT_SEEN = new Set([
  // The symbols of a library are not in sight.
  "FFI: a buffer argument, nonblocking",
  // `commit()` makes it right, wherever that is called.
  "Deno.Kv.atomic().set, before commit()",
  // The reader gives the block's buffer back.
  "BYOB reader.read(bytes)",
]);

/** The APIs of docs/sinks.md, and when a block may be released behind each. */
const ROWS = [
  ...Deno.readTextFileSync(new URL("../../docs/sinks.md", import.meta.url))
    .matchAll(/^\| `(.+?)` +\| (after .*?|never.*?) +\|/gm),
].map(([, api, when]) => ({ api, when }));

/** The rules that report a function that acquires a block and has these statements. */
function rulesOf(declaration: string, ...statements: string[]): string[] {
  const program = `${HEAD}export async function f(${PARAMETERS}) {
  ${declaration} block = await pool.acquire();
  const bytes = block.bytes;
  ${statements.join(";\n  ")};
}
`;
  return lint("a.ts", program).map(({ id }) => id);
}

Deno.test("all APIs of docs/sinks.md, and no others, are tried here", () => {
  assertEquals(ROWS.map(({ api }) => api).sort(), Object.keys(CALLS).sort());
});

Deno.test("what is done with the bytes after the call is never reported", () => {
  for (const { api, when } of ROWS) {
    if (when !== "after the call") continue;
    const call = CALLS[api].replace("cb", "() => {}");
    assertEquals(rulesOf("using", call), [], api);
  }
});

Deno.test("what uses the bytes until its promise settles is reported if it is not awaited", () => {
  for (const { api, when } of ROWS) {
    if (when !== "after its promise") continue;
    assertEquals(rulesOf("using", `await ${CALLS[api]}`), [], api);
    const [rule, ...more] = rulesOf("using", CALLS[api]);
    if (NOT_SEEN.has(api)) assertEquals(rule, undefined, api);
    else assert(/\/(lend-io|no-queue)$/.test(rule) && !more.length, api);
  }
});

Deno.test("what uses the bytes until its callback is reported if the block goes before", () => {
  for (const { api, when } of ROWS) {
    if (when !== "after its callback") continue;
    const released = CALLS[api].replace("cb", "() => block.release()");
    assertEquals(rulesOf("const", released), [], api);
    const early = CALLS[api].replace("cb", "() => {}");
    const rules = NOT_SEEN.has(api) ? [] : ["smriti/lend-io"];
    assertEquals(rulesOf("const", early, "block.release()"), rules, api);
  }
});

Deno.test("what keeps the bytes for good is reported though it is awaited", () => {
  for (const { api, when } of ROWS) {
    if (!when.startsWith("never")) continue;
    const call = CALLS[api].replace("cb", "() => {}");
    const rules = NOT_SEEN.has(api) ? [] : ["smriti/no-queue"];
    assertEquals(rulesOf("using", `await ${call}`), rules, api);
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
