// What others do between any two accesses that a Worker makes to the words that all share, plain ones
// included: no block gets two owners, none is lost, no reserve is touched, and all can be given back.

import { ACTS } from "./operations.ts";
import { meet } from "./interleavings.ts";
import { provesDeath } from "../support/platform.ts";

for (const [name, act] of Object.entries(ACTS)) {
  Deno.test({
    name: `whatever others do at any access of ${name}, all is in order`,
    ignore: name.startsWith("reclaim") && !provesDeath,
    // A Worker that has died leaves its timers to nobody; here they are left to this isolate.
    sanitizeResources: false,
    sanitizeOps: false,
    fn: () => meet(name, act, false),
  });
}
