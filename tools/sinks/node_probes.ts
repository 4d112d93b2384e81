/** The APIs of node's modules. */
import { Buffer } from "node:buffer";
import childProcess from "node:child_process";
import nodeCrypto from "node:crypto";
import dgram from "node:dgram";
import fs from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import net, { type AddressInfo } from "node:net";
import { DatabaseSync } from "node:sqlite";
import { PassThrough, Readable } from "node:stream";
import { StringDecoder } from "node:string_decoder";
import tls from "node:tls";
import v8 from "node:v8";
import zlib from "node:zlib";
import {
  CERT,
  fifo,
  getLate,
  inbox,
  JUNK,
  tempFile,
  written,
} from "./peers.ts";
import {
  type Bytes,
  joined,
  pause,
  type Probe,
  probe,
  promising,
  reads,
  returned,
  same,
  settled,
  shown,
  type Trial,
} from "./probe.ts";

type Done = (error?: unknown, value?: unknown) => void;

const hostname = "127.0.0.1";
const salt = new Uint8Array(16);

/** One that calls back with what it makes of the bytes. */
function called(
  api: string,
  call: (bytes: Bytes, done: Done, trial: Trial) => void,
): Probe {
  return promising(
    api,
    (trial) => (bytes) => settled((done) => call(bytes, done, trial)),
    "callback",
    true,
  );
}

/** A file is written through a descriptor that is open already, and read again. */
function onFile(
  api: string,
  write: (file: fs.promises.FileHandle, bytes: Bytes) => Promise<unknown>,
): Probe {
  return probe(api, "promise", async (trial) => {
    const path = await tempFile(trial);
    const file = await fs.promises.open(path, "w+");
    trial.defer(() => file.close());
    return (bytes) => {
      const end = write(file, bytes);
      return {
        end,
        async result() {
          await end.catch(() => {});
          return await Deno.readFile(path);
        },
      };
    };
  });
}

/** What node's streams that write have in common. */
interface Sink {
  write(bytes: Uint8Array, done?: (error?: Error | null) => void): unknown;
  end(bytes: Uint8Array, done: () => void): unknown;
  end(): unknown;
}

/** A stream that sends elsewhere, written to, or ended, behind what is not sent yet. */
function sent(
  api: string,
  how: "write" | "end",
  open: (trial: Trial) => Promise<
    { stream: Sink; arrived: () => Promise<Uint8Array> }
  >,
): Probe {
  return probe(api, "callback", async (trial) => {
    const { stream, arrived } = await open(trial);
    return (bytes) => {
      const end = settled((done) => {
        stream.write(JUNK);
        if (how === "end") stream.end(bytes, () => done());
        else stream.write(bytes, done);
      });
      return {
        end,
        async result() {
          const arriving = arrived();
          if (how === "write") pause(50).then(() => stream.end());
          return (await arriving).subarray(JUNK.length);
        },
      };
    };
  });
}

function quiet<
  T extends { on(type: "error", fn: (e: unknown) => void): unknown },
>(emitter: T): T {
  emitter.on("error", () => {});
  return emitter;
}

/** A server listens; gives its port. */
async function listening(
  server: net.Server | http.Server | http2.Http2Server,
  { defer }: Trial,
): Promise<number> {
  server.listen(0, hostname);
  defer(() => server.close());
  if ("closeAllConnections" in server) {
    defer(() => server.closeAllConnections());
  }
  await new Promise((resolve) => server.once("listening", resolve));
  return (server.address() as AddressInfo).port;
}

/** All that comes out of a stream, read from a little later; nothing if that takes too long. */
function late(stream: NodeJS.ReadableStream): Promise<Uint8Array> {
  const all = Promise.withResolvers<Uint8Array>();
  const parts: Uint8Array[] = [];
  quiet(stream);
  setTimeout(() => {
    stream.on("data", (part) => parts.push(part));
    stream.on("end", () => all.resolve(joined(parts)));
  }, 20);
  return Promise.race([
    all.promise,
    pause(2500).then(() => new Uint8Array(0)),
  ]);
}

