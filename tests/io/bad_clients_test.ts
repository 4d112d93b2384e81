// Clients that cut, reset, lie, stall, flood or do not read, each while a read or
// a write of the server is in flight: every block is back in the pool afterwards.
// SMRITI_BAD_CLIENTS says how many there are in all.

import { assertEquals, assertGreaterOrEqual } from "@std/assert";
import { type Block, BlockPool } from "@smriti/pool";
import { chunks, collect, collector, copy, readBody } from "@smriti/pool/io";
import { BAD_CLIENTS, type Victim } from "../support/bad_clients.ts";
import { lawful } from "../support/invariants.ts";
import { until } from "../support/misuse.ts";
import {
  Client,
  keepsConnections,
  pattern,
  serve,
} from "../support/uploads.ts";

const ALL = Number(Deno.env.get("SMRITI_BAD_CLIENTS") ?? 10_000);
/** Clients at once. */
const CROWD = 48;
const LIMIT = 32 * 1024;
const PATIENCE_MS = 150;

/** One transfer, as far as the server knows. */
interface Transfer {
  /** Whether bytes have arrived, or could not have: whatever comes next is waited for. */
  arrived: () => boolean;
  settled: boolean;
}

class Server implements Victim, AsyncDisposable {
  readonly limit = LIMIT;
  readonly http: Deno.NetAddr;
  readonly source: Deno.NetAddr;
  readonly pool = new BlockPool({ blockSize: LIMIT, maxBlocks: CROWD * 2 });
  readonly #transfers = new Map<string, Transfer>();
  readonly #server = serve((request) => this.#upload(request));
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #sending: Promise<void>;

  constructor() {
    this.http = this.#server.addr;
    this.source = this.#listener.addr;
    this.#sending = this.#send();
  }

  async met(id: string): Promise<void> {
    await until(() => {
      const transfer = this.#transfers.get(id);
      // In flight means that it has not ended.
      if (transfer?.settled) throw new Error(`${id} is over`);
      return transfer?.arrived() === true;
    });
  }

  async #upload(request: Request): Promise<Response> {
    const id = request.headers.get("x-id") ?? "good";
    const transfer: Transfer = { arrived: () => false, settled: false };
    this.#transfers.set(id, transfer);
    const patience = id.startsWith("slow") ? PATIENCE_MS : 60_000;
    const signal = AbortSignal.timeout(patience);
    try {
      const size = await this.#read(request, signal, transfer);
      if (size === null) return new Response("too large", { status: 413 });
      return new Response(String(size));
    } catch (error) {
      const status = signal.aborted ? 408 : 400;
      return new Response((error as Error).name, { status });
    } finally {
      transfer.settled = true;
    }
  }

  async #read(
    request: Request,
    signal: AbortSignal,
    transfer: Transfer,
  ): Promise<number | null> {
    const isEmpty = request.headers.get("x-id")?.startsWith("nothing");
    const limit = LIMIT;
    switch (new URL(request.url).pathname) {
      case "/readBody": {
        using block = await this.pool.acquire();
        transfer.arrived = () => isEmpty || block.bytes[0] !== 0;
        const body = await readBody(request, block, { limit, signal });
        return body && body.length;
      }
      case "/chunks": {
        let size = 0;
        transfer.arrived = () => isEmpty || size > 0;
        for await (const { bytes } of chunks(request, this.pool, { signal })) {
          size += bytes.length;
          if (size > limit) return null;
        }
        return size;
      }
      case "/collector": {
        const blocks: Block[] = [];
        transfer.arrived = () => isEmpty || blocks.length > 0;
        const pool = spied(this.pool, blocks);
        using filling = collector(pool, { limit, signal });
        try {
          await request.body!.pipeTo(filling.writable, { signal });
        } catch (error) {
          if (!(error instanceof RangeError)) throw error;
        }
        using chain = filling.finish();
        return chain && chain.byteLength;
      }
      default: {
        const blocks: Block[] = [];
        transfer.arrived = () => isEmpty || blocks.length > 0;
        using chain = await collect(request, spied(this.pool, blocks), {
          limit,
          signal,
        });
        return chain && chain.byteLength;
      }
    }
  }

  async #send(): Promise<void> {
    const sending: Promise<void>[] = [];
    try {
      for (;;) sending.push(this.#flood(await this.#listener.accept()));
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
    await Promise.all(sending);
  }

  /** Sends without end; a write is in flight once nothing moves any more. */
  async #flood(conn: Deno.Conn): Promise<void> {
    using _conn = conn;
    using block = await this.pool.acquire();
    const buffer = new Uint8Array(16);
    await conn.read(buffer);
    const id = new TextDecoder().decode(buffer).trim();
    const endless = {
      read: (into: Uint8Array) => Promise.resolve(into.length),
    };
    let moved = performance.now();
    const transfer: Transfer = {
      arrived: () => performance.now() - moved > 15,
      settled: false,
    };
    this.#transfers.set(id, transfer);
    const onProgress = () => void (moved = performance.now());
    await copy(endless, conn, block, { onProgress }).catch(() => {});
    transfer.settled = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.#server.shutdown();
    await this.#sending;
    await this.pool.close();
  }
}

