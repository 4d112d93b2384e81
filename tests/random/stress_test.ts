// No block is owned twice, none is lost, and no lease shows another one's bytes, whatever four Workers do
// at once. SMRITI_STRESS_OPERATIONS=10000000 is the long run.

import { assert, assertEquals, assertGreater } from "@std/assert";
import { copy } from "../shared/copy_tree.ts";
import "../shared/pools.ts";
import { stress, type StressPlan } from "./stress.ts";
import { seedOfRun } from "../support/rng.ts";

const operations = Number(Deno.env.get("SMRITI_STRESS_OPERATIONS") ?? 60_000);
const root = new URL("../../", import.meta.url).href;
const seed = seedOfRun();

const PLAN: StressPlan = {
  root,
  workers: 4,
  operations,
  seed,
  options: {
    blockSize: 64,
    maxBlocks: 512,
    ticketTimeoutMs: 2 ** 31 - 1,
    leakDetection: "off",
  },
};

const SETTINGS: Record<string, Partial<StressPlan["options"]>> = {
  "many small blocks": {},
  "a few blocks": { maxBlocks: 8, initialBlocks: 1 },
  "blocks of a page": { blockSize: 4096, maxBlocks: 200, initialBlocks: 2 },
  "a reserve": { maxBlocks: 40, reservedBlocks: 10 },
};

for (const [name, options] of Object.entries(SETTINGS)) {
  Deno.test(`four Workers at once keep every block whole: ${name}`, async () => {
    const plan = { ...PLAN, options: { ...PLAN.options, ...options } };
    const result = await stress(plan);
    assertEquals(result.wrong, [], `SMRITI_SEED=${seed} runs it again, about`);
    // How often a few blocks change hands is up to the scheduler; that they do is the test's worth.
    assertGreater(result.acquired, operations / 500);
    assertGreater(result.adopted, operations / 500);
    assertGreater(result.missed, 0);
    console.log(
      `${name}: ${result.acquired} acquired, ${result.adopted} adopted, ` +
        `${result.refused} refused, ` +
        `${(result.nanoseconds / operations / 4).toFixed()} ns each`,
    );
  });
}

/** A change of a source. */
type Change = [file: string, from: string, to: string];

/** Bugs that the stress must find, each in a copy of the sources. */
const PLANTED: Record<string, Change[]> = {
  "a compare-and-swap that is not one": [[
    "shared/shared_slots.ts",
    "if (Atomics.compareExchange(owner, slot, word, next) !== word) return false;",
    "if (Atomics.load(owner, slot) !== word) return false;" +
    "Atomics.store(owner, slot, next);",
  ]],
  "a swap that always says yes": [[
    "shared/shared_slots.ts",
    "return Atomics.compareExchange(this.#owner, slot, word, next) === word;",
    "Atomics.compareExchange(this.#owner, slot, word, next); return true;",
  ]],
  "a release that tells nobody": [[
    "shared/shared_slots.ts",
    "if (!hints.stands(slot)) hints.set(slot);",
    "if (slot % 5 > 0 && !hints.stands(slot)) hints.set(slot);",
  ]],
};

for (const [name, changes] of Object.entries(PLANTED)) {
  // The copy opens the library anew.
  const options = { sanitizeResources: false };
  Deno.test(`the stress finds ${name}`, options, async () => {
    await using tree = await copy(["ffi", "pool", "shared"], root);
    for (const change of changes) await tree.replace(...change);
    const small = { ...PLAN.options, maxBlocks: 8, initialBlocks: 1 };
    // What the planted bug breaks is not mended.
    await tree.replace(
      "shared/reaper.ts",
      "slots.hints.confirm(slot)",
      "false",
      2,
    );
    let found: string[] = [];
    for (let run = 0; run < 60 && found.length === 0; run++) {
      const plan = {
        ...PLAN,
        root: tree.root,
        options: small,
        seed: seed + run,
      };
      found = (await stress({ ...plan, operations: 60_000 })).wrong;
    }
    assert(found.length > 0, "it was not found");
  });
}
