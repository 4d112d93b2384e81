/**
 * Tries every API of Deno and node that takes bytes with a block that is released right after the
 * call, after the API's promise or callback, or not given at all (a copy is), and says which of
 * these is right. The table that comes of it is docs/sinks.md. Linux and macOS.
 *
 *     deno run -A tools/sinks.ts [--write] [--only WORD]
 *
 * Without `--write` it compares, and ends with 1 if the table is not what this runtime does.
 */
import { DENO } from "./sinks/deno_probes.ts";
import { NODE } from "./sinks/node_probes.ts";
import { attempt, type Outcome, type Probe } from "./sinks/probe.ts";
import { WEB } from "./sinks/web_probes.ts";

/** When a block may be released whose bytes an API was given; the later, the more careful. */
const VERDICTS = [
  "after the call",
  "after its promise",
  "after its callback",
  "never: pass a copy",
] as const;

type Verdict = typeof VERDICTS[number];

interface Row {
  readonly api: string;
  readonly verdict: Verdict;
  /** What happens if the block is released right after the call all the same. */
  readonly sooner?: string;
}

/** By heading, in the order of the table. */
const GROUPS: Record<string, readonly Probe[]> = {
  "Deno": DENO,
  "The web platform": WEB,
  "node": NODE,
};
const PROBES = Object.values(GROUPS).flat();
const TABLE = new URL("../docs/sinks.md", import.meta.url);
const WRITTEN_BY = /Written by Deno (\S+)/;

/** How often a point of time is tried before it counts as right. */
const ROUNDS = 3;
/** Processes at a time: most of the time is waiting. */
const PROCESSES = 3;

async function wrongAt(
  probe: Probe,
  point: "call" | "end",
  expected: string,
  races: number,
): Promise<Outcome> {
  const rounds = probe.races && point === "call" ? races : ROUNDS;
  for (let round = 0; round < rounds; round++) {
    const { outcome } = await attempt(probe, point, expected);
    if (outcome !== undefined) return outcome;
  }
}

async function judge(
  probe: Probe,
  races: number,
): Promise<Row | { failed: string }> {
  const { api } = probe;
  const { outcome, result } = await attempt(probe, "copy");
  if (outcome !== undefined) return { failed: `${api}: a copy: ${outcome}` };
  const sooner = await wrongAt(probe, "call", result, races);
  if (sooner === undefined) return { api, verdict: "after the call" };
  const isLate = probe.end === "return" ||
    await wrongAt(probe, "end", result, races) !== undefined;
  const verdict = isLate ? "never: pass a copy" : `after its ${probe.end}`;
  return { api, verdict: verdict as Verdict, sooner };
}

/** The child's side: a line when an API is begun, and one with what it came to. */
async function child(races: number, numbers: number[]): Promise<never> {
  for (const number of numbers) {
    console.log(`@${number}`);
    console.log(`@${JSON.stringify(await judge(PROBES[number], races))}`);
  }
  Deno.exit();
}

/** Tries the APIs of these numbers in other processes: an API may end its own. */
async function tryAll(
  numbers: number[],
  races: number,
  rows: Map<string, Row>,
): Promise<void> {
  while (numbers.length > 0) {
    const flags = ["--unstable-net", "--unstable-kv", "--no-check", "--quiet"];
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "-A", ...flags, import.meta.url],
        ...["--child", `${races}`, numbers.join()],
      ],
      stderr: "inherit",
    }).output();
    for (const line of new TextDecoder().decode(stdout).split("\n")) {
      if (/^@\d+$/.test(line)) numbers = numbers.slice(1);
      if (!line.startsWith("@{")) continue;
      const row = JSON.parse(line.slice(1)) as Row | { failed: string };
      if ("failed" in row) console.error(row.failed);
      else rows.set(row.api, row);
    }
  }
}

/** What these APIs come to in this runtime. */
async function survey(probes: readonly Probe[], races: number): Promise<Row[]> {
  const numbers = probes.map((probe) => PROBES.indexOf(probe));
  const rows = new Map<string, Row>();
  const share = (process: number) =>
    numbers.filter((_, i) => i % PROCESSES === process);
  await Promise.all(
    Array.from(
      { length: PROCESSES },
      (_, process) => tryAll(share(process), races, rows),
    ),
  );
  return probes.map(({ api }) =>
    rows.get(api) ??
      // It was begun, and nothing came of it.
      { api, verdict: "never: pass a copy", sooner: "ends the process" }
  );
}

