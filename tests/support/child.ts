// Runs a function in a Deno of its own: for what may end the process, and for
// what needs flags that the tests themselves run without.

import { assertMatch } from "@std/assert";

/** The library, as the child has imported it. */
export type Library = typeof import("../../mod.ts");

/** How the child ended. */
export interface Ended {
  readonly code: number;
  readonly signal: Deno.Signal | null;
  readonly stdout: string;
  readonly stderr: string;
}

const LIBRARY = new URL("../../mod.ts", import.meta.url).href;
const ROOT = new URL("../../", import.meta.url);

/**
 * Runs `body` in a child. It goes there as its source, so it must use nothing
 * but its arguments and what is global: the library and the strings `args`.
 */
export async function inChild(
  body: (library: Library, ...args: string[]) => unknown,
  flags: string[] = [],
  args: string[] = [],
): Promise<Ended> {
  const script = `import * as library from ${JSON.stringify(LIBRARY)};
await (${body})(library, ...${JSON.stringify(args)});
console.log("the child came to its end");`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-all", "--no-check", "--quiet", ...flags, "-"],
    cwd: ROOT,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(script));
  await writer.close();
  const { code, signal, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return {
    code,
    signal,
    stdout: decoder.decode(stdout),
    stderr: decoder.decode(stderr),
  };
}

/** The same, of a child that must survive; gives the lines it printed. */
export async function survives(
  body: (library: Library, ...args: string[]) => unknown,
  flags: string[] = [],
  args: string[] = [],
): Promise<string[]> {
  const { code, signal, stdout, stderr } = await inChild(body, flags, args);
  const lines = stdout.trimEnd().split("\n");
  const end = lines.pop();
  if (code !== 0 || end !== "the child came to its end") {
    throw new Error(`the child ended with ${signal ?? code}:\n${stderr}`);
  }
  return lines;
}

/** Kills a child, if it has not ended. */
export function kill(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch (error) {
    assertMatch(`${error}`, /terminated|NotFound/);
  }
}
