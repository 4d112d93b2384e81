// The call stack ends inside a shared pool: each public call happens or does not.

import { assertEquals, assertGreater } from "@std/assert";
import { canRunDeno, hasNative } from "./support/platform.ts";

/** How the code runs decides how large its frames are, and which of its calls are calls. */
const MODES: readonly [name: string, rounds: number, flags: string[]][] = [
  ["as V8 compiles it", 8, []],
  ["interpreted", 8, ["--no-opt", "--no-maglev", "--no-sparkplug"]],
  ["by the baseline compiler", 8, ["--no-opt", "--always-sparkplug"]],
  ["compiled anew at each call", 3, ["--expose-gc", "--stress-flush-code"]],
];

for (const [name, rounds, flags] of MODES) {
  Deno.test({
    name:
      `no call of a shared pool is cut in two by the end of the stack, ${name}`,
    ignore: !canRunDeno || !hasNative,
    fn: async () => {
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [
          "run",
          "--allow-all",
          "--no-check",
          "--quiet",
          ...(flags.length > 0 ? [`--v8-flags=${flags}`] : []),
          new URL("./shared/stack_end.ts", import.meta.url).href,
          `${rounds}`,
        ],
      }).output();
      const decoder = new TextDecoder();
      assertEquals(code, 0, decoder.decode(stderr));
      assertGreater(parseInt(decoder.decode(stdout)), 12_000);
    },
  });
}
