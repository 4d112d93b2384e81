// Programs of all rules as people write them, each with something in it that no other one has: all
// bad ones are found at the right line, no good one is reported.

import { assert, assertEquals } from "@std/assert";
import { programsOf, reportsOf, sorted } from "./programs.ts";

Deno.test("of programs of all kinds the bad ones are reported where they are wrong, and no good one", () => {
  const programs = programsOf("programs/mixed.txt");
  for (const program of programs) {
    const { title, isBad, expected } = program;
    assertEquals(isBad, expected.length > 0, title);
    const got = sorted(reportsOf(program));
    if (!isBad) assertEquals(got, [], title);
    const missed = sorted(expected).filter((each) => !got.includes(each));
    assertEquals(missed, [], title);
    // A second report of the same mistake is noise.
    assert(got.length <= Math.max(1, expected.length), title);
  }
  assert(programs.length >= 100, `${programs.length} programs`);
});
