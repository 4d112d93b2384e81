/**
 * One upload server and what it costs. `UploadServer` runs in the process of `--serve`; run as a
 * script, this file is one of the two measured servers (child.ts is its other side).
 */
import { cpuUsage } from "node:process";
import { BlockPool, type PoolStats } from "@smriti/pool";
import { type Dashboard, dashboard } from "../dashboard/mod.ts";
import { bytesHandler, type Handler, pooledHandler, READ_MS } from "./app.ts";

export interface ServerOptions {
  readonly kind: "pooled" | "req.bytes()";
  readonly port: number;
  readonly maxSize: number;
  readonly maxBlocks: number;
  /** Whether browsers are shown the pool, live. A server that is measured shows nothing. */
  readonly live?: boolean;
}

export interface Snapshot {
  readonly requests: number;
  readonly cpuMicros: number;
  readonly rssBytes: number;
  readonly peakRssBytes: number;
  /** At the busiest moment since the last snapshot: a body is in its block for a millisecond. */
  readonly pool: PoolStats | undefined;
}

/** A running server. */
export class UploadServer {
  readonly port: number;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #pool: BlockPool | undefined;
  readonly #dashboard: Dashboard | undefined;
  readonly #upload: Handler;
  #requests = 0;
  #peakRss = 0;
  #busiest: PoolStats | undefined;

  constructor({ kind, port, maxSize, maxBlocks, live }: ServerOptions) {
    if (kind === "pooled") {
      this.#pool = new BlockPool({
        name: "uploads",
        blockSize: maxSize,
        maxBlocks,
        // By default a pool looks once a minute. Here the pauses are short and should be seen.
        shrinkIntervalMs: 300,
        shrinkStep: 0.25,
      });
      if (live) this.#dashboard = dashboard(this.#pool);
    }
    this.#upload = this.#pool
      ? pooledHandler(this.#pool)
      : bytesHandler(maxSize);
    this.#server = listen(port, (request) => this.#answer(request));
    this.port = this.#server.addr.port;
  }

  snapshot(): Snapshot {
    const { user, system } = cpuUsage();
    const rssBytes = Deno.memoryUsage().rss;
    this.#peakRss = Math.max(this.#peakRss, rssBytes);
    const pool = this.#busiest ?? this.#pool?.stats();
    this.#busiest = undefined;
    return {
      requests: this.#requests,
      cpuMicros: user + system,
      rssBytes,
      peakRssBytes: kernelPeakRss() ?? this.#peakRss,
      pool,
    };
  }

  /** The uploads in progress first, then the pool, which needs its blocks back. */
  async close(): Promise<void> {
    this.#dashboard?.[Symbol.dispose]();
    // A sender that stopped in the middle of a body can hold up the shutdown for as long as it
    // stays connected, but not its block: by then every upload has had its answer.
    const { promise, resolve } = Promise.withResolvers<void>();
    const deadline = setTimeout(resolve, READ_MS + 1_000);
    await Promise.race([this.#server.shutdown(), promise]);
    clearTimeout(deadline);
    await this.#pool?.close();
  }

  #answer(request: Request): Response | Promise<Response> {
    const { method, headers, url } = request;
    // A page for browsers; curl, which asks for none, gets the state.
    const wantsPage = headers.get("accept")?.includes("text/html") ||
      new URL(url).pathname !== "/";
    const page = wantsPage ? this.#dashboard?.handle(request) : undefined;
    if (page) return page;
    if (method === "GET") {
      return Response.json({
        requests: this.#requests,
        pool: this.#pool?.stats(),
      });
    }
    if (method !== "POST" && method !== "PUT") {
      const text = "POST or PUT a body, or GET the state\n";
      return new Response(text, { status: 405 });
    }
    this.#requests++;
    const answer = this.#upload(request);
    // Now and not later: a free block is acquired before the handler waits for anything.
    const now = this.#pool?.stats();
    if (now && now.acquiredBlocks >= (this.#busiest?.acquiredBlocks ?? 0)) {
      this.#busiest = now;
    }
    return answer;
  }
}

function listen(port: number, handler: Deno.ServeHandler) {
  try {
    const hostname = "127.0.0.1";
    return Deno.serve({ hostname, port, onListen() {} }, handler);
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    throw new Error(`port ${port} is taken by another program`);
  }
}

/** Linux keeps the peak itself and misses nothing; elsewhere the highest sample has to do. */
function kernelPeakRss(): number | undefined {
  if (Deno.build.os !== "linux") return undefined;
  const status = Deno.readTextFileSync("/proc/self/status");
  return 1024 * Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)![1]);
}

/** Synchronous: the last one must be out before the process ends. */
function report(value: unknown): void {
  const bytes = new TextEncoder().encode(`${JSON.stringify(value)}\n`);
  for (let sent = 0; sent < bytes.length;) {
    sent += Deno.stderr.writeSync(bytes.subarray(sent));
  }
}

if (import.meta.main) {
  try {
    const server = new UploadServer(JSON.parse(Deno.args[0]));
    report({ port: server.port });
    const command = new Uint8Array(1);
    while (await Deno.stdin.read(command) !== null) report(server.snapshot());
    await server.close();
    Deno.exit(0); // now, whatever a connection might still be doing
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}
