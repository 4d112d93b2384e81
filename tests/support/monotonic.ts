// The monotonic clock, held by a fake time.

import type { FakeTime } from "@std/testing/time";

/** Until disposed, `performance.now()` tells the fake time: it stands still with it. */
export function monotonic(time: FakeTime): Disposable {
  const { now } = performance;
  performance.now = () => time.now - time.start;
  return { [Symbol.dispose]: () => void (performance.now = now) };
}
