/** The APIs of the web platform. */
import { CERT, getLate, inbox, KEY, stuff, tempFile } from "./peers.ts";
import { joined, pause, type Probe, type Start, type Trial } from "./probe.ts";

const hostname = "127.0.0.1";

/** One that has done all it does with the bytes when it returns. */
function returned(
  api: string,
  call: (bytes: Uint8Array<ArrayBuffer>) => () => Promise<
    Uint8Array | string | boolean
  >,
): Probe {
  return {
    api,
    end: "return",
    prepare: () => (bytes) => ({ result: call(bytes) }),
  };
}

/** One that gives a promise of what it makes of the bytes. */
function promising(
  api: string,
  prepare: (
    trial: Trial,
  ) =>
    | Promise<(bytes: Uint8Array<ArrayBuffer>) => Promise<unknown>>
    | ((bytes: Uint8Array<ArrayBuffer>) => Promise<unknown>),
): Probe {
  return {
    api,
    end: "promise",
    async prepare(trial) {
      const call = await prepare(trial);
      return (bytes) => {
        const end = call(bytes);
        return { end, result: async () => await shown(await end) };
      };
    },
  };
}

function shown(value: unknown): Uint8Array | string | boolean {
  if (value instanceof ArrayBuffer) return hex(new Uint8Array(value));
  if (value instanceof Uint8Array) return hex(value);
  return typeof value === "boolean" ? value : String(value);
}

function hex(bytes: Uint8Array): string {
  let sum = 0;
  for (const byte of bytes) sum = (Math.imul(sum, 33) ^ byte) | 0;
  return `${bytes.length}:${sum}`;
}

const { subtle } = crypto;
const iv = new Uint8Array(16);
const aes = () =>
  subtle.importKey("raw", new Uint8Array(32), "AES-CBC", false, [
    "encrypt",
    "decrypt",
    "wrapKey",
    "unwrapKey",
  ]);
const hmac = () =>
  subtle.importKey(
    "raw",
    new Uint8Array(32),
    { name: "HMAC", hash: "SHA-256" },
    false,
    ["sign", "verify"],
  );

/** A module that is valid whatever its custom section holds. */
function wasm(bytes: Uint8Array): void {
  bytes.fill(0x41);
  const head = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 0];
  const size = bytes.length - head.length - 3;
  bytes.set([...head, size & 127 | 128, size >> 7 & 127 | 128, size >> 14, 1]);
}

/** The API keeps what it is given until it is read. */
function queued(
  api: string,
  stream: (bytes: Uint8Array<ArrayBuffer>) => ReadableStream,
): Probe {
  return returned(api, (bytes) => {
    const made = stream(bytes);
    return () => new Response(made).bytes();
  });
}

/** A transform is fed; what comes out is read afterwards. */
function transformed(
  api: string,
  make: () => GenericTransformStream,
  input: (pattern: Uint8Array<ArrayBuffer>) => Promise<Uint8Array> | undefined =
    () => undefined,
): Probe {
  return {
    api,
    end: "promise",
    async prepare({ pattern }) {
      const { readable, writable } = make();
      const writer = writable.getWriter();
      const other = await input(pattern);
      return (bytes) => {
        if (other !== undefined) bytes.set(other);
        const end = writer.write(
          other === undefined ? bytes : bytes.subarray(0, other.length),
        );
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
              : hex(joined(parts));
          },
        };
      };
    },
  };
}

/** A sink of the platform, written to behind what it has not taken yet. */
function sunk(
  api: string,
  open: (
    trial: Trial,
  ) => Promise<
    { writable: WritableStream; arrived: () => Promise<Uint8Array> }
  >,
): Probe {
  return {
    api,
    end: "promise",
    async prepare(trial) {
      const { writable, arrived } = await open(trial);
      const writer = writable.getWriter();
      const junk = await stuff((bytes) => writer.write(bytes));
      return (bytes) => {
        const end = writer.write(bytes);
        return {
          end,
          async result() {
            const arriving = arrived();
            await end.catch(() => {});
            await pause(5);
            await writer.close().catch(() => {});
            return (await arriving).subarray(junk);
          },
        };
      };
    },
  };
}

