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
import { CERT, getLate, inbox, JUNK, tempFile } from "./peers.ts";
import { callback, joined, pause, type Probe, type Trial } from "./probe.ts";

type Bytes = Uint8Array<ArrayBuffer>;
type Done = (error?: unknown, value?: unknown) => void;

const hostname = "127.0.0.1";
const salt = new Uint8Array(16);

/** One that has done all it does with the bytes when it returns. */
function returned(api: string, call: (bytes: Bytes) => unknown): Probe {
  return {
    api,
    end: "return",
    prepare: () => (bytes) => {
      const value = call(bytes);
      return { result: () => Promise.resolve(shown(value)) };
    },
  };
}

/** One that calls back with what it makes of the bytes. */
function called(
  api: string,
  call: (bytes: Bytes, done: Done, trial: Trial) => void,
): Probe {
  return {
    api,
    end: "callback",
    races: true,
    prepare: (trial) => (bytes) => {
      const { end, done } = callback();
      call(bytes, done, trial);
      return { end, result: () => end.then(shown) };
    },
  };
}

function shown(value: unknown): string | boolean {
  if (typeof value === "boolean") return value;
  return ArrayBuffer.isView(value) || value instanceof ArrayBuffer
    ? Buffer.from(value as Uint8Array).toString("base64")
    : String(value);
}

/** A file is written and read again. */
function written(
  api: string,
  end: Probe["end"],
  write: (path: string, bytes: Bytes, trial: Trial) => Promise<unknown> | void,
): Probe {
  return {
    api,
    end,
    async prepare(trial) {
      const path = await tempFile(trial);
      return (bytes) => {
        const ended = write(path, bytes, trial) as Promise<unknown> | undefined;
        return {
          end: ended,
          async result() {
            await ended?.catch(() => {});
            await pause(5);
            return await Deno.readFile(path).catch(() => new Uint8Array(0));
          },
        };
      };
    },
  };
}

/** The same through a descriptor that is open already. */
function onFile(
  api: string,
  write: (file: fs.promises.FileHandle, bytes: Bytes) => Promise<unknown>,
): Probe {
  return {
    api,
    end: "promise",
    async prepare(trial) {
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
    },
  };
}

/** A stream that sends elsewhere, written to behind what is not sent yet. */
function sent(
  api: string,
  open: (trial: Trial) => Promise<{
    send: (bytes: Bytes, done: Done) => void;
    arrived: () => Promise<Uint8Array>;
  }>,
): Probe {
  return {
    api,
    end: "callback",
    async prepare(trial) {
      const { send, arrived } = await open(trial);
      return (bytes) => {
        const { end, done } = callback();
        send(bytes, done);
        return {
          end,
          async result() {
            const all = await arrived();
            return all.length < JUNK.length
              ? new Uint8Array(0)
              : all.subarray(JUNK.length);
          },
        };
      };
    },
  };
}

function quiet<
  T extends { on(type: "error", fn: (e: unknown) => void): unknown },
>(
  emitter: T,
): T {
  emitter.on("error", () => {});
  return emitter;
}

async function socketTo(trial: Trial, secure = false) {
  const box = inbox(trial, secure);
  const socket = quiet(
    secure
      ? tls.connect({ host: hostname, port: box.port, ca: CERT })
      : net.connect(box.port, hostname),
  );
  trial.defer(() => socket.destroy());
  const event = secure ? "secureConnect" : "connect";
  await new Promise((resolve) => socket.once(event, resolve));
  return { box, socket };
}

function socket(api: string, end: boolean, secure = false): Probe {
  return sent(api, async (trial) => {
    const { box, socket } = await socketTo(trial, secure);
    return {
      send(bytes, done) {
        socket.write(JUNK);
        if (end) socket.end(bytes, () => done());
        else socket.write(bytes, done).valueOf();
      },
      async arrived() {
        const arriving = box.all();
        if (!end) pause(50).then(() => socket.end());
        return await arriving;
      },
    };
  });
}

