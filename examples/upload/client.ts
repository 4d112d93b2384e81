/**
 * The load: bodies of random size and content over many connections, the digest in every answer
 * checked. It is a closed loop: a connection sends its next body when it has the answer to the
 * last, so a slow server gets fewer requests instead of a longer queue.
 */
import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";

/** First a quarter of the connections, then all: the burst in which the pool has to grow. */
export interface Load {
  readonly port: number;
  readonly seed: number;
  readonly connections: number;
  readonly calmMs: number;
  readonly burstMs: number;
}

export interface LoadReport {
  wrong: number;
  failed: number;
  /** What the first failed request said. */
  failure: string | undefined;
  activeMs: number;
  /** How long each request waited for its answer. */
  readonly waitedMs: number[];
}

export interface Body {
  readonly bytes: Uint8Array;
  readonly digest: string;
}

/**
 * Bodies are made and hashed before the first request: the load must not compete with the server
 * for the processor. Fewer of them when they are large, so that it starts soon.
 */
const MAX_BODIES = 256;
const MAX_BODIES_BYTES = 256 * 1024 * 1024;
/**
 * A body goes out in pieces with a rest between them, as a network would bring it. Sent at once it
 * would lie in the kernel's buffers as a whole, and the server would never have two uploads open.
 */
const PIECE_SIZE = 64 * 1024;
const REST_MS = 4;
/** Answers are a digest or one line of text; a longer one is a mistake. */
const MAX_ANSWER_SIZE = 8 * 1024;

export function makeBodies(minSize: number, maxSize: number): Body[] {
  const fitting = Math.floor(MAX_BODIES_BYTES / ((minSize + maxSize) / 2));
  const count = Math.max(16, Math.min(MAX_BODIES, fitting));
  // Every body is a window of its own on one random array: no two are equal, the array stays small.
  const noise = new Uint8Array(maxSize + count);
  for (let at = 0; at < noise.length; at += 65_536) {
    crypto.getRandomValues(noise.subarray(at, at + 65_536));
  }
  return Array.from({ length: count }, (_, index) => {
    // The extremes are always among them: the smallest, and the one that fills its whole block.
    const size = [minSize, maxSize][index] ??
      minSize + Math.floor(Math.random() * (maxSize - minSize + 1));
    const bytes = noise.subarray(index, index + size);
    return { bytes, digest: createHash("sha256").update(bytes).digest("hex") };
  });
}

export async function run(load: Load, bodies: Body[]): Promise<LoadReport> {
  const { port, seed, connections, calmMs, burstMs } = load;
  const report: LoadReport = {
    wrong: 0,
    failed: 0,
    failure: undefined,
    activeMs: 0,
    waitedMs: [],
  };
  const start = performance.now();
  const end = start + calmMs + burstMs;

  async function send(index: number): Promise<void> {
    const random = randomNumbers(seed * 1_000 + index);
    if (index >= connections / 4) await delay(calmMs);
    let conn: Deno.TcpConn | undefined;
    while (performance.now() < end) {
      const body = bodies[Math.floor(random() * bodies.length)];
      try {
        conn ??= await connect(port);
        const { status, text, waitedMs } = await post(conn, body.bytes);
        report.waitedMs.push(waitedMs);
        if (status !== "200") throw new Error(`status ${status}: ${text}`);
        if (text.trim() !== body.digest) report.wrong++;
      } catch (error) {
        report.failed++;
        report.failure ??= String(error);
        conn?.close();
        conn = undefined;
        await delay(50); // a server that refuses everything must not be hammered
      }
    }
    conn?.close();
  }

  await Promise.all(Array.from({ length: connections }, (_, i) => send(i)));
  report.activeMs = performance.now() - start;
  return report;
}

async function connect(port: number): Promise<Deno.TcpConn> {
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  // Or the end of a body might wait for an acknowledgement of its beginning.
  conn.setNoDelay(true);
  return conn;
}

/** By hand: `fetch` would copy every body first, and take processor time from the server. */
async function post(conn: Deno.TcpConn, body: Uint8Array) {
  const head = "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\n" +
    `content-length: ${body.byteLength}\r\n\r\n`;
  await write(conn, new TextEncoder().encode(head));
  for (let sent = 0; sent < body.byteLength; sent += PIECE_SIZE) {
    if (sent > 0) await delay(REST_MS);
    await write(conn, body.subarray(sent, sent + PIECE_SIZE));
  }
  const start = performance.now();
  const buffer = new Uint8Array(MAX_ANSWER_SIZE);
  for (let filled = 0; filled < MAX_ANSWER_SIZE;) {
    const read = await conn.read(buffer.subarray(filled));
    if (read === null) throw new Error("the server closed the connection");
    filled += read;
    const answer = new TextDecoder().decode(buffer.subarray(0, filled));
    const parts =
      /^HTTP\/1.1 (\d+).*\r\ncontent-length: (\d+)\r\n.*?\r\n\r\n(.*)/is
        .exec(answer);
    if (parts && parts[3].length >= Number(parts[2])) {
      const [, status, , text] = parts;
      return { status, text, waitedMs: performance.now() - start };
    }
  }
  throw new Error("the answer is longer than any of this server");
}

async function write(conn: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  while (bytes.length > 0) bytes = bytes.subarray(await conn.write(bytes));
}

/** Both servers get the same bodies in the same order. (mulberry32; Math.random has no seed.) */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