/** A message to another port, by `post`. */
function posted(
  api: string,
  open: (
    trial: Trial,
    got: (bytes: Uint8Array) => void,
  ) => Promise<(bytes: Uint8Array<ArrayBuffer>) => void>,
): Probe {
  return {
    api,
    end: "return",
    async prepare(trial) {
      const { promise, resolve } = Promise.withResolvers<Uint8Array>();
      const post = await open(trial, resolve);
      return (bytes) => {
        post(bytes);
        return { result: () => promise };
      };
    },
  };
}

async function socketPair({ defer }: Trial): Promise<
  { url: string; server: Promise<WebSocket> }
> {
  const { promise, resolve } = Promise.withResolvers<WebSocket>();
  const server = Deno.serve({ hostname, port: 0, onListen() {} }, (request) => {
    const { socket, response } = Deno.upgradeWebSocket(request);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => resolve(socket);
    return response;
  });
  defer(() => server.shutdown());
  await pause(0);
  return { url: `ws://${hostname}:${server.addr.port}`, server: promise };
}

/** See the file. */
export const WEB: Probe[] = [
  returned("new Response(bytes)", (bytes) => {
    const response = new Response(bytes);
    return () => response.bytes();
  }),
  returned("new Request(url, { body: bytes })", (bytes) => {
    const request = new Request("http://x", { method: "PUT", body: bytes });
    return () => request.bytes();
  }),
  {
    api: "fetch(url, { body: bytes })",
    end: "return",
    async prepare(trial) {
      const server = Deno.serve(
        { hostname, port: 0, onListen() {} },
        async (q) => {
          await pause(20);
          return new Response(await q.bytes());
        },
      );
      trial.defer(() => server.shutdown());
      const url = `http://${hostname}:${server.addr.port}`;
      await (await fetch(url)).bytes();
      return (bytes) => {
        const answer = fetch(url, { method: "PUT", body: bytes });
        return { result: () => answer.then((a) => a.bytes()) };
      };
    },
  },
  returned("new Blob([bytes])", (bytes) => {
    const blob = new Blob([bytes]);
    return () => blob.bytes();
  }),
  returned("new File([bytes], name)", (bytes) => {
    const file = new File([bytes], "a");
    return () => file.bytes();
  }),
  returned("structuredClone(bytes)", (bytes) => {
    const clone = structuredClone(bytes);
    return () => Promise.resolve(clone);
  }),
  returned("structuredClone(bytes, { transfer })", (bytes) => {
    const clone = structuredClone(bytes, { transfer: [bytes.buffer] });
    return () => Promise.resolve(clone);
  }),
  posted("MessagePort.postMessage(bytes)", ({ defer }, got) => {
    const { port1, port2 } = new MessageChannel();
    port2.onmessage = ({ data }) => got(data);
    defer(() => port1.close());
    return Promise.resolve((bytes) => port1.postMessage(bytes));
  }),
  posted("MessagePort.postMessage(bytes, [bytes.buffer])", ({ defer }, got) => {
    const { port1, port2 } = new MessageChannel();
    port2.onmessage = ({ data }) => got(data);
    defer(() => port1.close());
    return Promise.resolve((bytes) => port1.postMessage(bytes, [bytes.buffer]));
  }),
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
    return Promise.resolve((bytes) => from.postMessage(bytes));
  }),
  {
    api: "WebSocket.send(bytes)",
    end: "return",
    async prepare(trial) {
      const { url, server } = await socketPair(trial);
      const client = new WebSocket(url);
      trial.defer(() => client.close());
      const other = await server;
      await new Promise<void>((resolve) => {
        if (client.readyState === 1) resolve();
        client.onopen = () => resolve();
      });
      const got = Promise.withResolvers<Uint8Array>();
      other.onmessage = ({ data }) => {
        if (data.byteLength < 1e6) got.resolve(new Uint8Array(data));
      };
      return (bytes) => {
        for (let i = 0; i < 8; i++) client.send(new Uint8Array(1 << 20));
        client.send(bytes);
        return { result: () => got.promise };
      };
    },
  },
  {
    api: "WebSocketStream: writer.write",
    end: "promise",
    async prepare(trial) {
      const { url, server } = await socketPair(trial);
      const stream = new WebSocketStream(url);
      trial.defer(() => stream.close());
      const { writable } = await stream.opened;
      const writer = writable.getWriter();
      const got = Promise.withResolvers<Uint8Array>();
      (await server).onmessage = ({ data }) => {
        if (data.byteLength < 1e6) got.resolve(new Uint8Array(data));
      };
      return (bytes) => {
        for (let i = 0; i < 8; i++) {
          writer.write(new Uint8Array(1 << 20)).catch(() => {});
        }
        const end = writer.write(bytes);
        return { end, result: () => got.promise };
      };
    },
  },
  {
    api: "WebTransport: a stream's writer.write",
    end: "promise",
    async prepare({ pattern, defer }) {
      const endpoint = new Deno.QuicEndpoint({ hostname, port: 0 });
      defer(() => endpoint.close());
      const listener = endpoint.listen({
        cert: CERT,
        key: KEY,
        alpnProtocols: ["h3"],
      });
      const arriving = (async () => {
        const conn = await (await listener.incoming()).accept();
        const session = await Deno.upgradeWebTransport(conn);
        await session.ready;
        defer(() => session.close());
        const streams = session.incomingUnidirectionalStreams.getReader();
        return (await streams.read()).value as ReadableStream<Uint8Array>;
      })();
      arriving.catch(() => {});
      const der = Uint8Array.fromBase64(
        CERT.replaceAll(/-----.*-----|\n/g, ""),
      );
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
        const end = writer.write(bytes);
        return {
          end,
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
    },
  },
  returned("TextDecoder.decode(bytes)", (bytes) => {
    const text = new TextDecoder().decode(bytes);
    return () => Promise.resolve(text);
  }),
  returned("TextEncoder.encodeInto(text, bytes)", (bytes) => {
    const { written } = new TextEncoder().encodeInto("a".repeat(100), bytes);
    return () => Promise.resolve(written === 100);
  }),
  transformed("TextDecoderStream: writer.write", () => new TextDecoderStream()),
  transformed(
    "CompressionStream: writer.write",
    () => new CompressionStream("gzip"),
  ),
  transformed(
    "DecompressionStream: writer.write",
    () => new DecompressionStream("gzip"),
    (pattern) =>
      new Response(
        new Blob([pattern.subarray(0, 3000)]).stream().pipeThrough(
          new CompressionStream("gzip"),
        ),
      ).bytes(),
  ),
  transformed(
    "TransformStream (identity): writer.write",
    () => new TransformStream(undefined, undefined, { highWaterMark: 4 }),
  ),
  returned("crypto.getRandomValues(bytes)", (bytes) => {
    crypto.getRandomValues(bytes);
    return () => Promise.resolve(true);
  }),
  promising(
    "crypto.subtle.digest",
    () => (bytes) => subtle.digest("SHA-256", bytes),
  ),
  promising("crypto.subtle.encrypt", async () => {
    const key = await aes();
    return (bytes) => subtle.encrypt({ name: "AES-CBC", iv }, key, bytes);
  }),
  promising("crypto.subtle.decrypt", async ({ pattern }) => {
    const key = await aes();
    const algorithm = { name: "AES-CBC", iv };
    const secret = new Uint8Array(
      await subtle.encrypt(algorithm, key, pattern.subarray(0, 5000)),
    );
    return (bytes) => {
      bytes.set(secret);
      return subtle.decrypt(algorithm, key, bytes.subarray(0, secret.length));
    };
  }),
  promising("crypto.subtle.sign", async () => {
    const key = await hmac();
    return (bytes) => subtle.sign("HMAC", key, bytes);
  }),
  promising("crypto.subtle.verify", async ({ pattern }) => {
    const key = await hmac();
    const signature = await subtle.sign("HMAC", key, pattern);
    return (bytes) => subtle.verify("HMAC", key, signature, bytes);
  }),
  promising("crypto.subtle.importKey", () => async (bytes) => {
    const algorithm = { name: "HMAC", hash: "SHA-256" };
    const key = await subtle.importKey("raw", bytes, algorithm, true, ["sign"]);
    return subtle.exportKey("raw", key);
  }),
  promising("crypto.subtle.deriveBits (salt)", async () => {
    const key = await subtle.importKey("raw", iv, "PBKDF2", false, [
      "deriveBits",
    ]);
    return (salt) =>
      subtle.deriveBits(
        { name: "PBKDF2", hash: "SHA-256", salt, iterations: 20 },
        key,
        256,
      );
  }),
  promising("crypto.subtle.unwrapKey", async () => {
    const key = await aes();
    const inner = await subtle.generateKey(
      { name: "AES-CBC", length: 128 },
      true,
      ["encrypt"],
    );
    const algorithm = { name: "AES-CBC", iv };
    const wrapped = new Uint8Array(
      await subtle.wrapKey("raw", inner, key, algorithm),
    );
    const secret = await subtle.exportKey("raw", inner);
    return async (bytes) => {
      bytes.set(wrapped);
      const unwrapped = await subtle.unwrapKey(
        "raw",
        bytes.subarray(0, wrapped.length),
        key,
        algorithm,
        { name: "AES-CBC", length: 128 },
        true,
        ["encrypt"],
      );
      return hex(new Uint8Array(await subtle.exportKey("raw", unwrapped))) ===
        hex(new Uint8Array(secret));
    };
  }),
  promising("WebAssembly.compile", () => async (bytes) => {
    wasm(bytes);
    const module = await WebAssembly.compile(bytes);
    return WebAssembly.Module.customSections(module, "A")[0];
  }),
  promising("WebAssembly.instantiate", () => async (bytes) => {
    wasm(bytes);
    const { module } = await WebAssembly.instantiate(bytes);
    return WebAssembly.Module.customSections(module, "A")[0];
  }),
  returned("new WebAssembly.Module(bytes)", (bytes) => {
    wasm(bytes);
    const module = new WebAssembly.Module(bytes);
    const section = () => WebAssembly.Module.customSections(module, "A")[0];
    return () => Promise.resolve(hex(new Uint8Array(section())));
  }),
  promising("Cache.put(request, new Response(bytes))", async ({ defer }) => {
    const name = crypto.randomUUID();
    const cache = await caches.open(name);
    defer(() => caches.delete(name));
    return async (bytes) => {
      await cache.put("http://localhost/a", new Response(bytes));
      return (await cache.match("http://localhost/a"))!.bytes();
    };
  }),
  queued("controller.enqueue(bytes)", (bytes) =>
    new ReadableStream({
      start(controller) {
        controller.enqueue(bytes);
        controller.close();
      },
    })),
  queued(
    'controller.enqueue(bytes), type: "bytes"',
    (bytes) =>
      new ReadableStream({
        type: "bytes",
        start(controller) {
          controller.enqueue(bytes);
          controller.close();
        },
      }),
  ),
  queued(
    "ReadableStream.from([bytes])",
    (bytes) => ReadableStream.from([bytes]),
  ),
  {
    api: "a response of a stream that enqueues bytes",
    end: "return",
    async prepare(trial) {
      let give!: (response: Response) => void;
      const response = new Promise<Response>((resolve) => give = resolve);
      const server = Deno.serve(
        { hostname, port: 0, onListen() {} },
        () => response,
      );
      trial.defer(() => server.shutdown());
      const body = await getLate(server.addr.port, trial);
      const { pattern } = trial;
      return (bytes) => {
        give(
          new Response(
            new ReadableStream({
              start(controller) {
                controller.enqueue(bytes);
                controller.close();
              },
            }),
            { headers: { "content-length": `${pattern.length}` } },
          ),
        );
        return { result: () => body(pattern.length) };
      };
    },
  },
  sunk("Deno.TcpConn.writable: writer.write", async (trial) => {
    const box = inbox(trial);
    const conn = await Deno.connect({ hostname, port: box.port });
    return { writable: conn.writable, arrived: () => box.all() };
  }),
  {
    api: "Deno.FsFile.writable: writer.write",
    end: "promise",
    async prepare(trial) {
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
    },
  },
  {
    api: "BYOB reader.read(bytes)",
    end: "promise",
    async prepare({ defer }) {
      const listener = Deno.listen({ hostname, port: 0 });
      defer(() => listener.close());
      const [conn, peer] = await Promise.all([
        Deno.connect({ hostname, port: listener.addr.port }),
        listener.accept(),
      ]);
      defer(() => peer.close());
      defer(() => conn.close());
      const reader = conn.readable.getReader({ mode: "byob" });
      const start: Start = (bytes) => {
        const end = reader.read(bytes);
        pause(20).then(() => peer.write(new Uint8Array(100).fill(1)));
        return { end, result: async () => (await end).value?.length === 100 };
      };
      return start;
    },
  },
];
