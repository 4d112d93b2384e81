/**
 * The mark at the start of a range that isolates find by its address alone.
 *
 * It begins as a path that always exists: POSIX systems can then be asked, by a call that reads a
 * path and touches nothing, whether an address holds this or something that must not be read.
 */

import type { Backend, Range } from "./backend.ts";

const MARK = new TextEncoder().encode("/\0smriti\0board 1");

/** The range that begins at an address and is all that the OS mapped there. */
export function rangeAt(base: bigint, size: number): Range {
  return { base, size, mappedBase: base, mappedSize: size };
}

/** Marks a range that is mapped anew. */
export function marked(backend: Backend, range: Range): Range {
  const bytes = new Uint8Array(backend.view(range, 0, MARK.length));
  bytes.set(MARK);
  // SAFETY: the memory stays; without this V8 counts the view until it collects it.
  bytes.buffer.transfer(0);
  return range;
}

/** The range, which can be read, if it is marked. */
export function ifMarked(backend: Backend, range: Range): Range | undefined {
  const bytes = new Uint8Array(backend.view(range, 0, MARK.length));
  const isMarked = MARK.every((byte, at) => byte === bytes[at]);
  // SAFETY: as above.
  bytes.buffer.transfer(0);
  return isMarked ? range : undefined;
}
