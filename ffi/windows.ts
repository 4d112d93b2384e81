/**
 * Windows memory: VirtualAlloc and its relatives in kernel32.dll.
 *
 * Owns the opened library and every call into it. Never decides anything: sizes, offsets and
 * moments are the region's. Windows charges memory against a limit of the whole system when it is
 * committed, touched or not, and keeps the charge when the contents are discarded.
 */
import type { Abilities, Backend, Code, Range, Threads } from "./backend.ts";
import { ifMarked, marked, rangeAt } from "./mark.ts";

/** Tried in order: a bare name fails as soon as any `--deny-ffi=PATH` is given. */
const LIBRARIES = ["kernel32.dll", "C:\\Windows\\System32\\kernel32.dll"];

const MEM_COMMIT = 0x1000;
const MEM_RESERVE = 0x2000;
const MEM_DECOMMIT = 0x4000;
const MEM_RELEASE = 0x8000;
const PAGE_NOACCESS = 0x01;
const PAGE_READWRITE = 0x04;
const SYNCHRONIZE = 0x0010_0000;
const WAIT_OBJECT_0 = 0;

/** Where `GetSystemInfo` puts what is read here. */
const SYSTEM_INFO = { size: 48, pageSize: 4, granularity: 40 };

/** Where `VirtualQuery` puts what is read here. */
const MEMORY_INFORMATION = { size: 48, state: 32, access: 36 };

const ERROR_NAMES: Readonly<Record<number, string>> = {
  5: "ERROR_ACCESS_DENIED",
  8: "ERROR_NOT_ENOUGH_MEMORY",
  14: "ERROR_OUTOFMEMORY",
  87: "ERROR_INVALID_PARAMETER",
  487: "ERROR_INVALID_ADDRESS",
  998: "ERROR_NOACCESS",
  1450: "ERROR_NO_SYSTEM_RESOURCES",
  1455: "ERROR_COMMITMENT_LIMIT",
  1816: "ERROR_NOT_ENOUGH_QUOTA",
};

/** The C prototypes of what is used of kernel32.dll. */
export const KERNEL32 = {
  VirtualAlloc: {
    parameters: ["usize", "usize", "u32", "u32"],
    result: "usize",
  },
  VirtualFree: { parameters: ["usize", "usize", "u32"], result: "i32" },
  VirtualProtect: {
    parameters: ["usize", "usize", "u32", "buffer"],
    result: "i32",
  },
  // One undoes the other, so together they tell the address of a buffer. Deno's own call for that needs
  // the permission each time.
  EncodePointer: { parameters: ["buffer"], result: "usize" },
  DecodePointer: { parameters: ["usize"], result: "usize" },
  VirtualQuery: { parameters: ["usize", "buffer", "usize"], result: "usize" },
  // Windows 8.1 and later.
  DiscardVirtualMemory: {
    parameters: ["usize", "usize"],
    result: "u32",
    optional: true,
  },
  GetCurrentThreadId: { parameters: [], result: "u32" },
  OpenThread: { parameters: ["u32", "i32", "u32"], result: "usize" },
  WaitForSingleObject: { parameters: ["usize", "u32"], result: "u32" },
  GetSystemInfo: { parameters: ["buffer"], result: "void" },
  FlushProcessWriteBuffers: { parameters: [], result: "void" },
  // Wine has it, Windows does not. Never called.
  wine_get_unix_file_name: {
    parameters: ["pointer"],
    result: "pointer",
    optional: true,
  },
  GetLastError: { parameters: [], result: "u32" },
} as const;

/** Those functions, ready to be called. */
export type Kernel32 = Deno.DynamicLibrary<typeof KERNEL32>["symbols"];

/** Opens the system's library; a string says why that was refused. */
export function openWindows(): Backend | string {
  const refusals: string[] = [];
  for (const name of LIBRARIES) {
    try {
      // SAFETY: the declared types are those of the C prototypes on every 64-bit Windows; each
      // call below states what makes its arguments right.
      return new WindowsBackend(Deno.dlopen(name, KERNEL32).symbols);
    } catch (error) {
      refusals.push(
        `${name}: ${error instanceof Error ? error.message : error}`,
      );
    }
  }
  return refusals.join("; ");
}

/** The backend over an opened kernel32, or over a test's own. */
export class WindowsBackend implements Backend {
  readonly kind = "native";
  readonly abilities: Abilities;
  /**
   * A thread's number here is a handle, opened once by the thread itself and never closed: unlike
   * an id, Windows cannot give it to another thread afterwards.
   */
  readonly threads: Threads = {
    current: () => this.#thread ??= this.#openThread(),
    // SAFETY: asks without waiting, and touches no memory; what is no handle only fails.
    isAlive: (thread) =>
      this.#kernel.WaitForSingleObject(BigInt(thread), 0) !== WAIT_OBJECT_0,
  };
  readonly fence: (() => Code) | undefined;
  readonly #kernel: Kernel32;
  #thread: number | undefined;
  /** Addresses that VirtualAlloc gives are multiples of this. */
  readonly #granularity: number;
  /** Receives the protection that VirtualProtect replaces; not read. */
  readonly #before = new Uint32Array(1);

