/**
 * Puts fresh addresses in the place of those given up: a slot that was abandoned goes on elsewhere, and what
 * still reads or writes the old place meets nothing else there. An old place is never used again.
 *
 * Runs under the resizer's lock only. Its intent stands in the control block before it acts, in absolute
 * numbers (a redo log): the next resizer does again what a death or the end of the stack has cut short.
 */
import type { SmritiError } from "../pool/errors.ts";
import type { Ledger } from "../pool/ledger.ts";
import { mostKept } from "../pool/abandoned.ts";
import { Refusals } from "../pool/scaling.ts";
import type { Notifier } from "./notifier.ts";
import type { Clock } from "./clock.ts";
import {
  ABANDONED,
  type Control,
  HEADER,
  isUnreplaced,
  kindOf,
  READABLE,
  UNREADABLE,
  workerOf,
} from "./control.ts";
import type { SharedFilledOptions } from "./handle.ts";
import type { SharedRegion } from "./shared_region.ts";
import type { SharedSlots } from "./shared_slots.ts";

/** The slot gets no fresh place. */
const NO_PLACE = -1;
/**
 * Byte in the ledger of a place given up that may not be read any more. Where the ledger has no room for it,
 * the pages that it shares with other places stay.
 */
const GONE = 3;

/** What a healing works with. */
export interface HealingParts {
  readonly options: SharedFilledOptions;
  readonly control: Control;
  readonly slots: SharedSlots;
  readonly region: SharedRegion;
  readonly ledger: Ledger;
  readonly notifier: Notifier;
  readonly clock: Clock;
}

/** Gives slots of one pool fresh addresses, as one worker. */
export class Healing {
  readonly #parts: HealingParts;
  readonly #words: Int32Array;
  /** Slots whose bytes may be kept for others. */
  readonly #mostKept: number;
  readonly #refusals = new Refusals();
  #news: SmritiError | undefined;

  /** Does nothing by itself. */
  constructor(parts: HealingParts) {
    const { options, region: { stride } } = parts;
    this.#parts = parts;
    this.#words = parts.control.words;
    this.#mostKept = Math.floor(mostKept(options, stride) / stride);
  }

