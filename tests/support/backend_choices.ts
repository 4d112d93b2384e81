// Run without permissions by tests/ffi/heap_test.ts: prints what each choice of backend comes to.

import { BlockPool, SmritiError } from "../../mod.ts";

for (const backend of ["auto", "heap", "native"] as const) {
  try {
    using pool = new BlockPool({ blockSize: 64, maxBlocks: 2, backend });
    using block = pool.acquireSync();
    block.bytes[0] = 1;
    console.log(backend, "is", pool.backend);
  } catch (error) {
    if (!(error instanceof SmritiError)) throw error;
    console.log(backend, "is", error.code, error.message);
  }
}
