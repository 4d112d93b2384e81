/** The APIs of the web platform. */
import {
  answered,
  CERT,
  inbox,
  KEY,
  pair,
  serve,
  shortMessage,
  socketServer,
  sunk,
  tempFile,
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
  shown,
  type Trial,
} from "./probe.ts";

const hostname = "127.0.0.1";
const { subtle } = crypto;
const iv = new Uint8Array(16);
const CBC = { name: "AES-CBC", iv };
const HMAC = { name: "HMAC", hash: "SHA-256" };

function key(
  algorithm: string | typeof HMAC,
  ...usages: KeyUsage[]
): Promise<CryptoKey> {
  const raw = new Uint8Array(32);
  return subtle.importKey("raw", raw, algorithm, false, usages);
}

/** A module that is valid whatever its custom section holds. */
function wasm(bytes: Uint8Array): void {
  bytes.fill(0x41);
  const head = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 0];
  const size = bytes.length - head.length - 3;
  bytes.set([...head, size & 127 | 128, size >> 7 & 127 | 128, size >> 14, 1]);
}

function section(module: WebAssembly.Module): ArrayBuffer {
  return WebAssembly.Module.customSections(module, "A")[0];
}

const read = (body: Response | Request | Blob) => body.bytes();
const drained = (stream: ReadableStream) => new Response(stream).bytes();

/** A stream of these bytes and no others. */
function streamOf(bytes: Bytes, type?: "bytes"): ReadableStream {
  return new ReadableStream({
    type: type as "bytes",
    start(controller) {
      controller.enqueue(bytes);
      controller.close();
    },
  });
}

/** A transform is fed; what comes out is read afterwards. */
function transformed(
  api: string,
  make: () => GenericTransformStream,
  input: (pattern: Bytes) => Promise<Uint8Array> | undefined = () => undefined,
): Probe {
  return probe(api, "promise", async ({ pattern }) => {
    const { readable, writable } = make();
    const writer = writable.getWriter();
    const other = await input(pattern);
    return (bytes) => {
      if (other !== undefined) bytes.set(other);
      const end = writer.write(bytes.subarray(0, other?.length));
      return {
        end,
        async result() {
          const reading = Array.fromAsync(readable);
          reading.catch(() => {});
          writer.closed.catch(() => {});
          await end;
          await writer.close();
          const parts = await reading;
          return typeof parts[0] === "string"
            ? parts.join("")
            : shown(joined(parts));
        },
      };
    };
  });
}

/** A message to another port, by the function that `open` gives. */
function posted(
  api: string,
  open: (
    trial: Trial,
    got: (bytes: Uint8Array) => void,
  ) => ((bytes: Bytes) => void) | Promise<(bytes: Bytes) => void>,
): Probe {
  return probe(api, "return", async (trial) => {
    const { promise, resolve } = Promise.withResolvers<Uint8Array>();
    const post = await open(trial, resolve);
    return (bytes) => {
      post(bytes);
      return { result: () => promise };
    };
  });
}

function toPort(transfer: boolean): Parameters<typeof posted>[1] {
  return ({ defer }, got) => {
    const { port1, port2 } = new MessageChannel();
    port2.onmessage = ({ data }) => got(data);
    defer(() => port1.close());
    return (b) => port1.postMessage(b, transfer ? [b.buffer] : []);
  };
}

