// Run by `deno task planted`: puts one bug at a time into a copy of the library and requires that
// its tests notice. Without this it is not known whether a guard is tested or only exercised.
// Arguments, if any, are words: only bugs whose description has one of them are tried.

import { type Bug, BUGS, patternOf } from "./bugs.ts";
import { IO_BUGS } from "./io_bugs.ts";

const ROOT = new URL("../../", import.meta.url);
/** What the tests need; the rest is not worth copying. */
const NEEDED =
  /^(mod\.ts|deno\.jsonc?|deno\.lock|README\.md|docs|ffi|pool|shared|io|otel|tests)$/;
const PARALLEL = 2;
/** A test that hangs has noticed, too. */
const LONGEST_MS = 400_000;

interface Verdict {
  readonly bug: Bug;
  /** How each test file ended, or why the bug could not be planted. */
  readonly told: string[];
  readonly isCaught: boolean;
}

const words = Deno.args;
const chosen = [...BUGS, ...IO_BUGS].filter(({ what }) =>
  words.length === 0 || words.some((word) => what.includes(word))
);

const folders = await Promise.all(
  Array.from({ length: PARALLEL }, () => copyOfTree()),
);
try {
  Deno.exitCode = await run() ? 0 : 1;
} finally {
  for (const folder of folders) await Deno.remove(folder, { recursive: true });
}

async function run(): Promise<boolean> {
  const suites = [...new Set(chosen.flatMap(({ caughtBy }) => caughtBy))];
  const sick: string[] = [];
  console.log(`${suites.length} test files as they are`);
  await inParallel(suites, async (suite, folder) => {
    const told = await outcome(folder, suite);
    if (told !== undefined) sick.push(`${suite} fails by itself: ${told}`);
  });
  if (sick.length > 0) {
    console.error(sick.join("\n"));
    return false;
  }
  console.log(`${chosen.length} planted bugs`);
  const verdicts: Verdict[] = [];
  await inParallel(chosen, async (bug, folder) => {
    const verdict = await attempt(bug, folder);
    verdicts.push(verdict);
    console.log(row(verdict));
  });
  const survivors = verdicts.filter(({ isCaught }) => !isCaught);
  console.log(
    survivors.length === 0
      ? `\nall ${verdicts.length} were noticed`
      : `\n${survivors.length} SURVIVED:\n${survivors.map(row).join("\n")}`,
  );
  return survivors.length === 0;
}

function row({ bug, told, isCaught }: Verdict): string {
  const mark = isCaught ? "noticed " : "SURVIVED";
  return `${mark}  ${bug.what.padEnd(62)}  ${told.join(", ")}`;
}

/** Plants one bug, runs its tests, takes it out again. */
async function attempt(bug: Bug, folder: string): Promise<Verdict> {
  const path = `${folder}/${bug.file}`;
  const source = await Deno.readTextFile(path);
  const places = [...source.matchAll(patternOf(bug.find))];
  if (places.length !== 1) {
    const times = `${places.length} times`;
    const told = [`its text is in ${bug.file} ${times}: mend the table`];
    return { bug, told, isCaught: false };
  }
  const put = bug.put.replaceAll(
    /this\.#(\w+)/g,
    (own, name) => source.includes(own) ? own : `this.${name}`,
  );
  await Deno.writeTextFile(path, source.replace(places[0][0], () => put));
  try {
    const told: string[] = [];
    let isCaught = true;
    for (const suite of bug.caughtBy) {
      const how = await outcome(folder, suite);
      isCaught &&= how !== undefined;
      told.push(`${suite}: ${how ?? "passes"}`);
    }
    return { bug, told, isCaught };
  } finally {
    await Deno.writeTextFile(path, source);
  }
}

/** How a test file fails; `undefined` if it does not. */
async function outcome(
  folder: string,
  suite: string,
): Promise<string | undefined> {
  const path = `tests/${suite}_test.ts`;
  const signal = AbortSignal.timeout(LONGEST_MS);
  const command = new Deno.Command(Deno.execPath(), {
    // The planted code need not be tidy, only run.
    args: [
      "test",
      "--allow-all",
      "--no-check",
      "--frozen",
      "--sanitize-ops",
      "--sanitize-resources",
      path,
    ],
    cwd: folder,
    env: { NO_COLOR: "1" },
    signal,
  });
  const { success, stdout, stderr, signal: killed } = await command.output();
  if (success) return undefined;
  if (signal.aborted) return "hangs";
  if (killed !== null) return `crashes (${killed})`;
  const decoder = new TextDecoder();
  const output = decoder.decode(stdout) + decoder.decode(stderr);
  const failed = output.match(/(\d+) failed/)?.[1];
  // A file that does not even load has noticed nothing.
  if (failed === undefined) throw new Error(`${suite}:\n${output}`);
  return `${failed} failed`;
}

/** Gives every item to `work` with a folder of its own. */
async function inParallel<T>(
  items: readonly T[],
  work: (item: T, folder: string) => Promise<void>,
): Promise<void> {
  const left = [...items];
  await Promise.all(folders.map(async (folder) => {
    for (let item; (item = left.shift()) !== undefined;) {
      await work(item, folder);
    }
  }));
}

async function copyOfTree(): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "smriti_planted_" });
  await copyInto(ROOT, folder, NEEDED);
  return folder;
}

async function copyInto(from: URL, to: string, names: RegExp): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (!names.test(name)) continue;
    const target = `${to}/${name}`;
    if (!isDirectory) {
      await Deno.copyFile(new URL(name, from), target);
      continue;
    }
    await Deno.mkdir(target);
    await copyInto(new URL(`${name}/`, from), target, /^[^.]/);
  }
}
