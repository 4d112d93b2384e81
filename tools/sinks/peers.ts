/**
 * The other ends: servers and clients that do not read before they are told to, so that what is
 * sent to them has to wait.
 */
import {
  type Bytes,
  joined,
  pause,
  type Probe,
  probe,
  type Trial,
} from "./probe.ts";

const hostname = "127.0.0.1";
/** When nothing has come for so long, nothing will. */
const QUIET_MS = 2000;

/** A certificate for localhost and its key, known to all: for these trials only. */
export const CERT = `-----BEGIN CERTIFICATE-----
MIIBlzCCAT6gAwIBAgIUbrTS2xX/ID5y9XWwsqO+6PpOJGowCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNzE4NTgyMloYDzIxMjYxMTAz
MTg1ODIyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASW6LiN1qNqJ8ceWLQpM+gIguVPP4WOdtiSdPkzJ/Ja9W4QVfuFOUmG
MrekJRsnIZpMOZkzLc5ZRpoqm0i2ejT/o2wwajAdBgNVHQ4EFgQUmp5IjNDEwPYD
T9Y3/yenl0usTIYwHwYDVR0jBBgwFoAUmp5IjNDEwPYDT9Y3/yenl0usTIYwGgYD
VR0RBBMwEYIJbG9jYWxob3N0hwR/AAABMAwGA1UdEwEB/wQCMAAwCgYIKoZIzj0E
AwIDRwAwRAIgPciXknSrUeIyrbVsED9MN+hwEErcFOkMoud7ml8M9YgCIFZlbv/t
hd69U6Y8RT8G+R07mNSljbBbUkERkT1Uao8H
-----END CERTIFICATE-----`;
/** See {@linkcode CERT}. */
export const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgFl/uYNB1RPU3CYPm
pfIpk1YjldQcY/G6RvAzv/8Q0vuhRANCAASW6LiN1qNqJ8ceWLQpM+gIguVPP4WO
dtiSdPkzJ/Ja9W4QVfuFOUmGMrekJRsnIZpMOZkzLc5ZRpoqm0i2ejT/
-----END PRIVATE KEY-----`;

/** What has been read, once it is let in. */
export interface Inbox {
  readonly port: number;
  /** Reads what comes until `until` bytes are there or the connection ends; gives it all. */
  all(until?: number | Promise<number>): Promise<Bytes>;
}

/** Accepts one connection and reads nothing before it is asked to. */
export function inbox({ defer }: Trial, secure = false): Inbox {
  const options = { hostname, port: 0 };
  const listener: Deno.Listener<Deno.Conn> = secure
    ? Deno.listenTls({ ...options, cert: CERT, key: KEY })
    : Deno.listen(options);
  const accepted = listener.accept();
  accepted.catch(() => {});
  defer(() => listener.close());
  defer(async () => (await accepted).close());
  if (secure) accepted.then((conn) => (conn as Deno.TlsConn).handshake());
  return {
    port: (listener.addr as Deno.NetAddr).port,
    all: async (until) => await readAll(await accepted, until),
  };
}

/** Reads to the end, or until so many bytes are there, or nothing more has come for a while. */
export async function readAll(
  conn: { read(p: Uint8Array): Promise<number | null> },
  until: number | Promise<number> = Infinity,
): Promise<Bytes> {
  const parts: Uint8Array[] = [];
  const buffer = new Uint8Array(65536);
  let size = 0;
  let most = Infinity;
  const told = Promise.resolve(until).then((bytes) => {
    most = bytes;
    return size >= most ? null : new Promise<never>(() => {});
  });
  told.catch(() => {});
  while (size < most) {
    const read = await Promise.race([
      conn.read(buffer).catch(() => null),
      pause(QUIET_MS),
      told,
    ]);
    if (typeof read !== "number") break;
    size += read;
    parts.push(buffer.slice(0, read));
  }
  return joined(parts);
}

/** Writes until the other side takes no more, so that the next write has to wait; gives how much. */
export async function stuff(
  write: (bytes: Uint8Array) => Promise<unknown>,
): Promise<number> {
  const junk = new Uint8Array(1 << 20);
  for (let size = 0;;) {
    let isWaiting = true;
    const writing = write(junk).then(() => isWaiting = false);
    writing.catch(() => {});
    size += junk.length;
    await Promise.race([writing, pause(30)]);
    if (isWaiting) return size;
  }
}

/** The same on a connection, whose writes take a part; gives how much was taken in the end. */
export async function stuffConn(
  conn: { write(p: Uint8Array): Promise<number> },
): Promise<() => Promise<number>> {
  const junk = new Uint8Array(1 << 20);
  for (let size = 0;;) {
    const writing = conn.write(junk);
    writing.catch(() => {});
    const took = await Promise.race([writing, pause(50)]);
    if (typeof took !== "number") return async () => size + await writing;
    size += took;
  }
}

/** More than any socket takes at once, so that what comes behind it waits. */
export const JUNK: Bytes = new Uint8Array(8 << 20);

/** Writes all of it. */
export async function writeAll(
  conn: { write(p: Uint8Array): Promise<number> },
  bytes: Uint8Array,
): Promise<void> {
  while (bytes.length > 0) bytes = bytes.subarray(await conn.write(bytes));
}

/** Both ends of a connection. */
export async function pair({ defer }: Trial) {
  const listener = Deno.listen({ hostname, port: 0 });
  const [conn, peer] = await Promise.all([
    Deno.connect({ hostname, port: listener.addr.port }),
    listener.accept(),
  ]);
  for (const each of [listener, conn, peer]) defer(() => each.close());
  return { conn, peer };
}

/** A server of HTTP; gives its port. */
export function serve({ defer }: Trial, handler: Deno.ServeHandler): number {
  const server = Deno.serve({ hostname, port: 0, onListen() {} }, handler);
  defer(() => server.shutdown());
  return server.addr.port;
}

/** A server's address for one WebSocket, and its side of it. */
export function socketServer(trial: Trial) {
  const { promise, resolve } = Promise.withResolvers<WebSocket>();
  const port = serve(trial, (request) => {
    const { socket, response } = Deno.upgradeWebSocket(request);
    socket.onopen = () => resolve(socket);
    return response;
  });
  return { url: `ws://${hostname}:${port}`, server: promise };
}

