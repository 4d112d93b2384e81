// What must be true when no worker can do anything more: another one comes, looks after the pool, and finds
// nothing lost and no count wrong; and none sleeps beside a free block.

import {
  Control,
  FREE,
  HEADER,
  isHeldBy,
  kindOf,
  OPEN,
  UNCOMMITTED,
  WORKER,
} from "../../shared/control.ts";
import type { End } from "./explorer.ts";
import { Hand } from "./worker.ts";

/** Ms after which every ticket is out of time. */
const LATER = 1_000_000;

/** What is wrong at the end of an execution. */
export function checkEnd(end: End): string | undefined {
  const { handle, ground, holds, isAsleep, mode } = end;
  const { maxBlocks, reservedBlocks } = handle.options;
  const control = new Control(maxBlocks, handle.control);
  const at = (array: Int32Array, index: number) =>
    ground.access("peek", array.byteOffset / 4 + index, 0, 0);
  const owner = (slot: number) => at(control.owner, slot);
  const slots = Array.from({ length: maxBlocks }, (_, slot) => slot);
  const word = (index: number) => at(control.words, index);
  if (word(HEADER.STATE) !== OPEN) return undefined;
  const free = slots.filter((slot) => kindOf(owner(slot)) === FREE);
  // Stale loads may miss a sleeper: its next retry finds the block.
  if (
    mode !== "stale" && isAsleep.includes(true) &&
    free.length > reservedBlocks && end.isDead.every((is) => !is)
  ) return `a worker sleeps beside ${free.length} free blocks`;

  const hand = new Hand(24, ground, () => handle);
  const held = holds.flat();
  let had = 0;
  let wrong: string | undefined;
  hand.as(() => {
    hand.attach();
    for (let turn = 0; turn < 4; turn++) {
      hand.now += LATER;
      hand.keepHouse();
    }
    const lost = slots.filter((slot) =>
      kindOf(owner(slot)) === FREE &&
      (at(control.hints, slot >>> 5) & 1 << (slot & 31)) === 0
    );
    if (lost.length > 0) wrong = `free slots without a hint: ${lost}`;
    for (const lock of ["RESIZER", "ENDER", "HEAL_SLOT"] as const) {
      if (word(HEADER[lock]) !== 0) {
        wrong ??= `${lock} stays ${word(HEADER[lock])}`;
      }
    }
    const inUse = slots.filter((slot) => {
      const kind = kindOf(owner(slot));
      return kind !== FREE && kind !== UNCOMMITTED;
    });
    let counted = 0;
    for (let id = 1; id <= word(HEADER.TOP_WORKER); id++) {
      counted += word(control.at(id, WORKER.TAKES));
      counted -= word(control.at(id, WORKER.FREES));
    }
    if (counted !== inUse.length) {
      wrong ??= `${inUse.length} slots are in use, ${counted} are counted`;
    }
    const committed = slots.filter((slot) =>
      kindOf(owner(slot)) !== UNCOMMITTED
    ).length - word(HEADER.UNREPLACED);
    if (committed !== word(HEADER.COMMITTED)) {
      wrong ??= `${committed} are committed, ${
        word(HEADER.COMMITTED)
      } are counted`;
    }
    for (const slot of held) {
      if (!isHeldBy(owner(slot), idOf(end, slot))) {
        wrong ??= `slot ${slot} is not its holder's`;
      }
    }
    if (isAsleep.includes(true)) return;
    while (had <= maxBlocks && hand.take({ reserved: true })) had++;
    const most = maxBlocks - word(HEADER.UNREPLACED) - held.length;
    if (had !== most) wrong ??= `${had} of ${most} blocks can be had`;
  });
  return wrong ?? hand.failure;
}

/** The id of the worker that has a slot, in a pool in which all have attached in their order. */
function idOf({ holds }: End, slot: number): number {
  return 2 + holds.findIndex((slots) => slots.includes(slot));
}
