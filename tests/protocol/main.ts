// Run by `deno task protocol`: explores what workers of a shared pool can do together, in every
// configuration and every memory model, for `--seconds` in all, with random choices by `--seed`. `--only`
// takes a part of the name of a configuration, or of a name and a model ("trimming and taking, tso"). What
// is found has a trace, which `--replay` goes through, access by access.

import { parseArgs } from "node:util";
import { Rng, seedOfRun } from "../support/rng.ts";
import { checkEnd } from "./checks.ts";
import { CONFIGURATIONS } from "./configurations.ts";
import { Explorer, type Result } from "./explorer.ts";
import { MODES } from "./memory.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "300" },
    seed: { type: "string", default: String(seedOfRun()) },
    only: { type: "string", default: "" },
    replay: { type: "string" },
  },
});

const all = Object.entries(CONFIGURATIONS).flatMap(([name, configuration]) =>
  MODES.map((mode) => ({ name: `${name}, ${mode}`, configuration, mode }))
).filter(({ name }) => name.includes(values.only));
if (all.length === 0) throw new RangeError(`there is no ${values.only}`);

if (values.replay !== undefined) {
  const [{ name, configuration, mode }] = all;
  console.log(name);
  const explorer = new Explorer(configuration, mode, checkEnd);
  const wrong = explorer.replay(values.replay, console.log);
  console.log(wrong ?? "nothing is wrong");
  Deno.exit(wrong === undefined ? 0 : 1);
}

const endAt = performance.now() + 1000 * Number(values.seconds);
console.log(`seed ${values.seed}`);
console.log(
  `${"".padEnd(58)}${"states".padStart(10)}${"executions".padStart(12)}`,
);
let found = 0;
for (const [at, { name, configuration, mode }] of all.entries()) {
  const explorer = new Explorer(configuration, mode, checkEnd);
  const result = await explorer.explore({
    // What one has not used is there for the others.
    ms: (endAt - performance.now()) / (all.length - at),
    rng: new Rng(Number(values.seed)),
  });
  const { states, ends, finding } = result;
  console.log(
    `${name.padEnd(58)}${String(states).padStart(10)}${
      String(ends).padStart(12)
    }  ${told(result, configuration.preemptions)}`,
  );
  if (finding === undefined) continue;
  found++;
  console.log(
    `  ${finding.what}\n  --only "${name}" --replay "${finding.trace}"`,
  );
}
console.log(found === 0 ? "\nno violations" : `\n${found} VIOLATIONS`);
Deno.exitCode = found === 0 ? 0 : 1;

function told({ isComplete, finding }: Result, preemptions?: number): string {
  if (finding !== undefined) return "VIOLATION";
  const bound = preemptions === undefined
    ? "all interleavings"
    : `all with ${preemptions} preemptions`;
  return isComplete ? bound : `${bound}: not completed`;
}
