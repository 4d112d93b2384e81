/**
 * What the parent does to the servers: uploads, requests through a proxy, frames, slow uploads. It
 * checks every answer. Its own cost counts nowhere.
 */
const hostname = "127.0.0.1";
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Writes all of it. */
export async function writeAll(
  to: { write(bytes: Uint8Array): Promise<number> },
  bytes: Uint8Array,
): Promise<void> {
  while (bytes.length > 0) bytes = bytes.subarray(await to.write(bytes));
}

async function readAll(conn: Deno.Conn, into: Uint8Array): Promise<void> {
  for (let at = 0; at < into.length;) {
    const size = await conn.read(into.subarray(at));
    if (size === null) throw new Error("the server has hung up");
    at += size;
  }
}

/** Without waiting for acknowledgements between two writes. */
export async function connect(port: number): Promise<Deno.TcpConn> {
  const conn = await Deno.connect({ hostname, port });
  conn.setNoDelay();
  return conn;
}

/** `count` turns of `size` bytes each on so many connections. */
export type Load = (
  port: number,
  size: number,
  count: number,
  connections: number,
) => Promise<void>;

/** Runs `fn` on so many connections at once until `count` turns are over. */
async function crowd(
  connections: number,
  count: number,
  fn: (more: () => boolean) => Promise<void>,
): Promise<void> {
  let left = count;
  await Promise.all(
    Array.from({ length: connections }, () => fn(() => left-- > 0)),
  );
}

/** A request, and its body of so many sevens. */
function post(size: number, type = "text/plain"): [Uint8Array, Uint8Array] {
  const head = encoder.encode(
    `POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${type}\r\n` +
      `Content-Length: ${size}\r\n\r\n`,
  );
  const message = new Uint8Array(head.length + size).fill(7);
  message.set(head);
  return [message, message.subarray(head.length)];
}

/** Reads an answer with a short body. */
export async function reply(
  conn: Deno.Conn,
  buffer: Uint8Array,
): Promise<{ status: number; text: string }> {
  let all = "";
  for (;;) {
    const size = await conn.read(buffer);
    if (size === null) throw new Error(`the server has hung up after ${all}`);
    all += decoder.decode(buffer.subarray(0, size));
    if (all.length > 10_000) throw new Error(`an answer too long: ${all}`);
    const match =
      /^HTTP\/1.1 (\d+) [^]*?content-length: (\d+)[^]*?\r\n\r\n([^]*)$/i
        .exec(all);
    if (match === null || match[3].length < Number(match[2])) continue;
    return { status: Number(match[1]), text: match[3] };
  }
}

/** Sends `count` of these messages; each must be answered so. */
async function send(
  port: number,
  message: Uint8Array,
  count: number,
  connections: number,
  answer: string,
): Promise<void> {
  await crowd(connections, count, async (more) => {
    using conn = await connect(port);
    const buffer = new Uint8Array(1024);
    while (more()) {
      await writeAll(conn, message);
      const { status, text } = await reply(conn, buffer);
      if (text !== answer) throw new Error(`wrong answer ${status} ${text}`);
    }
  });
}

/** `count` uploads of `size` bytes. */
export async function uploads(
  port: number,
  size: number,
  count: number,
  connections: number,
  answer = String(size + 7),
): Promise<void> {
  await send(port, post(size)[0], count, connections, answer);
}

/** `count` uploads of about `size` bytes of NDJSON, answered by the sum of its lines. */
export const texts: Load = async (port, size, count, connections) => {
  const line = `${JSON.stringify({ n: 1, text: "x".repeat(80) })}\n`;
  const lines = Math.floor(size / line.length);
  const [message, body] = post(lines * line.length);
  body.set(encoder.encode(line.repeat(lines)));
  await send(port, message, count, connections, String(lines));
};

/** `count` multipart forms with one file of `size` bytes. */
export const forms: Load = async (port, size, count, connections) => {
  const boundary = "----WebKitFormBoundary7MA4YWxkTrZu0gW";
  const start =
    `--${boundary}\r\nContent-Disposition: form-data; name=f; filename=f\r\n` +
    "Content-Type: application/octet-stream\r\n\r\n";
  const end = `\r\n--${boundary}--\r\n`;
  const type = `multipart/form-data; boundary=${boundary}`;
  const [message, body] = post(start.length + size + end.length, type);
  body.set(encoder.encode(start));
  body.set(encoder.encode(end), start.length + size);
  await send(port, message, count, connections, String(size + 7));
};

/** A store for a proxy to have something behind it. */
export function store(): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ hostname, port: 0, onListen() {} }, async (request) => {
    for await (const _ of request.body!);
    return new Response("stored");
  });
}

