// The examples, tried by the clients that they are for: curl, psql, redis-cli,
// openssl and logger.

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { createHash } from "node:crypto";
import { CERT, KEY } from "../../tools/sinks/peers.ts";
import { client, hasClient } from "../support/clients.ts";
import { canRunDeno } from "../support/platform.ts";
import { Running } from "../support/running.ts";
import { pattern, serve } from "../support/uploads.ts";

/** A test of an example with a client, which has to be there. */
function test(
  example: string,
  program: string,
  fn: (files: Files) => Promise<void>,
): void {
  Deno.test({
    name: `${example} serves ${program}`,
    ignore: !canRunDeno || !hasClient(program),
    async fn() {
      await using files = await Files.make();
      await fn(files);
    },
  });
}

/** Files of a test, in a folder of their own. */
class Files implements AsyncDisposable {
  private constructor(readonly folder: string) {}

  static async make(): Promise<Files> {
    return new Files(await Deno.makeTempDir({ prefix: "smriti_clients_" }));
  }

  async write(name: string, bytes: Uint8Array | string): Promise<string> {
    const path = `${this.folder}/${name}`;
    await (typeof bytes === "string"
      ? Deno.writeTextFile(path, bytes)
      : Deno.writeFile(path, bytes));
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** It may stop before it has seen that a client has gone. */
const STOPPED = /^(connection: the server stops\n)*$/;

const CHUNKED = ["-H", "Transfer-Encoding: chunked"];

/** `curl` with a time limit; the last line it gives is the status. */
async function curl(...args: string[]): Promise<string[]> {
  const all = await client([
    ...["curl", "-q", "--noproxy", "*", "-sS", "-m", "300"],
    ...["-w", "%{http_code}", ...args],
  ]);
  return all.split("\n");
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

for (const example of ["hono_upload", "express_upload"]) {
  test(example, "curl", async (files) => {
    await using server = await new Running(example).listening();
    const url = `http://127.0.0.1:${server.port}/`;
    for (const size of [1, 100_000, 1024 * 1024]) {
      const bytes = pattern(size, size);
      const path = await files.write(`${size}`, bytes);
      for (const how of [[], CHUNKED]) {
        const answer = await curl("-T", path, ...how, url);
        assertEquals(answer, [sha256(bytes), "200"]);
      }
    }
    // Announced or not, a body that is too large gets its answer, and the server lives on.
    const large = await files.write("large", new Uint8Array(5_000_000));
    for (let round = 0; round < 5; round++) {
      for (const how of [[], CHUNKED]) {
        const answer = await curl("-T", large, ...how, url);
        assertEquals(answer, ["too large", "413"]);
      }
    }
    const small = await files.write("small", "abc");
    const answer = await curl("-T", small, url);
    assertEquals(answer[1], "200");
    assertEquals(await server.stop(), "");
  });
}

test("busboy_upload", "curl", async (files) => {
  await using server = await new Running("busboy_upload").listening();
  const url = `http://127.0.0.1:${server.port}/`;
  const sizes = [0, 1, 65_536, 1_000_000, 5_000_000, 5_000_001, 300_000];
  const forms = [];
  const expected = [];
  for (const [i, size] of sizes.entries()) {
    const bytes = pattern(size, i);
    forms.push("-F", `file=@${await files.write(`file${i}`, bytes)}`);
    expected.push(
      size > 5_000_000
        ? `file${i} too large`
        : `file${i} ${size} ${sha256(bytes)}`,
    );
  }
  for (let round = 0; round < 3; round++) {
    assertEquals(await curl(...forms, url), [...expected, "200"]);
  }
  const [, status] = await curl("-T", await files.write("x", "no form"), url);
  assertEquals(status, "400");
  assertEquals(await server.stop(), "");
});

test("ndjson_import", "curl", async (files) => {
  await using server = await new Running("ndjson_import").listening();
  const url = `http://127.0.0.1:${server.port}/`;
  const rows = Array.from(
    { length: 50_000 },
    (_, i) => JSON.stringify({ name: ["ä€", "b"][i % 2], amount: i }),
  );
  for (const end of ["\n", "\r\n"]) {
    const path = await files.write("rows", rows.join(end));
    for (const how of [[], CHUNKED]) {
      const [text] = await curl("-T", path, ...how, url);
      assertEquals(text, '{"ä€":624975000,"b":625000000}200');
    }
  }
  const bad = await files.write("bad", '{"name":"a","amount":1}\nno\n');
  const [text, status] = await curl("-T", bad, url);
  assertMatch(text, /^line 2: SyntaxError/);
  assertEquals(status, "400");
  const none = await files.write("none", "\nnull\n");
  assertMatch((await curl("-T", none, url))[0], /^line 2: TypeError/);
  const long = await files.write("long", `\n\n"${"x".repeat(20_000)}"\n`);
  assertMatch((await curl("-T", long, url))[0], /^line 3: InvalidData/);
  assertEquals(await server.stop(), "");
});

test("put_proxy", "curl", async (files) => {
  const stored = new Map<string, string>();
  await using store = serve(async (request) => {
    const bytes = await request.bytes();
    const hash = request.headers.get("x-amz-content-sha256");
    stored.set(new URL(request.url).pathname, `${bytes.length} ${hash}`);
    const isWhole = hash === sha256(bytes);
    return new Response(isWhole ? "stored\n" : "broken\n", {
      status: isWhole ? 200 : 400,
    });
  });
  await using server = await new Running("put_proxy", String(store.addr.port))
    .listening();
  const url = `http://127.0.0.1:${server.port}`;
  for (const size of [0, 1, 300_000, 16 * 1024 * 1024]) {
    const bytes = pattern(size, size);
    const path = await files.write(`${size}`, bytes);
    // curl 7.88 does not end an empty body that it sends in chunks.
    for (const how of size === 0 ? [[]] : [[], CHUNKED]) {
      const answer = await curl("-T", path, ...how, `${url}/bucket/${size}`);
      assertEquals(answer, ["stored", "200"]);
      const entry = stored.get(`/bucket/${size}`);
      assertEquals(entry, `${size} ${sha256(bytes)}`);
    }
  }
  const large = await files.write("l", new Uint8Array(16 * 1024 * 1024 + 1));
  for (const how of [[], CHUNKED]) {
    const answer = await curl("-T", large, ...how, `${url}/bucket/large`);
    assertEquals(answer, ["too large", "413"]);
  }
  assertEquals(await server.stop(), "");
});

test("postgres_server", "psql", async () => {
  await using server = await new Running("postgres_server").listening();
  const psql = (mode: string, ...args: string[]) =>
    client(
      ["psql", "-h", "127.0.0.1", "-p", `${server.port}`, "-XAtw", ...args],
      {
        env: { PGSSLMODE: mode, PGUSER: "me", PGDATABASE: "it" },
      },
    );
  const long = `select '${"x".repeat(60_000)}'`;
  // With "prefer" it asks for TLS first.
  for (const mode of ["disable", "prefer"]) {
    const queries = ["select 1", "select 'ä€'", long];
    const args = queries.flatMap((query) => ["-c", query]);
    assertEquals(await psql(mode, ...args), `${queries.join("\n")}\n`);
  }
  await Promise.all(Array.from({ length: 8 }, async (_, i) => {
    assertEquals(await psql("disable", "-c", `select ${i}`), `select ${i}\n`);
  }));
  assertMatch(await server.stop(), STOPPED);
});

test("resp_server", "redis-cli", async () => {
  await using server = await new Running("resp_server").listening();
  const cli = (args: string[], input?: string) =>
    client(["redis-cli", "-p", `${server.port}`, ...args], { input });
  assertEquals(await cli(["ping"]), "PONG\n");
  assertEquals(await cli(["set", "a", "ä € \r\n"]), "OK\n");
  assertEquals(await cli(["get", "a"]), "ä € \r\n\n");
  assertEquals(await cli(["get", "nothing"]), "\n");
  assertStringIncludes(await cli(["flushall"]), "ERR");
  const large = "x".repeat(30_000);
  assertEquals(await cli(["-x", "set", "large"], large), "OK\n");
  assertEquals(await cli(["get", "large"]), `${large}\n`);
  // Many at once, as a script is piped.
  const script = "ECHO hello\r\n".repeat(20_000);
  const report = await cli(["--pipe"], script);
  assertStringIncludes(report, "errors: 0, replies: 20000");
  assertMatch(await server.stop(), STOPPED);
});

test("resp_server", "openssl", async (files) => {
  const cert = await files.write("cert.pem", CERT);
  const key = await files.write("key.pem", KEY);
  await using server = await new Running("resp_server", "0", cert, key)
    .listening();
  const address = `127.0.0.1:${server.port}`;
  const flags = ["-quiet", "-verify_return_error"];
  const said = await client(
    ["openssl", "s_client", "-connect", address, "-CAfile", cert, ...flags],
    { input: "PING\r\n*0\r\n*2\r\n$4\r\nECHO\r\n$5\r\nhello\r\nQUIT\r\n" },
  );
  assertEquals(said, "+PONG\r\n$5\r\nhello\r\n+OK\r\n");
  assertMatch(await server.stop(), STOPPED);
});

test("udp_receiver", "logger", async () => {
  await using server = await new Running("udp_receiver").listening();
  const log = (priority: string, text: string) =>
    client([
      ...["logger", "-n", "127.0.0.1", "-P", `${server.port}`, "-d"],
      ...["--rfc3164", "-t", "test", "-p", priority, text],
    ]);
  await log("user.err", "something broke");
  assertMatch(await server.said(), /^err: .*something broke\n$/);
  await log("user.debug", "ä€ all is well");
  assertMatch(await server.said(), /^debug: .*ä€ all is well\n$/);
  assertEquals(await server.stop(), "");
});
