/**
 * Prints what the lint plugin adds to `deno lint`: 60 000 lines of this repository, without a plugin,
 * with one that does nothing, and with this one; of the plugin's own files, which have no blocks, with
 * a quarter of the lines from the examples, which are about blocks, and of the examples alone.
 *
 * `deno lint` skips files that it has found clean before: its cache is removed before each run. The
 * rounds are interleaved, and the median counts. Processor time is that of all threads (Linux).
 *
 *     deno run -A bench/lint.ts [--rounds 7]
 */
import { flags } from "./flags.ts";
import { tableText } from "./report/markdown.ts";
import { over, ratio, type Table, Turns } from "./report/section.ts";

const LINES = 60_000;

/** Which share of the lines is about blocks. */
const KINDS = {
  "no blocks": 0,
  "a quarter about blocks": 1 / 4,
  "all about blocks": 1,
};

const PLUGINS = {
  "without": [],
  "empty": ["./empty.ts"],
  "smriti": [import.meta.resolve("../lint/mod.ts")],
};

const EMPTY = `const plugin: Deno.lint.Plugin = {
  name: "empty",
  rules: { none: { create: () => ({ Program() {} }) } },
};
export default plugin;
`;

/** Copies of a folder's files until there are so many lines. */
function fill(target: string, folder: string, lines: number): void {
  const from = new URL(`../${folder}/`, import.meta.url);
  const texts = Array.from(Deno.readDirSync(from))
    .filter(({ name }) => name.endsWith(".ts"))
    .map(({ name }) => Deno.readTextFileSync(new URL(name, from)));
  for (let i = 0; lines > 0; i++) {
    const text = texts[i % texts.length];
    Deno.writeTextFileSync(`${target}/${folder}${i}.ts`, text);
    lines -= text.split("\n").length;
  }
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

/** Writes the files of a kind, and a configuration for each plugin. */
function prepare(folder: string, share: number): void {
  Deno.mkdirSync(`${folder}/src`, { recursive: true });
  Deno.mkdirSync(`${folder}/cache`);
  Deno.writeTextFileSync(`${folder}/empty.ts`, EMPTY);
  fill(`${folder}/src`, "lint", (1 - share) * LINES);
  fill(`${folder}/src`, "examples", share * LINES);
  for (const [name, plugins] of Object.entries(PLUGINS)) {
    const text = JSON.stringify({ lint: { plugins } });
    Deno.writeTextFileSync(`${folder}/${name}.json`, text);
  }
}

const HELP = `deno run -A bench/lint.ts [flags]

  --rounds N    how often each runs (default 7)
  --help        this`;
const { rounds } = flags(HELP, { rounds: 7 });

const root = Deno.makeTempDirSync({ prefix: "smriti_lint_" });
const rows: Table["rows"][number][] = [];
try {
  for (const [kind, share] of Object.entries(KINDS)) {
    const folder = `${root}/${kind.replaceAll(" ", "_")}`;
    prepare(folder, share);
    const contestants = Object.fromEntries(
      Object.keys(PLUGINS)
        .map((name) => [name, () => run(folder, `${name}.json`)]),
    );
    // The first round fills the cache with the plugin.
    const turns = new Turns({ rounds }, console.error);
    await turns.take(kind, contestants, 1);
    const all = await turns.take(kind, contestants);
    for (const [name, own] of Object.entries(all)) {
      const cells = [
        ({ ms }: typeof own[number]) => ms,
        ({ cpuMs }: typeof own[number]) => cpuMs,
      ].flatMap((value) => [over(own, value), ratio(own, all.without, value)]);
      rows.push([`${kind}: ${name}`, ...cells]);
    }
  }
} finally {
  Deno.removeSync(root, { recursive: true });
}
const heading = `${LINES} lines`;
const columns = ["ms", "ratio", "CPU ms", "ratio"];
console.log(tableText({ heading, columns, rows }));