function response(api: string, end: boolean): Probe {
  return sent(api, async (trial) => {
    const asked = Promise.withResolvers<http.ServerResponse>();
    const server = http.createServer((_, res) => asked.resolve(quiet(res)));
    server.listen(0, hostname);
    trial.defer(() => server.close());
    trial.defer(() => server.closeAllConnections());
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as AddressInfo;
    const body = await getLate(port, trial);
    const res = await asked.promise;
    const size = JUNK.length + trial.pattern.length;
    res.setHeader("Content-Length", size);
    return {
      send(bytes, done) {
        res.write(JUNK);
        if (end) res.end(bytes, () => done());
        else res.write(bytes, done);
      },
      async arrived() {
        if (!end) pause(50).then(() => res.end());
        return await body(size);
      },
    };
  });
}

function request(api: string, end: boolean): Probe {
  return sent(api, async (trial) => {
    const got = Promise.withResolvers<Uint8Array>();
    const server = http.createServer((req, res) => {
      const parts: Uint8Array[] = [];
      setTimeout(() => {
        req.on("data", (part) => parts.push(part));
        req.on("end", () => {
          got.resolve(joined(parts));
          res.end();
        });
        quiet(req);
      }, 20);
    });
    server.listen(0, hostname);
    trial.defer(() => server.close());
    trial.defer(() => server.closeAllConnections());
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as AddressInfo;
    const req = quiet(http.request({ hostname, port, method: "PUT" }));
    return {
      send(bytes, done) {
        req.write(JUNK);
        if (end) req.end(bytes, () => done());
        else req.write(bytes, done);
      },
      arrived() {
        if (!end) pause(50).then(() => req.end());
        return Promise.race([
          got.promise,
          pause(2500).then(() => new Uint8Array(0)),
        ]);
      },
    };
  });
}

function http2Stream(api: string, end: boolean): Probe {
  return sent(api, async (trial) => {
    const got = Promise.withResolvers<Uint8Array>();
    const server = http2.createServer();
    server.on("stream", (stream) => {
      const parts: Uint8Array[] = [];
      quiet(stream);
      setTimeout(() => {
        stream.on("data", (part) => parts.push(part as Uint8Array));
        stream.on("end", () => {
          got.resolve(joined(parts));
          (stream as http2.ServerHttp2Stream).respond({ ":status": 200 });
          stream.end();
        });
      }, 20);
    });
    server.listen(0, hostname);
    trial.defer(() => server.close());
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as AddressInfo;
    const session = quiet(http2.connect(`http://${hostname}:${port}`));
    trial.defer(() => session.destroy());
    await new Promise((resolve) => session.once("connect", resolve));
    const stream = quiet(session.request({ ":method": "PUT", ":path": "/" }));
    return {
      send(bytes, done) {
        stream.write(JUNK);
        if (end) stream.end(bytes, () => done());
        else stream.write(bytes, done);
      },
      arrived() {
        if (!end) pause(50).then(() => stream.end());
        return Promise.race([
          got.promise,
          pause(2500).then(() => new Uint8Array(0)),
        ]);
      },
    };
  });
}

/** A transform of node's: what comes out is read afterwards. */
function transform(
  api: string,
  make: () => NodeJS.ReadWriteStream,
): Probe {
  return {
    api,
    end: "callback",
    prepare: () => (bytes) => {
      const { end, done } = callback();
      const stream = quiet(make());
      stream.write(bytes, done as () => void);
      return {
        end,
        async result() {
          const parts: Uint8Array[] = [];
          stream.end();
          for await (const part of stream) parts.push(part as Uint8Array);
          return Buffer.from(joined(parts)).toString("base64");
        },
      };
    },
  };
}

const key = nodeCrypto.generateKeyPairSync("ed25519");
const options = { cost: 16 };

