/**
 * Scenario: the adaptors in servers, against what one would write without a pool, against tuned
 * Deno, and against other runtimes. Also writes the tables of servers in the README and docs/io.md.
 *
 * Every contestant is a server process of its own; in each round they take turns, so that the noise
 * of the machine meets all of them; the median round counts. Cost is the processor time of the
 * server process for one request, and the most memory it ever had resident.
 */
import { Child, type Cost, MOST_MS, type Program } from "../child.ts";
import { compete, type Results } from "../contest.ts";
import { spread } from "../measure.ts";
import { digits } from "../report/markdown.ts";
import {
  over,
  ratio,
  type Scenario,
  type Section,
  type Table,
  tableOf,
  type Turns,
  type Verdict,
} from "../report/section.ts";
import { TUNED, TUNED_NOTE, tunedName } from "../tuned.ts";
import * as load from "./load.ts";
import {
  type Scenario as Contest,
  scenarios,
  type Value,
} from "./scenarios.ts";
import { type Starter, starter } from "./start.ts";

const FRESH = "req.bytes()";
const CPU = "CPU µs a request";

type Servers = Results<Value>;
type Row = Table["rows"][number];

/** A contestant's share of another's figure, and what it is a share of. */
function share(results: Servers, of: string, to: string, value: Value): string {
  if (!(of in results)) return "not measured";
  const { median } = ratio(results[of], results[to], (one) => one[value]);
  if (Number.isNaN(median)) return "not measured";
  const whole = over(results[to], (one) => one[value]).median;
  return `${median.toFixed(2)} of ${
    value === "micros" ? `${digits(whole)} µs` : `${digits(whole / 1e6)} MB`
  }`;
}

/** A row for the README: the first adaptor, beside what one would write without a pool. */
function shown({ name, contestants }: Contest, results: Servers): Row {
  const [without, pooled] = contestants;
  return [
    name,
    `\`${without}\``,
    `\`${pooled}\``,
    share(results, pooled, without, "micros"),
    share(results, pooled, without, "peakBytes"),
  ];
}

/** Rows for docs/io.md. */
function advised({ advice, contestants }: Contest, results: Servers): Row[] {
  const [against, second] = contestants;
  return advice.map(({ have, use, is = second, not }) => [
    have,
    use,
    `\`${against}\``,
    share(results, is, against, "micros"),
    share(results, is, against, "peakBytes"),
    not,
  ]);
}

/** How far from each other runtime, and what of it is Deno's own: the loop without a pool. */
function distances(
  { name, bare }: Contest,
  results: Servers,
  runtimes: readonly string[],
): Row[] {
  if (bare === undefined) return [];
  const [least, pooled] = bare.map((one) => results[one]);
  const micros = (all: typeof least) => over(all, (one) => one.micros);
  /** What the first takes more than the second, round by round. */
  const more = (of: typeof least, to: typeof least) =>
    spread(of.slice(0, to.length).map((one, at) => one.micros - to[at].micros));
  return runtimes.filter((one) => results[one]?.length > 0).map((one) => [
    `${name}: ${one}`,
    micros(results[one]),
    micros(least),
    micros(pooled),
    more(least, results[one]),
    more(pooled, least),
  ]);
}

/** What tuning gives, and what a pool gives. */
function tunedRows(results: Servers): Row[] {
  const row = (name: string, of: string): Row => [
    name,
    share(results, of, FRESH, "micros"),
    share(results, of, FRESH, "peakBytes"),
  ];
  return [
    ...Object.entries(TUNED).map(([key, what]) =>
      row(`\`${FRESH}\`, ${what}`, tunedName(FRESH, key))
    ),
    row("`readBody`", "readBody"),
  ];
}

/** What a crowd of slow uploads came to. */
interface Crowd {
  answered: number;
  refused: number;
  grownBytes: number;
  stats: Record<string, number>;
}

