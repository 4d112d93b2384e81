// Once: `commit()` leaves the slot at hand (`#hot`) where it is, though a slab below it has just
// got free slots. Fix: call `this.#cool()` first in `Slots.commit()`.

import { assertEquals } from "@std/assert";
import { Slots } from "../pool/slots.ts";

Deno.test({
  name: "pop() serves a slab committed below the slot released last",
}, () => {
  const slots = new Slots(3, 1);
  slots.commit({ first: 0, count: 3 });
  slots.decommit({ first: 0, count: 1 });
  slots.push(slots.pop()); // Slot 1, kept at hand.
  slots.commit({ first: 0, count: 1 });
  assertEquals([slots.pop(), slots.pop(), slots.pop()], [0, 1, 2]);
});
