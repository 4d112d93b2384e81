/**
 * What differs on Linux. Numbers from the kernel's and glibc's headers, the same on x86-64 and arm64.
 * No MAP_NORESERVE: an address range without access is free of charge, and committing it must be
 * refused by the OS rather than answered with a kill later.
 */
import type { PosixTable } from "./posix.ts";

/** The Linux table. */
export const linux: PosixTable = {
  // Bare names fail as soon as any `--deny-ffi=PATH` is given; the absolute ones then still work.
  libraries: [
    "libc.so.6",
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/lib/aarch64-linux-gnu/libc.so.6",
    "/lib64/libc.so.6",
    "/usr/lib/libc.so.6",
  ],
  errnoSymbol: "__errno_location",
  mapFlags: 0x02 | 0x20, // MAP_PRIVATE | MAP_ANONYMOUS
  mapFixed: 0x10,
  adviceNew: [
    16, // MADV_DONTDUMP
    15, // MADV_NOHUGEPAGE: where huge pages are for all, khugepaged would refill what was given back
  ],
  adviceDrop: 4, // MADV_DONTNEED: RSS falls at once; MADV_FREE would leave it
  advicePopulate: 23, // MADV_POPULATE_WRITE, Linux 5.14
  adviceHuge: 14, // MADV_HUGEPAGE
  hugePageSize: 2 * 1024 * 1024,
  rlimitAs: 9,
  physicalPages: 85,
  membarrier: { x86_64: 324n, aarch64: 283n },
  errorNames: {
    1: "EPERM",
    11: "EAGAIN",
    12: "ENOMEM",
    13: "EACCES",
    14: "EFAULT",
    17: "EEXIST",
    22: "EINVAL",
    75: "EOVERFLOW",
  },
};
