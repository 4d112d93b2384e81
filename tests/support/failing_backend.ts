// The backend of this machine, with an accountant at the door: it counts the calls, lets those fail
// that a test wants to fail, and notes every call that breaks the contract of `ffi/backend.ts`.

import type { Backend, Code, Host, Range } from "../../ffi/backend.ts";
import { openNative, replaceNative } from "../../ffi/open.ts";
import { processWords } from "../../ffi/process_page.ts";

/** The calls that an OS may refuse. */
export type Call =
  | "map"
  | "mapAt"
  | "commit"
  | "decommit"
  | "protect"
  | "prefault"
  | "unmap";

/** One call that was made. */
export interface Made {
  readonly call: Call;
  readonly size: number;
  readonly failed: boolean;
}

/** What a refused call answers: ENOMEM on POSIX systems. */
export const REFUSED: Code = 12;

/** What is known of one mapped range. */
interface Account {
  readonly committed: Set<number>;
  readonly forbidden: Set<number>;
  /** Pages of it that are no longer mapped. */
  readonly unmapped: Set<number>;
}

/** Stands before the native backend until it is disposed. */
export class FailingBackend implements Backend, Disposable {
  /** Every call so far. */
  readonly made: Made[] = [];
  /** What no caller may do, done. */
  readonly violations: string[] = [];
  /** Whether the call that comes now is to fail; `number` counts from 1. */
  fails: (call: Call, number: number, size: number) => boolean = () => false;

  /** What it tells of memory; the real one's word unless a test puts another in its place. */
  host: Host | undefined;

  readonly kind = "native";
  readonly abilities: Backend["abilities"];
  protected readonly real: Backend;
  readonly #accounts = new Map<Range, Account>();
  /** Ranges that a refused `unmap` left. */
  readonly #refused = new Set<Range>();
  readonly #restore: () => void;

  constructor() {
    const native = openNative();
    if ("reason" in native) throw new Error(native.detail);
    this.real = native;
    this.abilities = native.abilities;
    this.host = native.host;
    // The page of the process is not of a pool, and outlives this.
    processWords();
    this.#restore = replaceNative(this);
  }

  /** Ranges mapped and not unmapped. */
  get mapped(): number {
    return this.#accounts.size;
  }

