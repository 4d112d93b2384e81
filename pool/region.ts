/**
 * One mapped range, cut into slots: the only file above `ffi/` that holds addresses of blocks.
 *
 * Turns slot and slab indices into offsets, commits and gives back whole slabs, makes and revokes
 * the views of slots. Knows no leases, counts or policies.
 */
import type { Backend, Code, Range } from "../ffi/backend.ts";
import { heap } from "../ffi/heap.ts";
import { openNative } from "../ffi/open.ts";
import { type OsRefusal, SmritiError } from "./errors.ts";
import type { FilledOptions } from "./options.ts";
import type { SlabRun } from "./slots.ts";

/** Slots are laid out at multiples of a cache line. */
const LINE = 64;
/** Bytes faulted in by one call, also of a slab that is larger: more would hold up every other mmap. */
export const PREFAULT_PIECE = 8 * 1024 * 1024;

/** The memory of one pool. */
export class Region {
  /** Bytes from one slot to the next. */
  readonly stride: number;
  /** Slots in a slab: the fewest that fill whole pages. */
  readonly slabSlots: number;
  /** Bytes in a slab. */
  readonly slabBytes: number;
  /** The mapping, for other isolates of this process. */
  readonly range: Range;
  /** Whether slots have addresses. */
  readonly hasAddresses: boolean;

  readonly #backend: Backend;
  readonly #size: number;
  readonly #huge: boolean;
  #mapped = true;
  /** Whether a slot has whole pages that the OS can make inaccessible. */
  readonly #canForbid: boolean;
  /** Slabs that may hold old bytes after they were given back, where the OS does not zero them. */
  readonly #stale: Uint8Array | undefined;

  /**
   * Maps address space for every block; no memory is behind it yet. With `range`, takes over one
   * that another isolate of this process has mapped.
   *
   * @throws {SmritiError} `permission`, `unsupported`, `out-of-memory`
   */
  constructor(options: FilledOptions, range?: Range) {
    const backend = chooseBackend(options.backend);
    const { pageSize, hugePageSize, zeroedOnRecommit } = backend.abilities;
    const { blockSize, maxBlocks } = options;
    this.#backend = backend;
    this.#huge = options.hugePages && hugePageSize > 0;
    this.#size = blockSize;
    this.hasAddresses = backend.abilities.hasAddresses;
    this.stride = roundUp(blockSize, blockSize < pageSize ? LINE : pageSize);
    this.#canForbid = backend.abilities.protects && blockSize >= pageSize;
    const unit = this.#huge ? hugePageSize : pageSize;
    this.slabSlots = unit / commonDivisor(this.stride, unit);
    this.slabBytes = this.stride * this.slabSlots;
    const slabs = Math.ceil(maxBlocks / this.slabSlots);
    const size = slabs * this.slabBytes;
    const mapped = range ?? backend.map(size, unit);
    if (typeof mapped === "number") {
      throw outOfMemory(backend, "map", size, mapped);
    }
    this.range = mapped;
    this.#stale = zeroedOnRecommit ? undefined : new Uint8Array(slabs);
  }

  /** Where the memory comes from. */
  get backend(): Backend["kind"] {
    return this.#backend.kind;
  }

  /** Bytes of address space held, 0 after `unmap`. */
  get mappedBytes(): number {
    return this.#mapped ? this.range.mappedSize : 0;
  }

  /** Puts memory behind slabs. Returns the OS's refusal, if any. */
  commit({ first, count }: SlabRun): SmritiError | undefined {
    const size = count * this.slabBytes;
    const offset = first * this.slabBytes;
    const code = this.#backend.commit(this.range, offset, size, this.#huge);
    return code === 0
      ? undefined
      : outOfMemory(this.#backend, "commit", size, code);
  }

  /** Gives the memory of slabs back. Their bytes stay readable and writable. */
  decommit({ first, count }: SlabRun): Code {
    this.#stale?.fill(1, first, first + count);
    return this.#backend.decommit(
      this.range,
      first * this.slabBytes,
      count * this.slabBytes,
    );
  }

