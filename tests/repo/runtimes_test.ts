// Node and Bun, the real ones, and what a bundler makes of the library: tools/runtimes.sh fetches them.

import { assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import { canRunDeno } from "../support/platform.ts";

const PROGRAM = fileURLToPath(
  new URL("./runtimes/program.ts", import.meta.url),
);
const TOOLS = new URL(
  "../../.ci/.tools/runtimes/node_modules/.bin/",
  import.meta.url,
);

/** Where a program is that tools/runtimes.sh has fetched; `undefined`, and a word on it, if it is not. */
function fetched(name: string): string | undefined {
  const path = fileURLToPath(new URL(name, TOOLS));
  try {
    const { success } = new Deno.Command(path, {
      args: ["--version"],
      stdout: "null",
      stderr: "null",
    }).outputSync();
    if (success) return path;
  } catch {
    // As below.
  }
  console.warn(
    `\n*** No ${name}: tests with it are IGNORED. Run tools/runtimes.sh. ***\n`,
  );
  return undefined;
}

async function run(command: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(command, {
    args,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
  }).output();
  const decoder = new TextDecoder();
  const said = decoder.decode(stdout) + decoder.decode(stderr);
  assertEquals(code, 0, said);
  return said;
}

const esbuild = fetched("esbuild");
const deno = canRunDeno ? Deno.execPath() : undefined;
const runtimes: [string, string | undefined, ...string[]][] = [
  ["Node", fetched("node")],
  ["Bun", fetched("bun"), "run"],
  [
    "Deno",
    deno,
    "run",
    "--no-check",
    "--no-config",
    "--allow-net",
    "--allow-read",
  ],
];

for (const [name, command, ...args] of runtimes) {
  const passes = new RegExp(`^\\d\\d checks passed on ${name} [\\d.]+\\s*$`);
  Deno.test({
    name: `the whole API works on ${name}`,
    ignore: command === undefined,
    fn: async () => assertMatch(await run(command!, ...args, PROGRAM), passes),
  });

  Deno.test({
    name: `a bundle of it works on ${name}`,
    ignore: command === undefined || esbuild === undefined,
    async fn() {
      const folder = await Deno.makeTempDir({ prefix: "smriti-bundle-" });
      try {
        const file = `${folder}/program.mjs`;
        // As docs/runtimes.md has it.
        const flags = [
          "--bundle",
          "--format=esm",
          "--platform=node",
          "--target=es2024",
          "--external:node:*",
        ];
        await run(esbuild!, ...flags, PROGRAM, `--outfile=${file}`);
        // The program reads its own first words.
        const text = await Deno.readTextFile(file);
        await Deno.writeTextFile(file, `// The whole bundle\n${text}`);
        assertMatch(await run(command!, ...args, file), passes);
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  });
}
