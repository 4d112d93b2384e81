// What the library needs from Deno's permissions: nothing to be imported, --allow-ffi to map memory.
// Each case is a process of its own, with the flags it is about.

import { assertEquals, assertMatch } from "@std/assert";
import { canRunDeno, hasNative } from "./support/platform.ts";

const LIBRARY = new URL("../mod.ts", import.meta.url).href;
const SHARED = new URL("../shared/mod.ts", import.meta.url).href;

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

async function lines(...flags: string[]): Promise<string[]> {
  return await linesOf(SCRIPT, ...flags);
}

async function linesOf(script: string, ...flags: string[]): Promise<string[]> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--no-check", "--quiet", ...flags, "-"],
    cwd: new URL("../", import.meta.url),
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
      "healed: permission permission",
      "lent: reset",
      "released: done",
      "stats: 0 0 2",
      "trim: number",
      "closed: yes",
    ]);
  });
}

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
