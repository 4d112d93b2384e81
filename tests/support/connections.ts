// Real things to read from, for the tests of lent blocks: a TCP connection and
// a named pipe, whose reads stay pending until the other end writes.

const encoder = new TextEncoder();

/** Two ends of one TCP connection. */
export interface Wire extends Disposable {
  readonly ours: Deno.TcpConn;
  readonly peer: Deno.TcpConn;
}

/** Connects to itself; closes both ends when disposed. */
export async function wire(): Promise<Wire> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { hostname, port } = listener.addr;
  const [peer, ours] = await Promise.all([
    Deno.connect({ hostname, port }),
    listener.accept(),
  ]);
  return {
    ours,
    peer,
    [Symbol.dispose]() {
      shut(ours);
      shut(peer);
    },
  };
}

/** Closes what a stream or a test may have closed already. */
export function shut(resource: { close(): void }): void {
  try {
    resource.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

/** Writes a whole text. */
export async function say(
  to: { write(bytes: Uint8Array): Promise<number> },
  text: string,
): Promise<void> {
  let bytes = encoder.encode(text);
  while (bytes.length > 0) bytes = bytes.subarray(await to.write(bytes));
}

/** A named pipe. A read of it runs on another thread until the other end writes. */
export class Fifo implements AsyncDisposable {
  readonly #folder: string;
  /** Open for reading and writing, so that opening does not wait. */
  readonly reader: Deno.FsFile;

  private constructor(folder: string, reader: Deno.FsFile) {
    this.#folder = folder;
    this.reader = reader;
  }

  /** Makes one in a folder of its own. */
  static async open(): Promise<Fifo> {
    const folder = await Deno.makeTempDir({ prefix: "smriti_" });
    const path = `${folder}/fifo`;
    const { success } = await new Deno.Command("mkfifo", { args: [path] })
      .output();
    if (!success) throw new Error("mkfifo failed");
    const reader = await Deno.open(path, { read: true, write: true });
    return new Fifo(folder, reader);
  }

  /** Writes by a handle of its own: `reader` may be closed by now. */
  async say(text: string): Promise<void> {
    const path = `${this.#folder}/fifo`;
    using file = await Deno.open(path, { read: true, write: true });
    await say(file, text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    shut(this.reader);
    await Deno.remove(this.#folder, { recursive: true });
  }
}
