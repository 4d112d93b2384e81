/**
 * The end of a pool: waits until nothing holds its memory any more, then unmaps it, or says who
 * still holds it.
 *
 * Memory that native code may still write to is never unmapped: an abandoned block keeps the whole
 * region's addresses for ever, though not its pages.
 */
import { SmritiError } from "./errors.ts";
import type { Leases } from "./leases.ts";
import { show } from "./checks.ts";
import type { Parts } from "./parts.ts";
import { outstandingBlocks } from "./refusal.ts";
import type { Region } from "./region.ts";
import type { Slots } from "./slots.ts";
import type { Supply } from "./supply.ts";

/** Ends one pool. */
export class Closing {
  readonly #name: string;
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
    this.#name = parts.options.name;
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
      else this.#timer = setTimeout(() => this.#giveUp(timeoutMs), timeoutMs);
    }
    return this.#done.promise;
  }

  /** Ends the pool if it is closing and nothing is out. */
  check(): void {
    if (!this.#begun || this.#ended || this.#slots.acquired > 0) return;
    if (this.#supply.isFaulting) {
      this.#supply.settle().then(() => this.check());
      return;
    }
    this.#ended = true;
    const corrupted = this.#leases.inspect();
    this.#leases.dropViews(0, this.#slots.top);
    const isGone = this.#slots.abandoned === 0 && this.#region.unmap();
    // Also what the OS would not unmap: the pages at least go back.
    const isGivenBack = isGone || this.#region.drop(this.#slots.top);
    this.#slots.retire(isGivenBack);
    clearTimeout(this.#timer);
    if (corrupted === undefined) this.#done.resolve();
    else this.#fail(corrupted);
    this.#onEnd();
  }

  /** Tells whoever closes, or the log if nobody waits any more: no error may end the process. */
  #fail(error: SmritiError): void {
    this.#done.reject(error);
    if (this.#asked && !this.#gaveUp) return;
    this.#done.promise.catch(() => {});
    console.error(error);
  }

  /** The time is over: says whose blocks are still out, and revokes them. */
  #giveUp(timeoutMs: number): void {
    // Only a prefault is under way: its end is the pool's.
    if (this.#slots.acquired === 0) return;
    this.#gaveUp = true;
    this.#done.reject(
      new SmritiError(
        "timeout",
        `close() of pool ${
          show(this.#name)
        } waited ${timeoutMs} ms; still out and now revoked: ` +
          outstandingBlocks(this.#leases.outstanding()),
      ),
    );
    this.#leases.loseAll();
  }
}
