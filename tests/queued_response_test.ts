// A block that was enqueued into a response and released: the runtime still sends it, by reference,
// and nobody can know when it is done. Giving memory back must not end the process then; unmapping
// it does, and so does strict mode's quarantine, as docs/safety.md says.

import { assert, assertEquals, assertGreater } from "@std/assert";
import { type Ended, inChild, type Library } from "./support/child.ts";
import { canRunDeno, hasNative } from "./support/platform.ts";

const ignore = !hasNative || !canRunDeno;

/** Sends blocks to a client that does not read yet, and releases them. Sent to the child. */
async function serveReleased(
  { BlockPool }: Library,
  how: string,
): Promise<void> {
  const pool = new BlockPool({
    // More than the kernel takes in one go, so that the rest stays queued.
    blockSize: 4 << 20,
    maxBlocks: 32,
    initialBlocks: 1,
    safety: how === "quarantine" ? "strict" : "revoke",
    shrinkIntervalMs: 5,
  });
  const blocks = await pool.acquireMany(8);
  let pulled = 0;
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    () =>
      new Response(
        new ReadableStream({
          pull(controller) {
            controller.enqueue(blocks[pulled++].bytes.fill(65));
            if (pulled === blocks.length) controller.close();
          },
        }, { highWaterMark: 0 }),
      ),
  );
  const { hostname, port } = server.addr;
  using client = await Deno.connect({ hostname, port });
  const ask = "GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n";
  await client.write(new TextEncoder().encode(ask));
  // Until the server waits for the client, with a chunk or two in hand.
  for (let before = -1; before < pulled || pulled === 0;) {
    before = pulled;
    await new Promise((go) => setTimeout(go, 100));
  }
  for (const block of blocks) block.release();
  console.log("released");
  if (how === "trim") pool.trim();
  if (how === "close") pool[Symbol.dispose]();
  const end = performance.now() + 5000;
  while (how === "shrink" && performance.now() < end) {
    await new Promise((go) => setTimeout(go, 5));
    if (pool.stats().committedBlocks === 1) break;
  }
  const counts = { sent: 0, zeroes: 0 };
  const bytes = new Uint8Array(1 << 16);
  const reading = async () => {
    for (let n; (n = await client.read(bytes)) !== null;) {
      for (const byte of bytes.subarray(0, n)) {
        if (byte === 65) counts.sent++;
        if (byte === 0) counts.zeroes++;
      }
    }
  };
  // The server breaks off when it comes to the blocks it had not asked for yet.
  await reading().catch(() => {});
  await server.shutdown();
  console.log(JSON.stringify(counts));
}

/** How the child's end reads in a report. */
function told({ code, signal, stdout }: Ended): string {
  assert(stdout.startsWith("released"), stdout);
  const survived = stdout.includes("came to its end");
  return survived
    ? "the process lives"
    : `the process ends by ${signal ?? code}`;
}

for (const how of ["trim", "shrink"]) {
  Deno.test({
    name:
      `${how} under a response that still sends a released block never crashes`,
    ignore,
  }, async () => {
    const ended = await inChild(serveReleased, [], [how]);
    assertEquals(told(ended), "the process lives", ended.stderr);
    const { sent, zeroes } = JSON.parse(ended.stdout.split("\n")[1]);
    // Otherwise nothing was queued any more, and nothing was proved.
    assertGreater(zeroes, 0);
    assertGreater(sent, 0);
  });
}

for (const how of ["close", "quarantine"]) {
  Deno.test({
    name:
      `${how} under a response that still sends a released block does what is documented`,
    ignore,
  }, async () => {
    // No library can catch this. Were it harmless, docs/safety.md would be wrong.
    const ended = await inChild(serveReleased, [], [how]);
    console.log(`${how}: ${told(ended)}`);
    if (Deno.build.os === "linux") {
      assertEquals(told(ended), "the process ends by SIGSEGV");
    }
  });
}
