/**
 * The end of a pool: waits until nothing holds its memory any more, then unmaps it, or gives up after a
 * time and names the tags of the blocks still out.
 *
 * Memory that native code may still write to is never unmapped: the slabs of blocks given up keep
 * their addresses for ever, and their pages where these may still be read.
 */
import { complain, warn } from "./console.ts";
import { SmritiError } from "./errors.ts";
import type { Leases } from "./leases.ts";
import { show } from "./checks.ts";
import type { Parts } from "./parts.ts";
import { outstandingBlocks } from "./lease_errors.ts";
import type { Region } from "./region.ts";
import type { Slots } from "./slots.ts";
import type { Supply } from "./supply.ts";
import { Timer } from "./timers.ts";

/** How long closing is silent about blocks that are out. */
export const NOTICE_MS = 1_000;

/** What a `close()` that waits is warned of. */
export interface WaitsToClose {
  /** Of the pool. */
  readonly name: string;
  /** What is still out, in words, or nothing. */
  readonly out: string | undefined;
}

/** Ends one pool. */
export class Shutdown implements WaitsToClose {
  /** Of the pool. */
  readonly name: string;
  readonly #region: Region;
  readonly #slots: Slots;
  readonly #leases: Leases;
  readonly #supply: Supply;
  readonly #onEnd: () => void;
  readonly #done: PromiseWithResolvers<void> = Promise.withResolvers<void>();
  #asked = false;
  #gaveUp = false;
  #begun = false;
  #ended = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Nothing happens before `begin`; `onEnd` is called when all is over. */
  constructor(parts: Parts, onEnd: () => void) {
    this.name = parts.options.name;
    this.#region = parts.region;
    this.#slots = parts.slots;
    this.#leases = parts.leases;
    this.#supply = parts.supply;
    this.#onEnd = onEnd;
  }

  /** Whether the pool is closing or closed. */
  get begun(): boolean {
    return this.#begun;
  }

  /** From now on the pool ends as soon as nothing is out. */
  begin(): void {
    this.#begun = true;
    this.check();
  }

  /** Resolves at the end; gives up after `timeoutMs`. The first call decides. */
  wait(timeoutMs: number): Promise<void> {
    if (!this.#asked) {
      this.#asked = true;
      if (this.#ended) this.#done.resolve();
      else {
        this.#timer = setTimeout(() => this.#giveUp(timeoutMs), timeoutMs);
        if (timeoutMs > NOTICE_MS) Timer.once(NOTICE_MS, this, warnOfWait);
      }
    }
    return this.#done.promise;
  }

  /** Ends the pool if it is closing and nothing is out. */
  check(): void {
    if (!this.#begun || this.#ended || this.#slots.acquired > 0) return;
    this.#ended = true;
    const corrupted = this.#leases.inspect();
    this.#leases.dropViews(0, Infinity, true);
    this.#supply.heal(false);
    // Addresses that native code may still write to stay mapped for ever.
    const { abandoned } = this.#supply;
    const refused = this.#region.unmapBut(abandoned.slabs);
    abandoned.stay(this.#slots.retire(refused));
    clearTimeout(this.#timer);
    if (corrupted === undefined) this.#done.resolve();
    else this.#fail(corrupted);
    this.#onEnd();
  }

  /**
   * Rejects the promise of `close()`, or prints the error if it is not awaited any more: an unhandled
   * rejection would end the process.
   */
  #fail(error: SmritiError): void {
    this.#done.reject(error);
    if (this.#asked && !this.#gaveUp) return;
    this.#done.promise.catch(() => {});
    complain(error);
  }

  /** What is still out, in words, or nothing. */
  get out(): string | undefined {
    if (this.#ended || this.#slots.acquired === 0) return undefined;
    return outstandingBlocks(this.#leases.outstanding());
  }

  /** The time is over: rejects, naming the blocks still out, and revokes them. */
  #giveUp(timeoutMs: number): void {
    this.#gaveUp = true;
    this.#done.reject(
      new SmritiError(
        "timeout",
        `close() of pool ${
          show(this.name)
        } waited ${timeoutMs} ms; still out and now revoked: ` +
          outstandingBlocks(this.#leases.outstanding()),
      ),
    );
    this.#leases.abandonAll();
  }
}

/** Warns of the blocks that a `close()` waits for, after `NOTICE_MS`. */
export function warnOfWait({ name, out }: WaitsToClose): void {
  if (out !== undefined) warn(`close() of pool ${show(name)} waits for ${out}`);
}
