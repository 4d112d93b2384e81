/**
 * Prints how the pool compares with its baselines, as ratios of one run.
 *
 * Every contestant at one size and shape runs in turn, several rounds, so that noise of the machine
 * meets all of them; the median round counts. Each contestant is a process of its own, because V8
 * optimises a loop for what it has seen before.
 *
 *     deno run -A bench/ratios.ts [--size 65536] [--rounds 5]
 */
import { CASES, SHAPES } from "./cases.ts";

/** About so long does one measurement take. */
const SLICE_MS = 150;

if (Deno.args[0] === "--child") {
  const [name, shape, size] = Deno.args.slice(1);
  const { cycle, swap } = CASES.find((c) => c.name === name)!.make(
    Number(size),
  );
  const run = shape === "cycle" ? cycle : swap(256);
  console.log(await measure(run));
  Deno.exit(0);
}

/** Nanoseconds per operation, warm. */
function measure(run: (n: number) => void): number {
  let n = 64;
  for (;;) {
    const start = performance.now();
    run(n);
    const ms = performance.now() - start;
    if (ms > SLICE_MS) return ms / n * 1e6;
    n = Math.ceil(n * Math.min(8, 1.2 * SLICE_MS / Math.max(ms, 0.01)));
  }
}

async function inChild(
  name: string,
  shape: string,
  size: number,
): Promise<number> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--no-check",
      import.meta.filename!,
      "--child",
      name,
      shape,
      String(size),
    ],
    stderr: "inherit",
  }).output();
  return Number(new TextDecoder().decode(stdout));
}

function flag(name: string, fallback: number): number {
  const at = Deno.args.indexOf(`--${name}`);
  return at < 0 ? fallback : Number(Deno.args[at + 1]);
}

const size = flag("size", 65536);
const rounds = flag("rounds", 5);
const results: Record<string, Record<string, number>> = {};
for (const shape of SHAPES) {
  const samples = new Map<string, number[]>(
    CASES.map(({ name }) => [name, []]),
  );
  for (let round = 0; round < rounds; round++) {
    for (const { name } of CASES) {
      samples.get(name)!.push(await inChild(name, shape, size));
    }
  }
  for (const [name, values] of samples) {
    values.sort((a, b) => a - b);
    const row = results[name] ??= {};
    row[`${shape} ns`] = Math.round(values[rounds >> 1] * 10) / 10;
    row[`${shape} min`] = Math.round(values[0] * 10) / 10;
    row[`${shape} max`] = Math.round(values[rounds - 1] * 10) / 10;
  }
}
console.log(`blocks of ${size} bytes, median of ${rounds} rounds`);
console.table(results);

const ns = (name: string, shape: string) => results[name][`${shape} ns`];
const show = (text: string, ratio: number) =>
  console.log(`${ratio.toFixed(1).padStart(8)} × ${text}`);
for (const shape of SHAPES) {
  const lean = ns("smriti trust, not zeroed", shape);
  show(
    `${shape}: trust without zeroing, in bare free lists`,
    lean / ns("bare array free list", shape),
  );
  show(
    `${shape}: Buffer.allocUnsafe, in trust without zeroing`,
    ns("Buffer.allocUnsafe", shape) / lean,
  );
  show(
    `${shape}: new Uint8Array, in trust`,
    ns("new Uint8Array", shape) / ns("smriti trust", shape),
  );
  show(
    `${shape}: new Uint8Array, in revoke`,
    ns("new Uint8Array", shape) / ns("smriti revoke (default)", shape),
  );
}
