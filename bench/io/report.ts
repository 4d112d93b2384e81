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
import { flags } from "../flags.ts";
import { spread } from "../measure.ts";
import { intoReadme } from "../readme.ts";
import { Child, type Cost } from "./child.ts";
import * as load from "./load.ts";
import { type Result, type Scenario, SCENARIOS } from "./scenarios.ts";

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
const share = quick ? 0.25 : 1;

/** Interleaved rounds: by contestant, the results of each round. */
async function measure(scenario: Scenario): Promise<Map<string, Result[]>> {
  const all = new Map<string, Result[]>(
    scenario.contestants.map((name) => [name, []]),
  );
  for (let round = 0; round < rounds; round++) {
    for (const [name, results] of all) {
      results.push(await scenario.run(name, share));
    }
  }
  return all;
}

function typical(results: Result[], value: keyof Result): number {
  return spread(results.map((result) => result[value])).median;
}

function print(scenario: Scenario, all: Map<string, Result[]>): void {
  console.log(`\n${scenario.name}`);
  const unit = scenario.unit.padStart(17);
  console.log(`  ${"".padEnd(20)} ${unit}   peak MB  mark-compacts`);
  for (const [name, results] of all) {
    const micros = typical(results, "micros").toFixed(1).padStart(17);
    const peak = mb(typical(results, "peakBytes")).padStart(9);
    const collections = String(typical(results, "markCompacts")).padStart(14);
    console.log(`  ${name.padEnd(20)} ${micros} ${peak} ${collections}`);
  }
}

const LABELS = {
  micros: "time",
  peakBytes: "peak memory",
  markCompacts: "mark-compacts",
};

/** Whether all targets are met; says so. A ratio is the median of the rounds' own ratios. */
function judge({ targets }: Scenario, all: Map<string, Result[]>): boolean {
  let met = true;
  for (const { of, against, value, atMost } of targets) {
    const others = against === undefined ? undefined : all.get(against)!;
    const { median: number } = spread(
      all.get(of)!.map((result, round) =>
        result[value] / (others?.[round][value] ?? 1)
      ),
    );
    const passed = number <= atMost;
    met &&= passed;
    const what = others === undefined
      ? String(number)
      : `${number.toFixed(2)} of ${against}'s`;
    console.log(
      `  ${passed ? "pass" : "MISS"}  ${of}: ${
        LABELS[value]
      } ${what}, at most ${atMost}`,
    );
  }
  return met;
}

/** What a crowd of slow uploads came to. */
interface Crowd {
  answered: number;
  refused: number;
  grownBytes: number;
  stats: Record<string, number>;
}

async function crowdOf(contestant: string, count: number): Promise<Crowd> {
  await using child = new Child<{ port: number }>([
    SERVERS,
    "crowd",
    contestant,
  ]);
  const { port } = await child.ready();
  let idle: Cost | undefined;
  const opened = async () => void (idle = await child.cost());
  const result = await load.slowUploads(port, 60_000, count, 2000, opened);
  const { peakBytes, extra } = await child.cost();
  await child.stop();
  const grownBytes = peakBytes - idle!.residentBytes;
  return { ...result, grownBytes, stats: extra as Crowd["stats"] };
}

/** 2000 slow uploads at once on 256 blocks: answered or refused, in bounded memory. */
async function crowds(): Promise<boolean> {
  const count = quick ? 1000 : 2000;
  console.log(`\n${count} slow uploads of 60 000 bytes at once, in 2 s each`);
  console.log("                       answered  refused   memory grew by MB");
  const results: Record<string, Crowd> = {};
  for (const name of ["refuse all", "req.bytes()", "readBody"]) {
    const crowd = results[name] = await crowdOf(name, count);
    console.log(
      `  ${name.padEnd(20)} ${String(crowd.answered).padStart(8)} ` +
        `${String(crowd.refused).padStart(8)} ` +
        `${(crowd.grownBytes / 1e6).toFixed(0).padStart(19)}`,
    );
  }
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
    console.log(`  ${passed ? "pass" : "MISS"}  readBody: ${what}`);
  }
  return checks.every(([, passed]) => passed);
}

function mb(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}

/** A row for the README: what one would write without a pool, beside the first adaptor. */
function row(
  { name, unit, contestants }: Scenario,
  all: Map<string, Result[]>,
) {
  const [without, pooled] = contestants;
  const cell = (value: keyof Result, show: (number: number) => string) =>
    [without, pooled].map((one) => show(typical(all.get(one)!, value)))
      .join(" → ");
  const micros = cell("micros", (number) => number.toFixed(0));
  const peak = cell("peakBytes", mb);
  return `| ${name} | ${without} → ${pooled} | ${unit} ${micros} | ${peak} |`;
}

/** Rows for docs/io.md: ratios, with what they are of. */
function advise(
  { advice }: Scenario,
  all: Map<string, Result[]>,
): string[] {
  return advice.map(({ have, use, is, against, not }) => {
    const cell = (value: keyof Result, show: (number: number) => string) => {
      const [one, other] = [is, against].map((name) => all.get(name)!);
      const ratios = one.map((result, i) => result[value] / other[i][value]);
      const ratio = spread(ratios).median.toFixed(2);
      return `${ratio} of ${show(typical(other, value))}`;
    };
    const time = cell("micros", (n) => `${n.toFixed(0)} µs`);
    const memory = cell("peakBytes", (n) => `${mb(n)} MB`);
    return `| ${have} | ${use} | \`${against}\` | ${time} | ${memory} | ${not} |`;
  });
}

let met = true;
const rows: string[] = [];
const advices: string[] = [];
console.log(`Median of ${rounds} rounds.`);
for (const scenario of SCENARIOS) {
  if (!scenario.name.includes(only)) continue;
  const results = await measure(scenario);
  print(scenario, results);
  met = judge(scenario, results) && met;
  if (scenario.isShown) rows.push(row(scenario, results));
  advices.push(...advise(scenario, results));
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
