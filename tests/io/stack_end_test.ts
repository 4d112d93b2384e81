// The call stack ends inside an adaptor: no block is lost.

import { canRunDeno } from "../support/platform.ts";
import { testInModes } from "../support/stack_modes.ts";

testInModes(
  "no call of the adaptors is cut in two by the end of the stack",
  new URL("./stack_end.ts", import.meta.url),
  5_000,
  !canRunDeno,
);
