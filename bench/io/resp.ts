/**
 * A server of the Redis protocol over two readers that have the same methods: one plain array for
 * each connection, as one would write it by hand, and `bufferedReader` on a pool.
 */
import { Buffer } from "node:buffer";
import { BlockPool } from "@smriti/pool";
import { bufferedReader } from "@smriti/pool/io";
import { writeAll } from "./load.ts";

/** What the protocol needs of a reader. */
export interface Reader {
  readonly available: number;
  fill(n: number): Promise<boolean>;
  take(n: number): Uint8Array;
  readLine(): Promise<string | null>;
}

/** One array, for as long as its connection lives. */
class PlainReader implements Reader {
  readonly #conn: Deno.Conn;
  readonly #bytes = new Uint8Array(64 * 1024);
  readonly #decoder = new TextDecoder();
  #start = 0;
  #end = 0;

  constructor(conn: Deno.Conn) {
    this.#conn = conn;
  }

  get available(): number {
    return this.#end - this.#start;
  }

  async fill(n: number): Promise<boolean> {
    while (this.available < n) {
      if (this.#bytes.length - this.#end < this.#bytes.length / 4) {
        this.#bytes.copyWithin(0, this.#start, this.#end);
        this.#end -= this.#start;
        this.#start = 0;
      }
      const size = await this.#conn.read(this.#bytes.subarray(this.#end));
      if (size === null) return false;
      this.#end += size;
    }
    return true;
  }

  take(n: number): Uint8Array {
    this.#start += n;
    return this.#bytes.subarray(this.#start - n, this.#start);
  }

  async readLine(): Promise<string | null> {
    for (let seen = 0;;) {
      const bytes = this.#bytes.subarray(this.#start, this.#end);
      const end = bytes.indexOf(10, seen);
      if (end >= 0) {
        this.#start += end + 1;
        return this.#decoder.decode(bytes.subarray(0, end - 1));
      }
      seen = bytes.length;
      if (!await this.fill(seen + 1)) return null;
    }
  }
}

/** By contestant. */
export const READERS: Record<string, () => (conn: Deno.Conn) => Reader> = {
  "one array each": () => (conn) => new PlainReader(conn),
  "bufferedReader":
    (pool = new BlockPool({ blockSize: 64 * 1024, maxBlocks: 256 })) =>
    (conn) => bufferedReader(conn, pool),
};

/** The words of a command, in memory of their own: a value is kept. */
async function command(reader: Reader): Promise<Uint8Array[] | null> {
  const line = await reader.readLine();
  if (line === null) return null;
  const words: Uint8Array[] = [];
  for (let left = Number(line.slice(1)); left > 0; left--) {
    const size = Number((await reader.readLine())!.slice(1));
    if (reader.available < size + 2) await reader.fill(size + 2);
    words.push(reader.take(size + 2).slice(0, size));
  }
  return words;
}

const encoder = new TextEncoder();
const OK = encoder.encode("+OK\r\n");
const END = encoder.encode("\r\n");
const S = 83;

/** Answers the commands of a connection, all that have come at once. */
export async function serveResp(
  conn: Deno.Conn,
  reader: Reader & Partial<Disposable>,
): Promise<void> {
  using _reader = { [Symbol.dispose]: () => reader[Symbol.dispose]?.() };
  const values = new Map<number, Uint8Array>();
  let answers: Uint8Array[] = [];
  for (let words; (words = await command(reader)) !== null;) {
    const [name, key, value] = words;
    if (name[0] === S) {
      values.set(key[0], value);
      answers.push(OK);
    } else {
      const found = values.get(key[0])!;
      answers.push(encoder.encode(`$${found.length}\r\n`), found, END);
    }
    if (reader.available > 0) continue;
    await writeAll(conn, Buffer.concat(answers));
    answers = [];
  }
}
