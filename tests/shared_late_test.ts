// The same as in shared_between_test.ts on a processor that lets others see plain writes late: at the
// next atomic operation, as x86-64 does with its store buffers.

import { ACTS } from "./shared/operations.ts";
import { meet } from "./shared/interleavings.ts";

/** What takes, gives and comes and goes; the rest is made of atomic operations alone. */
const NAMES = [
  "acquire",
  "acquire above a reserve",
  "acquire that the reserve refuses",
  "acquireMany above a reserve",
  "acquire of what was given back last",
  "bytes",
  "release of what was used",
  "detach",
  "adopt",
  "adoptMany",
  "abandon",
  "attach",
  "leave",
];

for (const name of NAMES) {
  Deno.test({
    name:
      `whatever others do at any access of ${name} that writes late, all is in order`,
    sanitizeResources: false,
    sanitizeOps: false,
    fn: () => meet(name, ACTS[name], true),
  });
}
