// What must never end the process: touching views that were kept too long, closing a pool under operations
// that are still running, giving memory back under a response that is still sent. In children, because
// a crash would take the tests along.

import { assert, assertEquals, assertGreater } from "@std/assert";
import {
  type Ended,
  inChild,
  type Library,
  survives,
} from "../support/child.ts";
import { canRunDeno, hasNative, hasPipes } from "../support/platform.ts";

Deno.test("touching a view kept after release, trim, shrink or close never crashes", async () => {
  await survives(async ({ BlockPool }) => {
    const kept: ArrayBufferView<ArrayBuffer>[] = [];
    /** Does everything to a view that JavaScript can. */
    const touch = () => {
      for (const view of kept) {
        const bytes = new Uint8Array(1);
        for (
          const use of [
            () => view instanceof DataView && view.setUint8(0, 1),
            () => view instanceof DataView && view.getUint8(0),
            () => view instanceof Uint8Array && (view[0] = view[5] + 1),
            () => view instanceof Uint8Array && view.fill(1),
            () => view instanceof Uint8Array && view.set(bytes),
            () => view instanceof Uint8Array && view.slice().sort(),
            () => new Uint8Array(view.buffer).fill(1),
            () => new TextDecoder().decode(view),
            () => new Blob([view]),
            () => structuredClone(view),
            () => view.buffer.transfer(),
          ]
        ) {
          try {
            use();
          } catch (error) {
            if (
              !(error instanceof TypeError || error instanceof RangeError ||
                error instanceof DOMException)
            ) throw error;
          }
        }
      }
    };
    for (const safety of ["trust", "revoke", "strict"] as const) {
      for (const blockSize of [64, 4096, 70_000]) {
        const options = { blockSize, maxBlocks: 16, initialBlocks: 1, safety };
        const pool = new BlockPool({ ...options, shrinkIntervalMs: 1 });
        const take = () => {
          const blocks = [];
          for (let block; (block = pool.tryAcquire()) !== undefined;) {
            const { bytes } = block;
            kept.push(bytes, bytes.subarray(1), new DataView(bytes.buffer));
            blocks.push(block);
          }
          return blocks;
        };
        for (const block of take()) block.release();
        // Under trust these views are alive: their buffers must not leave.
        if (safety !== "trust") touch();
        pool.trim();
        // Now only those of the slab with the initial block are.
        if (safety === "trust") kept.splice(0, blockSize === 64 ? 48 : 3);
        touch();
        for (const block of take()) block.release();
        const end = performance.now() + 2_000;
        while (
          performance.now() < end && blockSize > 64 && pool.stats().shrinks < 2
        ) {
          await new Promise((resolve) => setTimeout(resolve, 2));
        }
        if (blockSize > 64 && pool.stats().shrinks < 2) {
          throw new Error("the pool has not shrunk by itself");
        }
        if (safety !== "trust") touch();
        const held = take();
        const closing = pool.close({ timeoutMs: 0 });
        held.pop()?.release();
        await closing.catch(() => {});
        touch();
        for (const block of held) block.release();
        await pool.close().catch(() => {});
        touch();
        kept.length = 0;
      }
    }
  });
});

Deno.test("touching views after close under trust never crashes", async () => {
  const lines = await survives(async ({ BlockPool }) => {
    const pool = new BlockPool({
      blockSize: 4096,
      maxBlocks: 16,
      safety: "trust",
    });
    const blocks = await pool.acquireMany(16);
    const views = blocks.map(({ bytes }) => bytes.subarray(1));
    blocks[Symbol.dispose]();
    // All alive, as trust says.
    for (const view of views) view.fill(1);
    await pool.close();
    let touched = 0;
    for (const view of views) touched += view.length + (view[0] ?? 0);
    console.log(touched, pool.stats().mappedBytes);
  });
  assertEquals(lines, ["0 0"]);
});

