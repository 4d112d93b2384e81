// What the library needs from Deno's permissions: nothing to be imported, --allow-ffi to map memory.
// Each case is a process of its own, with the flags it is about.

import { assertEquals, assertMatch } from "@std/assert";
import { canRunDeno, hasNative } from "./support/platform.ts";

const LIBRARY = new URL("../mod.ts", import.meta.url).href;

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

async function lines(...flags: string[]): Promise<string[]> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--no-check", "--quiet", ...flags, "-"],
    cwd: new URL("../", import.meta.url),
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(SCRIPT));
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
