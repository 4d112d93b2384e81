/**
 * A live picture of a pool as a request handler: mount it in front of your own and open `/`.
 *
 * Owns the routes, the stream of events and who may press the buttons. For 127.0.0.1 only: nobody
 * is asked for a password, so requests that another site made a browser send are refused.
 */

import type { BlockPool } from "@smriti/pool";
import { takeFrame } from "./frame.ts";
import { Load } from "./load.ts";
import { Waits } from "./waits.ts";

/** Often enough to look alive; a frame of 1 000 slots takes about 0.15 ms to make. */
const FRAME_MS = 200;

const FILES: Record<string, [file: string, type: string]> = {
  "/": ["index.html", "text/html"],
  "/dashboard/theme.css": ["theme.css", "text/css"],
  "/dashboard/style.css": ["style.css", "text/css"],
  "/dashboard/page.js": ["page.js", "text/javascript"],
  "/dashboard/slot_map.js": ["slot_map.js", "text/javascript"],
  "/dashboard/chart.js": ["chart.js", "text/javascript"],
};
const EVENTS = "/dashboard/events";

/** Nothing but the files above; the icon is in the page itself. */
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; " +
  "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; " +
  "frame-ancestors 'none'";

/** Names under which a browser on this machine reaches it: no others, whatever a DNS says. */
const LOCAL_HOSTS = new Set(["127.0.0.1", "localhost", "[::1]"]);

/** Asks for a pool's picture. Dispose it before the server shuts down: its streams never end. */
export interface Dashboard extends Disposable {
  /** The answer, or `undefined` if the request is for somebody else. */
  handle(request: Request): Response | Promise<Response> | undefined;
}

/** A dashboard of one pool. */
export function dashboard(pool: BlockPool): Dashboard {
  const load = new Load(pool);
  const waits = new Waits(pool);
  const stream = new Stream(() => takeFrame(pool, waits, load));
  const actions: Record<string, () => string> = {
    "/dashboard/burst": () => load.burst(),
    "/dashboard/hold": () => load.hold(),
    "/dashboard/trim": () => load.trim(),
  };
  return {
    handle(request) {
      const { pathname } = new URL(request.url);
      const action = actions[pathname];
      const file = FILES[pathname];
      const isRead = request.method === "GET" || request.method === "HEAD";
      const isMine = request.method === "POST" && action !== undefined ||
        isRead && (file !== undefined || pathname === EVENTS);
      if (!isMine) return undefined;
      if (!isLocal(request)) return new Response("refused\n", { status: 403 });
      if (!isRead) return Response.json({ done: action() });
      return pathname === EVENTS ? stream.open() : serve(...file);
    },
    [Symbol.dispose]() {
      stream[Symbol.dispose]();
      load[Symbol.dispose]();
      waits[Symbol.dispose]();
    },
  };
}

/** Whether the page itself asks: neither another site nor a name that only points here. */
function isLocal({ headers, url }: Request): boolean {
  const { host, hostname } = new URL(url);
  const origin = headers.get("origin");
  return LOCAL_HOSTS.has(hostname) &&
    (origin === null || origin === `http://${host}`);
}

async function serve(file: string, type: string): Promise<Response> {
  const text = await Deno.readTextFile(new URL(file, import.meta.url));
  return new Response(text, {
    headers: {
      "content-type": `${type}; charset=utf-8`,
      "content-security-policy": POLICY,
      "cache-control": "no-cache",
      "x-content-type-options": "nosniff",
    },
  });
}

/** Sends frames to every page that is open; nothing runs while none is. */
class Stream implements Disposable {
  readonly #take: () => unknown;
  readonly #pages = new Set<ReadableStreamDefaultController<Uint8Array>>();
  readonly #encoder = new TextEncoder();
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(take: () => unknown) {
    this.#take = take;
  }

  open(): Response {
    let page: ReadableStreamDefaultController<Uint8Array>;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        page = controller;
        this.#pages.add(page);
        page.enqueue(this.#encoder.encode(`retry: 500\n${this.#message()}`));
        this.#timer ??= setInterval(() => this.#send(), FRAME_MS);
      },
      cancel: () => this.#remove(page),
    });
    return new Response(body, {
      headers: {
        "content-type": "text/event-stream",
        "cache-control": "no-store",
      },
    });
  }

  [Symbol.dispose](): void {
    for (const page of this.#pages) {
      this.#remove(page);
      page.close();
    }
  }

  #send(): void {
    const message = this.#encoder.encode(this.#message());
    for (const page of this.#pages) {
      // A page that does not keep up misses frames instead of piling them up here.
      if ((page.desiredSize ?? 0) > 0) page.enqueue(message);
    }
  }

  #message(): string {
    return `data: ${JSON.stringify(this.#take())}\n\n`;
  }

  #remove(page: ReadableStreamDefaultController<Uint8Array>): void {
    this.#pages.delete(page);
    if (this.#pages.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
