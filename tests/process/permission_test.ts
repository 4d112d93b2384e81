// What the library needs from Deno's permissions: nothing to be imported, --allow-ffi to map memory.
// Each case is a process of its own, with the flags it is about.

import { assertEquals, assertMatch } from "@std/assert";
import { canRunDeno, hasNative } from "../support/platform.ts";

const LIBRARY = new URL("../../mod.ts", import.meta.url).href;
const SHARED = new URL("../../shared/mod.ts", import.meta.url).href;

/** What the child prints: that the import worked, and what became of a native pool. */
const SCRIPT = `
import { BlockPool, SmritiError } from ${JSON.stringify(LIBRARY)};
console.log("imported");
try {
  const pool = new BlockPool({ blockSize: 4096, maxBlocks: 4 });
  const block = pool.acquireSync();
  block.bytes.fill(7);
  block.release();
  await pool.close();
  console.log("lent");
} catch (error) {
  if (!(error instanceof SmritiError)) throw error;
  console.log(error.name, error.code);
  console.log(error.message);
}`;

/** Prints what footprint() and the constructor say for each backend. */
const FOOTPRINT = `
import { BlockPool } from ${JSON.stringify(LIBRARY)};
const told = (act) => { try { return act(); } catch (error) { return error.code + ": " + error.message; } };
for (const backend of ["heap", "auto", "native"]) {
  const options = { blockSize: 5000, maxBlocks: 4, backend };
  console.log(told(() => BlockPool.footprint(options).strideBytes));
  console.log(told(() => new BlockPool(options).backend));
}`;

/** A careful program takes the permission back once its pool is made. */
const CAREFUL = `
import { BlockPool } from ${JSON.stringify(LIBRARY)};
const options = { blockSize: 4096, maxBlocks: 4, initialBlocks: 2, shrinkIntervalMs: 10 };
const pool = new BlockPool({ ...options, safety: "SAFETY", overdueMs: 5 });
const [a, b] = [pool.acquireSync(), pool.acquireSync()];
a.bytes[0] = b.bytes[0] = 1;
await Deno.permissions.revoke({ name: "ffi" });
const codeOf = (act) => { try { act(); return "done"; } catch (error) { return error.code ?? error.name; } };
const c = pool.acquireSync();
console.log("new view:", codeOf(() => c.bytes), codeOf(() => c.pointer));
console.log("released:", codeOf(() => c.release()));
const healed = new Uint8Array(a.bytes.buffer.transfer());
console.log("healed:", codeOf(() => a.bytes), codeOf(() => a.reattach(healed)));
const stop = Promise.withResolvers();
const lent = b.lend((bytes) => { bytes.buffer.transfer(0); return stop.promise; }, { socket: true });
b.release();
stop.reject(new Error("reset"));
console.log("lent:", await lent.catch((error) => error.message));
console.log("released:", codeOf(() => a.release()));
await new Promise((resolve) => setTimeout(resolve, 60));
const { acquiredBlocks, lentBlocks, abandonedBlocks } = pool.stats();
console.log("stats:", acquiredBlocks, lentBlocks, abandonedBlocks);
console.log("trim:", typeof pool.trim());
console.log("closed:", await pool.close({ timeoutMs: 500 }).then(() => "yes", String));`;

