/**
 * The mmap family, shared by Linux and macOS and driven by a table of what differs.
 *
 * Owns the opened library and every call into it. Never decides anything: sizes, offsets and
 * moments are the region's. Sizes and addresses cross as bigints: a number takes Deno's slow path.
 */
import type {
  Abilities,
  Backend,
  Code,
  Host,
  MemoryLimit,
  Range,
  Threads,
} from "./backend.ts";
import { ifMarked, marked, rangeAt } from "./mark.ts";

/** What differs between POSIX systems. */
export interface PosixTable {
  /** Library names to try in order. */
  readonly libraries: readonly string[];
  /** Symbol that returns the address of this thread's `errno`. */
  readonly errnoSymbol: "__errno_location" | "__error";
  /** `MAP_PRIVATE` with the system's anonymous flag. */
  readonly mapFlags: number;
  /** `MAP_FIXED`. */
  readonly mapFixed: number;
  /** Advice about a new range: out of core dumps, no huge pages unless asked for. */
  readonly adviceNew: readonly number[];
  /** Advice that drops pages at once and leaves zeroes, or `null`: map over the range instead. */
  readonly adviceDrop: number | null;
  /** Advice that faults pages in for writing, or `null`. */
  readonly advicePopulate: number | null;
  /** Advice that asks for huge pages, or `null`. */
  readonly adviceHuge: number | null;
  /** Bytes in a huge page, or 0. */
  readonly hugePageSize: number;
  /** `RLIMIT_AS`; `RLIMIT_DATA` is 2 everywhere. */
  readonly rlimitAs: number;
  /** `_SC_PHYS_PAGES`. */
  readonly physicalPages: number;
  /** The number of the system call `membarrier` on each processor, where there is one. */
  readonly membarrier:
    | Readonly<Record<typeof Deno.build.arch, bigint>>
    | undefined;
  /** Error numbers that the calls here can give. */
  readonly errorNames: Readonly<Record<number, string>>;
}

const PROT_NONE = 0;
const PROT_READ_WRITE = 3;
const F_OK = 0;
const RLIMIT_DATA = 2;
/** Each system has a number of its own for no limit; all are above this. */
const NO_LIMIT = 2 ** 60;
const O_CLOEXEC = 0x8_0000;
const EEXIST = 17;
/** `MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED`: once a process, before the next one. Linux 4.14. */
const REGISTER_EXPEDITED = 16n;
/** `MEMBARRIER_CMD_PRIVATE_EXPEDITED`: a fence in every running thread of the process. */
const PRIVATE_EXPEDITED = 8n;
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

function symbolsOf(table: PosixTable) {
  return {
    mmap: {
      parameters: ["usize", "usize", "i32", "i32", "i32", "i64"],
      result: "usize",
    },
    munmap: { parameters: ["usize", "usize"], result: "i32" },
    mprotect: { parameters: ["usize", "usize", "i32"], result: "i32" },
    madvise: { parameters: ["usize", "usize", "i32"], result: "i32" },
    // Returns its first argument, so with size 0 it tells the address of a buffer. Deno's own call for
    // that needs the permission each time.
    memmove: { parameters: ["buffer", "buffer", "usize"], result: "usize" },
    access: { parameters: ["usize", "i32"], result: "i32" },
    getpagesize: { parameters: [], result: "i32" },
    // Linux only, and missing from glibc before 2.30: then nothing is known of threads.
    gettid: { parameters: [], result: "i32", optional: true },
    tgkill: {
      parameters: ["i32", "i32", "i32"],
      result: "i32",
      optional: true,
    },
    open: { parameters: ["buffer", "i32"], result: "i32", optional: true },
    read: {
      parameters: ["i32", "buffer", "usize"],
      result: "isize",
      optional: true,
    },
    close: { parameters: ["i32"], result: "i32", optional: true },
    getrlimit: { parameters: ["i32", "buffer"], result: "i32", optional: true },
    sysconf: { parameters: ["i32"], result: "isize", optional: true },
    syscall: {
      parameters: ["usize", "usize", "usize", "usize"],
      result: "isize",
      optional: true,
    },
    errnoLocation: {
      name: table.errnoSymbol,
      parameters: [],
      result: "pointer",
    },
  } as const;
}

