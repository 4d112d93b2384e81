/** The APIs of the `Deno` namespace. */
import {
  CERT,
  getLate,
  inbox,
  readAll,
  stuff,
  stuffConn,
  tempFile,
} from "./peers.ts";
import { pause, type Probe } from "./probe.ts";

const hostname = "127.0.0.1";

/** What a partial write took must be what arrives behind the junk. */
function arrives(
  arrived: Uint8Array,
  junk: number,
  took: number,
  pattern: Uint8Array,
): boolean {
  const part = arrived.subarray(junk);
  return part.length === took && took > 0 &&
    part.every((byte, i) => byte === pattern[i]);
}

/** On a connection whose other side does not read yet. */
function written(
  connectTo: (
    port: number,
  ) => Promise<{ write(p: Uint8Array): Promise<number>; close(): void }>,
  secure = false,
): Probe["prepare"] {
  return async (trial) => {
    const box = inbox(trial, secure);
    const conn = await connectTo(box.port);
    trial.defer(() => conn.close());
    const junk = await stuffConn(conn);
    return (bytes) => {
      const end = conn.write(bytes);
      return {
        end,
        async result() {
          const sent = Promise.all([junk(), end]);
          const arriving = box.all(sent.then(([a, b]) => a + b));
          const [before, took] = await sent;
          return arrives(await arriving, before, took, trial.pattern);
        },
      };
    };
  };
}

async function kv(): Promise<Deno.Kv> {
  return await Deno.openKv(":memory:");
}

