// The README: its server answers what the page says, its commands are tasks, and every link of it
// and of the other documents leads somewhere.

import { assert, assertEquals, assertGreater } from "@std/assert";
import type { BlockPool } from "@smriti/pool";
import "../support/open_library.ts";
import { Client, keepsConnections, pattern } from "../support/uploads.ts";

const ROOT = new URL("../../", import.meta.url);

function read(path: string): string {
  return Deno.readTextFileSync(new URL(path, ROOT));
}

function exists(path: string): boolean {
  try {
    Deno.statSync(new URL(path, ROOT));
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** The sample of a server, without its client, with shorter times. */
async function sample(): Promise<{
  pool: BlockPool;
  server: Deno.HttpServer<Deno.NetAddr>;
  stop(): Promise<void>;
}> {
  const [, code] = /^```ts\n([^`]*?)^\/\/ A client/m.exec(
    read("README.md").slice(read("README.md").indexOf("\n## A server\n")),
  )!;
  const shorter = [
    ["AbortSignal.timeout(30_000)", "AbortSignal.timeout(3_000)"],
    ["{ timeoutMs: 1000,", "{ timeoutMs: 300,"],
    ["31_000", "300"],
    ["maxBlocks: 64", "maxBlocks: 1"],
    ["port: 0 }", "port: 0, onListen() {} }"],
  ].reduce((text, [from, to]) => {
    assertEquals(text.split(from).length, 2, from);
    return text.replace(from, to);
  }, code);
  const source = encodeURIComponent(
    `${shorter}\nexport { pool, server, stop };`,
  );
  return await import(`data:application/typescript,${source}`);
}

Deno.test("the README's server answers 200, 413, 408, 400 and 503", {
  // Deno 2.9.5 and older leave the read of a body pending that was answered before its end.
  sanitizeOps: keepsConnections,
}, async () => {
  const { pool, server, stop } = await sample();
  const upload = async (body: Uint8Array<ArrayBuffer>) => {
    using client = await Client.connect({ port: server.addr.port });
    return (await client.upload(body)).status;
  };
  assertEquals(await upload(pattern(1024 * 1024)), 200);
  assertEquals(await upload(pattern(1024 * 1024 + 1)), 413);
  {
    using slow = await Client.connect({ port: server.addr.port });
    await slow.send(pattern(10), { announced: 100 });
    assertEquals((await slow.answer()).status, 408);
  }
  {
    using cut = await Client.connect({ port: server.addr.port });
    await cut.send(pattern(10), { announced: 100 });
    await cut.conn.closeWrite();
    assertEquals((await cut.answer()).status, 400);
  }
  {
    using _only = await pool.acquire();
    assertEquals(await upload(pattern(10)), 503);
  }
  const { acquiredBlocks, abandonedBlocks } = pool.stats();
  assertEquals([acquiredBlocks, abandonedBlocks], [0, 0]);
  await pool.close();
  assertEquals(await upload(pattern(10)), 503);
  // A sender that stands still keeps its connection, and the server stops all the same.
  using still = await Client.connect({ port: server.addr.port });
  await still.send(pattern(10), { announced: 100 });
  await stop();
});

Deno.test("the README's commands are tasks of this version of Deno", () => {
  const { tasks } = JSON.parse(read("deno.json"));
  const commands = [
    ...read("README.md").matchAll(/^npx -y deno@(\S+) task (\S+)/gm),
  ];
  assertEquals(commands.map(([, , task]) => task), ["demo", "test"]);
  for (const [, version, task] of commands) {
    assertEquals(version, "2.9.6");
    assert(task in tasks, task);
  }
});

/** As GitHub and JSR make them of headings. */
function anchors(markdown: string): Set<string> {
  const prose = markdown.replaceAll(/^```[^]*?^```/gm, "");
  return new Set(
    [...prose.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
      heading.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "")
        .replaceAll(" ", "-")
    ),
  );
}

Deno.test("every link of the documents leads to a file, and to a heading of it", () => {
  const pages = ["docs/", ""].flatMap((folder) =>
    [...Deno.readDirSync(new URL(folder, ROOT))].map(({ name }) =>
      folder + name
    ).filter((path) => path.endsWith(".md"))
  );
  pages.push("bench/README.md", "examples/README.md");
  let count = 0;
  const dead: string[] = [];
  for (const page of pages) {
    const prose = read(page).replaceAll(/^```[^]*?^```/gm, "");
    for (const [, target] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      count++;
      const url = new URL(target, new URL(page, ROOT));
      const path = url.pathname.slice(ROOT.pathname.length);
      const anchor = url.hash.slice(1);
      const isThere = exists(path) &&
        (anchor === "" || anchors(read(path)).has(anchor));
      if (!isThere) dead.push(`${page}: ${target}`);
    }
  }
  assertGreater(count, 50);
  assertEquals(dead, []);
});
