/**
 * Prints what the lint plugin adds to `deno lint`: 200 files of 300 lines, without a plugin, with one
 * that does nothing, and with this one; files without blocks, with a quarter of their functions about
 * blocks, and with all.
 *
 * `deno lint` skips files that it has found clean before: its cache is removed before each run. The
 * rounds are interleaved, and the median counts. Processor time is that of all threads (Linux).
 *
 *     deno run -A bench/lint.ts [--rounds 7]
 */
import { flags } from "./flags.ts";
import { spread } from "./measure.ts";

const FILES = 200;
const LINES = 300;

/** Functions as a server has them; `$` is the number of the function. */
const PLAIN = [
  `/** Reads the settings of a tenant. */
export async function settings$(path: string): Promise<Settings> {
  const text = await Deno.readTextFile(path);
  const parsed: unknown = JSON.parse(text);
  if (typeof parsed !== "object" || parsed === null) {
    throw new TypeError(\`\${path} has no settings\`);
  }
  const entries = Object.entries(parsed).filter(([key]) => key !== "secret");
  const names = entries.map(([key]) => key.toLowerCase());
  return { path, names, count: entries.length };
}
`,
  `export function route$(url: URL, settings: Settings): Response {
  switch (url.pathname) {
    case "/":
      return new Response("ok");
    case "/names":
      return Response.json(settings.names);
    default: {
      const name = url.pathname.slice(1);
      const isKnown = settings.names.includes(name);
      return new Response(isKnown ? name : "none", {
        status: isKnown ? 200 : 404,
      });
    }
  }
}
`,
  `export class Counter$ {
  #counts = new Map<string, number>();

  add(name: string, by = 1): number {
    const count = (this.#counts.get(name) ?? 0) + by;
    this.#counts.set(name, count);
    return count;
  }

  *top(limit: number): Generator<[string, number]> {
    const sorted = [...this.#counts].sort(([, a], [, b]) => b - a);
    for (const entry of sorted.slice(0, limit)) yield entry;
  }
}
`,
];

const BLOCKS = [
  `export async function greet$(conn: Deno.Conn, name: string): Promise<number> {
  using block = await pool.acquire({ timeoutMs: 100 });
  const { written } = new TextEncoder().encodeInto(name, block.bytes);
  let sent = 0;
  while (sent < written) {
    sent += await block.lend((bytes) =>
      conn.write(bytes.subarray(sent, written))
    );
  }
  return sent;
}
`,
  `export async function upload$(req: Request, path: string): Promise<Response> {
  const file = await Deno.open(path, { write: true, create: true });
  let size = 0;
  try {
    for await (const { bytes } of chunks(req, pool)) {
      for (let at = 0; at < bytes.length;) {
        at += await file.write(bytes.subarray(at));
      }
      size += bytes.length;
    }
  } finally {
    file.close();
  }
  return Response.json({ path, size });
}
`,
  `export class Session$ {
  #block: Block | undefined;

  async open(file: Deno.FsFile): Promise<number> {
    const block = await pool.acquire();
    try {
      const count = await block.lend((bytes) => file.read(bytes));
      if (count === null) return 0;
      this.#block?.release();
      this.#block = block.bytes[0] === 0 ? undefined : block;
      return count;
    } finally {
      if (this.#block !== block) block.release();
    }
  }

  close(): void {
    this.#block?.release();
    this.#block = undefined;
  }
}
`,
];

const HEAD = `import { type Block, BlockPool } from "@smriti/pool";
import { chunks } from "@smriti/pool/io";

export interface Settings {
  readonly path: string;
  readonly names: string[];
  readonly count: number;
}

export const pool = new BlockPool({ blockSize: 65536, maxBlocks: 64 });
export type Owned = Block | AsyncIterable<ReturnType<typeof chunks>>;
`;

/** Which of the functions of a file are about blocks. */
const KINDS = {
  "no blocks": () => false,
  "a quarter about blocks": (at: number) => at % 4 === 0,
  "all about blocks": () => true,
};

const PLUGINS = {
  "without": [],
  "an empty plugin": ["./empty.ts"],
  "smriti": [import.meta.resolve("../lint/mod.ts")],
};