/** The next short message that comes to a WebSocket, behind long ones. */
export function shortMessage(socket: WebSocket): Promise<Uint8Array> {
  socket.binaryType = "arraybuffer";
  return new Promise((resolve) => {
    socket.onmessage = ({ data }) => {
      if (data.byteLength < 1e6) resolve(new Uint8Array(data));
    };
  });
}

/** A response that is given to a server whose client does not read yet. */
export function answered(
  api: string,
  make: (bytes: Bytes, size: number) => Response,
): Probe {
  return probe(api, "return", async (trial) => {
    const { promise, resolve } = Promise.withResolvers<Response>();
    const body = await getLate(serve(trial, () => promise), trial);
    const { length } = trial.pattern;
    return (bytes) => {
      resolve(make(bytes, length));
      return { result: () => body(length) };
    };
  });
}

/** A file is written and read again. */
export function written(
  api: string,
  end: Probe["end"],
  write: (path: string, bytes: Bytes) => Promise<unknown> | void,
): Probe {
  return probe(api, end, async (trial) => {
    const path = await tempFile(trial);
    return (bytes) => {
      const end = write(path, bytes) as Promise<unknown> | undefined;
      return {
        end,
        async result() {
          await end?.catch(() => {});
          await pause(5);
          return await Deno.readFile(path).catch(() => new Uint8Array(0));
        },
      };
    };
  });
}

/** A sink of the platform, written to behind what it has not taken yet. */
export function sunk(
  api: string,
  open: (trial: Trial) => Promise<
    { writable: WritableStream; arrived: () => Promise<Uint8Array> }
  >,
): Probe {
  return probe(api, "promise", async (trial) => {
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
  });
}

/** A path in a folder of the trial's own. */
export async function tempFile({ defer }: Trial): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "smriti_sinks_" });
  defer(() => Deno.remove(folder, { recursive: true }));
  return `${folder}/file`;
}

/** A pipe with a name, whose reader has to wait. */
export async function fifo(trial: Trial): Promise<string> {
  const path = await tempFile(trial);
  await new Deno.Command("mkfifo", { args: [path] }).output();
  return path;
}

/** A request for raw HTTP/1.1 whose answer is read only when asked for; gives the body. */
export async function getLate(
  port: number,
  trial: Trial,
): Promise<(size: number) => Promise<Uint8Array>> {
  const conn = await Deno.connect({ hostname, port });
  trial.defer(() => conn.close());
  const head = `GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
  await writeAll(conn, new TextEncoder().encode(head));
  return async (size) => {
    const all = await readAll(conn);
    const text = new TextDecoder("latin1").decode(all.subarray(0, 4096));
    const body = all.subarray(text.indexOf("\r\n\r\n") + 4);
    return body.length < size ? body : body.subarray(body.length - size);
  };
}