  /**
   * Faults the pages of slabs in on another thread, until `isOver` says so. False after a refusal:
   * the pages are then faulted in by their first use.
   */
  async prefault(
    { first, count }: SlabRun,
    isOver: () => boolean,
  ): Promise<boolean> {
    if (!this.#backend.abilities.prefaults) return false;
    const end = (first + count) * this.slabBytes;
    let at = first * this.slabBytes;
    for (; at < end && !isOver(); at += PREFAULT_PIECE) {
      const size = Math.min(PREFAULT_PIECE, end - at);
      if (await this.#backend.prefault(this.range, at, size) !== 0) {
        return false;
      }
    }
    return true;
  }

  /**
   * A new view of a slot. At most one that is not detached may exist.
   *
   * @throws {SmritiError} `out-of-memory` where memory is only taken now, as on the heap;
   * `permission` if it was taken back
   */
  view(slot: number): Uint8Array<ArrayBuffer> {
    try {
      // SAFETY: the caller has seen that the slot is committed, and revokes this view before unmap.
      return new Uint8Array(
        this.#backend.view(this.range, slot * this.stride, this.#size),
      );
    } catch (error) {
      throw viewRefused(this.#backend, this.#size, error);
    }
  }

  /** Whether a slot about to get its first view since commit may still hold old bytes. */
  mayBeStale(slot: number): boolean {
    return this.#stale !== undefined &&
      this.#stale[Math.floor(slot / this.slabSlots)] === 1;
  }

  /**
   * Ends every view of the slot and returns a new buffer of the same memory: no copy, no charge.
   * `undefined` if the old one was made undetachable (`markAsUntransferable`): its views live on.
   *
   * @throws {RangeError} at the end of the stack; the views live on
   */
  renew({ buffer }: Uint8Array<ArrayBuffer>): ArrayBuffer | undefined {
    try {
      // SAFETY: transfer() keeps the memory and detaches the old buffer with everything over it; the
      // slot is ours alone: its lease is ending and nothing lent is running.
      return buffer.transfer();
    } catch (error) {
      if (error instanceof RangeError) throw error;
      return undefined;
    }
  }

  /**
   * Ends every view of the slot and makes none; false if the buffer was made undetachable.
   *
   * @throws {RangeError} at the end of the stack; the views live on
   */
  revoke(view: Uint8Array<ArrayBuffer>): boolean {
    try {
      // SAFETY: detaching frees nothing, because the memory belongs to the mapping.
      if (view.length !== 0) view.buffer.transfer(0);
      return true;
    } catch (error) {
      if (error instanceof RangeError) throw error;
      return false;
    }
  }

  /** Address of a slot. */
  pointer(slot: number): Deno.PointerObject {
    const pointer = permitted(
      this.#backend,
      this.#size,
      () => this.#backend.pointer(this.range, slot * this.stride),
    );
    if (pointer === null) {
      throw new SmritiError(
        "unsupported",
        "pointer needs native memory; this pool's backend is heap",
      );
    }
    return pointer;
  }

  /**
   * Whether a buffer is the whole of a slot's memory.
   *
   * @throws {SmritiError} `permission` if it was taken back
   */
  isWhole(slot: number, buffer: ArrayBufferLike): boolean {
    const isAlike = buffer instanceof ArrayBuffer && !buffer.resizable &&
      buffer.byteLength === this.#size;
    try {
      return isAlike &&
        this.#backend.isAt(this.range, slot * this.stride, buffer);
    } catch (error) {
      throw viewRefused(this.#backend, this.#size, error);
    }
  }

  /** Whether memory that was given back and committed again reads as zero. */
  get zeroesOnRecommit(): boolean {
    return this.#stale === undefined;
  }

  /** Zeroes a slot that nobody has. */
  wipe(slot: number): void {
    const view = this.view(slot);
    view.fill(0);
    this.revoke(view);
  }

  /**
   * Makes a slot inaccessible if it has whole pages; whether it is. After a refusal it is not, and
   * the pattern in it still shows a late write.
   */
  forbid(slot: number): boolean {
    const { stride } = this;
    return this.#canForbid &&
      this.#backend.protect(this.range, slot * stride, stride, false) === 0;
  }

  /** Makes an inaccessible slot accessible again; false if the OS refused. */
  allow(slot: number): boolean {
    const { stride } = this;
    return this.#backend.protect(this.range, slot * stride, stride, true) === 0;
  }

  /**
   * Drops the pages of the first slots; the addresses stay mapped and accessible. False if the OS
   * refused.
   */
  drop(slots: number): boolean {
    const count = Math.ceil(slots / this.slabSlots);
    return count === 0 || this.decommit({ first: 0, count }) === 0;
  }

  /** Gives the whole range back; false if the OS refused. Every view must have been revoked. */
  unmap(): boolean {
    if (this.#mapped && this.#backend.unmap(this.range) === 0) {
      this.#mapped = false;
    }
    return !this.#mapped;
  }
}

function roundUp(size: number, unit: number): number {
  return Math.ceil(size / unit) * unit;
}

function commonDivisor(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b];
  return a;
}

/** What it means that a view could not be made, or its address not be told. */
function viewRefused(backend: Backend, size: number, error: unknown): unknown {
  if (error instanceof RangeError && /alloc/i.test(error.message)) {
    return outOfMemory(backend, "allocate", size, -1);
  }
  if (!(error instanceof Deno.errors.NotCapable)) return error;
  return new SmritiError(
    "permission",
    "a view of native memory needs the flag --allow-ffi, and the permission was taken back",
    { cause: error },
  );
}

/**
 * What `act` gives, which asks for addresses or views.
 *
 * @throws {SmritiError} `permission` if it was taken back
 */
export function permitted<T>(backend: Backend, size: number, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw viewRefused(backend, size, error);
  }
}

/** The error for memory that the OS refused. */
export function outOfMemory(
  backend: Backend,
  call: string,
  bytes: number,
  code: Code,
): SmritiError {
  const error = backend.errorName(code);
  const cause: OsRefusal = { call, bytes, error };
  return new SmritiError(
    "out-of-memory",
    `the operating system refused to ${call} ${bytes} bytes (${error})`,
    { cause },
  );
}

/**
 * The backend that was asked for.
 *
 * @throws {SmritiError} `permission`, `unsupported`
 */
export function chooseBackend(choice: FilledOptions["backend"]): Backend {
  if (choice === "heap") return heap;
  const found = openNative();
  if (!("reason" in found)) return found;
  if (choice === "auto") return heap;
  throw new SmritiError(
    found.reason,
    found.reason === "permission"
      ? `native memory needs the flag --allow-ffi, without a list of paths (${found.detail})`
      : `no native memory here: ${found.detail}`,
  );
}