/** See the file. */
export const WEB: Probe[] = [
  returned("new Response(bytes)", (b) => new Response(b), read),
  returned(
    "new Request(url, { body: bytes })",
    (body) => new Request("http://x", { method: "PUT", body }),
    read,
  ),
  probe("fetch(url, { body: bytes })", "return", async (trial) => {
    const port = serve(trial, async (request) => {
      await pause(20);
      return new Response(await request.bytes());
    });
    const url = `http://${hostname}:${port}`;
    await (await fetch(url)).bytes();
    return (body) => {
      const answer = fetch(url, { method: "PUT", body });
      return { result: () => answer.then(read) };
    };
  }),
  returned("new Blob([bytes])", (bytes) => new Blob([bytes]), read),
  returned("new File([bytes], name)", (b) => new File([b], "a"), read),
  returned("structuredClone(bytes)", (b) => structuredClone(b), same),
  returned(
    "structuredClone(bytes, { transfer })",
    (bytes) => structuredClone(bytes, { transfer: [bytes.buffer] }),
    same,
  ),
  posted("MessagePort.postMessage(bytes)", toPort(false)),
  posted("MessagePort.postMessage(bytes, [bytes.buffer])", toPort(true)),
  posted("Worker.postMessage(bytes)", async ({ defer }, got) => {
    const code = "onmessage = (e) => postMessage(e.data); postMessage(0)";
    const worker = new Worker(`data:text/javascript,${code}`, {
      type: "module",
    });
    defer(() => worker.terminate());
    await new Promise((resolve) => worker.onmessage = resolve);
    worker.onmessage = ({ data }) => got(data);
    return (bytes) => worker.postMessage(bytes);
  }),
  posted("BroadcastChannel.postMessage(bytes)", (_, got) => {
    const name = crypto.randomUUID();
    const [from, to] = [new BroadcastChannel(name), new BroadcastChannel(name)];
    to.onmessage = ({ data }) => got(data);
    // Not closed: the next channel would be deaf (docs/decisions.md).
    return (bytes) => from.postMessage(bytes);
  }),
  probe("WebSocket.send(bytes)", "return", async (trial) => {
    const { url, server } = socketServer(trial);
    const client = new WebSocket(url);
    trial.defer(() => client.close());
    const opened = new Promise((resolve) => client.onopen = resolve);
    const got = shortMessage(await server);
    await opened;
    return (bytes) => {
      for (let i = 0; i < 8; i++) client.send(new Uint8Array(1 << 20));
      client.send(bytes);
      return { result: () => got };
    };
  }),
  probe("WebSocketStream: writer.write", "promise", async (trial) => {
    const { url, server } = socketServer(trial);
    const stream = new WebSocketStream(url);
    trial.defer(() => stream.close());
    const writer = (await stream.opened).writable.getWriter();
    const got = shortMessage(await server);
    return (bytes) => {
      for (let i = 0; i < 8; i++) {
        writer.write(new Uint8Array(1 << 20)).catch(() => {});
      }
      return { end: writer.write(bytes), result: () => got };
    };
  }),
  probe("WebTransport: a stream's writer.write", "promise", async (trial) => {
    const { pattern, defer } = trial;
    const endpoint = new Deno.QuicEndpoint({ hostname, port: 0 });
    defer(() => endpoint.close());
    const tls = { cert: CERT, key: KEY, alpnProtocols: ["h3"] };
    const listener = endpoint.listen(tls);
    const arriving = (async () => {
      const conn = await (await listener.incoming()).accept();
      const session = await Deno.upgradeWebTransport(conn);
      await session.ready;
      defer(() => session.close());
      const streams = session.incomingUnidirectionalStreams.getReader();
      return (await streams.read()).value as ReadableStream<Uint8Array>;
    })();
    arriving.catch(() => {});
    const der = Uint8Array.fromBase64(CERT.replaceAll(/-----.*-----|\n/g, ""));
    const value = await subtle.digest("SHA-256", der);
    const client = new WebTransport(
      `https://localhost:${endpoint.addr.port}/`,
      { serverCertificateHashes: [{ algorithm: "sha-256", value }] },
    );
    defer(() => client.close());
    await client.ready;
    const writer = (await client.createUnidirectionalStream()).getWriter();
    return (bytes) => {
      writer.write(new Uint8Array(1 << 20)).catch(() => {});
      return {
        end: writer.write(bytes),
        async result() {
          const reader = (await arriving).getReader();
          const parts: Uint8Array[] = [];
          for (let left = (1 << 20) + pattern.length; left > 0;) {
            const { value } = await reader.read();
            left -= value!.length;
            parts.push(value!);
          }
          return joined(parts).subarray(1 << 20);
        },
      };
    };
  }),
  returned("TextDecoder.decode(bytes)", (b) => new TextDecoder().decode(b)),
  returned(
    "TextEncoder.encodeInto(text, bytes)",
    (b) => new TextEncoder().encodeInto("a".repeat(100), b).written,
  ),
  transformed("TextDecoderStream: writer.write", () => new TextDecoderStream()),
  transformed(
    "CompressionStream: writer.write",
    () => new CompressionStream("gzip"),
  ),
  transformed(
    "DecompressionStream: writer.write",
    () => new DecompressionStream("gzip"),
    (pattern) =>
      drained(
        streamOf(pattern.subarray(0, 3000)).pipeThrough(
          new CompressionStream("gzip"),
        ),
      ),
  ),
  transformed(
    "TransformStream (identity): writer.write",
    () => new TransformStream(undefined, undefined, { highWaterMark: 4 }),
  ),
  returned("crypto.getRandomValues(bytes)", (bytes) => {
    crypto.getRandomValues(bytes);
  }),
  promising("crypto.subtle.digest", () => (b) => subtle.digest("SHA-256", b)),
  promising("crypto.subtle.encrypt", async () => {
    const aes = await key("AES-CBC", "encrypt");
    return (bytes) => subtle.encrypt(CBC, aes, bytes);
  }),
  promising("crypto.subtle.decrypt", async ({ pattern }) => {
    const aes = await key("AES-CBC", "encrypt", "decrypt");
    const plain = pattern.subarray(0, 5000);
    const secret = new Uint8Array(await subtle.encrypt(CBC, aes, plain));
    return (bytes) => {
      bytes.set(secret);
      return subtle.decrypt(CBC, aes, bytes.subarray(0, secret.length));
    };
  }),
  promising("crypto.subtle.sign", async () => {
    const hmac = await key(HMAC, "sign");
    return (bytes) => subtle.sign("HMAC", hmac, bytes);
  }),
  promising("crypto.subtle.verify", async ({ pattern }) => {
    const hmac = await key(HMAC, "sign", "verify");
    const signature = await subtle.sign("HMAC", hmac, pattern);
    return (bytes) => subtle.verify("HMAC", hmac, signature, bytes);
  }),
  promising("crypto.subtle.importKey", () => async (bytes) => {
    const hmac = await subtle.importKey("raw", bytes, HMAC, true, ["sign"]);
    return subtle.exportKey("raw", hmac);
  }),
  promising("crypto.subtle.deriveBits (salt)", async () => {
    const base = await key("PBKDF2", "deriveBits");
    const how = { name: "PBKDF2", hash: "SHA-256", iterations: 20 };
    return (salt) => subtle.deriveBits({ ...how, salt }, base, 256);
  }),
  promising("crypto.subtle.unwrapKey", async () => {
    const outer = await key("AES-CBC", "wrapKey", "unwrapKey");
    const kind = { name: "AES-CBC", length: 128 };
    const inner = await subtle.generateKey(kind, true, ["encrypt"]);
    const wrapped = new Uint8Array(
      await subtle.wrapKey("raw", inner, outer, CBC),
    );
    const secret = await subtle.exportKey("raw", inner);
    return async (bytes) => {
      bytes.set(wrapped);
      const part = bytes.subarray(0, wrapped.length);
      const unwrapped = await subtle
        .unwrapKey("raw", part, outer, CBC, kind, true, ["encrypt"]);
      return shown(await subtle.exportKey("raw", unwrapped)) === shown(secret);
    };
  }),
  promising("WebAssembly.compile", () => async (bytes) => {
    wasm(bytes);
    return section(await WebAssembly.compile(bytes));
  }),
  promising("WebAssembly.instantiate", () => async (bytes) => {
    wasm(bytes);
    return section((await WebAssembly.instantiate(bytes)).module);
  }),
  returned("new WebAssembly.Module(bytes)", (bytes) => {
    wasm(bytes);
    return new WebAssembly.Module(bytes);
  }, (module) => shown(section(module))),
  promising("Cache.put(request, new Response(bytes))", async ({ defer }) => {
    const name = crypto.randomUUID();
    const cache = await caches.open(name);
    defer(() => caches.delete(name));
    return async (bytes) => {
      await cache.put("http://localhost/a", new Response(bytes));
      return (await cache.match("http://localhost/a"))!.bytes();
    };
  }),
  returned("controller.enqueue(bytes)", (b) => streamOf(b), drained),
  returned(
    'controller.enqueue(bytes), type: "bytes"',
    (bytes) => streamOf(bytes, "bytes"),
    drained,
  ),
  returned(
    "ReadableStream.from([bytes])",
    (bytes) => ReadableStream.from([bytes]),
    drained,
  ),
  answered(
    "a response of a stream that enqueues bytes",
    (bytes, size) =>
      new Response(streamOf(bytes), {
        headers: { "content-length": `${size}` },
      }),
  ),
  sunk("Deno.TcpConn.writable: writer.write", async (trial) => {
    const { port, all } = inbox(trial);
    const { writable } = await Deno.connect({ hostname, port });
    return { writable, arrived: () => all() };
  }),
  probe("Deno.FsFile.writable: writer.write", "promise", async (trial) => {
    const path = await tempFile(trial);
    const file = await Deno.open(path, { write: true, create: true });
    const writer = file.writable.getWriter();
    return (bytes) => {
      writer.write(new Uint8Array(32 << 20)).catch(() => {});
      const end = writer.write(bytes);
      return {
        end,
        async result() {
          await end.catch(() => {});
          await writer.close().catch(() => {});
          return (await Deno.readFile(path)).subarray(32 << 20);
        },
      };
    };
  }),
  reads("BYOB reader.read(bytes)", "promise", async (trial) => {
    const { conn, peer } = await pair(trial);
    const reader = conn.readable.getReader({ mode: "byob" });
    return {
      read: (b) => reader.read(b).then(({ value }) => value?.length),
      feed: (b) => peer.write(b),
    };
  }),
];
