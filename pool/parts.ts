/**
 * The record of a pool's parts, for those parts that need several others.
 */
import type { Events } from "./events.ts";
import type { Leases } from "./leases.ts";
import type { FilledOptions } from "./options.ts";
import type { Region } from "./region.ts";
import type { Slots } from "./slots.ts";
import type { Counters } from "./stats.ts";
import type { Supply } from "./supply.ts";

/** What a pool is put together from. */
export interface Parts {
  /** Its options. */
  readonly options: FilledOptions;
  /** Its memory. */
  readonly region: Region;
  /** Its free lists and counts. */
  readonly slots: Slots;
  /** Its leases. */
  readonly leases: Leases;
  /** Commits its memory and gives it back. */
  readonly supply: Supply;
  /** Its counters. */
  readonly counters: Counters;
  /** Its listeners. */
  readonly events: Events;
}
