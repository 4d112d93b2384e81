// The call stack ends inside the library: each public call happens or does not.

import { canRunDeno } from "../support/platform.ts";
import { testInModes } from "../support/stack_modes.ts";

testInModes(
  "no call is cut in two by the end of the stack",
  new URL("./stack_end.ts", import.meta.url),
  15_000,
  !canRunDeno,
);
