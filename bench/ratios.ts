/**
 * Prints how the pool compares with its baselines, as ratios of one run. Ends with 1 if a target is
 * missed.
 *
 *     deno run -A bench/ratios.ts [--size 65536] [--rounds 5] [--write]
 *
 * Every contestant at one size and shape runs in turn, several rounds, so that noise of the machine
 * meets all of them; the median round counts, and a ratio is taken within each round. Each
 * contestant is a process of its own, because V8 optimises a loop for what it has seen before.
 */
import { CASES, SHAPES } from "./cases.ts";
import { flags } from "./flags.ts";
import { intoReadme } from "./readme.ts";
import { nsPerOperation, type Spread, spread } from "./measure.ts";

/** About so long does one measurement take. */
const SLICE_MS = 150;
const HELP = `deno run -A bench/ratios.ts [flags]

  --size N      bytes in a block (default 65536; the targets are for that)
  --rounds N    how often every contestant runs (default 5)
  --write       put the table into the README
  --help        this`;

type Shape = typeof SHAPES[number];

/** How often `of` goes into `into`, beside what is asked for. */
interface Target {
  readonly shape: Shape;
  readonly of: string;
  readonly into: string;
  readonly atMost?: number;
  readonly atLeast?: number;
}

const ARRAY = "new Uint8Array";
const UNSAFE = "Buffer.allocUnsafe";
const LIST = "bare array free list";
const LEAN = "smriti trust, not zeroed";
const TRUST = "smriti trust";
const REVOKE = "smriti revoke (default)";
const TARGETS: readonly Target[] = [
  { shape: "cycle", of: LEAN, into: LIST, atMost: 8 },
  { shape: "cycle", of: UNSAFE, into: LEAN, atLeast: 120 },
  { shape: "cycle", of: ARRAY, into: TRUST, atLeast: 4 },
  { shape: "cycle", of: ARRAY, into: REVOKE, atLeast: 3 },
  { shape: "held", of: LEAN, into: LIST },
  { shape: "held", of: UNSAFE, into: LEAN, atLeast: 120 },
  { shape: "held", of: ARRAY, into: TRUST, atLeast: 1.5 },
  { shape: "held", of: ARRAY, into: REVOKE, atLeast: 1.5 },
];

if (Deno.args[0] === "--child") {
  const [name, shape, size] = Deno.args.slice(1);
  const { make } = CASES.find((known) => known.name === name)!;
  const { cycle, swap } = make(Number(size));
  const run = shape === "cycle" ? cycle : swap(256);
  console.log(nsPerOperation(run, SLICE_MS));
  Deno.exit(0);
}

async function inChild(
  name: string,
  shape: Shape,
  size: number,
): Promise<number> {
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--no-check", "--frozen", import.meta.filename!],
      ...["--child", name, shape, String(size)],
    ],
    stderr: "inherit",
  }).output();
  if (!success) throw new Error(`the process of ${name} failed`);
  return Number(new TextDecoder().decode(stdout));
}

const { size, rounds, write } = flags(HELP, {
  size: 65_536,
  rounds: 5,
  write: false,
});
const told: Record<Shape, Map<string, number[]>> = {
  cycle: new Map(),
  held: new Map(),
};
for (const shape of SHAPES) {
  for (let round = 0; round < rounds; round++) {
    for (const { name } of CASES) {
      const values = told[shape].get(name) ?? [];
      values.push(await inChild(name, shape, size));
      told[shape].set(name, values);
    }
  }
}

const command = `deno run -A bench/ratios.ts` +
  (size === 65_536 ? "" : ` --size ${size}`) +
  (rounds === 5 ? "" : ` --rounds ${rounds}`);
const table = tableOf(size === 65_536 ? "64 KiB" : `${size} bytes`);
console.log(table);
const missed = size === 65_536 ? judge() : 0;
if (write) await intoReadme("ratios", table);
Deno.exit(missed > 0 ? 1 : 0);

function tableOf(blocks: string): string {
  const rows = CASES.map(({ name }) => {
    const [cycle, held] = SHAPES.map((shape) =>
      cell(spread(told[shape].get(name)!))
    );
    return `| ${name} | ${cycle} | ${held} |`;
  });
  return `\`${command}\`: blocks of ${blocks}, nanoseconds, median of ${rounds}
rounds with the least and the most. ${navigator.hardwareConcurrency} processors, Deno ${Deno.version.deno}.

| ns | take, write a byte, give back | 256 held, swap one |
| --- | ---: | ---: |
${rows.join("\n")}`;
}

function cell({ median, min, max }: Spread): string {
  return `${short(median)} (${short(min)} to ${short(max)})`;
}

function short(ns: number): string {
  return ns.toFixed(ns < 10 ? 1 : 0);
}

/** Prints each ratio; how many targets are missed. */
function judge(): number {
  let missed = 0;
  for (const { shape, of, into, atMost, atLeast } of TARGETS) {
    const below = told[shape].get(into)!;
    const ratios = told[shape].get(of)!.map((ns, at) => ns / below[at]);
    const { median, min, max } = spread(ratios);
    const passed = median <= (atMost ?? Infinity) && median >= (atLeast ?? 0);
    if (!passed) missed++;
    const rule = atMost !== undefined
      ? `, at most ${atMost}`
      : atLeast !== undefined
      ? `, at least ${atLeast}`
      : "";
    console.log(
      `${passed ? "pass" : "MISS"}  ${shape}: ${of} costs ${
        median.toFixed(1)
      } × (${min.toFixed(1)} to ${max.toFixed(1)}) ${into}${rule}`,
    );
  }
  return missed;
}