function socket(api: string, how: "write" | "end", secure = false): Probe {
  return sent(api, how, async (trial) => {
    const { port, all } = inbox(trial, secure);
    const stream = quiet(
      secure
        ? tls.connect({ host: hostname, port, ca: CERT })
        : net.connect(port, hostname),
    );
    trial.defer(() => stream.destroy());
    const event = secure ? "secureConnect" : "connect";
    await new Promise((resolve) => stream.once(event, resolve));
    return { stream, arrived: () => all() };
  });
}

function response(api: string, how: "write" | "end"): Probe {
  return sent(api, how, async (trial) => {
    const asked = Promise.withResolvers<http.ServerResponse>();
    const server = http.createServer((_, res) => asked.resolve(quiet(res)));
    const body = await getLate(await listening(server, trial), trial);
    const stream = await asked.promise;
    const size = JUNK.length + trial.pattern.length;
    stream.setHeader("Content-Length", size);
    return { stream, arrived: () => body(size) };
  });
}

function request(api: string, how: "write" | "end"): Probe {
  return sent(api, how, async (trial) => {
    const got = Promise.withResolvers<Uint8Array>();
    const server = http.createServer((request, response) => {
      got.resolve(late(request));
      got.promise.then(() => response.end());
    });
    const port = await listening(server, trial);
    const stream = quiet(http.request({ hostname, port, method: "PUT" }));
    return { stream, arrived: () => got.promise };
  });
}

function http2Stream(api: string, how: "write" | "end"): Probe {
  return sent(api, how, async (trial) => {
    const got = Promise.withResolvers<Uint8Array>();
    const server = http2.createServer();
    server.on("stream", (stream) => {
      got.resolve(late(stream));
      got.promise.then(() => {
        (stream as http2.ServerHttp2Stream).respond({ ":status": 200 });
        stream.end();
      });
    });
    const port = await listening(server, trial);
    const session = quiet(http2.connect(`http://${hostname}:${port}`));
    trial.defer(() => session.destroy());
    await new Promise((resolve) => session.once("connect", resolve));
    const head = { ":method": "PUT", ":path": "/" };
    return {
      stream: quiet(session.request(head)),
      arrived: () => got.promise,
    };
  });
}

/** A transform of node's: what comes out is read afterwards. */
function transform(
  api: string,
  make: () => NodeJS.ReadWriteStream,
  read: (all: Uint8Array) => unknown = shown,
): Probe {
  return probe(api, "callback", () => (bytes) => {
    const stream = quiet(make());
    const end = settled((done) => stream.write(bytes, done as () => void));
    return {
      end,
      async result() {
        stream.end();
        return read(await drained(stream));
      },
    };
  });
}

async function drained(stream: AsyncIterable<unknown>): Promise<Bytes> {
  return joined(await Array.fromAsync(stream) as Uint8Array[]);
}

const key = nodeCrypto.generateKeyPairSync("ed25519");
const options = { cost: 16 };