type Library = Deno.DynamicLibrary<ReturnType<typeof symbolsOf>>;

function openLibrary(table: PosixTable): Library | string {
  const refusals: string[] = [];
  for (const name of table.libraries) {
    try {
      // SAFETY: the declared types are those of the C prototypes on every 64-bit POSIX system;
      // each call below states what makes its arguments right.
      return Deno.dlopen(name, symbolsOf(table));
    } catch (error) {
      refusals.push(
        `${name}: ${error instanceof Error ? error.message : error}`,
      );
    }
  }
  return refusals.join("; ");
}

/** Opens the system's library; a string says why that was refused. */
export function openPosix(table: PosixTable): Backend | string {
  const library = openLibrary(table);
  return typeof library === "string"
    ? library
    : new PosixBackend(table, library);
}

class PosixBackend implements Backend {
  readonly kind = "native";
  readonly abilities: Abilities;
  readonly threads: Threads | undefined;
  readonly host: Host;
  readonly fence: (() => Code) | undefined;
  readonly #table: PosixTable;
  readonly #c: Library["symbols"];

  constructor(table: PosixTable, library: Library) {
    this.#table = table;
    this.#c = library.symbols;
    this.threads = this.#threads();
    this.fence = this.#fence();
    this.host = {
      limits: () => this.#limits(),
      read: (path) => this.#read(path),
    };
    this.abilities = {
      // SAFETY: takes nothing and reads a constant of the process.
      pageSize: this.#c.getpagesize(),
      hugePageSize: table.hugePageSize,
      zeroedOnRecommit: true,
      protects: true,
      prefaults: table.advicePopulate !== null,
      hasAddresses: true,
    };
  }

  #threads(): Threads | undefined {
    const { gettid, tgkill } = this.#c;
    if (gettid === null || tgkill === null) return undefined;
    return {
      // SAFETY: takes nothing and returns a number.
      current: () => gettid(),
      // SAFETY: signal 0 sends nothing: it only asks whether the thread exists.
      isAlive: (thread) => tgkill(Deno.pid, thread, 0) === 0,
      birth: (thread) => birthIn(this.#read(`/proc/self/task/${thread}/stat`)),
    };
  }

