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
  "one ticket, two that adopt": Infinity,
  "a ticket is adopted as its time ends": 1,
  "a ticket is used, and the block sent again": Infinity,
  "a ticket, and deaths": Infinity,
  "trimming and taking": Infinity,
  "a block is given up": 1,
  "the reserve is kept": 1,
  "the reserve, and a ticket": 1,
  "the reserve, and a release": 1,
  "the reserve, and a block given up": 1,
  "a thread waits": Infinity,
  "a thread that has looked before waits": 2,
  "two threads wait": 1,
  "an acquire waits": 2,
  "closing and taking": 1,
  "both leave": 2,
  "closing, and a death": 1,
  "the last one leaves as another comes": 1,
  "two come at once": 2,
  "the owner takes and puts back what is stolen": 4,
  "a second slot is put back as the first is stolen": 4,
  "two ask for room at once": 1,
  "the owner gives its cache back": 1,
  "the owner or the thief dies": 1,
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

/** Put into one copy, whose code is checked once; no two of them are noticed in one configuration and mode. */
const BUGS = [
  {
    file: "shared/hints.ts",
    find: "const isFree = isOpen(Atomics.load(this.#owner, slot));",
    put: "const isFree = false;",
  },
  {
    file: "shared/shared_slots.ts",
    find: `return kindOf(word) === TRANSIT &&
      this.#control.serial[slot] === serial &&
      this.#move`,
    put: `return this.#control.serial[slot] === serial &&
      this.#move`,
  },
  {
    file: "shared/worker_registry.ts",
    find: "if (this.#mayReclaim(worker)) return true;",
    put: "if (at > 0) return true;",
  },
  // With store buffers; on arm64 the fence before the look shows the store as well.
  {
    file: "shared/shared_slots.ts",
    find: "Atomics.add(this.#own, TAKES, count);",
    put: "this.#own[TAKES]! += count;",
  },
  // With stale loads.
  {
    file: "shared/tally.ts",
    find: "if (KEEPS_ORDER) return;",
    put: "return;",
  },
];

/** What is found then, and in which modes. */
const FOUND: Record<
  string,
  readonly [finding: string, modes: readonly Mode[]]
> = {
  "one block, two workers": ["free slots without a hint: 0", MODES],
  "one ticket, two that adopt": ["a ticket was good twice", MODES],
  "a dead worker is reclaimed as its id goes to another": [
    "slot 0 was taken away",
    MODES,
  ],
  "the reserve is kept": ["3 blocks are held", ["tso", "stale"]],
};

Deno.test("bugs that are planted are found, and their traces replay", async () => {
  await using tree = await copy(
    ["ffi", "pool", "shared", "tests/protocol", "tests/support"],
    new URL("../../", import.meta.url).href,
  );
  for (const { file, find, put } of BUGS) await tree.replace(file, find, put);
  using explorers = new Explorers(`${tree.root}tests/protocol/`);
  for (const [name, [what, modes]] of Object.entries(FOUND)) {
    await inEveryMode(async (mode) => {
      const { pass } = await explorers.do({ name, mode, bound: 2 });
      const { finding } = pass!;
      const expected = modes.includes(mode) ? what : undefined;
      assertEquals(finding?.what, expected, `${name}, ${mode}`);
      if (finding === undefined) return;
      const replay = finding.trace;
      const { wrong } = await explorers.do({ name, mode, replay });
      assertEquals(wrong, what, `${name}, ${mode}: ${replay}`);
    });
  }
});
