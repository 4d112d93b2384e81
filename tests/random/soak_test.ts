// Two seconds of what `deno task soak` does for as long as it is told, so that it still runs when
// it is needed. Its seed is in its first line.

import { assertMatch } from "@std/assert";
import { canRunDeno, hasNative, isEmulated } from "../support/platform.ts";

Deno.test({
  name: "a short soak loses no block and shows nobody's bytes to another",
  ignore: !hasNative || !canRunDeno || isEmulated,
}, async () => {
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--allow-all",
      "--no-check",
      import.meta.resolve("./soak/main.ts"),
      "--seconds",
      "2",
    ],
  }).output();
  const decoder = new TextDecoder();
  const told = decoder.decode(stdout) + decoder.decode(stderr);
  for (const wrong of ["blocks lost", "foreign bytes seen", "law violations"]) {
    assertMatch(told, new RegExp(`^${wrong} +0$`, "m"), told);
  }
  assertMatch(told, /^clean$/m, told);
});
