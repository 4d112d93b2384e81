/**
 * Buffers that leave a block by themselves, by a BYOB read or a transfer, and come back or do not.
 *
 * Keeps one rule: of all buffers over a slot's memory at most one is attached and the slot's own;
 * every other one is counted in `escaped`, owed by an operation, or known to be dead.
 */
import type { Region } from "./region.ts";
import { NO_VIEW, type Settled, type Slot } from "./slot.ts";

/** Whether the slot had a view and something took its buffer away. */
export function isDetached({ view }: Slot): boolean {
  return view.length === 0 && view !== NO_VIEW;
}

/** Makes the view's buffer the slot's own, if it is the slot's memory. */
export function adopt(
  region: Region,
  slot: Slot,
  { buffer }: ArrayBufferView,
): boolean {
  if (!region.isWhole(slot.index, buffer)) return false;
  if (buffer === slot.view.buffer) return true;
  if (slot.view.length !== 0) {
    // SAFETY: one buffer of this memory at a time: the healed one ends before the other returns.
    region.revoke(slot.view);
    if (slot.escaped > 0) slot.escaped--;
  }
  slot.view = new Uint8Array(buffer as ArrayBuffer);
  slot.owed = false;
  slot.touched = true;
  return true;
}

/** A lent operation has settled and the slot's buffer is not where it was. */
export function bringBack(
  region: Region,
  slot: Slot,
  how: Settled,
  result: unknown,
  isLast: boolean,
): void {
  const view = how === "fulfilled" ? viewIn(result) : undefined;
  if (view !== undefined && adopt(region, slot, view)) return;
  if (how === "finished" && isLast && !slot.owed) {
    // SAFETY: the caller vouched that the operation lets go when it fails, so the buffer it took
    // along died with it.
    slot.view = region.view(slot.index);
  } else {
    slot.owed = true;
  }
}

/** The view in the result of a BYOB read, or the result itself if it is one. */
function viewIn(result: unknown): ArrayBufferView | undefined {
  if (ArrayBuffer.isView(result)) return result;
  if (typeof result !== "object" || result === null) return undefined;
  try {
    const { value } = result as { value?: unknown };
    return ArrayBuffer.isView(value) ? value : undefined;
  } catch {
    // It brings nothing back, then; its owner gets it as it is.
    return undefined;
  }
}
