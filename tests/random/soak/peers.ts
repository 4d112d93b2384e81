// The rest of the soak's world: a server that sends everything back, files, named pipes, and a
// Worker that hands buffers back.

import { shut } from "../../support/connections.ts";

/** Sends back whatever it gets. Copies, so that it holds no block. */
export class EchoServer implements Disposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });

  constructor() {
    this.#serve();
  }

  /** A new connection to it. */
  connect(): Promise<Deno.TcpConn> {
    const { hostname, port } = this.#listener.addr;
    return Deno.connect({ hostname, port });
  }

  [Symbol.dispose](): void {
    this.#listener.close();
  }

  async #serve(): Promise<void> {
    try {
      for await (const conn of this.#listener) this.#echo(conn);
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
  }

  async #echo(conn: Deno.TcpConn): Promise<void> {
    try {
      await conn.readable.pipeTo(conn.writable);
    } catch {
      // The other end was cut on purpose.
    } finally {
      shut(conn);
    }
  }
}

/** A Worker that sends buffers back, with their bytes. */
export class EchoWorker implements Disposable {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, (buffer: ArrayBuffer) => void>();
  #last = 0;

  constructor() {
    const code = `onmessage = ({ data: [id, buffer] }) => {
      new Uint8Array(buffer)[0] ^= 0;
      postMessage([id, buffer], [buffer]);
    };`;
    const url = URL.createObjectURL(
      new Blob([code], { type: "text/javascript" }),
    );
    this.#worker = new Worker(url, { type: "module" });
    URL.revokeObjectURL(url);
    this.#worker.onmessage = ({ data: [id, buffer] }) => {
      this.#waiting.get(id)!(buffer);
      this.#waiting.delete(id);
    };
  }

  /** Sends a buffer there and gives what comes back. */
  send(buffer: ArrayBuffer): Promise<ArrayBuffer> {
    const id = ++this.#last;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#worker.postMessage([id, buffer], [buffer]);
    });
  }

  [Symbol.dispose](): void {
    this.#worker.terminate();
  }
}

/** Writes all of the bytes. */
export async function writeAll(
  to: { write(bytes: Uint8Array): Promise<number> },
  bytes: Uint8Array,
): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    at += await to.write(bytes.subarray(at));
  }
}

/** Reads until the bytes are full. */
export async function readAll(
  from: { read(bytes: Uint8Array): Promise<number | null> },
  bytes: Uint8Array,
): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const read = await from.read(bytes.subarray(at));
    if (read === null) throw new Error("the other end has closed");
    at += read;
  }
}
