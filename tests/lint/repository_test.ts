// The plugin on this repository: its own examples and documents are right, and its tests of misuse
// are seen for what they are.

import { assert, assertEquals } from "@std/assert";
import { lineOf, lint } from "./programs.ts";

const ROOT = new URL("../../", import.meta.url);

function* files(folder: string, end: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(new URL(folder, ROOT))) {
    const path = `${folder}${name}`;
    if (isDirectory) yield* files(`${path}/`, end);
    else if (name.endsWith(end)) yield path;
  }
}

function read(path: string): string {
  return Deno.readTextFileSync(new URL(path, ROOT));
}

/** What is reported, as `file:line rule`. */
function reports(path: string, source: string): string[] {
  return lint("file.ts", source).map(({ id, range }) =>
    `${path}:${lineOf(source, range[0])} ${id}`
  );
}

/** The code blocks of a document. */
function codeOf(markdown: string): string[] {
  return [...markdown.matchAll(/^```(?:ts|js).*\n([^]*?)^```/gm)].map((each) =>
    each[1]
  );
}

Deno.test("the examples are not reported", () => {
  const all = [...files("examples/", ".ts"), ...files("examples/", ".js")];
  assert(all.length > 10);
  assertEquals(all.flatMap((path) => reports(path, read(path))), []);
});

Deno.test("the code in README and docs is not reported", () => {
  const documents = [...files("docs/", ".md")].filter((path) =>
    path !== "docs/lint.md"
  );
  let count = 0;
  for (const path of ["README.md", ...documents]) {
    for (const code of codeOf(read(path))) {
      count++;
      assertEquals(reports(path, code), []);
    }
  }
  assert(count > 3, `${count} blocks of code`);
});

Deno.test("the code in the doc comments of io/ is not reported", () => {
  for (const path of files("io/", ".ts")) {
    const comments = read(path).match(/\/\*\*[^]*?\*\//g) ?? [];
    for (const comment of comments) {
      const text = comment.replaceAll(/^\s*\* ?/gm, "");
      for (const code of codeOf(text)) assertEquals(reports(path, code), []);
    }
  }
});

Deno.test("the tests of misuse are reported where they misuse", () => {
  const path = [...files("tests/", ".ts")].find((each) =>
    /(^|\/)misuse_test\.ts$/.test(each)
  );
  assert(path !== undefined);
  const source = read(path);
  const lines = source.split("\n");
  const found = lint(path, source);
  assert(found.length >= 8, `${found.length} reports`);
  for (const { id, range } of found) {
    assertEquals(id, "smriti/no-use-after-release");
    const line = lines[lineOf(source, range[0]) - 1];
    // They are all there to be refused.
    assert(/refuse|reject|assertThrows|for \(const use of/.test(line), line);
  }
});

Deno.test("the README and the ownership rules name the plugin", () => {
  const readme = read("README.md");
  assert(readme.includes("@smriti/pool/lint"));
  assert(readme.includes("docs/lint.md"));
  assert(read("docs/rules.md").includes("](lint.md)"));
});
