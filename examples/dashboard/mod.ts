/**
 * A live picture of a pool as a request handler: mount it in front of your own and open `/`.
 * For 127.0.0.1 only: there is no password, so what other sites' pages ask for is refused.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { BlockPool } from "@smriti/pool";
import { loadOn } from "./load.ts";

const FRAME_MS = 200; // one of 1 000 slots takes 0.3 ms to make
const MIB = 2 ** 20;
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; " +
  "connect-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'";
/** Names under which a browser on this machine reaches it: no others, whatever a DNS says. */
const LOCAL_HOSTS = ["127.0.0.1", "localhost", "[::1]"];

/** A dashboard of one pool. */
export interface Dashboard extends Disposable {
  /** The answer, or `undefined` if the request is not for the dashboard. */
  handle(request: Request): Response | Promise<Response> | undefined;
}

/** Dispose it before the server shuts down: its streams end only then. */
export function dashboard(pool: BlockPool): Dashboard {
  const load = loadOn(pool);
  const ended = new AbortController();
  const routes = new Map<string, () => Response | Promise<Response>>([
    ["GET /", () => file("index.html", "html")],
    ["GET /dashboard/style.css", () => file("style.css", "css")],
    ["GET /dashboard/page.js", () => file("page.js", "javascript")],
    ["GET /dashboard/events", () => answer(events(), "event-stream")],
    ["POST /dashboard/burst", () => answer(load.burst())],
    ["POST /dashboard/hold", () => answer(load.hold())],
    ["POST /dashboard/trim", () => answer(load.trim())],
  ]);

  // Not new Response(frames()): Deno 2.9.6 fails to close that when the page goes.
  const events = () => ReadableStream.from(frames());
  /** A frame is made when the page takes it, so that a slow page misses some. */
  async function* frames(): AsyncGenerator<Uint8Array> {
    const encoder = new TextEncoder();
    yield encoder.encode("retry: 500\n");
    while (!ended.signal.aborted) {
      yield encoder.encode(`data: ${JSON.stringify(frame())}\n\n`);
      await delay(FRAME_MS, null, ended).catch(() => {});
    }
  }

  function frame() {
    const stats = pool.stats();
    const { committedBlocks: committed, acquiredBlocks: acquired } = stats;
    const { rss, heapTotal, external } = Deno.memoryUsage();
    return {
      atMs: performance.now(),
      stats,
      backend: pool.backend,
      slots: Array.from(pool.slots(), ({ state }) => state),
      /** By title, the lines of each chart. */
      charts: {
        "Blocks": { committed, acquired, limit: stats.maxBlocks },
        "Memory of the process, MiB": {
          "RSS": rss / MIB,
          "V8 heap": heapTotal / MIB,
          "external": external / MIB,
        },
        "Acquires that wait": { "now": stats.waiting },
      },
    };
  }

  return {
    handle({ headers, method, url }) {
      const { host, hostname, pathname } = new URL(url);
      const route = routes.get(`${method} ${pathname}`);
      if (route === undefined) return undefined;
      const origin = headers.get("origin") ?? `http://${host}`;
      const isLocal = LOCAL_HOSTS.includes(hostname);
      if (isLocal && origin === `http://${host}`) return route();
      return new Response("refused\n", { status: 403 });
    },
    [Symbol.dispose]() {
      ended.abort();
      load[Symbol.dispose]();
    },
  };
}

async function file(name: string, type: string): Promise<Response> {
  const text = await Deno.readTextFile(new URL(name, import.meta.url));
  return answer(text, type);
}

function answer(body: BodyInit, type = "plain"): Response {
  return new Response(body, {
    headers: {
      "content-type": `text/${type}; charset=utf-8`,
      "content-security-policy": POLICY,
      "x-content-type-options": "nosniff",
    },
  });
}
