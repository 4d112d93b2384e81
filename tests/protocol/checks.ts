// What must be true when no worker can do anything more: another one comes, looks after the pool, and finds
// nothing lost and no count wrong; and none sleeps beside a free block.

import {
  Control,
  FREE,
  GONE,
  HEADER,
  isHeldBy,
  isOpen,
  kindOf,
  OPEN,
  UNCOMMITTED,
  WORKER,
  workerOf,
} from "../../shared/control.ts";
import type { End } from "./machine.ts";
import { Hand } from "./worker.ts";

/** Ms after which every ticket is out of time. */
const LATER = 1_000_000;

/** The control block as it is at the end. */
function read({ handle, ground }: End) {
  const { maxBlocks } = handle.options;
  const control = new Control(maxBlocks, handle.control);
  const at = (array: Int32Array, index: number) =>
    ground.access("peek", array.byteOffset / 4 + index, 0, 0);
  const owner = (slot: number) => at(control.owner, slot);
  const slots = Array.from({ length: maxBlocks }, (_, slot) => slot);
  return {
    control,
    owner,
    word: (index: number) => at(control.words, index),
    count: (is: (kind: number) => boolean) =>
      slots.filter((slot) => is(kindOf(owner(slot)))).length,
    /** Slots of these words that have no hint. */
    unhinted: (is: (word: number) => boolean) =>
      slots.filter((slot) =>
        is(owner(slot)) &&
        (at(control.hints, slot >>> 5) & 1 << (slot & 31)) === 0
      ),
  };
}

/** What is wrong at the end of an execution. */
export function checkEnd(end: End): string | undefined {
  const { handle, workers, mode } = end;
  const { reservedBlocks = 0 } = handle.options;
  const { word, count, unhinted } = read(end);
  const living = workers.filter(({ isDead }) => !isDead);
  const sleeps = living.some(({ isAsleep }) => isAsleep);
  const stuck = living.find(({ isAsleep, isDone }) => !isAsleep && !isDone);
  if (stuck !== undefined && living.length === workers.length) {
    return "a worker waits for ever";
  }
  const free = count((kind) => kind === FREE);
  // Stale loads may miss a sleeper, and so may one that dies: its next retry finds the block.
  if (
    sleeps && mode !== "stale" && living.length === workers.length &&
    free > reservedBlocks
  ) return `a worker sleeps beside ${free} free blocks`;

  const lost = unhinted(isOpen);
  if (lost.length > 0 && living.length === workers.length) {
    return `free slots without a hint: ${lost}`;
  }

  const strays = straysOf(end);
  if (strays.length > 0 && living.length === workers.length) {
    return `cached slots that no mask has: ${strays}`;
  }

  const room = roomOf(end);
  if (room > word(HEADER.COMMITTED) / 8 && living.length === workers.length) {
    return `there is room for ${room} blocks in caches`;
  }

  const after = living.filter(({ hand, isDone, workerId }) =>
    isDone && workerId !== 0 && !hand.hasLeft
  );
  for (let turn = 0; turn < 3; turn++) {
    for (const { hand } of after) hand.as(() => hand.keepHouse(LATER));
  }
  const failed = after.find(({ hand }) => hand.failure !== undefined);
  if (failed !== undefined) return failed.hand.failure;
  const held = living.flatMap(({ workerId, holds }) =>
    holds.map((slot) => ({ slot, workerId }))
  );
  const state = word(HEADER.STATE);
  if (state !== OPEN) {
    const isOver = after.length === living.length && held.length === 0 &&
      after.length > 0;
    return isOver && state !== GONE ? "the pool does not end" : undefined;
  }
  return lookedAt(end, held);
}

/** Slots that are cached, and that their owner does not look for. */
function straysOf(end: End): number[] {
  const { control, owner, word } = read(end);
  return Array.from(control.owner.keys()).filter((slot) => {
    const worker = workerOf(owner(slot));
    if (kindOf(owner(slot)) !== FREE || worker === 0) return false;
    const isThere = word(control.at(worker, WORKER.CACHE_AT)) === slot >>> 5;
    const mask = word(control.at(worker, WORKER.CACHE));
    return !isThere || (mask & 1 << (slot & 31)) === 0;
  });
}

/** How many slots all workers together may cache; 0 once that is void. */
function roomOf(end: End): number {
  const { control, word } = read(end);
  let room = 0;
  if (word(HEADER.SHORTAGES) > 0) return room;
  for (let id = 1; id <= word(HEADER.TOP_WORKER); id++) {
    room += word(control.at(id, WORKER.CACHE_QUOTA));
  }
  return room;
}

/** Another worker comes and looks. */
function lookedAt(
  end: End,
  held: readonly { readonly slot: number; readonly workerId: number }[],
): string | undefined {
  const { handle, ground, workers } = end;
  const { maxBlocks } = handle.options;
  const { control, owner, word, count, unhinted } = read(end);
  const hand = new Hand(24, ground, () => handle);
  hand.now = workers.reduce((most, { hand }) => Math.max(most, hand.now), 0);
  hand.as(() => {
    hand.attach();
    for (let turn = 0; turn < 3; turn++) hand.keepHouse(LATER);
  });
  const lost = unhinted((word) => kindOf(word) === FREE);
  if (lost.length > 0) return `free slots without a hint: ${lost}`;
  for (const lock of ["RESIZER", "ENDER", "HEAL_SLOT"] as const) {
    const by = word(HEADER[lock]);
    if (by !== 0) return `${lock} stays ${by}`;
  }
  const used = count((kind) => kind !== FREE && kind !== UNCOMMITTED);
  let counted = 0;
  for (let id = 1; id <= word(HEADER.TOP_WORKER); id++) {
    counted += word(control.at(id, WORKER.TAKES));
    counted -= word(control.at(id, WORKER.FREES));
  }
  if (counted !== used) return `${used} slots are in use, counted: ${counted}`;
  const unreplaced = word(HEADER.UNREPLACED);
  const committed = count((kind) => kind !== UNCOMMITTED) - unreplaced;
  if (committed !== word(HEADER.COMMITTED)) {
    return `${committed} are committed, counted: ${word(HEADER.COMMITTED)}`;
  }
  for (const { slot, workerId } of held) {
    if (!isHeldBy(owner(slot), workerId)) return `slot ${slot} was taken away`;
  }
  if (workers.some(({ isAsleep }) => isAsleep)) return undefined;
  let had = 0;
  hand.as(() => {
    while (had <= maxBlocks && hand.take({ reserved: true })) had++;
  });
  const most = maxBlocks - unreplaced - held.length;
  return hand.failure ??
    (had === most ? undefined : `${had} of ${most} blocks can be had`);
}
