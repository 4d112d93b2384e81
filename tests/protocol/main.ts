// Run by `deno task protocol`: explores what workers of a shared pool can do together, in every configuration
// and every memory model, and ends with what was found. docs/protocol.md describes its arguments and its table.

import { parseArgs } from "node:util";
import { chosen, Explorers, type Row } from "./explore.ts";
import type { Pass } from "./explorer.ts";

/** Preemptions of the passes, one after the other. */
const BOUNDS = [0, 1, 2, Infinity];
/** The passes with few preemptions may take so many times a row's share of the time. */
const SHARES = 5;

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "300" },
    mode: { type: "string", default: "" },
    only: { type: "string", default: "" },
    replay: { type: "string" },
  },
});
const rows = chosen(values.only, values.mode);
if (rows.length === 0) {
  throw new RangeError(`no configuration has "${values.only}" in its name`);
}
using explorers = new Explorers();
Deno.exitCode = values.replay === undefined
  ? await explore(Number(values.seconds))
  : await goThrough(values.replay);

async function goThrough(replay: string): Promise<number> {
  if (rows.length > 1) throw new RangeError("name one configuration and mode");
  const { lines = [], wrong } = await explorers.do({ ...rows[0]!, replay });
  console.log(lines.join("\n"));
  console.log(wrong ?? "nothing is wrong");
  return wrong === undefined ? 0 : 1;
}

async function explore(seconds: number): Promise<number> {
  if (!(seconds > 0)) throw new RangeError(`--seconds must be above 0`);
  print("configuration", "mode", "states", "ends", "complete");
  const endAt = performance.now() + 1000 * seconds;
  // Those for one processor beside those for the other.
  const found = await Promise.all(
    Map.groupBy(rows, ({ mode }) => explorers.processorOf(mode)).values().map(
      async (rows) => {
        let found = 0;
        for (const [at, row] of rows.entries()) {
          // What one has not used is there for those after it.
          const share = (endAt - performance.now()) / (rows.length - at);
          if (await exploreRow(row, Math.max(share, 0))) found++;
        }
        return found;
      },
    ),
  );
  const violations = found.reduce((sum, each) => sum + each, 0);
  console.log(
    violations === 0 ? "\nno violations" : `\n${violations} VIOLATIONS`,
  );
  return violations === 0 ? 0 : 1;
}

/** Explores and prints a row; whether something is wrong. */
async function exploreRow(row: Row, share: number): Promise<boolean> {
  const from = performance.now();
  let complete = "nothing";
  let last: Pass | undefined;
  for (const bound of BOUNDS) {
    const most = bound < Infinity ? SHARES * share : share;
    const ms = most - (performance.now() - from);
    if (ms <= 0 && last !== undefined) break;
    const { pass } = await explorers.do({ ...row, bound, ms });
    last = pass!;
    if (!last.isComplete) break;
    complete = last.isBounded ? `${bound} preemptions` : "all";
    if (!last.isBounded) break;
  }
  const { states, ends, finding } = last!;
  const what = finding === undefined
    ? complete === "all" ? "all" : `${complete}, cut off by the time`
    : "VIOLATION";
  print(row.name, row.mode, String(states), String(ends), what);
  if (finding === undefined) return false;
  const { name, mode } = row;
  console.log(
    `  ${finding.what}\n  deno task protocol --only "${name}" --mode ${mode} --replay "${finding.trace}"`,
  );
  return true;
}

function print(
  name: string,
  mode: string,
  states: string,
  ends: string,
  complete: string,
): void {
  console.log(
    `${name.padEnd(50)}${mode.padEnd(6)}${states.padStart(9)}${
      ends.padStart(7)
    }  ${complete}`,
  );
}