/** What the table says of each API. */
function tableOf(text: string): Map<string, string> {
  const rows = [...text.matchAll(/^\| `([^|]+)` +\| ([^|]+?) +\|/gm)];
  return new Map(rows.map(([, api, verdict]) => [api, verdict]));
}

/** Whether the table is right about an API, as far as it was tried. */
function agrees(probe: Probe, row: Row, verdict: string, isSame: boolean) {
  const [found, told] = [row.verdict, verdict as Verdict]
    .map((each) => VERDICTS.indexOf(each));
  // It may be more careful where threads race, and than another Deno needs.
  return found === told || (found < told && (probe.races || !isSame));
}

/** Where docs/sinks.md is not what this runtime does, a line each. */
export async function differences(only = ""): Promise<string[]> {
  const text = await Deno.readTextFile(TABLE);
  const isSame = WRITTEN_BY.exec(text)?.[1] === Deno.version.deno;
  const table = tableOf(text);
  let left = PROBES.filter(({ api }) => api.includes(only));
  let lines: string[] = [];
  // A machine that is busy is slow, not wrong: what differs is looked at again.
  for (let round = 0; round < 3 && left.length > 0; round++) {
    const rows = await survey(left, 8);
    const wrong = rows.filter((row, i) =>
      !agrees(left[i], row, table.get(row.api) ?? "", isSame)
    );
    lines = wrong.map(({ api, verdict, sooner = "all is right" }) =>
      `${api}: the table has ${table.get(api)}, found ${verdict} (${sooner})`
    );
    left = left.filter(({ api }) => wrong.some((row) => row.api === api));
  }
  if (only === "") {
    for (const api of table.keys()) {
      if (!PROBES.some((probe) => probe.api === api)) {
        lines.push(`${api}: is in the table and not tried`);
      }
    }
  }
  return lines;
}

/** The same for the table: what a busy machine has made look wrong is tried once more. */
async function sure(probes: readonly Probe[]): Promise<Row[]> {
  const rows = await survey(probes, 40);
  const doubtful = probes.filter(({ races }, i) =>
    !races && rows[i].sooner !== undefined
  );
  const again = await survey(doubtful, 40);
  return rows.map((row) => {
    const other = again.find(({ api }) => api === row.api) ?? row;
    const later = VERDICTS.indexOf(row.verdict) -
      VERDICTS.indexOf(other.verdict);
    return later > 0 ? other : row;
  });
}

async function write(): Promise<void> {
  let text = `# What keeps the bytes it is given

A block's bytes can be given to anything that takes a \`Uint8Array\`. When the
block may be released afterwards is another matter: some APIs have copied the
bytes when they return, others read them until their promise or callback, and
some keep them for good. What keeps them and is not waited for gets the bytes of
the next lease, or an array of length 0.

Written by Deno ${Deno.version.deno}, \`deno task sinks\`: each API gets the bytes
of a block that is released at that point and used again at once, behind data
that has not been sent yet where there is such a thing, beside busy threads
where others read the bytes. \`tests/repo/sinks_test.ts\` does the same and fails when
this table is not what it finds.

- **after the call**: it has copied the bytes, or is done with them.
- **after its promise**, **after its callback**: wait for that, or let
  \`block.lend(promise)\` do so. A race that was won by something else is no end.
- **never: pass a copy**: nothing says when it is done. \`bytes.slice()\`.

`;
  for (const [heading, probes] of Object.entries(GROUPS)) {
    const rows = await sure(probes);
    text += `## ${heading}\n\n`;
    text += "| API | release the block | released right after the call |\n";
    text += "| --- | --- | --- |\n";
    for (const { api, verdict, sooner = "" } of rows) {
      text += `| \`${api}\` | ${verdict} | ${sooner} |\n`;
    }
    text += "\n";
  }
  await Deno.writeTextFile(TABLE, text);
  await new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--quiet", TABLE.pathname],
  }).output();
}

if (import.meta.main) {
  const [flag, ...values] = Deno.args;
  if (flag === "--child") {
    await child(Number(values[0]), values[1].split(",").map(Number));
  } else if (flag === "--write") await write();
  else {
    const lines = await differences(flag === "--only" ? values[0] : "");
    for (const line of lines) console.log(line);
    Deno.exit(lines.length > 0 ? 1 : 0);
  }
}
