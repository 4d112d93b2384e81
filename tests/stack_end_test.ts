// The call stack ends inside the library: each public call happens or does not.

import { assertEquals, assertGreater } from "@std/assert";
import { canRunDeno } from "./support/platform.ts";

/** How the code runs decides how large its frames are, and which of its calls are calls. */
const MODES: readonly (readonly [string, ...string[]])[] = [
  ["as V8 compiles it"],
  ["interpreted", "--no-opt", "--no-maglev", "--no-sparkplug"],
  ["by the baseline compiler", "--no-opt", "--no-maglev", "--always-sparkplug"],
  ["compiled anew at each call", "--expose-gc", "--stress-flush-code"],
];

for (const [name, ...flags] of MODES) {
  Deno.test({
    name: `no call is cut in two by the end of the stack, ${name}`,
    ignore: !canRunDeno,
    fn: async () => {
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [
          "run",
          "--allow-all",
          "--no-check",
          "--quiet",
          `--v8-flags=${["--no-lazy-feedback-allocation", ...flags]}`,
          new URL("./support/stack_end.ts", import.meta.url).href,
        ],
      }).output();
      const decoder = new TextDecoder();
      assertEquals(code, 0, decoder.decode(stderr));
      assertGreater(parseInt(decoder.decode(stdout)), 30_000);
    },
  });
}
