/** The APIs of the `Deno` namespace. */
import {
  answered,
  CERT,
  fifo,
  inbox,
  pair,
  readAll,
  shortMessage,
  socketServer,
  stuffConn,
  sunk,
  tempFile,
  written,
} from "./peers.ts";
import {
  type Bytes,
  type Probe,
  probe,
  reads,
  returned,
  same,
  type Trial,
} from "./probe.ts";

const hostname = "127.0.0.1";
const udp = { transport: "udp", hostname, port: 0 } as const;

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

/** A write on a connection whose other side does not read yet. */
function sent(
  api: string,
  open: (trial: Trial) => Promise<{
    conn: Deno.Conn;
    read: (until: Promise<number>) => Promise<Bytes>;
  }>,
): Probe {
  return probe(api, "promise", async (trial) => {
    const { conn, read } = await open(trial);
    trial.defer(() => conn.close());
    const junk = await stuffConn(conn);
    return (bytes) => {
      const end = conn.write(bytes);
      return {
        end,
        async result() {
          const sent = Promise.all([junk(), end]);
          const arriving = read(sent.then(([a, b]) => a + b));
          const [before, took] = await sent;
          return arrives(await arriving, before, took, trial.pattern);
        },
      };
    };
  });
}

/** A value of a database, put there now or, by the function that `begin` gives, later. */
function stored(
  api: string,
  end: Probe["end"],
  begin: (
    db: Deno.Kv,
    bytes: Bytes,
  ) => Promise<unknown> | (() => Promise<unknown>),
): Probe {
  return probe(api, end, async ({ defer }) => {
    const db = await Deno.openKv(":memory:");
    defer(() => db.close());
    return (bytes) => {
      const begun = begin(db, bytes);
      const isLater = typeof begun === "function";
      return {
        end: isLater ? undefined : begun,
        async result() {
          await (isLater ? begun() : begun);
          return (await db.get<Uint8Array>(["a"])).value;
        },
      };
    };
  }, { size: 60000 });
}

function sockets({ defer }: Trial): [Deno.DatagramConn, Deno.DatagramConn] {
  const both = [Deno.listenDatagram(udp), Deno.listenDatagram(udp)] as const;
  for (const each of both) defer(() => each.close());
  return [...both];
}

function libc() {
  const name = Deno.build.os === "darwin"
    ? "/usr/lib/libSystem.B.dylib"
    : "libc.so.6";
  return Deno.dlopen(
    name,
    {
      memcpy: { parameters: ["buffer", "buffer", "usize"], result: "pointer" },
      pipe: { parameters: ["buffer"], result: "i32" },
      write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
      close: { parameters: ["i32"], result: "i32" },
      read: {
        parameters: ["i32", "buffer", "usize"],
        result: "isize",
        nonblocking: true,
      },
    } as const,
  ).symbols;
}

/** See the file. */
export const DENO: Probe[] = [
  sent("Deno.TcpConn.write", async (trial) => {
    const { port, all } = inbox(trial);
    return { conn: await Deno.connect({ hostname, port }), read: all };
  }),
  sent("Deno.TlsConn.write", async (trial) => {
    const { port, all } = inbox(trial, true);
    const options = { hostname, port, caCerts: [CERT] };
    return { conn: await Deno.connectTls(options), read: all };
  }),
  sent("Deno.UnixConn.write", async (trial) => {
    const path = await tempFile(trial);
    const listener = Deno.listen({ transport: "unix", path });
    const conn = await Deno.connect({ transport: "unix", path });
    const other = await listener.accept();
    for (const each of [listener, other]) trial.defer(() => each.close());
    return { conn, read: (until) => readAll(other, until) };
  }),
  reads("Deno.TcpConn.read", "promise", async (trial) => {
    const { conn, peer } = await pair(trial);
    return { read: (b) => conn.read(b), feed: (b) => peer.write(b) };
  }),
  probe("Deno.DatagramConn.send", "promise", (trial) => {
    const [from, to] = sockets(trial);
    return (bytes) => ({
      end: from.send(bytes, to.addr),
      result: async () => (await to.receive(new Uint8Array(2000)))[0],
    });
  }, { races: true, size: 1024 }),
  reads("Deno.DatagramConn.receive", "promise", (trial) => {
    const [from, to] = sockets(trial);
    return Promise.resolve({
      read: (b) => to.receive(b).then(([{ length }]) => length),
      feed: (b) => from.send(b, to.addr),
    });
  }, 1024),
  probe("Deno.FsFile.write", "promise", async (trial) => {
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
  }),
  reads("Deno.FsFile.read", "promise", async (trial) => {
    const path = await fifo(trial);
    const file = await Deno.open(path, { read: true, write: true });
    trial.defer(() => file.close());
    const feed = async (bytes: Bytes) => {
      using other = await Deno.open(path, { read: true, write: true });
      await other.write(bytes);
    };
    return { read: (b) => file.read(b), feed };
  }),
  written("Deno.FsFile.writeSync", "return", (path, bytes) => {
    using file = Deno.openSync(path, { write: true, create: true });
    file.writeSync(bytes);
  }),
  returned("Deno.FsFile.readSync", (bytes) => {
    using file = Deno.openSync("/dev/zero");
    return file.readSync(bytes);
  }),
  written("Deno.writeFile", "promise", Deno.writeFile),
  written("Deno.writeFileSync", "return", Deno.writeFileSync),
  sunk("Deno.ChildProcess.stdin: writer.write", ({ defer }) => {
    const args = ["-c", "sleep 0.2; cat"];
    const stdio = { stdin: "piped", stdout: "piped" } as const;
    const child = new Deno.Command("sh", { args, ...stdio }).spawn();
    defer(() => child.kill());
    const arrived = () => new Response(child.stdout).bytes();
    return Promise.resolve({ writable: child.stdin, arrived });
  }),
  stored("Deno.Kv.set", "promise", (db, bytes) => db.set(["a"], bytes)),
  stored("Deno.Kv.atomic().set, before commit()", "return", (db, bytes) => {
    const operation = db.atomic().set(["a"], bytes);
    return () => operation.commit();
  }),
  stored(
    "Deno.Kv.atomic().set, after commit()",
    "promise",
    (db, bytes) => db.atomic().set(["a"], bytes).commit(),
  ),
  answered("Deno.serve: new Response(bytes)", (bytes) => new Response(bytes)),
  probe("Deno.upgradeWebSocket: socket.send", "return", async (trial) => {
    const { url, server } = socketServer(trial);
    const client = new WebSocket(url);
    trial.defer(() => client.close());
    const socket = await server;
    return (bytes) => {
      const got = shortMessage(client);
      for (let i = 0; i < 8; i++) socket.send(new Uint8Array(1 << 20));
      socket.send(bytes);
      return { result: () => got };
    };
  }),
  returned("FFI: a buffer argument", (bytes) => {
    const copy = new Uint8Array(bytes.length);
    libc().memcpy(copy, bytes, BigInt(bytes.length));
    return copy;
  }, same),
  reads("FFI: a buffer argument, nonblocking", "promise", ({ defer }) => {
    const { pipe, read, write, close } = libc();
    const fds = new Int32Array(2);
    pipe(fds);
    defer(() => fds.forEach((fd) => close(fd)));
    return Promise.resolve({
      read: (b) => read(fds[0], b, 100n),
      feed: (b) => write(fds[1], b, 100n),
    });
  }),
];