  /** Whether slots may wait for a fresh address. */
  get isDue(): boolean {
    if (this.#parts.slots.givenUp.length === 0 && !this.#isAsked) return false;
    // The OS is left in peace: another range would be refused, too.
    return !this.#refusals.isRecent(this.#parts.clock.now());
  }

  /** What the OS has refused when this isolate asked for a fresh place last, if it did. */
  get refusal(): SmritiError | undefined {
    return this.#refusals.last;
  }

  /** The same, once for each refusal. */
  takeNews(): SmritiError | undefined {
    const news = this.#news;
    this.#news = undefined;
    return news;
  }

  /** Lets the next resizer look at all slots. */
  ask(): void {
    Atomics.store(this.#words, HEADER.UNHEALED, 1);
  }

  get #isAsked(): boolean {
    return Atomics.load(this.#words, HEADER.UNHEALED) !== 0;
  }

  /** Heals what was given up here, and looks at all slots if that was asked for; whether any is free now. */
  heal(): boolean {
    const { control: { owner }, slots, region, notifier } = this.#parts;
    const { givenUp } = slots;
    const isAll = Atomics.exchange(this.#words, HEADER.UNHEALED, 0) !== 0;
    let healed = false;
    let isDone = false;
    const isRefused = (slot: number) => {
      if (this.#heal(slot)) healed = true;
      else return this.#isWaiting(slot);
      return false;
    };
    try {
      region.catchUp();
      while (givenUp.length > 0) {
        const { index } = givenUp[givenUp.length - 1]!;
        givenUp.length--;
        if (isRefused(index)) return healed;
      }
      for (let slot = 0; isAll && slot < owner.length; slot++) {
        if (isRefused(slot)) return healed;
      }
      isDone = true;
    } finally {
      // Refused by the OS, or cut short.
      if (!isDone) this.ask();
      if (healed) notifier.notify();
    }
    return healed;
  }

  /** Whether a slot is given up and not dealt with. */
  #isWaiting(slot: number): boolean {
    const word = Atomics.load(this.#parts.control.owner, slot);
    return kindOf(word) === ABANDONED && !isUnreplaced(word);
  }

  /** Gives a slot a fresh address, if it was given up and may have one. Whether it is free now. */
  #heal(slot: number): boolean {
    const { control } = this.#parts;
    const words = this.#words;
    if (!this.#isWaiting(slot)) return false;
    const word = Atomics.load(control.owner, slot);
    const isKept = workerOf(word) === READABLE;
    const kept = words[HEADER.KEPT]! + (isKept ? 1 : 0);
    const isOver = isKept && kept > this.#mostKept;
    const isSealed = Atomics.load(words, HEADER.SEALED) !== 0;
    const place = isOver || isSealed ? NO_PLACE : this.#freshPlace();
    if (place === undefined) return false;
    const unread = isKept ? words[HEADER.UNREAD]! : this.#dropPages(slot);
    words[HEADER.HEAL_WORD] = word;
    words[HEADER.HEAL_PLACE] = place;
    words[HEADER.HEAL_GIVEN_UP] = words[HEADER.GIVEN_UP]! + 1;
    words[HEADER.HEAL_KEPT] = kept;
    words[HEADER.HEAL_UNREAD] = unread;
    words[HEADER.HEAL_UNREPLACED] = words[HEADER.UNREPLACED]! +
      (place === NO_PLACE ? 1 : 0);
    Atomics.store(words, HEADER.HEAL_SLOT, slot + 1);
    this.finish();
    return place !== NO_PLACE;
  }

  /** Does what stands in the control block, or what is left of it; whether there was anything. */
  finish(): boolean {
    const { control: { owner, lends, place }, slots, ledger } = this.#parts;
    const words = this.#words;
    const slot = Atomics.load(words, HEADER.HEAL_SLOT) - 1;
    if (slot < 0) return false;
    const word = words[HEADER.HEAL_WORD]!;
    const fresh = words[HEADER.HEAL_PLACE]!;
    let isFree = false;
    // As long as the word is the same, only the resizer changes the slot; after that all is done already.
    if (Atomics.load(owner, slot) === word) {
      if (workerOf(word) === UNREADABLE) {
        ledger.used[place[slot]! || slot] = GONE;
      }
      words[HEADER.GIVEN_UP] = words[HEADER.HEAL_GIVEN_UP]!;
      words[HEADER.KEPT] = words[HEADER.HEAL_KEPT]!;
      words[HEADER.UNREAD] = words[HEADER.HEAL_UNREAD]!;
      if (fresh === NO_PLACE) {
        // In this order: a count of what is in use may be too high so, never too low. After a cut the
        // committed are counted anew.
        Atomics.sub(words, HEADER.COMMITTED, 1);
        Atomics.store(words, HEADER.UNREPLACED, words[HEADER.HEAL_UNREPLACED]!);
        slots.renounce(slot, word);
      } else {
        words[HEADER.NEXT_PLACE] = fresh + 1;
        lends[slot] = 0;
        place[slot] = fresh;
        isFree = slots.revive(slot, word);
      }
    }
    Atomics.store(words, HEADER.HEAL_SLOT, 0);
    // Cut short before, it is a slot without a lease, which the reaper finds.
    if (isFree) slots.pushOpen(slot);
    return true;
  }

  /** A place with memory that no slot has had; `undefined` if the OS refuses it. */
  #freshPlace(): number | undefined {
    const { region, ledger, clock } = this.#parts;
    const { slabSlots } = region;
    const place = this.#words[HEADER.NEXT_PLACE]!;
    // The rest of a slab that was begun.
    if (place % slabSlots !== 0) return place;
    const slab = place / slabSlots;
    const refusal = slab < region.slabs
      ? undefined
      : region.extendForAll((extent) => ledger.add(extent));
    const error = refusal ?? region.commit({ first: slab, count: 1 });
    this.#refusals.note(error, clock.now());
    this.#news = error;
    return error === undefined ? place : undefined;
  }

  /**
   * Drops the pages of a slot given up that may not be read, or those that it shares with others like it.
   * How many such slots keep their pages then.
   */
  #dropPages(slot: number): number {
    const { control, region, ledger: { used } } = this.#parts;
    const { slabSlots } = region;
    const before = this.#words[HEADER.UNREAD]!;
    if (region.hasOwnPages) {
      // SAFETY: native code may still write there, and the address stays mapped; no view is left.
      return region.dropSlot(slot) === 0 ? before : before + 1;
    }
    const place = control.place[slot]! || slot;
    const first = place - place % slabSlots;
    for (let other = first; other < first + slabSlots; other++) {
      if (other !== place && used[other] !== GONE) return before + 1;
    }
    // SAFETY: as above, and no slot has a place there any more.
    const code = region.decommit({ first: first / slabSlots, count: 1 });
    return code === 0 ? before + 1 - slabSlots : before + 1;
  }
}