/** The pool, with a look at what is taken from it. */
function spied(pool: BlockPool, taken: Block[]): BlockPool {
  const look = <T>(result: T) => {
    for (const one of [result].flat()) {
      if (typeof Object(one).lend === "function") taken.push(one as Block);
    }
    return result;
  };
  return new Proxy(pool, {
    get(_, name) {
      const value = Reflect.get(pool, name);
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        const result = value.apply(pool, args);
        return result instanceof Promise ? result.then(look) : look(result);
      };
    },
  });
}

Deno.test("bad clients of every kind leave every block in the pool", {
  // A Deno that closes such connections also forgets reads of their bodies.
  sanitizeOps: keepsConnections,
}, async () => {
  await using server = new Server();
  const { pool } = server;
  const kinds = Object.keys(BAD_CLIENTS);
  const paths = ["/readBody", "/chunks", "/collect", "/collector"];
  const met: Record<string, number> = {};
  let next = 0;
  const client = async () => {
    while (next < ALL) {
      const number = next++;
      const kind = kinds[number % kinds.length];
      const path = paths[Math.floor(number / kinds.length) % paths.length];
      const id = `${kind} ${number}`.replace("slow reader", "reader");
      const victim = {
        ...{ http: server.http, source: server.source, limit: LIMIT },
        async met(id: string) {
          await server.met(id);
          met[kind] = (met[kind] ?? 0) + 1;
        },
      };
      try {
        await BAD_CLIENTS[kind](victim, id, path);
      } catch (cause) {
        next = ALL;
        throw new Error(`${kind} on ${path}`, { cause });
      }
    }
  };
  await Promise.all(Array.from({ length: CROWD }, client));

  for (const kind of kinds) {
    assertGreaterOrEqual(met[kind], Math.floor(ALL / kinds.length), kind);
  }
  await until(() => lawful(pool).acquiredBlocks === 0);
  const { abandonedBlocks, lentBlocks, waiting } = lawful(pool);
  assertEquals([abandonedBlocks, lentBlocks, waiting], [0, 0, 0]);
  console.log(`${ALL} bad clients:`, met);

  // And the server is as good as new.
  for (const path of paths) {
    using good = await Client.connect(server.http);
    const body = pattern(LIMIT);
    const head = `POST ${path} HTTP/1.1\r\nHost: localhost\r\n` +
      `Content-Length: ${body.length}\r\n\r\n`;
    await good.write(new TextEncoder().encode(head));
    await good.write(body);
    assertEquals(await good.answer(), { status: 200, text: String(LIMIT) });
  }
});
