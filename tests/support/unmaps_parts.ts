// Whether this OS gives a part of a mapped range back alone: Windows knows whole ranges only.

import { assertEquals } from "@std/assert";
import { openNative } from "../../ffi/open.ts";

let answer: boolean | undefined;

/** Asked of the OS itself, once. Only where there is native memory. */
export function unmapsParts(): boolean {
  return answer ??= ask();
}

function ask(): boolean {
  const backend = openNative();
  if ("reason" in backend) throw new Error(backend.detail);
  const { pageSize } = backend.abilities;
  const range = backend.map(2 * pageSize, pageSize);
  if (typeof range === "number") throw new Error(backend.errorName(range));
  if (backend.unmapPart(range, 0, pageSize) !== 0) {
    assertEquals(backend.unmap(range), 0);
    return false;
  }
  assertEquals(backend.unmapPart(range, pageSize, pageSize), 0);
  return true;
}
