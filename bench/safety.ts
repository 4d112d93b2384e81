/**
 * Prints what each promise of the README's "Safety" costs: a whole lease (take a block, write one
 * byte, give it back) at each safety level, without zeroing, and at each level of leak detection.
 *
 * Each setting is a process of its own, because V8 optimises a loop for what it has seen before;
 * the rounds are interleaved, and the median counts.
 *
 *     deno run -A bench/safety.ts [--rounds 5] [--write]
 */
import { BlockPool, type PoolOptions } from "@smriti/pool";
import { flags } from "./flags.ts";
import { intoReadme } from "./readme.ts";
import { nsPerOperation, spread } from "./measure.ts";

/** About so long does one measurement take. */
const SLICE_MS = 100;
/** Enough for a quarantine of eight blocks. */
const BLOCKS = 64;
const KIB = 1024;

/** One row of the table. */
interface Setting {
  readonly name: string;
  readonly options: Partial<PoolOptions>;
  /** Whether the lease's bytes are used at all. */
  readonly touch: boolean;
}

/** Levels are compared without leak detection, and that without the work on bytes. */
const PLAIN = { leakDetection: "off" } as const;
const LEAN = { safety: "trust", zero: false } as const;

const SETTINGS: readonly Setting[] = [
  { name: "bytes never used", options: PLAIN, touch: false },
  { name: "trust, not zeroed", options: { ...LEAN, ...PLAIN }, touch: true },
  { name: "trust", options: { safety: "trust", ...PLAIN }, touch: true },
  {
    name: "revoke, not zeroed",
    options: { zero: false, ...PLAIN },
    touch: true,
  },
  { name: "revoke", options: PLAIN, touch: true },
  { name: "strict", options: { safety: "strict" }, touch: true },
  ...(["off", "sampled", "all"] as const).map((leakDetection) => ({
    name: `leakDetection ${leakDetection}`,
    options: { ...LEAN, leakDetection },
    touch: true,
  })),
];
const SIZES = [4 * KIB, 64 * KIB, 1024 * KIB];

if (Deno.args[0] === "--child") {
  const [at, blockSize] = Deno.args.slice(1).map(Number);
  console.log(measure(SETTINGS[at], blockSize));
  Deno.exit(0);
}

/** Nanoseconds per lease, warm. */
function measure({ options, touch }: Setting, blockSize: number): number {
  const pool = new BlockPool({ blockSize, maxBlocks: BLOCKS, ...options });
  const used = (times: number) => {
    for (let i = 0; i < times; i++) {
      const block = pool.acquireSync();
      block.bytes[0] = i;
      block.release();
    }
  };
  const unused = (times: number) => {
    for (let i = 0; i < times; i++) pool.acquireSync().release();
  };
  return nsPerOperation(touch ? used : unused, SLICE_MS);
}

async function inChild(at: number, blockSize: number): Promise<number> {
  const script = import.meta.filename!;
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--no-check",
      script,
      "--child",
      `${at}`,
      `${blockSize}`,
    ],
    stderr: "inherit",
  }).output();
  if (!success) throw new Error(`${SETTINGS[at].name} failed`);
  return Number(new TextDecoder().decode(stdout));
}

const HELP = `deno run -A bench/safety.ts [flags]

  --rounds N    how often every contestant runs (default 5)
  --write       put the table into the README
  --help        this`;
const { rounds, write } = flags(HELP, { rounds: 5, write: false });
const samples = SETTINGS.map(() => SIZES.map((): number[] => []));
for (let round = 0; round < rounds; round++) {
  for (const [column, size] of SIZES.entries()) {
    for (const row of SETTINGS.keys()) {
      samples[row][column].push(await inChild(row, size));
    }
  }
}

const cell = (values: number[]) => {
  const { median, min, max } = spread(values);
  const whole = (ns: number) => Math.round(ns).toLocaleString("en");
  return `${whole(median)} (${whole(min)} to ${whole(max)})`;
};
const sizes = SIZES.map((size) => `${size / KIB} KiB`).join(" | ");
const rows = SETTINGS.map(({ name }, row) =>
  `| ${name} | ${samples[row].map(cell).join(" | ")} |`
);
const command = "deno run -A bench/safety.ts" +
  (rounds === 5 ? "" : ` --rounds ${rounds}`);
const table =
  `\`${command}\`: a lease that takes a block, writes one byte and gives it back, warm;
median of ${rounds} rounds with the least and the most.

| one lease, ns | ${sizes} |
| --- |${" --: |".repeat(SIZES.length)}
${rows.join("\n")}`;
console.log(table);
if (write) await intoReadme("safety", table);