/** The same, but the pool is sealed before: then all but healing goes on. */
const SEALED = `
import { BlockPool, SizeClassPool } from ${JSON.stringify(LIBRARY)};
const options = { blockSize: 4096, maxBlocks: 64, initialBlocks: 4, shrinkIntervalMs: 20, safety: "SAFETY" };
const pool = new BlockPool(options);
const classes = new SizeClassPool([{ ...options, blockSize: 512 }]);
pool.seal();
classes.seal();
await Deno.permissions.revoke({ name: "ffi" });
let shrinks = 0, rounds = 0;
pool.addEventListener("shrink", () => shrinks++);
const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
const end = performance.now() + 700;
while (performance.now() < end || shrinks < 2 || rounds < 4) {
  rounds++;
  const blocks = await pool.acquireMany(64);
  if (blocks.some(({ bytes }) => bytes.some((byte) => byte !== 0))) throw new Error("old bytes");
  const [client, server] = await Promise.all([Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port }), listener.accept()]);
  blocks[0].bytes.fill(rounds);
  const [n] = await Promise.all([blocks[1].lend((bytes) => server.read(bytes)), blocks[0].lend((bytes) => client.write(bytes))]);
  if (!(n > 0) || blocks[1].bytes[0] !== rounds % 256) throw new Error("lost bytes");
  client.close();
  server.close();
  const out = new Uint8Array(blocks[2].bytes.buffer.transfer());
  blocks[2].reattach(out);
  blocks[Symbol.dispose]();
  using small = classes.tryAcquire(100);
  small.bytes[0] = 1;
  await new Promise((resolve) => setTimeout(resolve, 30));
  pool.trim();
}
listener.close();
const { grows, abandonedBlocks, capacityBlocks } = pool.stats();
console.log(rounds > 2, grows > 2, shrinks >= 2, abandonedBlocks, capacityBlocks);
const lost = await pool.acquire();
lost.bytes.buffer.transfer(0);
lost.release();
console.log(pool.stats().abandonedBlocks, pool.stats().capacityBlocks, (await pool.acquireMany(63)).map((block) => block.release()).length);
await Promise.all([pool.close({ timeoutMs: 500 }), classes.close({ timeoutMs: 500 })]);
console.log("closed");`;
/** The same of what was not done before: each says so, and leaves nothing mapped. */
const LATE = `
import { BlockPool } from ${JSON.stringify(LIBRARY)};
import { SharedBlockPool } from ${JSON.stringify(SHARED)};
const options = { blockSize: 4096, maxBlocks: 4 };
const codeOf = async (act) => { try { return await act() ?? "done"; } catch (error) { return error.code ?? error.name; } };
const pool = new BlockPool(options);
const block = pool.acquireSync();
block.bytes[0] = 1;
await Deno.permissions.revoke({ name: "ffi" });
console.log("pointer:", await codeOf(() => { block.pointer; }));
console.log("strict:", await codeOf(async () => {
  await using strict = new BlockPool({ ...options, safety: "strict" });
  using inner = strict.acquireSync();
  inner.bytes;
}));
console.log("join:", await codeOf(async () => { await SharedBlockPool.join("late", options); }));
console.log("create:", await codeOf(() => { SharedBlockPool.create(options); }));
block.release();
console.log("closed:", await codeOf(async () => { await pool.close(); }));`;

/** A program that has only opened the library before: the page of the process cannot be made any more. */
const EARLY = `
import { BlockPool, memoryLimit } from ${JSON.stringify(LIBRARY)};
memoryLimit();
await Deno.permissions.revoke({ name: "ffi" });
const options = { blockSize: 64, maxBlocks: 1, backend: "heap" };
{
  await using strict = new BlockPool({ ...options, safety: "strict" });
  strict.acquireSync().release();
}
await using pool = new BlockPool(options);
using held = pool.acquireSync();
console.log(await pool.acquire({ timeoutMs: 300 }).catch(({ code }) => code));`;

async function lines(...flags: string[]): Promise<string[]> {
  return await linesOf(SCRIPT, ...flags);
}

async function linesOf(script: string, ...flags: string[]): Promise<string[]> {
  const child = new Deno.Command(Deno.execPath(), {
    // Without --no-prompt: there is no terminal, so what is asked for is "denied" from then on.
    args: ["run", "--no-check", "--quiet", ...flags, "-"],
    cwd: new URL("../../", import.meta.url),
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(script));
  await writer.close();
  const { stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  assertEquals(decoder.decode(stderr), "");
  return decoder.decode(stdout).trim().split(/\r?\n/);
}

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, ignore: !canRunDeno || !hasNative });

test("import works without any permission, a native pool does not and names the flag", async () => {
  const [imported, code, message] = await lines();
  assertEquals([imported, code], ["imported", "SmritiError permission"]);
  assertMatch(message, /--allow-ffi/);
});

test("every permission but ffi is not enough", async () => {
  const [, code, message] = await lines("--allow-all", "--deny-ffi");
  assertEquals(code, "SmritiError permission");
  assertMatch(message, /--allow-ffi/);
});

test("--allow-ffi for some paths is not enough, and the message says so", async () => {
  for (const path of ["/x", "libc.so.6"]) {
    const [, code, message] = await lines(`--allow-ffi=${path}`);
    assertEquals(code, "SmritiError permission");
    assertMatch(message, /--allow-ffi, without a list of paths/);
  }
});

test("footprint() of native memory needs what the pool would need", async () => {
  const told = await linesOf(FOOTPRINT);
  assertEquals(told.slice(0, 4), ["8192", "heap", "8192", "heap"]);
  assertMatch(told[4], /^permission: .*--allow-ffi/);
  assertEquals(told[4], told[5]);
});

test("a pool made after the permission was taken back is refused, or takes the heap", async () => {
  const script = `await Deno.permissions.revoke({ name: "ffi" });${FOOTPRINT}`;
  const told = await linesOf(script, "--allow-ffi");
  assertEquals(told, await linesOf(FOOTPRINT));
});