  /** Asks the system for its page size; maps nothing. */
  constructor(kernel: Kernel32) {
    this.#kernel = kernel;
    const info = new DataView(new ArrayBuffer(SYSTEM_INFO.size));
    // SAFETY: writes one SYSTEM_INFO, which is what the buffer has room for.
    kernel.GetSystemInfo(new Uint8Array(info.buffer));
    this.#granularity = info.getUint32(SYSTEM_INFO.granularity, true);
    // Wine 8 exports the function too, but it does nothing.
    const isWine = kernel.wine_get_unix_file_name !== null;
    this.fence = isWine ? undefined : () => {
      // SAFETY: takes nothing and touches no memory; a fence in every running thread of the process.
      kernel.FlushProcessWriteBuffers();
      return 0;
    };
    this.abilities = {
      pageSize: info.getUint32(SYSTEM_INFO.pageSize, true),
      // Large pages need a privilege, and are committed and locked from the moment they are mapped.
      hugePageSize: 0,
      // Discarded pages hold zeroes or what they held before.
      zeroedOnRecommit: kernel.DiscardVirtualMemory === null,
      protects: true,
      // PrefetchVirtualMemory reads from disk what was paged out; it gives untouched pages nothing.
      prefaults: false,
      hasAddresses: true,
    };
  }

  map(size: number, alignment: number): Range | Code {
    const spare = alignment > this.#granularity ? alignment : 0;
    const mappedSize = size + spare;
    // SAFETY: a new reservation at an address of the system's choice; it can overlap nothing.
    const mappedBase = this.#kernel.VirtualAlloc(
      0n,
      BigInt(mappedSize),
      MEM_RESERVE,
      PAGE_NOACCESS,
    );
    if (mappedBase === 0n) return this.#lastError();
    const unit = BigInt(alignment);
    const base = spare === 0
      ? mappedBase
      : (mappedBase + unit - 1n) / unit * unit;
    return { base, size, mappedBase, mappedSize };
  }

  mapAt(address: bigint, size: number): Range | Code {
    // SAFETY: reserves only what is free: whatever is there stays.
    const base = this.#kernel.VirtualAlloc(
      address,
      BigInt(size),
      MEM_RESERVE | MEM_COMMIT,
      PAGE_READWRITE,
    );
    return base === 0n ? this.#lastError() : marked(this, rangeAt(base, size));
  }

  findAt(base: bigint, size: number): Range | undefined {
    const info = new DataView(new ArrayBuffer(MEMORY_INFORMATION.size));
    // SAFETY: asks about an address without touching it, and writes no more than the buffer holds.
    this.#kernel.VirtualQuery(
      base,
      new Uint8Array(info.buffer),
      BigInt(MEMORY_INFORMATION.size),
    );
    const isReadable =
      info.getUint32(MEMORY_INFORMATION.state, true) === MEM_COMMIT &&
      info.getUint32(MEMORY_INFORMATION.access, true) === PAGE_READWRITE;
    if (!isReadable) return undefined;
    return ifMarked(this, rangeAt(base, size));
  }

  commit(range: Range, offset: number, size: number): Code {
    // SAFETY: the caller keeps offset and size inside its own live range, page aligned; pages that
    // are committed already keep their contents.
    const committed = this.#kernel.VirtualAlloc(
      range.base + BigInt(offset),
      BigInt(size),
      MEM_COMMIT,
      PAGE_READWRITE,
    );
    return committed === 0n ? this.#lastError() : 0;
  }

  decommit(range: Range, offset: number, size: number): Code {
    const address = range.base + BigInt(offset);
    const bytes = BigInt(size);
    const { DiscardVirtualMemory } = this.#kernel;
    // SAFETY: inside the caller's live range; the pages stay committed, readable and writable.
    if (DiscardVirtualMemory?.(address, bytes) === 0) return 0;
    // SAFETY: inside the caller's live range. Between this call and the next the bytes are
    // inaccessible: JavaScript cannot run there, and the caller has no operation under way on them.
    if (this.#kernel.VirtualFree(address, bytes, MEM_DECOMMIT) === 0) {
      return this.#lastError();
    }
    // SAFETY: the same bytes. If Windows refuses them now they are gone all the same, and the next
    // commit asks again: until then a view that was kept must not be touched.
    this.#kernel.VirtualAlloc(address, bytes, MEM_COMMIT, PAGE_READWRITE);
    return 0;
  }

  protect(
    range: Range,
    offset: number,
    size: number,
    accessible: boolean,
  ): Code {
    // SAFETY: committed bytes of the caller's live range; it has revoked every view before it makes
    // them inaccessible, so only native code can meet them and is refused.
    const done = this.#kernel.VirtualProtect(
      range.base + BigInt(offset),
      BigInt(size),
      accessible ? PAGE_READWRITE : PAGE_NOACCESS,
      this.#before,
    );
    return done === 0 ? this.#lastError() : 0;
  }

  prefault(): Code {
    return 0;
  }

  unmap(range: Range): Code {
    // SAFETY: the whole of a range this backend mapped (release takes its base and size 0); the
    // caller has revoked every view of it.
    const done = this.#kernel.VirtualFree(range.mappedBase, 0n, MEM_RELEASE);
    return done === 0 ? this.#lastError() : 0;
  }

  unmapPart(): Code {
    return -1;
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
    const { EncodePointer, DecodePointer } = this.#kernel;
    // SAFETY: both take an address for a number and read nothing there; the caller has checked that the
    // buffer is not detached. One undoes what the other does.
    const start = DecodePointer(EncodePointer(buffer));
    return BigInt(start) === range.base + BigInt(offset);
  }

  errorName(code: Code): string {
    return ERROR_NAMES[code] ?? `error ${code}`;
  }

  /** A handle of this thread, 0 if there is none to be had. */
  #openThread(): number {
    // SAFETY: takes nothing and returns a number.
    const id = this.#kernel.GetCurrentThreadId();
    // SAFETY: this thread runs, so the id is its own.
    return Number(this.#kernel.OpenThread(SYNCHRONIZE, 0, id));
  }

  /** For messages only: Deno may have called Windows in between, so nothing branches on it. */
  #lastError(): Code {
    // SAFETY: takes nothing and reads a number of this thread.
    return this.#kernel.GetLastError() || -1;
  }
}
