/**
 * One keep-alive HTTP/1.1 connection that posts bodies, written out by hand: `fetch` would copy
 * every body first, and spend the processor time that the server under test needs.
 */

import { setTimeout as delay } from "node:timers/promises";

/**
 * A body goes out in pieces with a rest between them, as a network would bring it. Sent at once it
 * would lie in the kernel's buffers as a whole, and the server would never have two uploads open.
 */
const PIECE_SIZE = 64 * 1024;
const REST_MS = 4;

/** Answers are a digest or one line of text; a longer one is a mistake. */
const MAX_ANSWER_SIZE = 8 * 1024;

/** One character a byte, so that lengths in bytes and in characters are the same. */
const LATIN = new TextDecoder("latin1");

export interface Answer {
  readonly status: number;
  readonly text: string;
  /** From the last byte sent to the last byte of the answer. */
  readonly waitedMs: number;
}

export class Connection {
  readonly #conn: Deno.TcpConn;
  readonly #answer = new Uint8Array(MAX_ANSWER_SIZE);

  private constructor(conn: Deno.TcpConn) {
    this.#conn = conn;
  }

  static async open(port: number): Promise<Connection> {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port });
    // Or the end of a body might wait for an acknowledgement of its beginning.
    conn.setNoDelay(true);
    return new Connection(conn);
  }

  async post(body: Uint8Array): Promise<Answer> {
    const head = "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\n" +
      `content-length: ${body.byteLength}\r\n\r\n`;
    await this.#send(new TextEncoder().encode(head));
    for (let sent = 0; sent < body.byteLength; sent += PIECE_SIZE) {
      if (sent > 0) await delay(REST_MS);
      await this.#send(body.subarray(sent, sent + PIECE_SIZE));
    }
    const start = performance.now();
    const { status, text } = await this.#receive();
    return { status, text, waitedMs: performance.now() - start };
  }

  close(): void {
    this.#conn.close();
  }

  async #send(bytes: Uint8Array): Promise<void> {
    for (let sent = 0; sent < bytes.byteLength;) {
      sent += await this.#conn.write(bytes.subarray(sent));
    }
  }

  async #receive(): Promise<{ status: number; text: string }> {
    for (let filled = 0; filled < MAX_ANSWER_SIZE;) {
      const read = await this.#conn.read(this.#answer.subarray(filled));
      if (read === null) throw new Error("the server closed the connection");
      filled += read;
      const answer = parse(LATIN.decode(this.#answer.subarray(0, filled)));
      if (answer !== null) return answer;
    }
    throw new Error("the answer is too long");
  }
}

/** The answer in `text`, or `null` while some of it is missing. */
function parse(text: string): { status: number; text: string } | null {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return null;
  const status = /^HTTP\/1\.1 (\d{3})/.exec(text);
  const length = /^content-length: (\d+)\r$/im.exec(text.slice(0, end + 2));
  if (status === null || length === null) {
    throw new Error(`not an answer of this server: ${text.slice(0, 80)}`);
  }
  const body = text.slice(end + 4);
  return body.length < Number(length[1])
    ? null
    : { status: Number(status[1]), text: body };
}
