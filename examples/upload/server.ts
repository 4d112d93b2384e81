/**
 * One upload server and what it costs. `UploadServer` runs in the process of `--serve`; run as
 * a script, this file is one of the two measured server processes and answers commands of the
 * demo.
 */

import { cpuUsage } from "node:process";
import { BlockPool, type PoolStats } from "@smriti/pool";
import { type Dashboard, dashboard } from "../dashboard/mod.ts";
import { bytesHandler, type Handler, pooledHandler, READ_MS } from "./app.ts";
import { commands, report } from "./child.ts";

export interface ServerOptions {
  readonly kind: "pooled" | "req.bytes()";
  readonly port: number;
  readonly maxSize: number;
  readonly maxBlocks: number;
  /** Whether browsers are shown the pool, live. A server that is measured shows nothing. */
  readonly live?: boolean;
}

export type ServerCommand = "snapshot" | "close";

export interface ServerReady {
  readonly port: number;
}

export interface Snapshot {
  readonly requests: number;
  readonly cpuMicros: number;
  readonly rssBytes: number;
  readonly peakRssBytes: number;
  /** At the busiest moment since the last snapshot: a body is in its block for a millisecond. */
  readonly pool: PoolStats | null;
}

/** A running server. */
export class UploadServer {
  readonly port: number;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #pool: BlockPool | null;
  readonly #dashboard: Dashboard | null;
  #requests = 0;
  #peakRss = 0;
  #busiest: PoolStats | null = null;

  constructor(options: ServerOptions) {
    this.#pool = options.kind === "pooled"
      ? new BlockPool({
        name: "uploads",
        blockSize: options.maxSize,
        maxBlocks: options.maxBlocks,
        // By default a pool looks once a minute. Here the pauses are short and should be seen.
        shrinkIntervalMs: 300,
        shrinkStep: 0.25,
      })
      : null;
    const handler = this.#pool
      ? pooledHandler(this.#pool)
      : bytesHandler(options.maxSize);
    this.#dashboard = options.live && this.#pool ? dashboard(this.#pool) : null;
    const route = this.#route(handler);
    this.#server = listen(
      options.port,
      this.#dashboard ? withPage(this.#dashboard, route) : route,
    );
    this.port = this.#server.addr.port;
  }

  snapshot(): Snapshot {
    const { user, system } = cpuUsage();
    const rssBytes = Deno.memoryUsage().rss;
    this.#peakRss = Math.max(this.#peakRss, rssBytes);
    const pool = this.#busiest ?? this.#pool?.stats() ?? null;
    this.#busiest = null;
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
    const deadline = AbortSignal.timeout(READ_MS + 1_000);
    await Promise.race([this.#server.shutdown(), aborted(deadline)]);
    await this.#pool?.close();
  }

  /** Now and not later: a free block is acquired before the handler waits for anything. */
  #look(): void {
    if (this.#pool === null) return;
    const now = this.#pool.stats();
    if (now.acquiredBlocks >= (this.#busiest?.acquiredBlocks ?? 0)) {
      this.#busiest = now;
    }
  }

  #route(upload: Handler): Handler {
    return (request) => {
      if (request.method === "POST" || request.method === "PUT") {
        this.#requests++;
        const answer = upload(request);
        this.#look();
        return answer;
      }
      if (request.method === "GET") {
        const state = { requests: this.#requests, pool: this.#pool?.stats() };
        return Promise.resolve(Response.json(state));
      }
      return Promise.resolve(
        new Response("POST or PUT a body, or GET the state\n", { status: 405 }),
      );
    };
  }
}

/** The page for browsers in front; whoever does not ask for a page, like curl, gets the state. */
function withPage(dashboard: Dashboard, route: Handler): Handler {
  return async (request) => {
    const asksPage = request.headers.get("accept")?.includes("text/html");
    const isRoot = new URL(request.url).pathname === "/";
    const page = isRoot && !asksPage ? undefined : dashboard.handle(request);
    return await (page ?? route(request));
  };
}

function listen(
  port: number,
  handler: Handler,
): Deno.HttpServer<Deno.NetAddr> {
  const hostname = "127.0.0.1";
  try {
    return Deno.serve({ hostname, port, onListen() {} }, handler);
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    throw new Error(`port ${port} is taken by another program`);
  }
}

function aborted(signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve) => signal.addEventListener("abort", resolve));
}

/** Linux keeps the peak itself and misses nothing; elsewhere the highest sample has to do. */
function kernelPeakRss(): number | null {
  if (Deno.build.os !== "linux") return null;
  const match = /^VmHWM:\s+(\d+) kB$/m.exec(
    Deno.readTextFileSync("/proc/self/status"),
  );
  return match && Number(match[1]) * 1024;
}

async function obey(): Promise<void> {
  const server = new UploadServer(JSON.parse(Deno.args[0]));
  report({ port: server.port });
  for await (const command of commands<ServerCommand>()) {
    if (command === "close") await server.close();
    report(server.snapshot());
  }
}

if (import.meta.main) {
  try {
    await obey();
    Deno.exit(0); // now, whatever a connection might still be doing
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}