/** See the file. */
export const NODE: Probe[] = [
  returned("Buffer.from(bytes)", (b) => Buffer.from(b)),
  returned("Buffer.concat([bytes])", (b) => Buffer.concat([b])),
  returned("Buffer.from(bytes.buffer)", (b) => Buffer.from(b.buffer), same),
  returned(
    "crypto.createHash().update",
    (b) => nodeCrypto.createHash("sha256").update(b).digest(),
  ),
  returned(
    "crypto.createHmac(algorithm, bytes)",
    (b) => nodeCrypto.createHmac("sha256", b).update("x").digest(),
  ),
  returned(
    "crypto.createHmac().update",
    (b) => nodeCrypto.createHmac("sha256", "key").update(b).digest(),
  ),
  returned(
    "crypto.createCipheriv().update",
    (b) => nodeCrypto.createCipheriv("aes-128-cbc", salt, salt).update(b),
  ),
  returned(
    "crypto.createSecretKey(bytes)",
    (b) => nodeCrypto.createSecretKey(b).export(),
  ),
  returned(
    "crypto.createSecretKey(bytes), used later",
    (b) => nodeCrypto.createSecretKey(b),
    (made) => made.export(),
  ),
  transform(
    "crypto.createHash(): write(bytes, cb)",
    () => nodeCrypto.createHash("sha256"),
  ),
  called(
    "crypto.scrypt(bytes, …, cb)",
    (b, done) => nodeCrypto.scrypt(b, salt, 32, options, done),
  ),
  called(
    "crypto.scrypt(…, bytes, …, cb)",
    (b, done) => nodeCrypto.scrypt("password", b, 32, options, done),
  ),
  returned(
    "crypto.scryptSync",
    (b) => nodeCrypto.scryptSync(b, salt, 32, options),
  ),
  called(
    "crypto.pbkdf2(bytes, …, cb)",
    (b, done) => nodeCrypto.pbkdf2(b, salt, 20, 32, "sha256", done),
  ),
  called(
    "crypto.pbkdf2(…, bytes, …, cb)",
    (b, done) => nodeCrypto.pbkdf2("password", b, 20, 32, "sha256", done),
  ),
  // The key is copied at once; the salt, and what it is for, are not.
  called(
    "crypto.hkdf(…, bytes, …, cb)",
    (b, done) => nodeCrypto.hkdf("sha256", b, b, b.subarray(0, 1024), 32, done),
  ),
  called(
    "crypto.randomFill(bytes, cb)",
    (b, done) => nodeCrypto.randomFill(b, (error) => done(error, true)),
  ),
  returned("crypto.randomFillSync", (b) => {
    nodeCrypto.randomFillSync(b);
  }),
  called(
    "crypto.sign(…, bytes, …, cb)",
    (b, done) => nodeCrypto.sign(null, b, key.privateKey, done),
  ),
  called(
    "crypto.verify(…, bytes, …, cb)",
    (b, done, { pattern }) =>
      nodeCrypto.verify(
        null,
        b,
        key.publicKey,
        nodeCrypto.sign(null, pattern, key.privateKey),
        done,
      ),
  ),
  returned(
    "crypto.timingSafeEqual",
    (b) => nodeCrypto.timingSafeEqual(b, b.slice()),
  ),
  called("zlib.gzip(bytes, cb)", (b, done) => zlib.gzip(b, done)),
  called("zlib.deflate(bytes, cb)", (b, done) => zlib.deflate(b, done)),
  called("zlib.brotliCompress(bytes, cb)", (b, done) =>
    zlib.brotliCompress(b, {
      params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 1 },
    }, done)),
  returned("zlib.gzipSync", (b) => zlib.gzipSync(b)),
  returned("zlib.crc32", (b) => zlib.crc32(b)),
  transform("zlib.createGzip(): write(bytes, cb)", () => zlib.createGzip()),
  written(
    "fs.writeFile(path, bytes, cb)",
    "callback",
    (path, bytes) => settled((done) => fs.writeFile(path, bytes, done)),
  ),
  written(
    "fs.appendFile(path, bytes, cb)",
    "callback",
    (path, bytes) => settled((done) => fs.appendFile(path, bytes, done)),
  ),
  written("fs.writeFileSync", "return", fs.writeFileSync),
  written("fs.appendFileSync", "return", fs.appendFileSync),
  written("fs.promises.writeFile", "promise", fs.promises.writeFile),
  written("fs.promises.appendFile", "promise", fs.promises.appendFile),
  onFile("FileHandle.write", (file, bytes) => file.write(bytes)),
  onFile("FileHandle.writeFile", (file, bytes) => file.writeFile(bytes)),
  onFile("FileHandle.appendFile", (file, bytes) => file.appendFile(bytes)),
  onFile("FileHandle.writev", (file, bytes) => file.writev([bytes])),
  onFile(
    "fs.write(fd, bytes, cb)",
    ({ fd }, bytes) => settled((done) => fs.write(fd, bytes, done)),
  ),
  onFile(
    "fs.writev(fd, [bytes], cb)",
    ({ fd }, bytes) => settled((done) => fs.writev(fd, [bytes], done)),
  ),
  written("fs.writeSync(fd, bytes)", "return", (path, bytes) => {
    const fd = fs.openSync(path, "w");
    fs.writeSync(fd, bytes);
    fs.closeSync(fd);
  }),
  written(
    "fs.createWriteStream(): write(bytes, cb)",
    "callback",
    (path, bytes) => {
      const stream = quiet(fs.createWriteStream(path));
      return settled((done) => stream.write(bytes, done));
    },
  ),
  written(
    "fs.createWriteStream(): end(bytes, cb)",
    "callback",
    (path, bytes) => {
      const stream = quiet(fs.createWriteStream(path));
      return settled((done) => stream.end(bytes, () => done()));
    },
  ),
  reads("fs.read(fd, bytes, cb)", "callback", async (trial) => {
    const fd = fs.openSync(await fifo(trial), "r+");
    trial.defer(() => fs.closeSync(fd));
    return {
      read: (bytes) =>
        settled((done) => fs.read(fd, bytes, 0, 100, null, done)),
      feed: (bytes) => fs.writeSync(fd, bytes),
    };
  }),
  reads("FileHandle.read(bytes)", "promise", async (trial) => {
    const path = await tempFile(trial);
    await Deno.writeFile(path, new Uint8Array(100));
    const file = await fs.promises.open(path);
    trial.defer(() => file.close());
    const read = (bytes: Bytes) =>
      file.read(bytes, 0, 100, 0).then(({ bytesRead }) => bytesRead);
    return { read };
  }),
  socket("net.Socket.write(bytes, cb)", "write"),
  socket("net.Socket.end(bytes, cb)", "end"),
  socket("tls.TLSSocket.write(bytes, cb)", "write", true),
  response("http.ServerResponse.write(bytes, cb)", "write"),
  response("http.ServerResponse.end(bytes, cb)", "end"),
  request("http.ClientRequest.write(bytes, cb)", "write"),
  request("http.ClientRequest.end(bytes, cb)", "end"),
  http2Stream("http2 stream.write(bytes, cb)", "write"),
  http2Stream("http2 stream.end(bytes, cb)", "end"),
  probe("dgram.Socket.send(bytes, port, cb)", "callback", async ({ defer }) => {
    const [from, to] = ["udp4", "udp4"].map(() => dgram.createSocket("udp4"));
    for (const each of [from, to]) {
      defer(() => each.close());
      await new Promise<void>((resolve) => each.bind(0, hostname, resolve));
    }
    const got = new Promise((resolve) => to.on("message", resolve));
    const { port } = to.address();
    return (bytes) => ({
      end: settled((done) => from.send(bytes, port, hostname, done)),
      result: () => got,
    });
  }, { size: 1024 }),
  sent(
    "child_process.spawn(): stdin.write(bytes, cb)",
    "write",
    ({ defer }) => {
      const child = childProcess.spawn("sh", ["-c", "sleep 0.2; cat"]);
      defer(() => child.kill());
      const arrived = drained(child.stdout);
      return Promise.resolve({
        stream: quiet(child.stdin),
        arrived: () => arrived,
      });
    },
  ),
  returned(
    "child_process.spawnSync(…, { input: bytes })",
    (b) => childProcess.spawnSync("cat", [], { input: b }).stdout,
  ),
  transform(
    "stream.PassThrough.write(bytes, cb)",
    () => new PassThrough(),
    same,
  ),
  returned(
    "stream.Readable.from([bytes])",
    (b) => Readable.from([b]),
    drained,
  ),
  returned("StringDecoder.write", (b) => new StringDecoder("latin1").write(b)),
  returned("v8.serialize", (b) => v8.serialize(b).length > b.length),
  returned("sqlite StatementSync.run(bytes)", (bytes) => {
    using db = new DatabaseSync(":memory:");
    db.exec("CREATE TABLE t (b BLOB)");
    db.prepare("INSERT INTO t VALUES (?)").run(bytes);
    return db.prepare("SELECT b FROM t").get()!.b;
  }, same),
];
