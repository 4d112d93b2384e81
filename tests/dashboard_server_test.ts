// The live picture in examples/dashboard/ as a browser gets it: which requests it answers, whom it
// refuses, what it streams, how it times waits. The page itself is looked at in dashboard_test.ts.

import {
  assert,
  assertEquals,
  assertNotEquals,
  assertStringIncludes,
} from "@std/assert";
import { deadline } from "@std/async";
import { BlockPool } from "@smriti/pool";
import type { Frame } from "../examples/dashboard/frame.ts";
import { Waits } from "../examples/dashboard/waits.ts";
import { UploadServer } from "../examples/upload/server.ts";
import { canRunDeno, hasPosixShell, hasProc } from "./support/platform.ts";
import { Served } from "./support/served.ts";
import "./support/open_library.ts";

Deno.test("dashboard() answers its own requests only, and nobody else's page", async () => {
  await using served = new Served();
  const { dashboard, pool } = served;
  const ask = (path: string, init?: RequestInit) =>
    dashboard.handle(new Request(new URL(path, served.url), init));
  assertEquals(ask("/other"), undefined);
  assertEquals(ask("/", { method: "POST" }), undefined);
  assertEquals(ask("/dashboard/burst"), undefined);
  assertEquals(ask("/dashboard/toString", { method: "POST" }), undefined);

  const page = await ask("/")!;
  assertEquals(page.headers.get("content-type"), "text/html; charset=utf-8");
  const policy = page.headers.get("content-security-policy")!;
  assertStringIncludes(policy, "default-src 'none'");
  const html = await page.text();
  // All it needs comes from here.
  for (const [, path] of html.matchAll(/(?:src|href)="(\/[^"]*)"/g)) {
    assertEquals((await ask(path)!).status, 200, path);
  }

  const post = (headers: HeadersInit, url = served.url) =>
    dashboard.handle(
      new Request(new URL("/dashboard/hold", url), { method: "POST", headers }),
    )!;
  const { origin } = new URL(served.url);
  const { port } = new URL(served.url);
  for (
    const refused of [
      post({ origin: "https://example.com" }),
      post({ origin: "null" }),
      post({ origin: `http://localhost:${port}` }),
      // A name that only points here: the browser takes it for the attacker's.
      post({}, `http://rebound.example:${port}`),
    ]
  ) {
    assertEquals((await refused).status, 403);
  }
  assertEquals(pool.stats().acquiredBlocks, 0);
  assertEquals(await (await post({ origin })).json(), {
    done: "50 blocks held.",
  });
  assertEquals(pool.stats().acquiredBlocks, 50);
});

Deno.test("dashboard() streams frames while somebody looks, and lets go when disposed", async () => {
  await using served = new Served();
  const { pool } = served;
  using block = pool.acquireSync();
  const response = await fetch(`${served.url}dashboard/events`);
  assertEquals(response.headers.get("content-type"), "text/event-stream");
  const reader = response.body!.pipeThrough(new TextDecoderStream())
    .getReader();
  const frames: Frame[] = [];
  let text = "";
  const next = async () => {
    while (true) {
      const match = /data: (.*)\n\n/.exec(text);
      if (match !== null) {
        text = text.slice(match.index + match[0].length);
        const frame: Frame = JSON.parse(match[1]);
        frames.push(frame);
        return frame;
      }
      const { value, done } = await deadline(reader.read(), 60_000);
      if (done) return undefined;
      text += value;
    }
  };
  const first = (await next())!;
  const stats = pool.stats();
  assertEquals(first.stats, stats);
  assertEquals(
    first.slots,
    `a1f${stats.freeBlocks}u${200 - stats.committedBlocks}`,
  );
  const { rss } = Deno.memoryUsage();
  assert(first.rssBytes > rss / 4 && first.rssBytes < rss * 4);
  block.release();
  assertNotEquals((await next())!.slots, first.slots);
  served.dashboard[Symbol.dispose]();
  while (await next() !== undefined);
});

Deno.test("Waits times the acquires that wait, and those alone", async () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1, backend: "auto" });
  const { acquire } = pool;
  {
    using waits = new Waits(pool);
    const block = await pool.acquire();
    assertEquals(waits.summary(), { count: 0, p50Ms: 0, p99Ms: 0 });
    const late = pool.acquire().then((block) => block.release());
    const never = pool.acquire({ timeoutMs: 5 }).catch(() => {});
    await never;
    assertEquals(waits.summary().count, 1);
    await new Promise((resolve) => setTimeout(resolve, 60));
    block.release();
    await late;
    const { count, p50Ms, p99Ms } = waits.summary();
    assertEquals(count, 2);
    assert(p50Ms >= 4 && p50Ms <= p99Ms, `${p50Ms}`);
    assert(p99Ms >= 59 && p99Ms < 10_000, `${p99Ms}`);
  }
  assertEquals(pool.acquire, acquire);
});

Deno.test({
  name:
    "examples/dashboard.ts listens on 127.0.0.1 only, says so, and ends in order",
  ignore: !canRunDeno || !hasPosixShell,
  async fn() {
    await using child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--quiet",
        import.meta.resolve("../examples/dashboard.ts"),
      ],
      stdout: "piped",
    }).spawn();
    const reader = child.stdout.pipeThrough(new TextDecoderStream())
      .getReader();
    const { value: line = "" } = await deadline(reader.read(), 60_000);
    const url = /^Open (http:\/\/127\.0\.0\.1:(\d+)\/) \(this machine only\)/
      .exec(line);
    assert(url !== null, line);
    const page = await fetch(url[1]);
    assertStringIncludes(await page.text(), "<title>Smriti");
    const events = await fetch(`${url[1]}dashboard/events`);
    if (hasProc) {
      const port = Number(url[2]).toString(16).toUpperCase().padStart(4, "0");
      const tables = ["/proc/net/tcp", "/proc/net/tcp6"].map((path) =>
        Deno.readTextFileSync(path)
      );
      const listening = tables.join("").split("\n")
        .map((row) => row.trim().split(/ +/))
        .filter(([, local, , state]) =>
          state === "0A" && local.endsWith(`:${port}`)
        );
      assertEquals(listening.map(([, local]) => local), [`0100007F:${port}`]);
    }
    child.kill("SIGINT");
    await events.body?.cancel();
    let rest = "";
    for (let read; !(read = await reader.read()).done;) rest += read.value;
    assertStringIncludes(rest, "no block is out");
    assertEquals((await child.status).code, 0);
  },
});

Deno.test("the upload demo shows its pool to browsers, and its state to curl", async () => {
  const server = new UploadServer({
    kind: "pooled",
    port: 0,
    maxSize: 4096,
    maxBlocks: 4,
    live: true,
  });
  try {
    const url = `http://127.0.0.1:${server.port}/`;
    const ask = async (init?: RequestInit) =>
      await (await fetch(url, init)).text();
    const accept = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";
    assertStringIncludes(await ask({ headers: { accept } }), "<title>Smriti");
    assertEquals(
      await ask({ method: "POST", body: "" }),
      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n",
    );
    assertEquals(JSON.parse(await ask()).requests, 1);
    const events = await fetch(`${url}dashboard/events`);
    // An open page does not keep the server from ending.
    await deadline(server.close(), 30_000);
    await events.body?.cancel();
  } finally {
    await server.close();
  }
});
