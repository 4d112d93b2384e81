/**
 * Mapped ranges, cut into slots: the only file above `ffi/` that holds addresses of blocks.
 *
 * One range has room for all blocks; further ones are mapped when slots have been given up. Turns slot
 * and slab indices into offsets, commits and gives back whole slabs, makes and revokes the views of
 * slots. Knows no leases, counts or policies.
 */
import type { Backend, Code, Range } from "../ffi/backend.ts";
import { heap } from "../ffi/heap.ts";
import { openNative, refusedNow } from "../ffi/open.ts";
import { type OsRefusal, SmritiError } from "./errors.ts";
import { Layout } from "./layout.ts";
import type { FilledOptions } from "./options.ts";
import { checkRuntime } from "./runtime.ts";
import type { SlabRun } from "./slots.ts";

/** Bytes faulted in by one call: about 0.05 ms. */
const PIECE = 64 * 1024;

/** Pieces that a closed pool's ranges are cut into at most: each costs the process a memory mapping. */
const MOST_CUTS = 1024;

/** One mapped range, and the first of its slabs. */
export interface Part {
  readonly firstSlab: number;
  readonly range: Range;
}

/** The memory of one pool. */
export class Region {
  /** Where its slots lie. */
  readonly layout: Layout;
  /** The first mapping, for other isolates of this process. */
  readonly range: Range;
  /** Whether slots have addresses. */
  readonly hasAddresses: boolean;

  readonly #backend: Backend;
  readonly #size: number;
  /** Every mapping, the first one first. */
  readonly #parts: Part[];
  /** Slabs that have an address. */
  #slabs: number;
  /** Bytes of address space held. */
  mappedBytes: number;
  /** Whether a slot has whole pages that the OS can make inaccessible. */
  readonly #canForbid: boolean;
  /** Pieces that were taken out of ranges at the end. */
  #cuts = 0;
  /** Slabs that may hold old bytes after they were given back, where the OS does not zero them. */
  #stale: Uint8Array | undefined;

  /**
   * Maps address space for every block; no memory is behind it yet. With `range`, takes over one
   * that another isolate of this process has mapped.
   *
   * @throws {SmritiError} `permission`, `unsupported`, `out-of-memory`
   */
  constructor(options: FilledOptions, range?: Range) {
    const backend = chooseBackend(options.backend);
    const { pageSize, zeroedOnRecommit } = backend.abilities;
    const { blockSize, maxBlocks } = options;
    this.#backend = backend;
    const layout = this.layout = new Layout(options, backend.abilities);
    this.#size = blockSize;
    this.hasAddresses = backend.abilities.hasAddresses;
    this.#canForbid = backend.abilities.protects && blockSize >= pageSize;
    const size = layout.bytesOf(maxBlocks);
    const slabs = this.#slabs = size / layout.slabBytes;
    const mapped = range ?? backend.map(size, layout.unit);
    if (typeof mapped === "number") {
      throw outOfMemory(backend, "map", size, mapped);
    }
    this.range = mapped;
    this.#parts = [{ firstSlab: 0, range: mapped }];
    this.mappedBytes = mapped.mappedSize;
    this.#stale = zeroedOnRecommit ? undefined : new Uint8Array(slabs);
  }

  /** Bytes faulted in at a time, at most: a huge page is not divided. */
  get pieceBytes(): number {
    return Math.max(PIECE, this.layout.unit);
  }

  /** Bytes from one slot to the next in a slab. */
  get stride(): number {
    return this.layout.stride;
  }

  /** Slots in a slab. */
  get slabSlots(): number {
    return this.layout.slabSlots;
  }

  /** Bytes in a slab. */
  get slabBytes(): number {
    return this.layout.slabBytes;
  }

  /** Where the memory comes from. */
  get backend(): Backend["kind"] {
    return this.#backend.kind;
  }

  /** Slabs that have an address. */
  get slabs(): number {
    return this.#slabs;
  }

  /** The range mapped last, and the first of its slabs. */
  get lastPart(): Part {
    return this.#parts.at(-1)!;
  }

  /** Whether a slot has pages of its own, so that they can be dropped without a neighbour's. */
  get hasOwnPages(): boolean {
    return this.stride % this.#backend.abilities.pageSize === 0;
  }

