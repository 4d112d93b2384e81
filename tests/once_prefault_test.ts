// Three faults of `prefault`, which goes on beside the pool and is not told what happened since.
//
// 1. Fails: a constructor that gets a part of its first memory and then throws has unmapped the
//    range before the prefault of that part begins (`Supply.#fault` starts it in a microtask): a
//    native call on addresses that may be somebody else's by then. Fix: in the constructor's catch
//    (or in `Sizer.start()`), `supply.settle()` sets `#stopped` before the microtask runs.
// 2. Fails: memory that `trim()` or a shrink gives back while its prefault is queued or running is
//    faulted in all the same and stays resident though no longer committed. Fix: `Region.prefault`
//    asks per piece whether the slabs still have memory (`slots.isCommitted`), and a decommit of a
//    run that is being faulted waits for the piece that is running, or drops the pages after it.
// 3. Fails: `close({ timeoutMs: 0 })` with nothing out rejects with «still out and now revoked:
//    0 blocks» when pages are being faulted in. Fix: `Closing.#giveUp()` returns when nothing is
//    out (`check()` ends the pool as soon as the prefault has).

import { assertEquals } from "@std/assert";
import { BlockPool } from "../mod.ts";
import { FailingBackend } from "./support/failing_backend.ts";
import { gone } from "./support/law.ts";
import { microtasks, refused, takeAll } from "./support/misuse.ts";
import "./support/open_library.ts";
import { pagePool } from "./support/sizes.ts";

/** Holds every prefault until told to go on. */
class SlowBackend extends FailingBackend {
  readonly gate = Promise.withResolvers<void>();

  override async prefault(...args: Parameters<FailingBackend["prefault"]>) {
    await this.gate.promise;
    return await super.prefault(...args);
  }
}

Deno.test({
  name: "new BlockPool() that fails leaves no prefault behind",
}, async () => {
  using backend = new FailingBackend();
  backend.fails = (call) => call === "commit" && backend.made.length < 2;
  refused("out-of-memory", () => pagePool({ prefault: true }));
  await microtasks();
  assertEquals(backend.violations, []);
});

Deno.test({
  name: "trim() is not undone by a prefault that was under way",
}, async () => {
  using backend = new FailingBackend();
  // The accountant looks before it refuses, and without the OS it all happens in microtasks.
  backend.fails = (call) => call === "prefault";
  const pool = pagePool({ prefault: true });
  for (const block of takeAll(pool)) block.release();
  pool.trim();
  await microtasks();
  await pool.close();
  assertEquals(new Set(backend.violations), new Set());
});

Deno.test({
  name:
    "close({ timeoutMs: 0 }) with nothing out waits for pages being faulted in",
}, async () => {
  using backend = new SlowBackend();
  const pool = new BlockPool({
    blockSize: 16_384,
    maxBlocks: 4,
    prefault: true,
  });
  await microtasks();
  const closing = pool.close({ timeoutMs: 0 });
  closing.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 5));
  backend.gate.resolve();
  await closing;
  gone(pool);
});
