// Every example runs, with the permissions it says it needs, does what it says,
// and ends in order.

import {
  assert,
  assertEquals,
  assertLess,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { UploadServer } from "../../examples/upload/server.ts";
import { canRunDeno } from "../support/platform.ts";
import { command, Running } from "../support/running.ts";
import { Client, join, pattern } from "../support/uploads.ts";

const EXAMPLES = new URL("../../examples/", import.meta.url);
const decoder = new TextDecoder();
const hostname = "127.0.0.1";

/** `deno task demo` runs this one. */
const LONG = ["upload_server.ts"];

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, ignore: !canRunDeno, fn });
}

async function exchange(
  port: number,
  bytes: Uint8Array,
): Promise<Uint8Array> {
  using conn = await Deno.connect({ hostname, port });
  const received: Uint8Array[] = [];
  const send = async () => {
    while (bytes.length > 0) bytes = bytes.subarray(await conn.write(bytes));
    await conn.closeWrite();
  };
  const receive = async () => {
    const buffer = new Uint8Array(65536);
    for (let size; (size = await conn.read(buffer)) !== null;) {
      received.push(buffer.slice(0, size));
    }
  };
  await Promise.all([send(), receive()]);
  return join(received);
}

for (const name of ["upload_hash", "worker_pipeline"]) {
  test(`${name} answers the hash of each upload, and refuses what it must`, async () => {
    await using server = await new Running(name).listening();
    await Promise.all([1, 2, 3, 4].map((seed) => hashes(server, seed)));
    using client = await Client.connect(server);
    const { status } = await client.upload(pattern(1024 * 1024 + 1));
    assertEquals(status, 413);
    using cut = await Client.connect(server);
    await cut.send(pattern(10), { announced: 100 });
    await cut.conn.closeWrite();
    assertEquals(await server.stop(), "");
  });
}

/** One client's uploads, each unlike the others'. */
async function hashes(server: Running, seed: number): Promise<void> {
  using client = await Client.connect(server);
  for (const size of [0, 1, 100_000, 1024 * 1024]) {
    const body = pattern(size, seed);
    const hash = await crypto.subtle.digest("SHA-256", body);
    assertEquals(await client.upload(body), {
      status: 200,
      text: `${new Uint8Array(hash).toHex()}\n`,
    });
  }
}

test("tcp_proxy passes bytes both ways and ends connections as they end", async () => {
  await using target = await new Running("echo_frames").listening();
  await using proxy = await new Running("tcp_proxy", String(target.port))
    .listening();
  const message = join([new Uint8Array([0, 0, 100, 0]), pattern(25_600)]);
  const messages = join(Array(20).fill(message));
  const answers = await Promise.all(
    Array.from({ length: 5 }, () => exchange(proxy.port, messages)),
  );
  for (const answer of answers) assertEquals(answer, messages);

  using idle = await Deno.connect({ hostname, port: proxy.port });
  await idle.write(new Uint8Array([0, 0, 0, 0])); // an empty message
  assertEquals(await idle.read(new Uint8Array(9)), 4); // so both are connected
  assertMatch(await proxy.stop(), /^(connection: the proxy stops\n)*$/);
});

test("echo_frames answers each message and ends the connection after a bad one", async () => {
  await using server = await new Running("echo_frames").listening();
  const message = (size: number) =>
    join([new Uint8Array([0, 0, size >> 8, size & 255]), pattern(size)]);
  const messages = join([0, 1, 30_000, 5, 32_768].map(message));
  assertEquals(await exchange(server.port, messages), messages);
  const bad = join([message(3), message(32_769).subarray(0, 4)]);
  assertEquals(await exchange(server.port, bad), message(3));
  await server.told();
  assertMatch(
    await server.stop(),
    /^connection: InvalidData: [^\n]*32769[^\n]*\n$/,
  );
});

test("resp_server answers a command though the next has come in part", async () => {
  await using server = await new Running("resp_server").listening();
  using conn = await Deno.connect({ hostname, port: server.port });
  await conn.write(new TextEncoder().encode("PING\r\n*2\r\n$4\r\nEC"));
  const answer = new Uint8Array(100);
  const size = await conn.read(answer);
  assertEquals(decoder.decode(answer.subarray(0, size!)), "+PONG\r\n");
  assertMatch(await server.stop(), /^(connection: the server stops\n)?$/);
});

test("batch_reader counts the lines of all files of a folder", async () => {
  const folder = await Deno.makeTempDir();
  const text = "line\n".repeat(100_000); // longer than a block
  await Deno.writeTextFile(`${folder}/a`, text);
  await Deno.writeTextFile(`${folder}/b`, "one\ntwo\nthree");
  await Deno.writeTextFile(`${folder}/c`, "");
  await Deno.mkdir(`${folder}/d`);
  const { stdout, stderr } = await command(
    "batch_reader",
    [folder],
  ).output();
  await Deno.remove(folder, { recursive: true });
  assertEquals(decoder.decode(stderr), "");
  assertEquals(decoder.decode(stdout), "3 files, 100002 lines\n");
});

test("dashboard shows a page, and ends in order while it is looked at", async () => {
  await using server = await new Running("dashboard").listening();
  const url = `http://${hostname}:${server.port}`;
  const page = await (await fetch(url)).text();
  assertStringIncludes(page, "<title>Smriti");
  for (const [, path] of page.matchAll(/(?:src|href)="(\/[^"]*)"/g)) {
    const { headers, body, status } = await fetch(url + path);
    await body?.cancel();
    assertEquals(status, 200, path);
    const policy = headers.get("content-security-policy")!;
    assertStringIncludes(policy, "default-src 'none'");
  }
  const { body } = await fetch(`${url}/dashboard/events`);
  const events = body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (!text.includes("data: {")) text += (await events.read()).value;
  assertEquals(await server.stop(), "");
  await events.cancel().catch(() => {}); // cut off where there are no signals
});

Deno.test("the upload demo shows its pool to browsers, and its state to curl", async () => {
  const server = new UploadServer({
    kind: "pooled",
    port: 0,
    maxSize: 4096,
    maxBlocks: 4,
    live: true,
  });
  const url = `http://${hostname}:${server.port}/`;
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
  await server.close(); // an open page does not keep it from ending
  await events.body?.cancel();
});

Deno.test("the examples are short, and each is run by a test", async () => {
  const tests = await Promise.all(
    ["examples_test.ts", "clients_test.ts", "../process/serve_parallel_test.ts"]
      .map(
        (name) => Deno.readTextFile(new URL(name, import.meta.url)),
      ),
  );
  for await (const { name, isFile } of Deno.readDir(EXAMPLES)) {
    if (!isFile || !name.endsWith(".ts") || LONG.includes(name)) continue;
    const text = await Deno.readTextFile(new URL(name, EXAMPLES));
    assertLess(text.split("\n").length, 80, name);
    assert(text.startsWith("/**\n"), name);
    const isRun = tests.some((test) => test.includes(name.slice(0, -3)));
    assert(isRun, `no test runs ${name}`);
  }
});
