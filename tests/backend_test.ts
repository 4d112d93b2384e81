// The suite over the backends of this machine.

import { heap } from "../ffi/heap.ts";
import { openNative } from "../ffi/open.ts";
import { backendSuite } from "./backend_suite.ts";

const native = openNative();
if (!("reason" in native)) backendSuite(`native ${Deno.build.os}`, native);

backendSuite("heap", heap);