  /** Slabs of the first range. */
  get firstSlabs(): number {
    return this.range.size / this.slabBytes;
  }

  /**
   * Maps addresses for more slabs: one at first, then as many as were added so far (doubling), so that
   * many slots given up take few ranges. Returns the refusal.
   */
  extend(): SmritiError | undefined {
    const range = this.mapMore(this.firstSlabs);
    if (range instanceof SmritiError) return range;
    this.add(range);
    return undefined;
  }

  /** Maps as many slabs as were added before, at least one and at most so many, and adds none. */
  protected mapMore(most: number): Range | SmritiError {
    const added = this.#slabs - this.firstSlabs;
    const size = Math.max(1, Math.min(added, most)) * this.slabBytes;
    const range = this.#backend.map(size, this.layout.unit);
    return typeof range === "number"
      ? outOfMemory(this.#backend, "map", size, range)
      : range;
  }

  /** Adds a range, whose slabs are those after the last one. All that can fail comes first. */
  protected add(range: Range): void {
    const parts = this.#parts;
    const part = { firstSlab: this.#slabs, range };
    const slabs = this.#slabs + range.size / this.slabBytes;
    let stale = this.#stale;
    if (stale !== undefined) {
      stale = new Uint8Array(slabs);
      stale.set(this.#stale!);
    }
    parts[parts.length] = part;
    this.mappedBytes += range.mappedSize;
    this.#slabs = slabs;
    this.#stale = stale;
  }

  /** The lowest slabs of a run, as far as they lie in one range: the OS takes or refuses it as a whole. */
  lowest({ first, count }: SlabRun): SlabRun {
    const { firstSlab, range } = this.#partOf(first);
    const end = firstSlab + range.size / this.slabBytes;
    return { first, count: Math.min(count, end - first) };
  }

  /** The highest slabs of a run, as far as they lie in one range. */
  highest({ first, count }: SlabRun): SlabRun {
    const end = first + count;
    const start = Math.max(first, this.#partOf(end - 1).firstSlab);
    return { first: start, count: end - start };
  }

  /** Puts memory behind slabs of one range. Returns the OS's refusal, if any. */
  commit(run: SlabRun): SmritiError | undefined {
    const { range, offset, size } = this.#placeOfRun(run);
    const { huge } = this.layout;
    const code = this.#backend.commit(range, offset, size, huge);
    return code === 0
      ? undefined
      : outOfMemory(this.#backend, "commit", size, code);
  }

  /** Gives the memory of slabs of one range back. Their bytes stay readable and writable. */
  decommit(run: SlabRun): Code {
    this.#stale?.fill(1, run.first, run.first + run.count);
    const { range, offset, size } = this.#placeOfRun(run);
    return this.#backend.decommit(range, offset, size);
  }

  /** Drops the pages of one slot that has pages of its own. Its bytes stay readable and writable. */
  dropSlot(slot: number): Code {
    const { range, offset } = this.#placeOf(slot);
    return this.#backend.decommit(range, offset, this.stride);
  }

  /** Whether pages can be faulted in ahead. */
  get prefaults(): boolean {
    return this.#backend.abilities.prefaults;
  }

  /** Faults a piece of a run of slabs of one range in, `from` so many bytes from its start. */
  prefault(run: SlabRun, from: number): Code {
    const { range, offset, size } = this.#placeOfRun(run);
    const piece = Math.min(this.pieceBytes, size - from);
    return this.#backend.prefault(range, offset + from, piece);
  }

  /**
   * A new view of a slot, or of its first bytes. Of the whole at most one that is not detached may exist.
   *
   * @throws {SmritiError} `out-of-memory` where memory is only taken now, as on the heap;
   * `permission` if it was taken back
   */
  view(slot: number, size: number = this.#size): Uint8Array<ArrayBuffer> {
    try {
      // SAFETY: the caller has seen that the slot is committed, and revokes this view before unmap.
      const { range, offset } = this.#placeOf(slot);
      return new Uint8Array(this.#backend.view(range, offset, size));
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
    const { range, offset } = this.#placeOf(slot);
    const pointer = permitted(
      this.#backend,
      this.#size,
      () => this.#backend.pointer(range, offset),
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
      const { range, offset } = this.#placeOf(slot);
      return isAlike && this.#backend.isAt(range, offset, buffer);
    } catch (error) {
      throw viewRefused(this.#backend, this.#size, error);
    }
  }

  /** Whether memory that was given back and committed again reads as zero. */
  get zeroesOnRecommit(): boolean {
    return this.#stale === undefined;
  }

  /** Zeroes a slot that no lease has. */
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
    return this.#canForbid && this.#protect(slot, false);
  }

  /** Makes an inaccessible slot accessible again; false if the OS refused. */
  allow(slot: number): boolean {
    return this.#protect(slot, true);
  }

  #protect(slot: number, accessible: boolean): boolean {
    const { range, offset } = this.#placeOf(slot);
    return this.#backend.protect(range, offset, this.stride, accessible) === 0;
  }

  /**
   * Gives the memory and the addresses back; false if the OS refused to take any memory. Every other
   * view must have been revoked.
   */
  unmap(): boolean {
    return this.unmapBut([]).length === 0;
  }

  /** The same, but for the slabs in `kept`. Returns those whose memory the OS refused to take. */
  unmapBut(kept: Iterable<number>): SlabRun[] {
    const stay = [...kept].sort((a, b) => a - b);
    const refused: SlabRun[] = [];
    for (const part of this.#parts.toReversed()) {
      const { firstSlab, range } = part;
      const end = firstSlab + range.size / this.slabBytes;
      const mine = stay.splice(
        stay.findLastIndex((slab) => slab < firstSlab) + 1,
      );
      if (mine.length === 0 && this.#backend.unmap(range) === 0) {
        this.mappedBytes -= range.mappedSize;
        this.#parts.splice(this.#parts.indexOf(part), 1);
        continue;
      }
      let first = firstSlab;
      for (const slab of [...mine, end]) {
        const run = { first, count: slab - first };
        first = slab + 1;
        if (run.count === 0 || mine.length > 0 && this.#cut(run)) continue;
        if (this.decommit(run) !== 0) refused.push(run);
      }
    }
    return refused;
  }

  /** Takes slabs out of their range, if that may be and the OS does so. */
  #cut(run: SlabRun): boolean {
    const { range, offset, size } = this.#placeOfRun(run);
    if (
      this.#cuts++ >= MOST_CUTS ||
      this.#backend.unmapPart(range, offset, size) !== 0
    ) return false;
    this.mappedBytes -= size;
    return true;
  }

  /** The range that a slab is in. */
  #partOf(slab: number): Part {
    const parts = this.#parts;
    let at = parts.length - 1;
    while (at > 0 && parts[at]!.firstSlab > slab) at--;
    return parts[at]!;
  }

  /** Which of the places that slots can have a slot has: in a pool of one isolate its own for ever. */
  protected placeOf(slot: number): number {
    return slot;
  }

  /** Where a slot is. */
  #placeOf(slot: number): { range: Range; offset: number } {
    const place = this.placeOf(slot);
    const { range, firstSlab } = this.#partOf(
      Math.floor(place / this.slabSlots),
    );
    const offset = this.layout.offsetOf(place) - firstSlab * this.slabBytes;
    return { range, offset };
  }

  /** Where a run of slabs is, which lies in one range. */
  #placeOfRun({ first, count }: SlabRun) {
    const { range, firstSlab } = this.#partOf(first);
    const offset = (first - firstSlab) * this.slabBytes;
    return { range, offset, size: count * this.slabBytes };
  }
}

/** The error for a view that could not be made, or an address that could not be read. */
function viewRefused(backend: Backend, size: number, error: unknown): unknown {
  if (error instanceof RangeError && /alloc/i.test(error.message)) {
    return outOfMemory(backend, "allocate", size, -1);
  }
  if (!("Deno" in globalThis)) return error;
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
  checkRuntime();
  if (choice === "heap") return heap;
  const found = refusedNow() ?? openNative();
  if (!("reason" in found)) return found;
  if (choice === "auto") return heap;
  throw new SmritiError(
    found.reason,
    found.reason === "permission"
      ? `native memory needs the flag --allow-ffi, without a list of paths (${found.detail})`
      : `no native memory here (${found.detail}); ` +
        'the backends "heap" and "auto" do without',
  );
}
