/**
 * One upload server. `UploadServer` runs in the process of `--serve`; run as a script, this file is
 * one of the two measured servers, which tell their parent what they cost.
 */
import { BlockPool, type PoolStats } from "@smriti/pool";
import { answer } from "../../bench/child.ts";
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

/** What a server says of itself. */
export interface State {
  readonly requests: number;
  readonly pool?: PoolStats;
}

/** A running server. */
export class UploadServer {
  readonly port: number;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #pool: BlockPool | undefined;
  readonly #dashboard: Dashboard | undefined;
  readonly #upload: Handler;
  #requests = 0;
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
    this.#server = Deno.serve(
      { hostname: "127.0.0.1", port, onListen() {} },
      (request) => this.#answer(request),
    );
    this.port = this.#server.addr.port;
  }

  /** The pool at its busiest since it was last asked: a body is in its block for a millisecond. */
  state(): State {
    const pool = this.#busiest ?? this.#pool?.stats();
    this.#busiest = undefined;
    return { requests: this.#requests, pool };
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
      const pool = this.#pool?.stats();
      return Response.json({ requests: this.#requests, pool });
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

if (import.meta.main) {
  const server = new UploadServer(JSON.parse(Deno.args[0]));
  const { port } = server;
  await answer({ port }, () => server.state(), () => server.close());
}