async function crowdOf(program: Program, count: number): Promise<Crowd> {
  await using child = new Child<{ port: number }, Crowd["stats"]>(
    program,
    MOST_MS,
  );
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
async function crowds({ program }: Starter, turns: Turns) {
  const count = 2000 * turns.pace.share;
  const name = `${count} slow uploads of 60 000 bytes at once, in 2 s each`;
  const names = ["refuse all", FRESH, "readBody"];
  const results = await turns.take<Crowd>(
    name,
    Object.fromEntries(
      names.map((of) => [of, () => crowdOf(program("crowd", of), count)]),
    ),
    1,
  );
  const table = tableOf(name, results, {
    answered: (one) => one.answered,
    refused: (one) => one.refused,
    "memory grew by MB": (one) => one.grownBytes / 1e6,
  });
  const verdict = (
    what: string,
    value: (one: Crowd, refusing: Crowd) => number,
    atMost: number,
  ): Verdict => ({
    what: `${name}, readBody: ${what}`,
    figure: spread(
      results.readBody.map((one, at) => value(one, results["refuse all"][at])),
    ),
    atMost,
  });
  const isWhole = ({ stats }: Crowd) =>
    stats.acquiredBlocks === 0 && stats.abandonedBlocks === 0 &&
    stats.committedBlocks === stats.freeBlocks &&
    stats.peakAcquired <= stats.maxBlocks;
  const poolBytes = 256 * 64 * 1024;
  return {
    table,
    verdicts: [
      verdict(
        "neither answered right nor refused",
        (one) => count - one.answered - one.refused,
        0,
      ),
      verdict(
        "blocks of the pool that are not free again",
        (one) => isWhole(one) ? 0 : Math.max(1, one.stats.acquiredBlocks),
        0,
      ),
      // A block and a read buffer for each that is served, and what V8 takes for the garbage of
      // any traffic. It does not grow with the crowd.
      verdict(
        "MB that it grew by more than with all refused",
        (one, refusing) => (one.grownBytes - refusing.grownBytes) / 1e6,
        (2 * poolBytes + 64e6) / 1e6,
      ),
    ],
  };
}

async function run(turns: Turns): Promise<Section> {
  using start = await starter();
  const tables: Table[] = [];
  const verdicts: Verdict[] = [];
  const inReadme: Row[] = [];
  const inDocs: Row[] = [];
  const far: Row[] = [];
  const tuned: Row[] = [];
  const { only, share } = turns.pace;
  for (const contest of scenarios(start)) {
    if (!contest.name.includes(only)) continue;
    const { results, ...outcome } = await compete(contest, turns, {
      [contest.unit ?? CPU]: ["micros", 1],
      "peak MB": ["peakBytes", 1e6],
      "mark-compacts": ["markCompacts", 1],
    }, share);
    tables.push(outcome.table);
    verdicts.push(...outcome.verdicts);
    if (contest.isShown) inReadme.push(shown(contest, results));
    inDocs.push(...advised(contest, results));
    far.push(...distances(contest, results, start.runtimes("proxy")));
    if (FRESH in results && "readBody" in results) {
      tuned.push(...tunedRows(results));
    }
  }
  if ("slow uploads".includes(only)) {
    const { table, verdicts: more } = await crowds(start, turns);
    tables.push(table);
    verdicts.push(...more);
  }
  if (far.length > 0) {
    tables.push({
      caption: "How far from other runtimes: what of it is the runtime's, " +
        "because a loop without a pool takes it too, and what is the pool's.",
      heading: "CPU µs a request or frame",
      columns: [
        "there",
        "bare loop in Deno",
        "pooled",
        "the runtime's",
        "the pool's",
      ],
      rows: far,
    });
  }
  const place = (heading: string, columns: string[], rows: Row[]): Table => ({
    heading,
    columns,
    rows,
  });
  return {
    tables,
    verdicts,
    plots: [],
    notes: [TUNED_NOTE, ...start.notes],
    readme: {
      io: place("what", ["without", "pooled", "time", "peak memory"], inReadme),
      saves: place(
        "you have",
        ["use", "instead of", "time", "peak memory", "not if"],
        inDocs,
      ),
      tuned: place("uploads of 1 MiB", ["CPU time", "peak memory"], tuned),
    },
  };
}

/** The scenario. */
export const servers: Scenario = {
  id: "servers",
  title: "Servers",
  asks:
    "What do the adaptors save a server, in processor time and in peak memory, beside what one would " +
    "write without a pool, beside a tuned Deno, and beside other runtimes? A bare loop reads by hand " +
    "into arrays that it keeps: what Deno itself takes.",
  hides:
    "what a server does with the bytes, a network that is slow, and more than two processors.",
  run,
};
