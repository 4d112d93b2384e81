/**
 * Buffers that leave a block by a BYOB read or a transfer, and may come back.
 *
 * Keeps one rule: of all buffers over a slot's memory at most one is attached and the slot's own; every
 * other one is counted in `escaped`, owed by an operation, or known to have ended.
 */
import type { Region } from "./region.ts";
import { NO_VIEW, type Slot } from "./slot.ts";

/** Whether the slot had a view and something took its buffer away. */
export function isDetached({ view }: Slot): boolean {
  return view.length === 0 && view !== NO_VIEW;
}

/**
 * The view's buffer, if it is the whole of the slot's memory. This may run the user's code, so the
 * caller checks the slot's state again after it.
 */
export function wholeOf(
  region: Region,
  slots: readonly Slot[],
  slot: Slot,
  { buffer }: ArrayBufferView,
): ArrayBuffer | undefined {
  if (!region.isWhole(slot.index, buffer)) return undefined;
  // Without addresses any buffer of this length could be it, but not one that another slot has.
  const isAnothers = !region.hasAddresses &&
    slots.some((each) => each !== slot && each.view.buffer === buffer);
  return isAnothers ? undefined : buffer as ArrayBuffer;
}

/** The same of what an operation gave: a view, or the result of a BYOB read. Never throws. */
export function broughtBy(
  region: Region,
  slots: readonly Slot[],
  slot: Slot,
  result: unknown,
): ArrayBuffer | undefined {
  try {
    const view = viewIn(result);
    return view && wholeOf(region, slots, slot, view);
  } catch {
    // It brings no buffer back; the caller of `lend` gets the result as it is.
    return undefined;
  }
}

/** Makes a buffer that is the slot's memory the slot's own. */
export function adopt(region: Region, slot: Slot, buffer: ArrayBuffer): void {
  if (buffer === slot.view.buffer) return;
  const isHealed = slot.view.length !== 0;
  const view = new Uint8Array(buffer);
  // SAFETY: one buffer of this memory at a time: the healed one ends before the other returns. One that
  // cannot be ended counts as escaped in its place.
  if (region.revoke(slot.view) && isHealed && slot.escaped > 0) slot.escaped--;
  slot.view = view;
  slot.owed = false;
  slot.touched = true;
  slot.used[slot.index] = 1;
}

/**
 * A lent operation has settled, with this buffer if any, and the slot's is not where it was. The slot
 * gets a new one only if `dead` is the view that the slot has: that buffer, and no other, has ended.
 *
 * @throws {SmritiError} if no new view can be made; nothing has changed then
 */
export function bringBack(
  region: Region,
  slot: Slot,
  buffer: ArrayBuffer | undefined,
  dead: Uint8Array | undefined,
): void {
  if (buffer !== undefined) return adopt(region, slot, buffer);
  if (dead === slot.view) {
    // SAFETY: the caller vouched that the operation lets go when it fails, so the buffer it took along
    // has ended with it; one that came back meanwhile would be the slot's, and in another view.
    slot.view = region.view(slot.index);
  } else {
    slot.owed = true;
  }
}

/** The view in the result of a BYOB read, or the result itself if it is one. */
function viewIn(result: unknown): ArrayBufferView | undefined {
  if (ArrayBuffer.isView(result)) return result;
  if (typeof result !== "object" || result === null) return undefined;
  const { value } = result as { value?: unknown };
  return ArrayBuffer.isView(value) ? value : undefined;
}
