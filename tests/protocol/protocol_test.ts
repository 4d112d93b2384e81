// The part of `deno task protocol` that is small enough for every run: some configurations completely, in
// every memory model. And bugs that are put into a copy: the explorer finds each, and its trace replays.

import { assert, assertEquals } from "@std/assert";
import { copy } from "../shared/copy_tree.ts";
import { Explorers } from "./explore.ts";
import { type Mode, MODES } from "./memory.ts";

/** Preemptions up to which each is explored. */
const EXPLORED: Record<string, number> = {
  "one block, two workers": Infinity,
  "several at once": 0,
  "a dead worker is reclaimed as its id goes to another": 0,
  "one ticket, two that adopt": Infinity,
  "a ticket is adopted as its time ends": 1,
  "a ticket is used, and the block sent again": Infinity,
  "a ticket, and deaths": Infinity,
  "trimming and taking": Infinity,
  "a block is given up": 1,
  "the reserve is kept": 1,
  "a thread waits": Infinity,
  "an acquire waits": 2,
  "closing and taking": 1,
  "both leave": 1,
};

/** Every mode at once: there is a Worker for each kind of processor. */
function inEveryMode(
  explore: (mode: Mode) => Promise<void>,
): Promise<unknown> {
  return Promise.all([
    explore("sc").then(() => explore("tso")),
    explore("stale"),
  ]);
}

Deno.test("the protocol holds however the workers' steps are interleaved", async (t) => {
  using explorers = new Explorers();
  for (const [name, bound] of Object.entries(EXPLORED)) {
    await t.step(name, async () => {
      await inEveryMode(async (mode) => {
        const { pass } = await explorers.do({ name, mode, bound });
        assertEquals(pass?.finding, undefined);
        assert(pass?.isComplete);
        assertEquals(pass.isBounded, bound < Infinity, `${pass.states}`);
      });
    });
  }
});

interface Planted {
  readonly what: string;
  readonly file: string;
  readonly find: string;
  readonly put: string;
  readonly in: string;
  readonly bound: number;
  /** The models in which it can be noticed. */
  readonly modes: readonly Mode[];
  readonly finding: string;
}

const PLANTED: readonly Planted[] = [
  {
    what: "a hint that is dropped without a second look",
    file: "shared/hints.ts",
    find: "const isFree = kindOf(Atomics.load(this.#owner, slot)) === FREE;",
    put: "const isFree = false;",
    in: "one block, two workers",
    bound: 2,
    modes: MODES,
    finding: "free slots without a hint: 0",
  },
  {
    what: "a swap of an owner word whose kind was not looked at",
    file: "shared/shared_slots.ts",
    find: `return kindOf(word) === TRANSIT &&
      this.#control.serial[slot] === serial &&
      this.#move`,
    put: `return this.#control.serial[slot] === serial &&
      this.#move`,
    in: "one ticket, two that adopt",
    bound: 1,
    modes: MODES,
    finding: "a ticket was good twice",
  },
  {
    what: "a reclaimer that does not look again at whom it reclaims",
    file: "shared/worker_registry.ts",
    find: "if (this.#mayReclaim(worker)) return true;",
    put: "if (at > 0) return true;",
    in: "a dead worker is reclaimed as its id goes to another",
    bound: 1,
    modes: MODES,
    finding: "slot 0 was taken away",
  },
  {
    what: "a take that is announced by a plain store",
    file: "shared/shared_slots.ts",
    find: "Atomics.add(this.#words, this.#takes, count);",
    put: "this.#words[this.#takes]! += count;",
    in: "the reserve is kept",
    bound: 1,
    // On arm64 the fence before the look is an atomic operation, which shows the store as well.
    modes: ["tso"],
    finding: "3 blocks are held",
  },
  {
    what: "counts that are read without a fence",
    file: "shared/tally.ts",
    find: "if (KEEPS_ORDER) return;",
    put: "return;",
    in: "the reserve is kept",
    bound: 1,
    modes: ["stale"],
    finding: "3 blocks are held",
  },
];

for (const { what, file, find, put, in: name, bound, ...plan } of PLANTED) {
  Deno.test(`the explorer finds ${what}`, async () => {
    await using tree = await copy(
      ["ffi", "pool", "shared", "tests/protocol", "tests/support"],
      new URL("../../", import.meta.url).href,
    );
    await tree.replace(file, find, put);
    using explorers = new Explorers(`${tree.root}tests/protocol/`);
    await inEveryMode(async (mode) => {
      const { pass } = await explorers.do({ name, mode, bound });
      const { finding } = pass!;
      const isNoticed = plan.modes.includes(mode);
      assertEquals(finding?.what, isNoticed ? plan.finding : undefined, mode);
      if (finding === undefined) return;
      const replay = finding.trace;
      const { wrong } = await explorers.do({ name, mode, replay });
      assertEquals(wrong, plan.finding, `${mode}: ${replay}`);
    });
  });
}
