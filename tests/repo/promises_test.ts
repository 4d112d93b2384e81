// The page that says which test stands behind which promise must say what `deno task planted` does.

import { assertEquals, assertGreater } from "@std/assert";
import { BUGS, patternOf } from "../planted/bugs.ts";
import { IO_BUGS } from "../planted/io_bugs.ts";

const at = (path: string) => new URL(path, new URL("../../", import.meta.url));

Deno.test("docs/safety.md names guards that are planted, with the tests that notice", async () => {
  const [, table] = (await Deno.readTextFile(at("docs/safety.md"))).split(
    /^(?=\| promise )/m,
  );
  const rows = table.split("\n")
    .filter((line) => line.startsWith("|")).slice(2)
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
  assertGreater(rows.length, 30);
  for (const [, guard, tests] of rows) {
    const bug = BUGS.find(({ what }) => what === guard);
    const noticed = bug?.caughtBy.map((name) => `\`tests/${name}_test.ts\``);
    assertEquals(tests, noticed?.join(", "), guard);
  }
});

Deno.test("every planted bug is of a guard and a test that are there", async () => {
  for (const { what, file, find, caughtBy } of [...BUGS, ...IO_BUGS]) {
    const source = await Deno.readTextFile(at(file));
    assertEquals([...source.matchAll(patternOf(find))].length, 1, what);
    const paths = [file, ...caughtBy.map((name) => `tests/${name}_test.ts`)];
    for (const path of paths) {
      assertEquals(
        (await Deno.stat(at(path))).isFile,
        true,
        `${what}: ${path}`,
      );
    }
  }
});