/** `count` answers of `size` bytes. */
export const answers: Load = async (port, size, count, connections) => {
  const text = encoder.encode(String(size));
  const [message, body] = post(text.length);
  body.set(text);
  await crowd(connections, count, async (more) => {
    using conn = await connect(port);
    const buffer = new Uint8Array(size + 1024);
    while (more()) {
      await writeAll(conn, message);
      for (let read = 0, total = Infinity; read < total;) {
        const got = await conn.read(buffer.subarray(read));
        if (got === null) throw new Error("the server has hung up");
        read += got;
        if (total < Infinity) continue;
        const head = decoder.decode(buffer.subarray(0, Math.min(read, 1024)));
        const end = head.indexOf("\r\n\r\n");
        if (end >= 0) total = end + 4 + size;
      }
    }
  });
};

/** Commands of the Redis protocol, `batch` at once, half of them with a value of `size`. */
export const commands =
  (batch: number): Load => async (port, size, count, connections) => {
    const value = "v".repeat(size);
    const set = `*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$${size}\r\n${value}\r\n`;
    const get = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    const pairs = Math.ceil(batch / 2);
    const message = encoder.encode((set + get).repeat(pairs));
    const expected = `+OK\r\n$${size}\r\n${value}\r\n`.repeat(pairs);
    await crowd(connections, count / (2 * pairs), async (more) => {
      using conn = await connect(port);
      const answer = new Uint8Array(expected.length);
      while (more()) {
        await writeAll(conn, message);
        await readAll(conn, answer);
        if (decoder.decode(answer) !== expected) {
          throw new Error("wrong answer");
        }
      }
    });
  };

/** Answers each 4 bytes with as many as they say. For a proxy to have something behind it. */
export function backend(): Deno.TcpListener {
  const listener = Deno.listen({ hostname, port: 0 });
  const serve = async (conn: Deno.TcpConn) => {
    using _conn = conn;
    const head = new Uint8Array(4);
    let answer = new Uint8Array(0);
    try {
      for (;;) {
        await readAll(conn, head);
        const size = new DataView(head.buffer).getUint32(0);
        if (answer.length !== size) answer = new Uint8Array(size).fill(7);
        await writeAll(conn, answer);
      }
    } catch {
      // The proxy has hung up.
    }
  };
  (async () => {
    for await (const conn of listener) serve(conn);
  })();
  return listener;
}

/** Requests for `size` bytes through a proxy; `fresh`: each on a connection of its own. */
export const requests =
  (fresh: boolean): Load => async (port, size, count, connections) => {
    const head = new Uint8Array(4);
    new DataView(head.buffer).setUint32(0, size);
    await crowd(connections, count, async (more) => {
      const buffer = new Uint8Array(size);
      let conn: Deno.TcpConn | undefined;
      while (more()) {
        conn ??= await connect(port);
        await writeAll(conn, head);
        await readAll(conn, buffer);
        if (buffer[0] !== 7 || buffer[size - 1] !== 7) {
          throw new Error("wrong bytes");
        }
        if (fresh) {
          conn.close();
          conn = undefined;
        }
      }
      conn?.close();
    });
  };

/** `count` frames of `size` bytes, 4 of each connection under way at once. */
export const frames: Load = async (port, size, count, connections) => {
  const message = new Uint8Array(4 + size).fill(7);
  new DataView(message.buffer).setUint32(0, size);
  const each = Math.ceil(count / connections);
  await crowd(connections, 0, async () => {
    using conn = await connect(port);
    const window = 4;
    let sent = 0;
    let answered = 0;
    let wake: (() => void) | undefined;
    const send = async () => {
      while (sent < each) {
        while (sent - answered >= window) {
          await new Promise<void>((resolve) => wake = resolve);
        }
        sent++;
        await writeAll(conn, message);
      }
    };
    const receive = async () => {
      const answer = new Uint8Array(4);
      while (answered < each) {
        await readAll(conn, answer);
        if (answer[0] !== 7) throw new Error("wrong answer");
        answered++;
        wake?.();
      }
    };
    await Promise.all([send(), receive()]);
  });
};

/** `count` uploads at once, each trickling for `ms`; gives how many were answered and refused. */
export async function slowUploads(
  port: number,
  size: number,
  count: number,
  ms: number,
  opened: () => Promise<void>,
): Promise<{ answered: number; refused: number }> {
  const [message] = post(size);
  const conns: Deno.TcpConn[] = [];
  for (let i = 0; i < count; i++) conns.push(await connect(port));
  await opened();
  let answered = 0;
  let refused = 0;
  const steps = 20;
  const piece = Math.ceil(message.length / steps);
  await Promise.all(conns.map(async (conn, i) => {
    using _conn = conn;
    await pause(ms * i / count); // arrives in its turn
    for (let step = 0; step < steps; step++) {
      await writeAll(conn, message.subarray(step * piece, (step + 1) * piece));
      await pause(ms / steps);
    }
    const { text } = await reply(conn, new Uint8Array(1024));
    if (text === "busy") refused++;
    else if (text === String(size + 7)) answered++;
    else throw new Error(`wrong answer ${text}`);
  }));
  return { answered, refused };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