const EMPTY = `const plugin: Deno.lint.Plugin = {
  name: "empty",
  rules: { none: { create: () => ({ Program() {} }) } },
};
export default plugin;
`;

/** A file of so many lines. */
function fileOf(isAboutBlocks: (at: number) => boolean): string {
  const hasBlocks = isAboutBlocks(0);
  let text = hasBlocks ? HEAD : HEAD.replace(/^.*([Bb]lock|chunks).*\n/gm, "");
  for (let at = 0; text.split("\n").length < LINES; at++) {
    const from = isAboutBlocks(at) ? BLOCKS : PLAIN;
    text += "\n" + from[at % from.length].replaceAll("$ ", `${at} `)
      .replaceAll("$(", `${at}(`);
  }
  return text;
}

/** Processor time of the children that have ended, in milliseconds. */
function childrenMs(): number {
  try {
    const stat = Deno.readTextFileSync("/proc/self/stat");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[13]) + Number(fields[14])) * 10;
  } catch {
    return NaN;
  }
}

/** Runs `deno lint` in a folder whose cache knows the plugin and none of the files. */
async function run(folder: string, config: string) {
  const cache = `${folder}/cache`;
  for (const { name } of Deno.readDirSync(cache)) {
    if (name.startsWith("lint_")) Deno.removeSync(`${cache}/${name}`);
  }
  const before = childrenMs();
  const start = performance.now();
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["lint", "--config", config, "src"],
    cwd: folder,
    env: { DENO_DIR: cache, NO_COLOR: "1" },
  }).output();
  const ms = performance.now() - start;
  if (!success) throw new Error(new TextDecoder().decode(stderr).slice(0, 500));
  return { ms, cpuMs: childrenMs() - before };
}

const HELP = `deno run -A bench/lint.ts [flags]

  --rounds N    how often each runs (default 7)
  --help        this`;
const { rounds } = flags(HELP, { rounds: 7 });

const root = Deno.makeTempDirSync({ prefix: "smriti_lint_" });
try {
  console.log("| 200 files of 300 lines | ms | ratio | CPU ms | ratio |");
  console.log("| --- | --: | --: | --: | --: |");
  for (const [kind, isAboutBlocks] of Object.entries(KINDS)) {
    const folder = `${root}/${kind.replaceAll(" ", "_")}`;
    Deno.mkdirSync(`${folder}/src`, { recursive: true });
    Deno.mkdirSync(`${folder}/cache`);
    Deno.writeTextFileSync(`${folder}/empty.ts`, EMPTY);
    for (let i = 0; i < FILES; i++) {
      Deno.writeTextFileSync(`${folder}/src/f${i}.ts`, fileOf(isAboutBlocks));
    }
    const contestants = Object.entries(PLUGINS).map(([name, plugins]) => {
      const config = `${name.replaceAll(" ", "_")}.json`;
      Deno.writeTextFileSync(
        `${folder}/${config}`,
        JSON.stringify({ lint: { plugins } }),
      );
      return { name, config, ms: [] as number[], cpuMs: [] as number[] };
    });
    for (let round = -1; round < rounds; round++) {
      for (const { config, ms, cpuMs } of contestants) {
        const took = await run(folder, config);
        // The first round fills the cache with the plugin.
        if (round < 0) continue;
        ms.push(took.ms);
        cpuMs.push(took.cpuMs);
      }
    }
    const [bare] = contestants;
    for (const { name, ms, cpuMs } of contestants) {
      const cells = [[ms, bare.ms], [cpuMs, bare.cpuMs]].flatMap(
        ([own, other]) => {
          const { median, min, max } = spread(own);
          const ratio = spread(own.map((value, i) => value / other[i]));
          return [
            `${median.toFixed(0)} (${min.toFixed(0)} to ${max.toFixed(0)})`,
            `${ratio.median.toFixed(2)} (${ratio.min.toFixed(2)} to ${
              ratio.max.toFixed(2)
            })`,
          ];
        },
      );
      console.log(`| ${kind}: ${name} | ${cells.join(" | ")} |`);
    }
  }
} finally {
  Deno.removeSync(root, { recursive: true });
}
