// Each rule on programs as people write them: the bad ones are reported at the lines that are
// marked in them and nowhere else, the good ones are not reported at all.

import { assert, assertEquals } from "@std/assert";
import plugin from "../../lint/mod.ts";
import { programsOf, reportsOf, sorted } from "./programs.ts";

for (const rule of Object.keys(plugin.rules)) {
  const programs = programsOf(`programs/${rule}.txt`, rule);

  Deno.test(`${rule} reports the bad programs where they are wrong, and no good one`, () => {
    for (const program of programs) {
      const { title, isBad, expected } = program;
      assertEquals(isBad, expected.length > 0, title);
      assertEquals(sorted(reportsOf(program)), sorted(expected), title);
    }
  });

  Deno.test(`${rule} has 15 programs of each kind`, () => {
    for (const isBad of [true, false]) {
      const { length } = programs.filter((each) => each.isBad === isBad);
      assert(length >= 15, `${length} ${isBad ? "bad" : "good"} ones`);
    }
  });
}

Deno.test("the plugin has the nine rules, under its name", () => {
  assertEquals(plugin.name, "smriti");
  assertEquals(Object.keys(plugin.rules), [
    "lend-io",
    "lend-return",
    "no-queue",
    "release",
    "no-use-after-release",
    "await-acquire",
    "acquire-many",
    "race",
    "no-block-as-bytes",
  ]);
});
