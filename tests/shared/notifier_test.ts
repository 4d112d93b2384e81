// Who is woken when something becomes free, and who goes next, by a clock of the test's own.

import { assert, assertEquals } from "@std/assert";
import { Notifier } from "../../shared/notifier.ts";
import type { Clock } from "../../shared/clock.ts";
import { Control, HEADER } from "../../shared/control.ts";

const { EPOCH, TOP_WORKER, TURN } = HEADER;

/** Bells of these ids in one pool, and its time. */
function notifiers<const Ids extends readonly number[]>(...ids: Ids) {
  const control = new Control(1);
  control.words[TOP_WORKER] = Math.max(...ids);
  const time = { ms: 0 };
  const clock = { now: () => time.ms } as Clock;
  const all = ids.map((id) => new Notifier(control, clock, id));
  return { words: control.words, time, all };
}

Deno.test("a turn keeps all others from taking, until it is dropped or over", () => {
  const { words, time, all: [first, second, third] } = notifiers(1, 2, 3);
  assert(![first, second, third].some(({ mustYield }) => mustYield));
  first.claimTurn();
  assertEquals(words[TURN], 1);
  assert(!first.mustYield && second.mustYield && third.mustYield);
  // One at a time.
  second.claimTurn();
  assertEquals(words[TURN], 1);
  const before = words[EPOCH];
  third.dropTurn();
  assertEquals(words[TURN], 1);
  first.dropTurn();
  assertEquals(words[TURN], 0);
  assert(words[EPOCH] > before, "nobody is told of the end of a turn");
  second.claimTurn();
  time.ms += 99;
  assert(first.mustYield);
  time.ms += 1;
  assert(!first.mustYield, "a turn does not end by itself");
  first.claimTurn();
  assertEquals(words[TURN], 1);
});

Deno.test("who had the last turn lets others come first", () => {
  const { words, time, all: [notifier] } = notifiers(1);
  notifier.claimTurn();
  time.ms += 100;
  notifier.claimTurn();
  assertEquals(words[TURN], 0);
});

Deno.test("one that died, or left, waits no more and has no turn", () => {
  const { words, all: [dead, living] } = notifiers(40, 1);
  dead.listen(true);
  dead.claimTurn();
  living.listen(true);
  living.forget(40);
  assertEquals(words[TURN], 0);
  assertEquals(words[HEADER.WAITERS + 1], 0);
  assertEquals(words[HEADER.WAITERS], 1 << 1);
});

Deno.test("a ring is for other isolates, whatever their ids", () => {
  const { words, all: [low, high] } = notifiers(1, 200);
  const rings = (notifier: Notifier) => {
    const before = words[EPOCH];
    notifier.notify();
    return words[EPOCH] !== before;
  };
  assert(!rings(low) && !rings(high));
  low.listen(true);
  assert(!rings(low) && rings(high));
  high.listen(true);
  assert(rings(low) && rings(high));
  low.listen(false);
  assert(rings(low) && !rings(high));
});
