/**
 * Measures the adaptors against what one would write without a pool, and compares the ratios with
 * the targets. Linux only. Ends with 1 if a target is missed.
 *
 *     deno run -A bench/io/report.ts [--rounds 5] [--only WORD] [--quick] [--write]
 *
 * Every contestant is a server process of its own; in each round they take turns, so that the noise
 * of the machine meets all of them; the median round counts. Cost is the processor time of the
 * server process for one request, and the most memory it ever had resident.
 */
import { Child, type Cost } from "../child.ts";
import { compete, type Results } from "../contest.ts";
import { flags } from "../flags.ts";
import { spread } from "../measure.ts";
import { intoReadme } from "../readme.ts";
import { digits, tableText } from "../report/markdown.ts";
import { ratio, Turns } from "../report/section.ts";
import * as load from "./load.ts";
import { type Scenario, SCENARIOS, type Value } from "./scenarios.ts";

const SERVERS = new URL("servers.ts", import.meta.url).href;

const HELP = `deno run -A bench/io/report.ts [flags]

  --rounds N    how often every contestant runs (default 5, or 3 with --quick)
  --only WORD   scenarios with this in their name
  --quick       a quarter of the load
  --write       put the tables into the README and docs/io.md
  --help        this`;
const given = flags(HELP, {
  rounds: 0,
  only: "",
  quick: false,
  write: false,
});
const { only, quick, write } = given;
const rounds = given.rounds || (quick ? 3 : 5);

function typical(results: Results<Value>, of: string, value: Value): number {
  return spread(results[of].map((result) => result[value])).median;
}

/** What a crowd of slow uploads came to. */
interface Crowd {
  answered: number;
  refused: number;
  grownBytes: number;
  stats: Record<string, number>;
}

async function crowdOf(contestant: string, count: number): Promise<Crowd> {
  const args = [SERVERS, "crowd", contestant];
  await using child = new Child<{ port: number }, Crowd["stats"]>(...args);
  const { port } = await child.ready();
  let idle: Cost | undefined;
  const opened = async () => void (idle = await child.cost());
  const result = await load.slowUploads(port, 60_000, count, 2000, opened);
  const { peakBytes, extra } = await child.cost();
  await child.stop();
  const grownBytes = peakBytes - idle!.residentBytes;
  return { ...result, grownBytes, stats: extra };
}

/** 2000 slow uploads at once on 256 blocks: answered or refused, in bounded memory. */
async function crowds(): Promise<boolean> {
  const count = quick ? 1000 : 2000;
  const results: Record<string, Crowd> = {};
  for (const name of ["refuse all", "req.bytes()", "readBody"]) {
    results[name] = await crowdOf(name, count);
  }
  const table = tableText({
    heading: `${count} slow uploads of 60 000 bytes at once, in 2 s each`,
    columns: ["answered", "refused", "memory grew by MB"],
    rows: Object.entries(results).map(([name, crowd]) => [
      name,
      digits(crowd.answered),
      digits(crowd.refused),
      mb(crowd.grownBytes),
    ]),
  });
  console.log(`\n${table}\n`);
  const { answered, refused, grownBytes, stats } = results.readBody;
  const poolBytes = stats.blockSize * stats.maxBlocks;
  const more = grownBytes - results["refuse all"].grownBytes;
  const bound = 2 * poolBytes + 64e6;
  const lawful = stats.acquiredBlocks === 0 && stats.abandonedBlocks === 0 &&
    stats.committedBlocks === stats.freeBlocks &&
    stats.peakAcquired <= stats.maxBlocks;
  const checks: [string, boolean][] = [
    ["every one was answered right or refused", answered + refused === count],
    [`the pool of ${stats.maxBlocks} blocks is whole again`, lawful],
    // A block and a read buffer for each that is served, and what V8 takes for the garbage of
    // any traffic. It does not grow with the crowd.
    [
      `grew by ${mb(more)} MB more than with all refused, at most ${mb(bound)}`,
      more <= bound,
    ],
  ];
  for (const [what, passed] of checks) {
    console.log(`- ${passed ? "met" : "**missed**"}: readBody: ${what}`);
  }
  return checks.every(([, passed]) => passed);
}

function mb(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}

/** A row for the README: what one would write without a pool, beside the first adaptor. */
function row(scenario: Scenario, results: Results<Value>): string {
  const { name, unit = "CPU µs a request", contestants } = scenario;
  const both = contestants.slice(0, 2);
  const cell = (value: Value, show: (number: number) => string) =>
    both.map((one) => show(typical(results, one, value))).join(" → ");
  const micros = cell("micros", (number) => number.toFixed(0));
  const peak = cell("peakBytes", mb);
  return `| ${name} | ${both.join(" → ")} | ${unit} ${micros} | ${peak} |`;
}

/** Rows for docs/io.md: ratios, with what they are of. */
function advise(scenario: Scenario, results: Results<Value>): string[] {
  const [against, second] = scenario.contestants;
  return scenario.advice.map(
    ({ have, use, is = second, not }) => {
      const cell = (value: Value, show: (number: number) => string) => {
        const figure = ratio(results[is], results[against], (r) => r[value]);
        const of = show(typical(results, against, value));
        return `${figure.median.toFixed(2)} of ${of}`;
      };
      const time = cell("micros", (n) => `${n.toFixed(0)} µs`);
      const memory = cell("peakBytes", (n) => `${mb(n)} MB`);
      return `| ${have} | ${use} | \`${against}\` | ${time} | ${memory} | ${not} |`;
    },
  );
}

let met = true;
const rows: string[] = [];
const advices: string[] = [];
const turns = new Turns(rounds, () => {});
console.log(`Medians of ${rounds} rounds, with the least and the most.`);
for (const scenario of SCENARIOS) {
  if (!scenario.name.includes(only)) continue;
  const { isShown, unit = "CPU µs a request" } = scenario;
  const found = await compete(scenario, turns, {
    [unit]: ["micros", 1],
    "peak MB": ["peakBytes", 1e6],
    "mark-compacts": ["markCompacts", 1],
  }, quick ? 0.25 : 1);
  met &&= found.met;
  if (isShown) rows.push(row(scenario, found.results));
  advices.push(...advise(scenario, found.results));
}
if ("slow uploads".includes(only)) met = await crowds() && met;
if (write) {
  const head = "| what | without → pooled | cost | peak memory, MB |\n" +
    "| --- | --- | --- | --- |\n";
  await intoReadme("io", head + rows.join("\n"));
  const columns =
    "| you have | use | instead of | time | peak memory | not if |";
  const line = "| --- | --- | --- | --- | --- | --- |";
  await intoReadme("saves", [columns, line, ...advices].join("\n"));
}
Deno.exit(met ? 0 : 1);
