// Clients that misbehave while a read or write of the server is in flight, each
// kind in one function. A client is told by `met` that the server has bytes of
// it and waits for more, and only then does what it is here for.

import http2 from "node:http2";
import net from "node:net";
import { delay } from "@std/async";
import { Client, pattern } from "./uploads.ts";

const encoder = new TextEncoder();

/** What a client needs to know of the server. */
export interface Victim {
  /** Where it takes uploads. */
  readonly http: Deno.NetAddr;
  /** Where it sends without end what is not read. */
  readonly source: Deno.NetAddr;
  /** The largest upload it accepts. */
  readonly limit: number;
  /** Resolves when the read (or write) that serves this client is in flight. */
  met(id: string): Promise<void>;
}

/** Misbehaves once. `id` goes along as a header; `path` is the adaptor to meet. */
export type BadClient = (
  victim: Victim,
  id: string,
  path: string,
) => Promise<void>;

const PART = "x".repeat(3000);

/** The head of an upload and what it sends of its body at first. */
function start(id: string, path: string, length: string, part = PART): string {
  return `POST ${path} HTTP/1.1\r\nHost: localhost\r\nX-Id: ${id}\r\n` +
    `${length}\r\n\r\n${part}`;
}

async function begin(
  { http, met }: Victim,
  id: string,
  path: string,
  length: string,
  part?: string,
): Promise<Client> {
  const client = await Client.connect(http);
  await client.write(encoder.encode(start(id, path, length, part)));
  await met(id);
  return client;
}

/** Reads until the server hangs up: whatever it says is fine, but it must end. */
async function drain(client: Client): Promise<void> {
  const buffer = new Uint8Array(4096);
  try {
    while (await client.conn.read(buffer) !== null);
  } catch (error) {
    if (!(error instanceof Deno.errors.ConnectionReset)) throw error;
  }
}

async function statusOf(client: Client, status: number): Promise<void> {
  const answer = await client.answer();
  if (answer.status !== status) {
    throw new Error(`expected ${status}, got ${answer.status} ${answer.text}`);
  }
}

/** By name; each runs as often as the others. */
export const BAD_CLIENTS: Readonly<Record<string, BadClient>> = {
  /** Hangs up in the middle of its upload. */
  async cut(victim, id, path) {
    using _client = await begin(victim, id, path, "Content-Length: 20000");
  },

  /** The same with a reset instead of a farewell. */
  async reset({ http, met }, id, path) {
    const socket = net.connect(http.port, http.hostname);
    socket.on("error", () => {});
    await new Promise((resolve) => socket.on("connect", resolve));
    socket.write(start(id, path, "Content-Length: 20000"));
    await met(id);
    const closed = new Promise((resolve) => socket.on("close", resolve));
    socket.resetAndDestroy();
    await closed;
  },

  /** Announces more than it sends, and waits for an answer. */
  async short(victim, id, path) {
    using client = await begin(victim, id, path, "Content-Length: 20000");
    await client.conn.closeWrite();
    await drain(client);
  },

  /** Announces less than it sends. */
  async excess(victim, id, path) {
    using client = await begin(victim, id, path, "Content-Length: 3001");
    await client.write(new Uint8Array(2000).fill(120));
    await statusOf(client, 200);
  },

  /** Announces a body and sends none of it. */
  async nothing(victim, id, path) {
    using _client = await begin(victim, id, path, "Content-Length: 9000", "");
  },

  /** Sends more than is accepted, without saying so before. */
  async oversize(victim, id, path) {
    const part = `${PART.length.toString(16)}\r\n${PART}\r\n`;
    const length = "Transfer-Encoding: chunked";
    using client = await begin(victim, id, path, length, part);
    const rest = pattern(victim.limit);
    const head = `${rest.length.toString(16)}\r\n`;
    try {
      await client.write(encoder.encode(head));
      await client.write(rest);
    } catch (error) {
      if (!(error instanceof Error)) throw error; // it may have hung up
    }
    await statusOf(client, 413);
  },

  /** Sends a byte now and then until the server has had enough. */
  async slow(victim, id, path) {
    using client = await begin(victim, id, path, "Content-Length: 9000", "x");
    const answered = statusOf(client, 408);
    let waiting = true;
    answered.finally(() => waiting = false).catch(() => {});
    while (waiting) {
      await client.write(new Uint8Array(1)).catch(() => {});
      await delay(20);
    }
    await answered;
  },

  /** Cancels an HTTP/2 upload, which then looks like a complete one. */
  async "http/2 cancel"({ http, met }, id, path) {
    const session = http2.connect(`http://${http.hostname}:${http.port}`);
    session.on("error", () => {});
    const stream = session.request({
      ":method": "POST",
      ":path": path,
      "x-id": id,
      "content-length": "20000",
    });
    stream.on("error", () => {});
    stream.write(encoder.encode(PART));
    await met(id);
    const closed = new Promise((resolve) => stream.on("close", resolve));
    stream.close(http2.constants.NGHTTP2_CANCEL);
    await closed;
    await new Promise<void>((resolve) => session.close(() => resolve()));
  },

  /** Asks for much, reads nothing and hangs up while the server writes. */
  async "slow reader"({ source, met }, id) {
    const { hostname, port } = source;
    using conn = await Deno.connect({ hostname, port });
    await conn.write(encoder.encode(id.padEnd(16)));
    await met(id);
  },
};