  /** Bytes that have memory, in all ranges. */
  get committedBytes(): number {
    const { pageSize } = this.abilities;
    return [...this.#accounts.values()]
      .reduce((sum, { committed }) => sum + committed.size * pageSize, 0);
  }

  /** Sizes of the calls of this kind, the failed ones negative. */
  sizes(call: Call): number[] {
    return this.made.filter((made) => made.call === call)
      .map(({ size, failed }) => failed ? -size : size);
  }

  map(size: number, alignment: number): Range | Code {
    if (this.#isRefused("map", size)) return REFUSED;
    const range = this.real.map(size, alignment);
    if (typeof range !== "number") {
      const account = {
        committed: new Set<number>(),
        forbidden: new Set<number>(),
        unmapped: new Set<number>(),
      };
      this.#accounts.set(range, account);
    }
    return range;
  }

  mapAt(address: bigint, size: number): Range | Code {
    if (this.#isRefused("mapAt", size)) return REFUSED;
    // For the life of the process, and so in no account.
    return this.real.mapAt(address, size);
  }

  findAt(address: bigint, size: number): Range | undefined {
    return this.real.findAt(address, size);
  }

  commit(range: Range, offset: number, size: number, huge: boolean): Code {
    const pages = this.#pages("commit", range, offset, size);
    if (this.#isRefused("commit", size)) return REFUSED;
    const code = this.real.commit(range, offset, size, huge);
    if (code === 0) pages((page, { committed }) => committed.add(page));
    return code;
  }

  decommit(range: Range, offset: number, size: number): Code {
    const pages = this.#pages("decommit", range, offset, size);
    if (this.#isRefused("decommit", size)) return REFUSED;
    const code = this.real.decommit(range, offset, size);
    if (code === 0) pages((page, { committed }) => committed.delete(page));
    return code;
  }

  protect(
    range: Range,
    offset: number,
    size: number,
    accessible: boolean,
  ): Code {
    const pages = this.#pages("protect", range, offset, size);
    if (this.#isRefused("protect", size)) return REFUSED;
    const code = this.real.protect(range, offset, size, accessible);
    pages((page, { committed, forbidden }) => {
      if (!committed.has(page)) this.violations.push("protect: no memory");
      if (accessible) forbidden.delete(page);
      else forbidden.add(page);
    });
    return code;
  }

  prefault(range: Range, offset: number, size: number): Code {
    const pages = this.#pages("prefault", range, offset, size);
    pages((page, { committed }) => {
      if (committed.has(page)) return;
      this.violations.push("prefault: memory that was given back");
    });
    if (this.#isRefused("prefault", size)) return REFUSED;
    return this.real.prefault(range, offset, size);
  }

  unmap(range: Range): Code {
    const account = this.#accounts.get(range);
    if (account === undefined) this.violations.push("unmap: not mapped");
    if (account?.unmapped.size) this.violations.push("unmap: partly gone");
    if (this.#isRefused("unmap", range.size)) {
      this.#refused.add(range);
      return REFUSED;
    }
    this.#accounts.delete(range);
    return this.real.unmap(range);
  }

  unmapPart(range: Range, offset: number, size: number): Code {
    const pages = this.#pages("unmap", range, offset, size);
    if (this.#isRefused("unmap", size)) return REFUSED;
    const code = this.real.unmapPart(range, offset, size);
    if (code === 0) {
      pages((page, { committed, unmapped }) => {
        committed.delete(page);
        unmapped.add(page);
      });
    }
    return code;
  }

  view(range: Range, offset: number, size: number): ArrayBuffer {
    const { pageSize } = this.abilities;
    const start = Math.floor(offset / pageSize) * pageSize;
    const end = Math.ceil((offset + size) / pageSize) * pageSize;
    const pages = this.#pages("view", range, start, end - start);
    pages((page, { committed, forbidden }) => {
      if (!committed.has(page)) this.violations.push("view: no memory");
      if (forbidden.has(page)) this.violations.push("view: inaccessible");
    });
    return this.real.view(range, offset, size);
  }

  pointer(range: Range, offset: number): Deno.PointerObject | null {
    return this.real.pointer(range, offset);
  }

  isAt(range: Range, offset: number, buffer: ArrayBuffer): boolean {
    return this.real.isAt(range, offset, buffer);
  }

  errorName(code: Code): string {
    return this.real.errorName(code);
  }

  /** Puts the real backend back, and unmaps what a refused `unmap` left. */
  [Symbol.dispose](): void {
    this.#restore();
    for (const range of this.#refused) {
      if (this.#accounts.get(range)?.unmapped.size === 0) {
        this.real.unmap(range);
      }
    }
  }

  #isRefused(call: Call, size: number): boolean {
    const failed = this.fails(call, this.made.length + 1, size);
    this.made.push({ call, size, failed });
    return failed;
  }

  /** Checks a part of a range; gives a way to go through its pages. */
  #pages(call: string, range: Range, offset: number, size: number) {
    const { pageSize } = this.abilities;
    const account = this.#accounts.get(range);
    if (account === undefined) this.violations.push(`${call}: not mapped`);
    if (offset % pageSize !== 0 || size % pageSize !== 0) {
      this.violations.push(`${call}: ${size} at ${offset} is no page`);
    }
    if (offset < 0 || size <= 0 || offset + size > range.size) {
      this.violations.push(`${call}: ${size} at ${offset} of ${range.size}`);
    }
    return (visit: (page: number, account: Account) => void) => {
      if (account === undefined) return;
      for (let at = offset; at < offset + size; at += pageSize) {
        if (account.unmapped.has(at / pageSize)) {
          this.violations.push(`${call}: no longer mapped`);
        }
        visit(at / pageSize, account);
      }
    };
  }
}
