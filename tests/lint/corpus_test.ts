// Programs that were written without a look at the rules: how many of the bad ones are found at
// the right line, and how many of the good ones are reported.

import { assert, assertEquals } from "@std/assert";
import { programsOf, reportsOf, sorted } from "./programs.ts";

/** Bad programs that are known to be missed, and why. */
const MISSED = new Set([
  // The process ends there, and no function of the program is left.
  "shutdown handler",
]);

for (
  const name of [
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
  ]
) {
  Deno.test(`the ${name} corpus: bad programs are found, good ones left alone`, () => {
    const missed: string[] = [];
    const wrong: string[] = [];
    const programs = programsOf(`corpus/${name}.txt`);
    for (const program of programs) {
      const got = sorted(reportsOf(program));
      const want = sorted(program.expected);
      if (!program.isBad && got.length > 0) wrong.push(program.title);
      if (want.some((each) => !got.includes(each))) missed.push(program.title);
      // A second report of the same mistake is noise.
      assert(got.length <= Math.max(1, want.length), program.title);
    }
    assertEquals(wrong, []);
    assertEquals(missed.filter((title) => !MISSED.has(title)), []);
    assert(programs.length >= 40, `${programs.length} programs`);
  });
}
