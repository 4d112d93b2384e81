// Run by `deno task protocol`: explores what workers of a shared pool can do together, in every
// configuration and every memory model, for `--seconds` in all, with random choices by `--seed`. `--only`
// takes a part of the name of a configuration, or of a name and a model ("trimming and taking, tso"). What
// is found has a trace, which `--replay` goes through, access by access.

import { parseArgs } from "node:util";
import { seedOfRun } from "../support/rng.ts";
import { chosen, Explorers, extentOf } from "./explore.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "300" },
    seed: { type: "string", default: String(seedOfRun()) },
    only: { type: "string", default: "" },
    replay: { type: "string" },
  },
});
const { only, replay } = values;
const seed = Number(values.seed);
const all = chosen(only);
if (all.length === 0) throw new RangeError(`there is no ${only}`);

using explorers = new Explorers();
Deno.exitCode = await (replay === undefined ? explore() : goThrough(replay));

async function goThrough(replay: string): Promise<number> {
  const [{ name, mode }] = all;
  const { lines = [], wrong } = await explorers.explore(
    { name, mode, ms: 0, seed, replay },
  );
  console.log(lines.join("\n"));
  console.log(wrong ?? "nothing is wrong");
  return wrong === undefined ? 0 : 1;
}

async function explore(): Promise<number> {
  const endAt = performance.now() + 1000 * Number(values.seconds);
  console.log(`seed ${seed}`);
  console.log(`${"".padEnd(58)}${"states".padStart(10)}  executions`);
  let found = 0;
  for (const [at, { name, mode, configuration }] of all.entries()) {
    // What one has not used is there for the others.
    const ms = (endAt - performance.now()) / (all.length - at);
    const { result } = await explorers.explore({ name, mode, ms, seed });
    const { states, ends, finding } = result!;
    console.log(
      `${`${name}, ${mode}`.padEnd(58)}${String(states).padStart(10)}${
        String(ends).padStart(12)
      }  ${extentOf(result!, configuration.preemptions)}`,
    );
    if (finding === undefined) continue;
    found++;
    console.log(
      `  ${finding.what}\n  --only "${name}, ${mode}" --replay "${finding.trace}"`,
    );
  }
  console.log(found === 0 ? "\nno violations" : `\n${found} VIOLATIONS`);
  return found === 0 ? 0 : 1;
}