test("what a dead Worker has left makes no later pool ask for the permission", async () => {
  const script = `
    import { BlockPool } from ${JSON.stringify(LIBRARY)};
    const options = { blockSize: 4096, maxBlocks: 4 };
    await using pool = new BlockPool(options);
    const source = "import { BlockPool } from " + ${
    JSON.stringify(JSON.stringify(LIBRARY))
  } +
      "; globalThis.pool = new BlockPool({ blockSize: 4096, maxBlocks: 4 }); postMessage(0);";
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    const worker = new Worker(url, { type: "module" });
    await new Promise((resolve) => worker.onmessage = resolve);
    pool.seal();
    await Deno.permissions.revoke({ name: "ffi" });
    worker.terminate();
    for (let left = 100; left > 0; left--) {
      await using heap = new BlockPool({ ...options, backend: "heap" });
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    console.log(Deno.permissions.querySync({ name: "ffi" }).state);`;
  const flags = ["--allow-ffi", "--allow-read"];
  assertEquals(await linesOf(script, ...flags), ["prompt"]);
});

test("a shared pool that is refused for want of the permission does not ask for it", async () => {
  const script = `
    import { SharedBlockPool } from ${JSON.stringify(SHARED)};
    const options = { blockSize: 4096, maxBlocks: 4 };
    const pool = SharedBlockPool.create(options);
    await Deno.permissions.revoke({ name: "ffi" });
    for (const act of [
      () => SharedBlockPool.create(options),
      () => SharedBlockPool.attach(pool.handle),
      () => SharedBlockPool.join("late", options),
    ]) {
      try { await act(); } catch (error) { console.log(error.code); }
    }
    await pool.close();
    console.log(Deno.permissions.querySync({ name: "ffi" }).state);`;
  const refused = ["permission", "permission", "permission"];
  assertEquals(await linesOf(script, "--allow-ffi"), [...refused, "prompt"]);
});

test("--allow-ffi is all that a native pool needs", async () => {
  assertEquals(await lines("--allow-ffi"), ["imported", "lent"]);
});

test("a native pool opens although some other path is denied", async () => {
  // Then Deno refuses the library's bare name, too: the absolute ones are for this.
  for (const allowed of ["--allow-all", "--allow-ffi"]) {
    const told = await lines(allowed, "--deny-ffi=/some/path");
    assertEquals(told, ["imported", "lent"], allowed);
  }
});

for (const safety of ["trust", "revoke", "strict"]) {
  test(`the permission may be taken back: what cannot be made is refused, what cannot be healed abandoned (${safety})`, async () => {
    const script = CAREFUL.replace("SAFETY", safety);
    assertEquals(await linesOf(script, "--allow-ffi"), [
      "new view: permission permission",
      "released: done",
      "healed: permission done",
      "lent: reset",
      "released: done",
      "stats: 0 0 1",
      "trim: number",
      "closed: yes",
    ]);
  });
}

for (const safety of ["trust", "revoke", "strict"]) {
  test(`a sealed pool needs the permission no more (${safety})`, async () => {
    const script = SEALED.replace("SAFETY", safety);
    assertEquals(await linesOf(script, "--allow-ffi", "--allow-net"), [
      "true true true 0 64",
      "1 63 63",
      "closed",
    ]);
  });
}

test("seal() without the permission names it", async () => {
  const script = `
    import { BlockPool } from ${JSON.stringify(LIBRARY)};
    const pool = new BlockPool({ blockSize: 4096, maxBlocks: 4 });
    await Deno.permissions.revoke({ name: "ffi" });
    try { pool.seal(); } catch (error) { console.log(error.code); }
    const block = pool.acquireSync();
    block.release();
    await pool.close();
    try { pool.seal(); } catch (error) { console.log(error.code); }`;
  assertEquals(await linesOf(script, "--allow-ffi"), ["permission", "closed"]);
});

Deno.test({
  name: "what is asked for first after the permission was taken back says so",
  ignore: !canRunDeno || !hasNative,
  fn: async () => {
    assertEquals(await linesOf(LATE, "--allow-ffi"), [
      "pointer: permission",
      "strict: permission",
      "join: permission",
      "create: permission",
      "closed: done",
    ]);
  },
});

Deno.test({
  name: "heap pools need no page of the process, and no permission",
  ignore: !canRunDeno || !hasNative,
  fn: async () => {
    assertEquals(await linesOf(EARLY, "--allow-ffi"), ["timeout"]);
  },
});
