// Runs a program that makes calls in the last frames of the stack, in each way in which V8 runs code.

import { assertEquals, assertGreater } from "@std/assert";

/** Rounds of the modes that are fast; `least` is for these. */
const ROUNDS = 8;

/** How the code runs decides how large its frames are, and which of its calls are calls. */
const MODES: readonly [name: string, rounds: number, flags: string[]][] = [
  ["as V8 compiles it", ROUNDS, []],
  ["interpreted", ROUNDS, ["--no-opt", "--no-maglev", "--no-sparkplug"]],
  ["by the baseline compiler", ROUNDS, ["--no-opt", "--always-sparkplug"]],
  ["compiled anew at each call", 3, ["--expose-gc", "--stress-flush-code"]],
];

/**
 * A test for each mode: the program has to end well, after more than `least` calls. How many there are in
 * the last frames depends on when V8 compiles what, and so on the load.
 */
export function testInModes(
  name: string,
  program: URL,
  least: number,
  ignore: boolean,
): void {
  for (const [mode, rounds, flags] of MODES) {
    Deno.test({
      name: `${name}, ${mode}`,
      ignore,
      fn: async () => {
        const child = new Deno.Command(Deno.execPath(), {
          args: [
            "run",
            "--allow-all",
            "--no-check",
            "--quiet",
            ...(flags.length > 0 ? [`--v8-flags=${flags}`] : []),
            program.href,
            `${rounds}`,
          ],
        });
        const { code, stdout, stderr } = await child.output();
        const decoder = new TextDecoder();
        assertEquals(code, 0, decoder.decode(stderr));
        const calls = parseInt(decoder.decode(stdout));
        assertGreater(calls, least * rounds / ROUNDS);
      },
    });
  }
}