/** See the file. */
export const DENO: Probe[] = [
  {
    api: "Deno.TcpConn.write",
    end: "promise",
    prepare: written((port) => Deno.connect({ hostname, port })),
  },
  {
    api: "Deno.TlsConn.write",
    end: "promise",
    prepare: written(
      (port) => Deno.connectTls({ hostname, port, caCerts: [CERT] }),
      true,
    ),
  },
  {
    api: "Deno.UnixConn.write",
    end: "promise",
    async prepare(trial) {
      const path = await tempFile(trial);
      const listener = Deno.listen({ transport: "unix", path });
      const conn = await Deno.connect({ transport: "unix", path });
      const other = await listener.accept();
      for (const each of [listener, conn, other]) {
        trial.defer(() => each.close());
      }
      const junk = await stuffConn(conn);
      return (bytes) => {
        const end = conn.write(bytes);
        return {
          end,
          async result() {
            const arriving = readAll(other);
            const [before, took] = [await junk(), await end];
            conn.close();
            return arrives(await arriving, before, took, trial.pattern);
          },
        };
      };
    },
  },
  {
    api: "Deno.TcpConn.read",
    end: "promise",
    async prepare(trial) {
      const listener = Deno.listen({ hostname, port: 0 });
      trial.defer(() => listener.close());
      const { port } = listener.addr;
      const [conn, peer] = await Promise.all([
        Deno.connect({ hostname, port }),
        listener.accept(),
      ]);
      for (const each of [conn, peer]) trial.defer(() => each.close());
      return (bytes) => {
        const end = conn.read(bytes);
        pause(20).then(() => peer.write(new Uint8Array(100).fill(1)));
        return { end, result: async () => (await end) === 100 };
      };
    },
  },
  {
    api: "Deno.DatagramConn.send",
    end: "promise",
    races: true,
    size: 1024,
    async prepare({ defer }) {
      const open = () =>
        Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
      const [from, to] = [open(), open()];
      defer(() => from.close());
      defer(() => to.close());
      await pause(0);
      return (bytes) => ({
        end: from.send(bytes, to.addr),
        result: async () => (await to.receive(new Uint8Array(2000)))[0],
      });
    },
  },
  {
    api: "Deno.DatagramConn.receive",
    end: "promise",
    size: 1024,
    prepare({ defer }) {
      const open = () =>
        Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
      const [from, to] = [open(), open()];
      defer(() => from.close());
      defer(() => to.close());
      return (bytes) => {
        const end = to.receive(bytes);
        pause(10).then(() => from.send(new Uint8Array(10), to.addr));
        return { end, result: async () => (await end)[0].length === 10 };
      };
    },
  },
  {
    api: "Deno.FsFile.write",
    end: "promise",
    async prepare(trial) {
      const path = await tempFile(trial);
      const file = await Deno.open(path, { write: true, create: true });
      trial.defer(() => file.close());
      // The thread that writes may be the faster one: a large write first keeps it busy.
      return (bytes) => {
        const first = file.write(new Uint8Array(32 << 20));
        const end = file.write(bytes);
        return {
          end,
          async result() {
            await first;
            const took = await end.catch(() => 0);
            const arrived = await Deno.readFile(path);
            return arrives(arrived, 32 << 20, took, trial.pattern);
          },
        };
      };
    },
  },
  {
    api: "Deno.FsFile.read",
    end: "promise",
    async prepare(trial) {
      const path = await tempFile(trial);
      await new Deno.Command("mkfifo", { args: [path] }).output();
      const file = await Deno.open(path, { read: true, write: true });
      trial.defer(() => file.close());
      return (bytes) => {
        const end = file.read(bytes);
        pause(20).then(async () => {
          using other = await Deno.open(path, { read: true, write: true });
          await other.write(new Uint8Array(100).fill(1));
        });
        return { end, result: async () => (await end) === 100 };
      };
    },
  },
  {
    api: "Deno.FsFile.writeSync",
    end: "return",
    async prepare(trial) {
      const path = await tempFile(trial);
      const file = await Deno.open(path, { write: true, create: true });
      trial.defer(() => file.close());
      return (bytes) => {
        file.writeSync(bytes);
        return { result: () => Deno.readFile(path) };
      };
    },
  },
  {
    api: "Deno.FsFile.readSync",
    end: "return",
    async prepare(trial) {
      const path = await tempFile(trial);
      await Deno.writeFile(path, new Uint8Array(100));
      const file = await Deno.open(path);
      trial.defer(() => file.close());
      return (bytes) => {
        const read = file.readSync(bytes);
        return { result: () => Promise.resolve(read === 100) };
      };
    },
  },
  {
    api: "Deno.writeFile",
    end: "promise",
    async prepare(trial) {
      const path = await tempFile(trial);
      return (bytes) => {
        const end = Deno.writeFile(path, bytes);
        return { end, result: () => end.then(() => Deno.readFile(path)) };
      };
    },
  },
  {
    api: "Deno.writeFileSync",
    end: "return",
    async prepare(trial) {
      const path = await tempFile(trial);
      return (bytes) => {
        Deno.writeFileSync(path, bytes);
        return { result: () => Deno.readFile(path) };
      };
    },
  },
  {
    api: "Deno.ChildProcess.stdin: writer.write",
    end: "promise",
    async prepare({ defer }) {
      const child = new Deno.Command("sh", {
        args: ["-c", "sleep 0.2; cat"],
        stdin: "piped",
        stdout: "piped",
      }).spawn();
      defer(() => child.kill());
      const writer = child.stdin.getWriter();
      const junk = await stuff((bytes) => writer.write(bytes));
      return (bytes) => {
        const end = writer.write(bytes);
        return {
          end,
          async result() {
            const arriving = new Response(child.stdout).bytes();
            await end.catch(() => {});
            await writer.close().catch(() => {});
            return (await arriving).subarray(junk);
          },
        };
      };
    },
  },
  {
    api: "Deno.Kv.set",
    end: "promise",
    size: 60000,
    async prepare({ defer }) {
      const db = await kv();
      defer(() => db.close());
      return (bytes) => {
        const end = db.set(["a"], bytes);
        return {
          end,
          result: () =>
            end.then(() => db.get<Uint8Array>(["a"])).then((e) => e.value!),
        };
      };
    },
  },
  {
    api: "Deno.Kv.atomic().set, before commit()",
    end: "return",
    size: 60000,
    async prepare({ defer }) {
      const db = await kv();
      defer(() => db.close());
      return (bytes) => {
        const operation = db.atomic().set(["a"], bytes);
        return {
          async result() {
            await operation.commit();
            return (await db.get<Uint8Array>(["a"])).value!;
          },
        };
      };
    },
  },
  {
    api: "Deno.Kv.atomic().set, after commit()",
    end: "promise",
    size: 60000,
    async prepare({ defer }) {
      const db = await kv();
      defer(() => db.close());
      return (bytes) => {
        const end = db.atomic().set(["a"], bytes).commit();
        return {
          end,
          result: () =>
            end.then(() => db.get<Uint8Array>(["a"])).then((e) => e.value!),
        };
      };
    },
  },
  {
    api: "Deno.serve: new Response(bytes)",
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
      return (bytes) => {
        give(new Response(bytes));
        return { result: () => body(bytes.length || trial.pattern.length) };
      };
    },
  },
  {
    api: "Deno.upgradeWebSocket: socket.send",
    end: "return",
    async prepare({ defer }) {
      const { promise, resolve } = Promise.withResolvers<WebSocket>();
      const server = Deno.serve({ hostname, port: 0, onListen() {} }, (q) => {
        const { socket, response } = Deno.upgradeWebSocket(q);
        socket.onopen = () => resolve(socket);
        return response;
      });
      defer(() => server.shutdown());
      const client = new WebSocket(`ws://${hostname}:${server.addr.port}`);
      client.binaryType = "arraybuffer";
      defer(() => client.close());
      const socket = await promise;
      return (bytes) => {
        const got = Promise.withResolvers<Uint8Array>();
        client.onmessage = ({ data }) => {
          if (data.byteLength < 1e6) got.resolve(new Uint8Array(data));
        };
        for (let i = 0; i < 8; i++) socket.send(new Uint8Array(1 << 20));
        socket.send(bytes);
        return { result: () => got.promise };
      };
    },
  },
  {
    api: "FFI: a buffer argument",
    end: "return",
    prepare({ defer }) {
      const libc = open({ memcpy: COPY });
      defer(() => libc.close());
      return (bytes) => {
        const copy = new Uint8Array(bytes.length);
        libc.symbols.memcpy(copy, bytes, BigInt(bytes.length));
        return { result: () => Promise.resolve(copy) };
      };
    },
  },
  {
    api: "FFI: a buffer argument, nonblocking",
    end: "promise",
    prepare({ defer }) {
      const fds = new Int32Array(2);
      const libc = open({
        pipe: { parameters: ["buffer"], result: "i32" },
        write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
        close: { parameters: ["i32"], result: "i32" },
        read: {
          parameters: ["i32", "buffer", "usize"],
          result: "isize",
          nonblocking: true,
        },
      });
      libc.symbols.pipe(fds);
      defer(() => libc.close());
      defer(() => fds.forEach((fd) => libc.symbols.close(fd)));
      return (bytes) => {
        const end = libc.symbols.read(fds[0], bytes, 100n);
        pause(20).then(() =>
          libc.symbols.write(fds[1], new Uint8Array(100), 100n)
        );
        return { end, result: async () => Number(await end) === 100 };
      };
    },
  },
];

const COPY = {
  parameters: ["buffer", "buffer", "usize"],
  result: "pointer",
} as const;

function open<const S extends Deno.ForeignLibraryInterface>(symbols: S) {
  const name = Deno.build.os === "darwin"
    ? "/usr/lib/libSystem.B.dylib"
    : "libc.so.6";
  return Deno.dlopen(name, symbols);
}
