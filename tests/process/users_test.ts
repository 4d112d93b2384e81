// The tests of a program that uses the library, with the sanitizers on: nothing of ours is counted
// against them, whatever a pool does in whichever test, and no preload is needed.

import { assertEquals, assertMatch } from "@std/assert";
import { canRunDeno } from "../support/platform.ts";

async function run(file: string, env: Record<string, string> = {}) {
  const { href } = new URL(`users/${file}.ts`, import.meta.url);
  const { code, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "--no-check", "--no-config", "--allow-all", href],
    env: { NO_COLOR: "1", ...env },
    stdout: "piped",
    stderr: "null",
  }).output();
  const told = new TextDecoder().decode(stdout);
  const failures = [...told.matchAll(/^(.*) \.\.\. FAILED/gm)].map(([, name]) =>
    name
  );
  return { code, failures, told };
}

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, ignore: !canRunDeno });

for (const file of ["sanitized", "first"]) {
  test(`a user's tests pass with the sanitizers on: ${file}`, async () => {
    const { code, failures, told } = await run(file);
    assertEquals(failures, [], told);
    assertEquals(code, 0, told);
  });
}

test("the sanitizers were on", async () => {
  const { failures, told } = await run("sanitized", { SMRITI_CONTROL: "1" });
  assertEquals(failures, ["control: what a sanitizer finds"]);
  assertMatch(told, /timer was started in this test/);
});
