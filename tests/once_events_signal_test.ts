// Once: the abort of a signal removes the listener function, whatever registration it has by then.
// EventTarget removes only the registration the signal was given for. Fix: in `Events.add()` let the
// abort callback compare, `if (listeners.get(listener) === options) listeners.delete(listener)`
// (with `options` an object of this registration's own).

import { assertEquals } from "@std/assert";
import { Events } from "../pool/events.ts";

Deno.test({
  name:
    "an abort does not end a listener that was added anew without its signal",
}, () => {
  const events = new Events();
  const controller = new AbortController();
  let heard = 0;
  const listener = () => heard++;
  events.add("close", listener, { signal: controller.signal });
  events.remove("close", listener);
  events.add("close", listener);
  controller.abort();
  events.emit("close", () => ({
    pool: "",
    abandonedBlocks: 0,
    mappedBytes: 0,
  }));
  assertEquals(heard, 1);
});
