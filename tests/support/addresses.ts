// Addresses for tests that want memory at one of their choice.

import type { Backend } from "../../ffi/backend.ts";

/** Bytes that `mapAt` is asked for. */
export const PLACE_BYTES = 65_536;

/** A free one from there on; V8 reserves much at random, so any may be taken. */
export function freePlace(backend: Backend, from: bigint): bigint {
  for (let tries = 0n; tries < 8n; tries++) {
    const place = from + (tries << 37n);
    const range = backend.mapAt(place, PLACE_BYTES);
    if (typeof range === "number") continue;
    backend.unmap(range);
    return place;
  }
  throw new Error(`no place from ${from} on is free`);
}
