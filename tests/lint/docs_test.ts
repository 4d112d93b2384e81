// The page of the rules: each has a section with a bad example that it reports and a good one that
// no rule reports.

import { assert, assertEquals } from "@std/assert";
import plugin from "../../lint/mod.ts";
import { lint } from "./programs.ts";

const PAGE = Deno.readTextFileSync(
  new URL("../../docs/lint.md", import.meta.url),
);

/** The first block of code behind a word of a section. */
function exampleOf(section: string, word: string): string {
  const code = section.match(
    new RegExp(`^${word}:\\n\\n\`\`\`ts ignore\\n([^]*?)^\`\`\``, "m"),
  );
  assert(code !== null, `no ${word} example in ${section.slice(0, 40)}`);
  return code[1];
}

for (const rule of Object.keys(plugin.rules)) {
  Deno.test(`docs/lint.md: ${rule} reports its bad example and not its good one`, () => {
    const section = PAGE.split(/^## /m).find((each) =>
      each.startsWith(`\`${rule}\`\n`)
    );
    assert(section !== undefined, `no section for ${rule}`);
    const bad = lint("bad.ts", exampleOf(section, "Bad"));
    assertEquals(bad.map(({ id }) => id), [`smriti/${rule}`]);
    // It begins as the bad one does: imports, and the pool.
    const [head] = exampleOf(section, "Bad").split(/^(?=export|Deno)/m);
    assertEquals(lint("good.ts", head + exampleOf(section, "Good")), []);
    assert(PAGE.includes(`[\`smriti/${rule}\`](#${rule})`), "not in the table");
  });
}
