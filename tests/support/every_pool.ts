// A pool of each kind: what holds at every level and on every backend is tried on all of them.

import { BlockPool, type Pool, type PoolOptions } from "@smriti/pool";
import { SharedBlockPool } from "@smriti/pool/shared";
import { hasNative } from "./platform.ts";

/** One after another, so that a test can close each before the next is made. */
export function* everyPool(options: PoolOptions): Generator<Pool> {
  const backends = hasNative ? ["native", "heap"] as const : ["heap"] as const;
  for (const backend of backends) {
    for (const safety of ["trust", "revoke", "strict"] as const) {
      const name = `${backend}, ${safety}`;
      yield new BlockPool({ ...options, backend, safety, name });
    }
  }
  if (hasNative) yield SharedBlockPool.create({ ...options, name: "shared" });
}
