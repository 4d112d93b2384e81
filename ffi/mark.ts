/**
 * What stands at the start of a range that isolates find by nothing but its address.
 *
 * It begins as a path that always exists: POSIX systems can then be asked, by a call that reads a
 * path and touches nothing, whether an address holds this or something that must not be read.
 */

/** Bytes in the mark. */
export const MARK_BYTES = 16;

const MARK = new TextEncoder().encode("/\0smriti\0board 1");

/** Marks a range that is mapped anew. */
export function mark(view: ArrayBuffer): void {
  new Uint8Array(view).set(MARK);
}

/** Whether the bytes are the mark. */
export function isMark(view: ArrayBuffer): boolean {
  const bytes = new Uint8Array(view, 0, MARK_BYTES);
  return MARK.every((byte, at) => byte === bytes[at]);
}
