/**
 * Memory without FFI: each view is an ordinary ArrayBuffer of the JavaScript heap.
 *
 * For systems and permissions that have nothing better, and for tests. A range is only a number of
 * bytes: memory exists while a view of it does, so committing takes none and ending a view gives it
 * back. Owns nothing, has no addresses, and cannot tell one buffer of the right size from another.
 */
import type { Abilities, Backend, Code, Range } from "./backend.ts";

/** The heap backend. */
export const heap: Backend = {
  kind: "heap",

  abilities: {
    // A notional one, so that a pool is cut into slabs as it is elsewhere.
    pageSize: 4096,
    hugePageSize: 0,
    zeroedOnRecommit: true,
    protects: false,
    prefaults: false,
    hasAddresses: false,
  } satisfies Abilities,

  map: (size: number): Range => ({
    base: 0n,
    size,
    mappedBase: 0n,
    mappedSize: size,
  }),

  mapAt: (): Code => -1,

  findAt: (): undefined => undefined,

  commit: (): Code => 0,

  // The caller has ended the views, and with them went the memory.
  decommit: (): Code => 0,

  protect: (): Code => 0,

  prefault: (): Code => 0,

  unmap: (): Code => 0,

  unmapPart: (): Code => 0,

  view: (_range: Range, _offset: number, size: number): ArrayBuffer =>
    new ArrayBuffer(size),

  pointer: (): null => null,

  isAt: (): boolean => true,

  errorName: (): string => "no room on the heap",
};
