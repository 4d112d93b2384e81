// The call stack ends inside a shared pool: each public call happens or does not.

import { canRunDeno, hasNative } from "../support/platform.ts";
import { testInModes } from "../support/stack_modes.ts";

testInModes(
  "no call of a shared pool is cut in two by the end of the stack",
  new URL("./stack_end.ts", import.meta.url),
  12_000,
  !canRunDeno || !hasNative,
);