  #fence(): (() => Code) | undefined {
    const number = this.#table.membarrier?.[Deno.build.arch];
    const { syscall } = this.#c;
    if (number === undefined || syscall === null) return undefined;
    let isRegistered = false;
    return () => {
      if (!isRegistered) {
        // SAFETY: takes numbers and touches no memory. A second time in a process it does nothing; a
        // kernel without the call, or a sandbox, refuses it.
        if (syscall(number, REGISTER_EXPEDITED, 0n, 0n) !== 0n) {
          return this.#errno();
        }
        isRegistered = true;
      }
      // SAFETY: as above.
      const done = syscall(number, PRIVATE_EXPEDITED, 0n, 0n);
      return done === 0n ? 0 : this.#errno();
    };
  }

  #limits(): MemoryLimit[] {
    const { getrlimit, sysconf } = this.#c;
    const found: MemoryLimit[] = [];
    const add = (source: MemoryLimit["source"], bytes: number) => {
      if (bytes > 0 && bytes < NO_LIMIT) found.push({ source, bytes });
    };
    const resources = [["RLIMIT_AS", this.#table.rlimitAs], [
      "RLIMIT_DATA",
      RLIMIT_DATA,
    ]] as const;
    for (const [source, resource] of resources) {
      const limit = new BigUint64Array(2);
      // SAFETY: writes a `struct rlimit`, two 64-bit numbers, before it returns.
      if (getrlimit?.(resource, limit) === 0) add(source, Number(limit[0]));
    }
    // SAFETY: takes a number and returns one, -1 for what it does not know.
    const pages = Number(sysconf?.(this.#table.physicalPages) ?? -1);
    add("machine", pages * this.abilities.pageSize);
    return found;
  }

  /** A file of the system's, read without a permission of Deno's; empty if it has none. */
  #read(path: string): string {
    const { open, read, close } = this.#c;
    if (open === null || read === null || close === null) return "";
    // SAFETY: the path ends with a zero byte, and the flags need no third argument.
    const file = open(new TextEncoder().encode(`${path}\0`), O_CLOEXEC);
    if (file < 0) return "";
    const decoder = new TextDecoder();
    const bytes = new Uint8Array(4096);
    let text = "";
    while (true) {
      // SAFETY: writes at most as many bytes as there are, before it returns.
      const count = Number(read(file, bytes, BigInt(bytes.length)));
      if (count <= 0) break;
      text += decoder.decode(bytes.subarray(0, count), { stream: true });
    }
    // SAFETY: opened above, and the number is kept nowhere.
    close(file);
    return text + decoder.decode();
  }

  map(size: number, alignment: number): Range | Code {
    const spare = alignment > this.abilities.pageSize ? alignment : 0;
    const mappedSize = size + spare;
    // SAFETY: a new anonymous mapping (fd -1) at an address of the kernel's choice; it can overlap
    // nothing.
    const mappedBase = this.#c.mmap(
      0n,
      BigInt(mappedSize),
      PROT_NONE,
      this.#table.mapFlags,
      -1,
      0n,
    );
    if (mappedBase === MAP_FAILED) return this.#errno();
    const unit = BigInt(alignment);
    const range = {
      base: (mappedBase + unit - 1n) / unit * unit,
      size,
      mappedBase,
      mappedSize,
    };
    for (const advice of this.#table.adviceNew) {
      // SAFETY: advice about a range that was mapped just now; a refusal costs nothing.
      this.#c.madvise(range.base, BigInt(size), advice);
    }
    return spare === 0 ? range : this.#cut(range);
  }

  /** Gives back what alignment took on both sides, as far as the OS lets it. */
  #cut({ base, size, mappedBase, mappedSize }: Range): Range {
    const end = base + BigInt(size);
    const mappedEnd = mappedBase + BigInt(mappedSize);
    const isGone = (from: bigint, to: bigint) =>
      // SAFETY: outside of the usable bytes, inside of what was mapped just now.
      from === to || this.#c.munmap(from, to - from) === 0;
    const start = isGone(mappedBase, base) ? base : mappedBase;
    const stop = isGone(end, mappedEnd) ? end : mappedEnd;
    return { base, size, mappedBase: start, mappedSize: Number(stop - start) };
  }

  mapAt(address: bigint, size: number): Range | Code {
    // SAFETY: without MAP_FIXED an address is a hint: a mapping that is there stays.
    const base = this.#c.mmap(
      address,
      BigInt(size),
      PROT_READ_WRITE,
      this.#table.mapFlags,
      -1,
      0n,
    );
    if (base === MAP_FAILED) return this.#errno();
    const range = rangeAt(base, size);
    if (base === address) return marked(this, range);
    this.unmap(range);
    return EEXIST;
  }

  findAt(base: bigint, size: number): Range | undefined {
    // SAFETY: the OS itself reads a path there, and refuses an address that cannot be read.
    if (this.#c.access(base, F_OK) !== 0) return undefined;
    return ifMarked(this, rangeAt(base, size));
  }

  commit(range: Range, offset: number, size: number, huge: boolean): Code {
    const address = range.base + BigInt(offset);
    // SAFETY: the caller keeps offset and size inside its own live range, page aligned.
    if (this.#c.mprotect(address, BigInt(size), PROT_READ_WRITE) !== 0) {
      return this.#errno();
    }
    if (huge && this.#table.adviceHuge !== null) {
      // SAFETY: advice about the range just committed; contents stay, and a refusal costs nothing.
      this.#c.madvise(address, BigInt(size), this.#table.adviceHuge);
    }
    return 0;
  }

  decommit(range: Range, offset: number, size: number): Code {
    const address = range.base + BigInt(offset);
    const { adviceDrop, mapFlags, mapFixed } = this.#table;
    if (adviceDrop !== null) {
      // SAFETY: inside the caller's live range; pages go, the mapping stays readable and writable, so a
      // view that was kept reads zeroes instead of ending the process.
      const failed = this.#c.madvise(address, BigInt(size), adviceDrop) !== 0;
      return failed ? this.#errno() : 0;
    }
    // SAFETY: MAP_FIXED replaces only [address, address + size), which is the caller's own.
    const mapped = this.#c.mmap(
      address,
      BigInt(size),
      PROT_READ_WRITE,
      mapFlags | mapFixed,
      -1,
      0n,
    );
    return mapped === MAP_FAILED ? this.#errno() : 0;
  }

  protect(
    range: Range,
    offset: number,
    size: number,
    accessible: boolean,
  ): Code {
    // SAFETY: inside the caller's live range; the caller has revoked every view before it makes
    // pages inaccessible, so only native code can meet them and gets EFAULT.
    const failed = this.#c.mprotect(
      range.base + BigInt(offset),
      BigInt(size),
      accessible ? PROT_READ_WRITE : PROT_NONE,
    ) !== 0;
    return failed ? this.#errno() : 0;
  }

  prefault(range: Range, offset: number, size: number): Code {
    const advice = this.#table.advicePopulate;
    if (advice === null) return 0;
    // SAFETY: inside the caller's live range, committed; populating changes no byte.
    const failed = this.#c.madvise(
      range.base + BigInt(offset),
      BigInt(size),
      advice,
    ) !== 0;
    return failed ? this.#errno() : 0;
  }

  unmap(range: Range): Code {
    // SAFETY: the whole of a range this backend mapped; the caller has revoked every view of it.
    const failed =
      this.#c.munmap(range.mappedBase, BigInt(range.mappedSize)) !== 0;
    return failed ? this.#errno() : 0;
  }

  unmapPart(range: Range, offset: number, size: number): Code {
    const address = range.base + BigInt(offset);
    // SAFETY: inside a range this backend mapped, whole pages; the caller has revoked every view there.
    return this.#c.munmap(address, BigInt(size)) === 0 ? 0 : this.#errno();
  }

  view(range: Range, offset: number, size: number): ArrayBuffer {
    const pointer = this.pointer(range, offset);
    // SAFETY: the bytes are committed and stay mapped until the caller has revoked this buffer.
    return Deno.UnsafePointerView.getArrayBuffer(pointer, size);
  }

  pointer(range: Range, offset: number): Deno.PointerObject {
    // SAFETY: an address inside a live range, never 0, so never null.
    return Deno.UnsafePointer.create(range.base + BigInt(offset))!;
  }

  isAt(range: Range, offset: number, buffer: ArrayBuffer): boolean {
    // SAFETY: moves no byte; the caller has checked that the buffer is not detached.
    const start = this.#c.memmove(buffer, buffer, 0n);
    return BigInt(start) === range.base + BigInt(offset);
  }

  errorName(code: Code): string {
    return this.#table.errorNames[code] ?? `error ${code}`;
  }

  /** For messages only: V8 may have called the OS in between, so nothing branches on it. */
  #errno(): Code {
    // SAFETY: returns the address of this thread's errno, valid as long as the thread.
    const location = this.#c.errnoLocation();
    if (location === null) return -1;
    try {
      // SAFETY: errno is a C int at that address.
      return new Deno.UnsafePointerView(location).getInt32() || -1;
    } catch {
      // The permission was taken back: a refusal without a number.
      return -1;
    }
  }
}

/** Start time of a thread, in clock ticks since boot, from its `/proc/…/stat`; 0 if it is none. */
function birthIn(stat: string): number {
  // The second field, the name in parentheses, may hold any character.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const began = Number(fields[19]);
  return Number.isInteger(began) ? began | 0 || 1 : 0;
}
