/**
 * Finds blocks that became unreachable without having been released, by asking the garbage
 * collector about a sample of them (or all).
 *
 * Owns the sampling and the stacks. What becomes of a lost slot is the pool's business.
 */
import type { Block } from "./block.ts";
import type { LeakDetection } from "./options.ts";
import type { Slot } from "./slot.ts";

/** One lease in this many is watched by `"sampled"`. */
const SAMPLE = 128;
/** While no leak was seen, these first samples carry a stack, then one in `STACK_SAMPLE`. */
const FIRST_STACKS = 32;
/** A stack costs microseconds: this keeps it under 1 ns per acquire as long as all is well. */
const STACK_SAMPLE = 64;
/** Places remembered so that each is reported once. */
const MAX_SITES = 1000;

/** What is kept about a watched lease. Never the block itself. */
export interface Watch {
  /** The slot it holds. */
  readonly slot: Slot;
  /** The user's label. */
  readonly tag: string | undefined;
  /** When it was acquired, in ms. */
  readonly since: number;
  /** Where it was acquired. Formatting waits until somebody reads it. */
  readonly site: Error | undefined;
}

/** A leak, as found. */
export interface Leak {
  /** The slot that was lost. */
  readonly slot: Slot;
  /** The user's label. */
  readonly tag: string | undefined;
  /** Where it was acquired, if known. */
  readonly stack: string | undefined;
  /** Whether this place is reported for the first time. */
  readonly isNew: boolean;
}

/** Watches leases of one pool. */
export class LeakWatch {
  /** One lease in this many is to be given to `watch`. */
  readonly period: number;

  readonly #all: boolean;
  readonly #registry: FinalizationRegistry<Watch> | undefined;
  readonly #sites = new Set<string>();
  #samples = 0;
  #leaked = false;
  /**
   * The lease watched last, kept alive until the collector is asked about it: at the end of the
   * job, or when the next one comes. Most have ended by then, and are spared the registry, which
   * would be a quarter of all that a lease costs.
   */
  #newest: { readonly block: Block; readonly watch: Watch } | undefined;

  /** Watches as `mode` says and calls `onLeak` for each lost block. */
  constructor(mode: LeakDetection, onLeak: (leak: Leak) => void) {
    this.#all = mode === "all";
    this.period = mode === "off" ? Infinity : this.#all ? 1 : SAMPLE;
    if (mode === "off") return;
    this.#registry = new FinalizationRegistry((watch) => {
      // Released in the meantime, or the slot went on to another lease.
      if (watch.slot.watch === watch) onLeak(this.#found(watch));
    });
  }

  /** Watches a lease about to begin, once the slot has the answer, until `forget`. */
  watch(block: Block, slot: Slot, tag: string | undefined): Watch | undefined {
    if (this.#registry === undefined) return undefined;
    const number = this.#samples++;
    const withStack = this.#all || this.#leaked || number < FIRST_STACKS ||
      number % STACK_SAMPLE === 0;
    const site = withStack ? new Error("acquired here") : undefined;
    const watch: Watch = { slot, tag, since: Date.now(), site };
    if (this.#newest === undefined) queueMicrotask(() => this.#ask());
    else this.#ask();
    this.#newest = { block, watch };
    return watch;
  }

  /** Hands the newest to the registry, and lets go of it. */
  #ask(): void {
    if (this.#newest === undefined) return;
    const { block, watch } = this.#newest;
    this.#newest = undefined;
    if (watch.slot.watch === watch) {
      this.#registry!.register(block, watch, watch);
    }
  }

  /** Watches this lease no longer, if it was watched. */
  forget(slot: Slot): void {
    const { watch } = slot;
    if (watch === undefined) return;
    slot.watch = undefined;
    if (watch !== this.#newest?.watch) this.#registry!.unregister(watch);
  }

  #found({ slot, tag, site }: Watch): Leak {
    slot.watch = undefined;
    this.#leaked = true;
    const stack = stackOf(site);
    const key = stack ?? `tag ${tag}`;
    const isNew = this.#sites.size < MAX_SITES && !this.#sites.has(key);
    if (isNew) this.#sites.add(key);
    return { slot, tag, stack, isNew };
  }
}

/** Where a watched lease was acquired, without the pool's own lines. */
export function stackOf(site: Error | undefined): string | undefined {
  let stack: unknown;
  try {
    stack = site?.stack;
  } catch {
    // Stacks are made by the program's own `Error.prepareStackTrace`, if it has one.
  }
  if (typeof stack !== "string") return undefined;
  const here = new URL("./", import.meta.url).href;
  return stack.split("\n").slice(1)
    .filter((line) => !line.includes(here)).join("\n");
}
