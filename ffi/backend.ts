/**
 * The contract between Smriti and an operating system's memory, and nothing else.
 *
 * A backend maps, commits, decommits and unmaps ranges and makes ArrayBuffers over them. It never
 * throws: a refusal comes back as a {@linkcode Code}. It knows nothing of pools, slots or blocks.
 * `docs/porting.md` says what a new backend must promise.
 */

/** `0` is success; anything else is the OS's error number, or `-1` where it gave none. */
export type Code = number;

/** One mapped range. Opaque outside `ffi/`: only the backend that made it may read it. */
export interface Range {
  /** Address of the first usable byte; `0n` where memory has no address (heap). */
  readonly base: bigint;
  /** Usable bytes from `base`. */
  readonly size: number;
  /** Address the OS gave, at or below `base`. */
  readonly mappedBase: bigint;
  /** Bytes the OS mapped, `size` plus what alignment cost. */
  readonly mappedSize: number;
}

/** What differs between systems. Code above `ffi/` asks this record, never the OS's name. */
export interface Abilities {
  /** Bytes in one page: the unit of commit and decommit. */
  readonly pageSize: number;
  /** Bytes in one huge page, or 0 where the OS has none to offer. */
  readonly hugePageSize: number;
  /** Whether memory reads as zero after decommit and commit. */
  readonly zeroedOnRecommit: boolean;
  /** Whether `protect` makes pages inaccessible. */
  readonly protects: boolean;
  /** Whether `prefault` can fault pages in. */
  readonly prefaults: boolean;
  /** Whether memory has an address that native code can use. */
  readonly hasAddresses: boolean;
}

/** Asks the OS about threads: the only proof that a Worker can no longer write. */
export interface Threads {
  /** This thread's number. */
  current(): number;
  /** Whether that thread of this process still exists. */
  isAlive(thread: number): boolean;
  /**
   * Start time of that thread, not 0; 0 where the OS does not tell it, or never gives a number again.
   * Tells two threads apart that had one number after the other.
   */
  birth?(thread: number): number;
}

/** A bound to the memory of this process. */
export interface MemoryLimit {
  /** The bound in bytes, as it stands: what the process has taken already is in it. */
  readonly bytes: number;
  /** What sets it: a control group, a resource limit of the process, or what the machine has. */
  readonly source: "cgroup" | "RLIMIT_AS" | "RLIMIT_DATA" | "machine";
}

/** What the OS tells of this process and its machine. */
export interface Host {
  /** The bounds of which the OS tells. */
  limits(): MemoryLimit[];
  /** A virtual file of the OS (as in `/proc`), as text; empty if there is none. */
  read(path: string): string;
}

/** What the OS can do. Offsets and sizes are bytes, page aligned, inside the range. */
export interface Backend {
  /** `"native"` is memory of the OS, `"heap"` is ordinary ArrayBuffers. */
  readonly kind: "native" | "heap";
  /** What this system can and cannot do. */
  readonly abilities: Abilities;
  /** What the OS tells of threads, where it does. */
  readonly threads?: Threads | undefined;
  /** What the OS tells of memory, where it does. */
  readonly host?: Host | undefined;
  /**
   * A memory fence in all threads of the process at once, where the OS has one. None of them goes on
   * with an instruction that it began before. Costs under a microsecond here, and the others nothing.
   */
  readonly fence?: (() => Code) | undefined;
  /** Maps `size` bytes at a multiple of `alignment` with no memory behind them. */
  map(size: number, alignment: number): Range | Code;
  /**
   * Maps marked zeroes, committed, at exactly this address, a multiple of 64 KiB, unless something is
   * there.
   */
  mapAt(address: bigint, size: number): Range | Code;
  /** The range that `mapAt` has made there in any isolate of the process. Safe for any address. */
  findAt(address: bigint, size: number): Range | undefined;
  /** Makes bytes usable. Committing twice keeps the contents. */
  commit(range: Range, offset: number, size: number, huge: boolean): Code;
  /** Gives the memory back and keeps the bytes readable and writable. */
  decommit(range: Range, offset: number, size: number): Code;
  /** Makes committed bytes inaccessible, or accessible again with their contents. */
  protect(
    range: Range,
    offset: number,
    size: number,
    accessible: boolean,
  ): Code;
  /** Faults pages in; never changes a byte. */
  prefault(range: Range, offset: number, size: number): Code;
  /** Gives the whole range back. No ArrayBuffer over it may be alive. */
  unmap(range: Range): Code;
  /**
   * Gives a part of a range back, addresses included; the rest of the range stays as it is, and the
   * range can no longer be given back as a whole. Refused where the OS knows whole ranges only.
   */
  unmapPart(range: Range, offset: number, size: number): Code;
  /** A new ArrayBuffer over the bytes. It keeps nothing alive. */
  view(range: Range, offset: number, size: number): ArrayBuffer;
  /** Address of a byte, or `null` where there are none. */
  pointer(range: Range, offset: number): Deno.PointerObject | null;
  /** Whether the buffer starts at this byte; where there are no addresses, always true. */
  isAt(range: Range, offset: number, buffer: ArrayBuffer): boolean;
  /** Name of an error number for a message, such as `ENOMEM`. */
  errorName(code: Code): string;
}
