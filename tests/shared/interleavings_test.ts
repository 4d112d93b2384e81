// What others do between any two accesses that a Worker makes to the words that all share, plain ones
// included: no block gets two owners, none is lost, no reserve is touched, and all can be given back.

import { provesDeath } from "../support/platform.ts";
import { meet } from "./interleavings.ts";
import { ACTS } from "./operations.ts";

for (const [name, act] of Object.entries(ACTS)) {
  Deno.test({
    name: `whatever others do at any access of ${name}, all is in order`,
    ignore: name.startsWith("reclaim") && !provesDeath,
    // A Worker that has died leaves timers that do not fire; here they are left to this isolate.
    sanitizeResources: false,
    sanitizeOps: false,
    fn: () => meet(name, act, false),
  });
}

// The same on a processor that lets others see plain writes late: at the next atomic operation, as x86-64
// does with its store buffers.

/** What takes, gives and comes and goes; the rest is made of atomic operations alone. */
const WRITING = [
  "acquire",
  "acquire above a reserve",
  "acquire that the reserve refuses",
  "acquireMany above a reserve",
  "acquire of what was given back last",
  "acquire from the cache",
  "release into the cache",
  "release of what was used into the cache",
  "release beside a full cache",
  "acquire of what another has cached",
  "leave with a full cache",
  "bytes",
  "release of what was used",
  "detach",
  "adopt",
  "adoptMany",
  "abandon",
  "attach",
  "leave",
];

for (const name of WRITING) {
  Deno.test({
    name:
      `whatever others do at any access of ${name} that writes late, all is in order`,
    sanitizeResources: false,
    sanitizeOps: false,
    fn: () => meet(name, ACTS[name], true),
  });
}