/** See the file. */
export const NODE: Probe[] = [
  returned("Buffer.from(bytes)", (b) => Buffer.from(b)),
  returned("Buffer.concat([bytes])", (b) => Buffer.concat([b])),
  {
    api: "Buffer.from(bytes.buffer)",
    end: "return",
    prepare: () => (bytes) => {
      const view = Buffer.from(bytes.buffer);
      return { result: () => Promise.resolve(view) };
    },
  },
  returned("crypto.createHash().update", (b) => {
    const hash = nodeCrypto.createHash("sha256").update(b);
    return hash.digest();
  }),
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
  {
    api: "crypto.createSecretKey(bytes), used later",
    end: "return",
    prepare: () => (bytes) => {
      const made = nodeCrypto.createSecretKey(bytes);
      return { result: () => Promise.resolve(made.export()) };
    },
  },
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
    return true;
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
  written("fs.writeFile(path, bytes, cb)", "callback", (path, bytes) => {
    const { end, done } = callback();
    fs.writeFile(path, bytes, done);
    return end;
  }),
  written("fs.appendFile(path, bytes, cb)", "callback", (path, bytes) => {
    const { end, done } = callback();
    fs.appendFile(path, bytes, done);
    return end;
  }),
  written(
    "fs.writeFileSync",
    "return",
    (path, bytes) => fs.writeFileSync(path, bytes),
  ),
  written(
    "fs.appendFileSync",
    "return",
    (path, bytes) => fs.appendFileSync(path, bytes),
  ),
  written(
    "fs.promises.writeFile",
    "promise",
    (path, bytes) => fs.promises.writeFile(path, bytes),
  ),
  written(
    "fs.promises.appendFile",
    "promise",
    (path, bytes) => fs.promises.appendFile(path, bytes),
  ),
  onFile("FileHandle.write", (file, bytes) => file.write(bytes)),
  onFile("FileHandle.writeFile", (file, bytes) => file.writeFile(bytes)),
  onFile("FileHandle.appendFile", (file, bytes) => file.appendFile(bytes)),
  onFile("FileHandle.writev", (file, bytes) => file.writev([bytes])),
  onFile("fs.write(fd, bytes, cb)", (file, bytes) => {
    const { end, done } = callback();
    fs.write(file.fd, bytes, done);
    return end;
  }),
  onFile("fs.writev(fd, [bytes], cb)", (file, bytes) => {
    const { end, done } = callback();
    fs.writev(file.fd, [bytes], done);
    return end;
  }),
  written("fs.writeSync(fd, bytes)", "return", (path, bytes) => {
    const fd = fs.openSync(path, "w");
    fs.writeSync(fd, bytes);
    fs.closeSync(fd);
  }),
  written("fs.createWriteStream(): write(bytes, cb)", "callback", (
    path,
    bytes,
    { defer },
  ) => {
    const { end, done } = callback();
    const stream = quiet(fs.createWriteStream(path));
    defer(() => stream.destroy());
    stream.write(bytes, done);
    return end;
  }),
  written("fs.createWriteStream(): end(bytes, cb)", "callback", (
    path,
    bytes,
  ) => {
    const { end, done } = callback();
    quiet(fs.createWriteStream(path)).end(bytes, () => done());
    return end;
  }),
  {
    api: "fs.read(fd, bytes, cb)",
    end: "callback",
    async prepare(trial) {
      const path = await tempFile(trial);
      await new Deno.Command("mkfifo", { args: [path] }).output();
      const fd = fs.openSync(path, "r+");
      trial.defer(() => fs.closeSync(fd));
      return (bytes) => {
        const { end, done } = callback<number>();
        fs.read(fd, bytes, 0, 100, null, done);
        pause(20).then(() => fs.writeSync(fd, new Uint8Array(100).fill(1)));
        return { end, result: () => end.then((size) => size === 100) };
      };
    },
  },
  {
    api: "FileHandle.read(bytes)",
    end: "promise",
    async prepare(trial) {
      const path = await tempFile(trial);
      await Deno.writeFile(path, new Uint8Array(100));
      const file = await fs.promises.open(path);
      trial.defer(() => file.close());
      return (bytes) => {
        const end = file.read(bytes, 0, 100, 0);
        return { end, result: async () => (await end).bytesRead === 100 };
      };
    },
  },
  socket("net.Socket.write(bytes, cb)", false),
  socket("net.Socket.end(bytes, cb)", true),
  socket("tls.TLSSocket.write(bytes, cb)", false, true),
  response("http.ServerResponse.write(bytes, cb)", false),
  response("http.ServerResponse.end(bytes, cb)", true),
  request("http.ClientRequest.write(bytes, cb)", false),
  request("http.ClientRequest.end(bytes, cb)", true),
  http2Stream("http2 stream.write(bytes, cb)", false),
  http2Stream("http2 stream.end(bytes, cb)", true),
  {
    api: "dgram.Socket.send(bytes, port, cb)",
    end: "callback",
    size: 1024,
    async prepare({ defer }) {
      const [from, to] = [
        dgram.createSocket("udp4"),
        dgram.createSocket("udp4"),
      ];
      defer(() => from.close());
      defer(() => to.close());
      await new Promise<void>((resolve) => to.bind(0, hostname, resolve));
      await new Promise<void>((resolve) => from.bind(0, hostname, resolve));
      const got = new Promise<Uint8Array>((resolve) =>
        to.on("message", resolve)
      );
      return (bytes) => {
        const { end, done } = callback();
        from.send(bytes, to.address().port, hostname, done);
        return { end, result: () => got };
      };
    },
  },
  {
    api: "child_process.spawn(): stdin.write(bytes, cb)",
    end: "callback",
    prepare({ defer }) {
      const child = childProcess.spawn("sh", ["-c", "sleep 0.2; cat"]);
      defer(() => child.kill());
      const parts: Uint8Array[] = [];
      child.stdout.on("data", (part) => parts.push(part));
      const ended = new Promise((resolve) => child.stdout.on("end", resolve));
      quiet(child.stdin);
      return (bytes) => {
        const { end, done } = callback();
        child.stdin.write(new Uint8Array(1 << 20));
        child.stdin.write(bytes, done);
        return {
          end,
          async result() {
            await pause(50);
            child.stdin.end();
            await ended;
            return joined(parts).subarray(1 << 20);
          },
        };
      };
    },
  },
  returned(
    "child_process.spawnSync(…, { input: bytes })",
    (b) => childProcess.spawnSync("cat", [], { input: b }).stdout,
  ),
  {
    api: "stream.PassThrough.write(bytes, cb)",
    end: "callback",
    prepare: () => (bytes) => {
      const { end, done } = callback();
      const stream = quiet(new PassThrough());
      stream.write(bytes, done);
      return {
        end,
        async result() {
          stream.end();
          const parts: Uint8Array[] = [];
          for await (const part of stream) parts.push(part);
          return joined(parts);
        },
      };
    },
  },
  {
    api: "stream.Readable.from([bytes])",
    end: "return",
    prepare: () => (bytes) => {
      const stream = Readable.from([bytes]);
      return {
        async result() {
          const parts: Uint8Array[] = [];
          for await (const part of stream) parts.push(part);
          return joined(parts);
        },
      };
    },
  },
  returned("StringDecoder.write", (b) => new StringDecoder("latin1").write(b)),
  returned("v8.serialize", (b) => v8.serialize(b).length > b.length),
  {
    api: "sqlite StatementSync.run(bytes)",
    end: "return",
    prepare({ defer }) {
      const db = new DatabaseSync(":memory:");
      defer(() => db.close());
      db.exec("CREATE TABLE t (b BLOB)");
      const insert = db.prepare("INSERT INTO t VALUES (?)");
      return (bytes) => {
        insert.run(bytes);
        const { b } = db.prepare("SELECT b FROM t").get() as { b: Bytes };
        return { result: () => Promise.resolve(b) };
      };
    },
  },
];
