// Real clients, as Debian's packages have them. They must be on the machine already
// (tools/clients.sh sees to that): without one its tests are ignored, loudly.

import { assertEquals } from "@std/assert";

const found = new Map<string, boolean>();

/** Whether this machine has the program, of the kind that says its version. */
export function hasClient(name: string): boolean {
  let has = found.get(name);
  if (has === undefined) {
    found.set(name, has = isThere(name));
    if (!has) {
      console.warn(
        `\n*** No ${name}: tests with it are IGNORED. Run tools/clients.sh. ***\n`,
      );
    }
  }
  return has;
}

function isThere(name: string): boolean {
  try {
    return new Deno.Command(name, {
      args: [name === "openssl" ? "version" : "--version"],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).outputSync().success;
  } catch {
    return false;
  }
}

/** Runs one, gives it `input`, and gives what it said on stdout. It must succeed. */
export async function client(
  args: readonly string[],
  { input = "", env = {}, code = 0 }: {
    input?: string | Uint8Array;
    env?: Record<string, string>;
    code?: number;
  } = {},
): Promise<string> {
  const [name, ...rest] = args;
  const child = new Deno.Command(name, {
    args: rest,
    env,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const feed = async () => {
    const writer = child.stdin.getWriter();
    const bytes = typeof input === "string"
      ? new TextEncoder().encode(input)
      : input;
    try {
      await writer.write(bytes);
      await writer.close();
    } catch {
      // It had enough.
    }
  };
  const [output] = await Promise.all([child.output(), feed()]);
  const [stdout, stderr] = [output.stdout, output.stderr].map((bytes) =>
    new TextDecoder().decode(bytes)
  );
  assertEquals(output.code, code, `${args.join(" ")}\n${stderr}\n${stdout}`);
  return stdout;
}
