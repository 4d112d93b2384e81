// Run by `deno task protocol`: explores all configurations in all memory models, for `--seconds` in all.

import { parseArgs } from "node:util";
import { checkEnd } from "./checks.ts";
import { CONFIGURATIONS } from "./configurations.ts";
import { Explorer } from "./explorer.ts";
import { MODES } from "./memory.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "300" },
    only: { type: "string", default: "" },
    replay: { type: "string" },
  },
});
const start = performance.now();
const now = performance.now.bind(performance);
for (const [name, configuration] of Object.entries(CONFIGURATIONS)) {
  for (const mode of MODES) {
    if (!`${name} ${mode}`.includes(values.only)) continue;
    const explorer = new Explorer(configuration, mode, checkEnd);
    if (values.replay) {
      console.log(explorer.replay(values.replay, console.log));
      continue;
    }
    const begin = now();
    const result = await explorer.explore({
      endAt: begin + 1000 * Number(values.seconds),
      now,
    });
    console.log(name, mode, result, Math.round(now() - begin));
  }
}
void start;
