/**
 * Errors for the use of a lease that has ended, or whose buffer is with an operation.
 */
import { ageOf } from "./inspect.ts";
import { show } from "./checks.ts";
import { SmritiError } from "./errors.ts";
import { LEASE_ABANDONED, type Slot } from "./slot.ts";

/** A block in words: its tag and age, as far as they are known. */
export function called(pool: string, slot: Slot): string {
  const { tag } = slot;
  const label = tag === undefined ? "" : ` ${show(tag)}`;
  const ageMs = ageOf(slot, Date.now());
  const age = ageMs === undefined ? "" : `, acquired ${ageMs} ms ago,`;
  return `this block${label} of pool ${show(pool)}${age}`;
}

/** Blocks that are still out, in words: how many, and the tags of some. */
export function outstandingBlocks(tags: (string | undefined)[]): string {
  const names = new Set(
    tags.map((tag) => tag === undefined ? "no tag" : show(tag)),
  );
  return `${tags.length} blocks (${[...names].slice(0, 20).join(", ")})`;
}

/** The error for using or releasing a lease that has ended. */
export function refusal(
  pool: string,
  slot: Slot,
  use: "use" | "release",
): SmritiError {
  const what = slot.state === LEASE_ABANDONED
    ? "was abandoned"
    : "was released";
  const advice = use === "release"
    ? "release each block once"
    : "acquire another one, or release later";
  return new SmritiError(
    "released",
    `${called(pool, slot)} ${what}: ${advice}`,
  );
}

/** The error for using a block whose buffer an operation has taken along. */
export function bufferLent(pool: string, slot: Slot): SmritiError {
  return new SmritiError(
    "lent",
    `${
      called(pool, slot)
    } is lent and its buffer is with the operation: await it first`,
  );
}

/** The error for a view that was to be taken back and is not of the block. */
export function otherMemory(pool: string, slot: Slot): SmritiError {
  return new SmritiError(
    "foreign-block",
    `view must cover the whole memory of ${called(pool, slot)}`,
  );
}
