/**
 * Runs every comparison in one go and writes bench/report.md, bench/plots/*.svg and the tables of
 * the README and docs/: all of one run. What fails is left out, with a line; after 15 minutes each
 * contestant runs once only, after 20 not at all.
 *
 *     deno task bench:report [--only ID] [--rounds 3] [--write]
 *
 * With `--only`, one scenario runs and its tables are printed; the report stays as it is, and so
 * do the other pages without `--write`.
 */
import { flags } from "../flags.ts";
import { format, intoReadme } from "../readme.ts";
import { servers } from "../io/report.ts";
import { Earlier } from "./earlier.ts";
import { day } from "./day.ts";
import { life } from "./life.ts";
import { commit, load, machine } from "./machine.ts";
import { sectionText, tableText, verdictText } from "./markdown.ts";
import { churn } from "./churn.ts";
import { oneIsolate } from "./one_isolate.ts";
import { waiting } from "./waiting.ts";
import { isMet, type Scenario, type Section, Turns } from "./section.ts";

const SCENARIOS: readonly Scenario[] = [
  servers,
  oneIsolate,
  churn,
  life,
  day,
  waiting,
];
const BENCH = new URL("../", import.meta.url);
const PATH = new URL("report.md", BENCH);
const LATE_MS = 15 * 60_000;
const MOST_MS = 20 * 60_000;
const HELP = `deno task bench:report [--only ID] [--rounds N] [--write]

  --only ID    run one of: ${SCENARIOS.map(({ id }) => id).join(", ")}
  --name WORD  of the servers, those with this in their name
  --quick      a quarter of the load of the servers
  --rounds N   how often every contestant runs (default 3)
  --write      with --only: put its tables into the README and docs/
  --help       this`;

function fail(why: string): never {
  console.error(`${why}\n\n${HELP}`);
  Deno.exit(2);
}

const { only, name, quick, rounds, write } = flags(HELP, {
  only: "",
  name: "",
  quick: false,
  rounds: 3,
  write: false,
}, ({ only, name, quick, write }) => {
  if ((name !== "" || quick) && (only === "" || write)) {
    throw new TypeError("pages are written of all servers with all their load");
  }
});
const chosen = only === ""
  ? SCENARIOS
  : SCENARIOS.filter(({ id }) => id === only);
if (chosen.length === 0) fail(`there is no scenario ${only}`);
if (Deno.build.os !== "linux") fail("the report asks /proc: it runs on Linux");
const start = performance.now();
const say = (text: string) => {
  const seconds = (performance.now() - start) / 1000;
  console.error(`${seconds.toFixed(0).padStart(4)} s  ${text}`);
};
const busyBefore = load();
const before = Earlier.read(PATH);
const sections: [Scenario, Section][] = [];
const failed: string[] = [];
const turns = new Turns({
  rounds,
  share: quick ? 0.25 : 1,
  only: name,
  lateMs: start + LATE_MS,
  endMs: start + MOST_MS,
}, say);
for (const scenario of chosen) {
  try {
    sections.push([scenario, await scenario.run(turns)]);
  } catch (error) {
    failed.push(
      `all of ${scenario.id} is left out: ${(error as Error).message}`,
    );
    say(failed.at(-1)!);
  }
}
const minutes = ((performance.now() - start) / 60_000).toFixed(1);
failed.push(...turns.failed);
const verdicts = sections.flatMap(([, { verdicts }]) => verdicts);
const missed = verdicts.filter((verdict) => !isMet(verdict));

const isWhole = chosen === SCENARIOS;
const head = `# Bench report

Written by \`deno task bench:report${
  rounds === 3 ? "" : ` --rounds ${rounds}`
}\` in ${minutes} minutes; do not edit.
Commit ${await commit()}. Machine: ${machine()}; load average ${busyBefore} before,
${load()} after.

Figures are medians of ${rounds} interleaved rounds, with the least and the most in
brackets; ratios are taken within each round. Each measurement has a process of its own. A
difference of less than two between two rows means nothing on a shared machine.

Last column: the first figure of the row as a share of that in the report before, and so each
other figure whose least and most lie outside of what they were. ${before.about}
${
  failed.length === 0
    ? ""
    : `\nFailed:\n\n${failed.map((one) => `- ${one}`).join("\n")}\n`
}

${verdicts.length - missed.length} of ${verdicts.length} targets met.
${
  missed.length === 0
    ? ""
    : `\nMissed:\n\n${
      missed.map((verdict) => `- ${verdictText(verdict)}`).join("\n")
    }\n`
}`;
const text = (plots: string) =>
  sections.map(([scenario, section]) => {
    const tables = section.tables.map((table) => before.compare(table));
    return sectionText(scenario, { ...section, tables }, plots);
  }).join("\n\n");
if (isWhole) {
  Deno.mkdirSync(new URL("plots/", BENCH), { recursive: true });
  for (const { file, svg } of sections.flatMap(([, { plots }]) => plots)) {
    Deno.writeTextFileSync(new URL(`plots/${file}`, BENCH), svg);
  }
  Deno.writeTextFileSync(PATH, `${head}\n${text("plots")}\n`);
  await format(PATH, new URL("plots/", BENCH));
  console.log(`${head}\nbench/report.md and bench/plots/ are written.`);
} else {
  console.log(`${machine()}\n\n${text("bench/plots")}`);
}
if (isWhole || write) {
  for (const [, { readme = {} }] of sections) {
    for (const [place, table] of Object.entries(readme)) {
      await intoReadme(place, tableText(table));
    }
  }
}