Deno.test("close() under TCP reads in flight never crashes, 200 times", async () => {
  await survives(async ({ BlockPool }) => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { hostname, port } = listener.addr;
    const bytes = new Uint8Array(5_000).fill(7);
    for (let round = 0; round < 200; round++) {
      const pool = new BlockPool({ blockSize: 4096, maxBlocks: 4 });
      const [peer, conn] = await Promise.all([
        Deno.connect({ hostname, port }),
        listener.accept(),
      ]);
      const [peer2, conn2] = await Promise.all([
        Deno.connect({ hostname, port }),
        listener.accept(),
      ]);
      const block = pool.acquireSync();
      const other = pool.acquireSync();
      // With the library's care, and without it.
      const lent = block.lend((into) => conn.read(into), { socket: true })
        .catch(() => {});
      const careless = conn2.read(other.bytes).catch(() => {});
      const waiter = pool.acquireMany(4).catch(() => {});
      block.release();
      other.release();
      const closing = pool.close({ timeoutMs: round % 3 }).catch(() => {});
      if (round % 2) await peer.write(bytes).catch(() => {});
      await peer2.write(bytes).catch(() => {});
      if (round % 5 === 0) await closing;
      peer.close();
      peer2.close();
      await Promise.all([closing, lent, careless, waiter]);
      conn.close();
      conn2.close();
    }
  });
});

Deno.test({
  name: "close() under pipe reads in flight never crashes, 200 times",
  ignore: !hasPipes,
  async fn() {
    await survives(async ({ BlockPool }) => {
      const folder = await Deno.makeTempDir({ prefix: "smriti_" });
      const path = `${folder}/fifo`;
      await new Deno.Command("mkfifo", { args: [path] }).output();
      const open = () => Deno.open(path, { read: true, write: true });
      using writer = await open();
      const bytes = new Uint8Array(100).fill(7);
      for (let round = 0; round < 200; round++) {
        const pool = new BlockPool({ blockSize: 4096, maxBlocks: 4 });
        const file = await open();
        const block = pool.acquireSync();
        const read = block.lend((into) => file.read(into)).catch(() => {});
        const step = round % 4;
        if (step === 0) block.release();
        const closing = pool.close({ timeoutMs: round % 3 }).catch(() => {});
        if (step === 1) await closing;
        // The read ends with Interrupted; its thread reads on and then writes.
        if (step !== 3) file.close();
        await writer.write(bytes);
        if (step === 3) {
          // An earlier round's thread may have got the bytes instead.
          await Promise.race([read, new Promise((r) => setTimeout(r, 5))]);
          file.close();
        }
        await Promise.all([closing, read]);
        block[Symbol.dispose]();
        const { abandonedBlocks, mappedBytes } = pool.stats();
        // Unmapped, a late write would hit the next mapping there.
        if (step !== 3 && (abandonedBlocks !== 1 || mappedBytes === 0)) {
          throw new Error(`${step}: ${JSON.stringify(pool.stats())}`);
        }
      }
      await Deno.remove(folder, { recursive: true });
    });
  },
});

Deno.test("strict: a careless read into a released block fails and nothing crashes", async () => {
  const lines = await survives(async ({ BlockPool }) => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { hostname, port } = listener.addr;
    const peer = await Deno.connect({ hostname, port });
    const conn = await listener.accept();
    const pool = new BlockPool({
      blockSize: 4096,
      maxBlocks: 16,
      safety: "strict",
    });
    const block = pool.acquireSync();
    const read = conn.read(block.bytes);
    block.release();
    await peer.write(new Uint8Array(10).fill(7));
    const outcome = await read.then(() => "read", () => "refused");
    peer.close();
    conn.close();
    await pool.close();
    console.log(outcome);
  });
  assertEquals(lines, ["refused"]);
});

// A block that was enqueued into a response and released: the runtime still sends it, by reference, and
// it cannot be known when it is done. Giving memory back must not end the process then; unmapping it does,
// and so does strict mode's quarantine, as the README's "Safety" says.

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
    // No library can catch this. Were it harmless, the README would be wrong.
    const ended = await inChild(serveReleased, [], [how]);
    console.log(`${how}: ${told(ended)}`);
    if (Deno.build.os === "linux") {
      assertEquals(told(ended), "the process ends by SIGSEGV");
    }
  });
}
