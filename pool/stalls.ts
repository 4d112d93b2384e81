/**
 * Reports acquires that have waited for `stallMs`, with the tags of the blocks held: by the event
 * `stall`, or by `console.warn` without a listener.
 *
 * Reports once an episode. One begins when an acquire has waited that long; it is over when at a look,
 * made once in `stallMs`, no acquire has. Changes nothing, and keeps no process alive.
 */
import { ageOf, isOut } from "./inspect.ts";
import { quote, show } from "./checks.ts";
import { warn } from "./console.ts";
import type { Events, PoolEventMap } from "./events.ts";
import type { FilledOptions } from "./options.ts";
import type { Slot } from "./slot.ts";
import { Timer } from "./timers.ts";

/** Holders that one report names at most. */
const MOST_HOLDERS = 10;
/** Warnings of one pool are this far apart, in ms. */
const WARN_EVERY_MS = 60_000;

/** The queue, as far as it is watched. */
export interface WaitingLine {
  /** Waiters that ever were in it. */
  readonly came: number;
  /** The one that came first. */
  readonly oldest:
    | { readonly number: number; readonly since: number }
    | undefined;
}

/** What is asked when a report is due. */
export interface StallParts {
  readonly options: FilledOptions;
  readonly line: WaitingLine;
  /** The slots whose leases this isolate knows. */
  readonly records: readonly Slot[];
  /** How many acquires wait, and how many blocks are held, in this isolate and others. */
  readonly counts: () => { readonly waiting: number; readonly held: number };
  readonly events: Events;
}

/** Watches the waiters of one pool in one isolate. */
export class StallWatch {
  readonly #parts: StallParts;
  readonly #stallMs: number;
  /** Whether a look is due. */
  #armed = false;
  /** Whether an episode goes on. */
  #stalled = false;
  /** Whether a warning about it is due. */
  #unsaid = false;
  #warnedAt = -Infinity;

  /** Looks at nothing before `watch`. */
  constructor(parts: StallParts) {
    this.#parts = parts;
    this.#stallMs = parts.options.stallMs;
  }

  /** An acquire has begun to wait. */
  watch(): void {
    if (this.#armed || this.#stallMs === Infinity) return;
    this.#arm(this.#stallMs, this.#parts.line.came);
  }

  #arm(ms: number, ripe: number): void {
    Timer.once(ms, this as StallWatch, (watch) => watch.look(ripe));
    this.#armed = true;
  }

  /**
   * Looks. Waiters up to number `ripe` have waited for `stallMs` by their timer, also if the clock was
   * set.
   */
  look(ripe: number): void {
    this.#armed = false;
    const { line, events } = this.#parts;
    const { oldest, came } = line;
    if (oldest === undefined || oldest.number > ripe) {
      this.#stalled = false;
      if (oldest !== undefined) {
        const left = this.#stallMs - (Date.now() - oldest.since);
        this.#arm(Math.min(Math.max(left, 1), this.#stallMs), oldest.number);
      }
      return;
    }
    this.#arm(this.#stallMs, came);
    if (!this.#stalled) {
      this.#stalled = true;
      this.#unsaid = !events.emit("stall", () => this.#report());
    }
    if (this.#unsaid) this.#warn();
  }

  #warn(): void {
    const now = Date.now();
    if (now - this.#warnedAt < WARN_EVERY_MS) return;
    this.#unsaid = false;
    this.#warnedAt = now;
    warn(inWords(this.#report(), this.#parts.counts().held));
  }

  #report(): PoolEventMap["stall"] {
    const { options, line, records, counts } = this.#parts;
    const { oldest } = line;
    const now = Date.now();
    const longestMs = Math.max(this.#stallMs, now - (oldest?.since ?? now));
    return {
      pool: options.name,
      waiting: counts().waiting,
      longestMs,
      holders: longestHeld(records, now, longestMs),
    };
  }
}

type Holder = PoolEventMap["stall"]["holders"][number];

/** The leases that hold blocks, the longest first; for `unknownMs` where the start was not noted. */
function longestHeld(
  records: readonly Slot[],
  now: number,
  unknownMs: number,
): Holder[] {
  const holders: Holder[] = [];
  for (const slot of records) {
    if (!isOut(slot)) continue;
    const heldMs = ageOf(slot, now) ?? unknownMs;
    // The list is kept short: there may be a million slots.
    if (holders.length === MOST_HOLDERS && heldMs <= holders.at(-1)!.heldMs) {
      continue;
    }
    holders.push({ tag: slot.tag, heldMs });
    holders.sort((a, b) => b.heldMs - a.heldMs);
    holders.length = Math.min(holders.length, MOST_HOLDERS);
  }
  return holders;
}

/** A report in words; `held` is how many blocks are held, those not named included. */
function inWords(
  { pool, waiting, longestMs, holders }: PoolEventMap["stall"],
  held: number,
): string {
  const alike = new Map<string, number>();
  for (const { tag, heldMs } of holders) {
    const text = `${tag === undefined ? "no tag" : quote(tag)} ${heldMs} ms`;
    alike.set(text, (alike.get(text) ?? 0) + 1);
  }
  const names = [...alike].map(([text, count]) =>
    count === 1 ? text : `${count} × ${text}`
  );
  if (held > holders.length) names.push(`${held - holders.length} more`);
  const report =
    `pool ${show(pool)} is stalled: ${waiting} waiting for a block, ` +
    `the longest for ${longestMs} ms; ${held} held`;
  if (held === 0) return report;
  return `${report} (${
    names.join(", ")
  }). Tasks that hold one while they wait for ` +
    "another can wait for each other for ever: acquireMany() takes all that a task " +
    "needs at once.";
}
