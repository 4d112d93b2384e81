/**
 * What differs on macOS. Numbers from XNU's headers. MADV_DONTNEED does not zero there and MADV_FREE
 * may keep the bytes, so memory goes back by mapping fresh pages over the range.
 */
import type { PosixTable } from "./posix.ts";

/** The macOS table. */
export const darwin: PosixTable = {
  libraries: ["/usr/lib/libSystem.B.dylib"],
  errnoSymbol: "__error",
  mapFlags: 0x0002 | 0x1000, // MAP_PRIVATE | MAP_ANON
  mapFixed: 0x10,
  adviceNew: [],
  adviceDrop: null,
  advicePopulate: null,
  adviceHuge: null,
  hugePageSize: 0,
  rlimitAs: 5,
  physicalPages: 200,
  membarrier: undefined,
  errorNames: {
    1: "EPERM",
    12: "ENOMEM",
    13: "EACCES",
    14: "EFAULT",
    17: "EEXIST",
    22: "EINVAL",
    35: "EAGAIN",
    84: "EOVERFLOW",
  },
};
