/**
 * The bytes of views that all pools of an isolate keep, and a budget for them.
 *
 * V8 counts the bytes of every ArrayBuffer as external memory, mapped by us or not. Above about twice the
 * limit of its old generation nearly every scavenge becomes a mark-compact. So the views of free slots are
 * kept up to a share of that limit, and made anew (3 µs) beyond it.
 */
import { getHeapStatistics } from "node:v8";

/** Share of the heap limit that views may have: an eighth of the amount that slows the collector. */
const SHARE = 0.25;

/** Bytes that slots of this isolate have views of. */
let total = 0;
let most: number | undefined;

/** The views that the slots of one pool have. */
export class ViewBudget {
  #bytes = 0;

  /** A slot has got a view of so many bytes, or, below 0, has none any more. */
  count(change: number): void {
    this.#bytes += change;
    total += change;
  }

  /** The pool has ended, and its views with it. */
  forget(): void {
    this.count(-this.#bytes);
  }
}

/** Whether the views of this isolate exceed the budget. */
export function isOverViewBudget(): boolean {
  most ??= SHARE * getHeapStatistics().heap_size_limit;
  return total > most;
}
