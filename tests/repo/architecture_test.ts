/**
 * Keeps ARCHITECTURE.md true: its lists of files, the arrows between folders, the control block word by
 * word, and the place of each function that it names.
 */
import { assert, assertEquals } from "@std/assert";
import { SharedDurations } from "../../pool/histogram.ts";
import * as layout from "../../shared/control.ts";

const ROOT = new URL("../../", import.meta.url);
const PAGE = read("ARCHITECTURE.md");

function read(path: string): string {
  return Deno.readTextFileSync(new URL(path, ROOT));
}

/** The source files that `deno publish` takes. */
function published(): string[] {
  const { publish } = JSON.parse(read("deno.json"));
  return publish.include.flatMap((pattern: string) => {
    if (pattern.endsWith("/**/*.ts")) return files(pattern.slice(0, -8));
    return pattern.endsWith(".ts") ? [pattern] : [];
  });
}

function files(folder: string): string[] {
  return [...Deno.readDirSync(new URL(folder, ROOT))].flatMap(
    ({ name, isDirectory }) => {
      const path = `${folder}/${name}`;
      return isDirectory ? files(path) : path.endsWith(".ts") ? [path] : [];
    },
  );
}

/** The rows, as cells without backticks, of each table of the page whose first row has these cells. */
function rows(...head: string[]): string[][] {
  const cells = (line: string) =>
    line.replaceAll("`", "").split("|").slice(1, -1)
      .map((cell) => cell.trim());
  const found: string[][] = [];
  let isIn = false;
  for (const line of PAGE.split("\n")) {
    if (!line.startsWith("|")) isIn = false;
    else if (isIn) found.push(cells(line));
    else isIn = head.every((cell, at) => cells(line)[at] === cell);
  }
  assert(found.length > 0, `there is no table of ${head.join(", ")}`);
  return found.filter(([first]) => !/^-+$/.test(first!));
}

/** Names and numbers of a table, as a record. */
function drawn(...head: string[]): Record<string, number> {
  return Object.fromEntries(
    rows(...head).map(([at, name]) => [name, Number(at)]),
  );
}

/** The folder of a path; the file itself at the root. */
function folderOf(path: string): string {
  return path.includes("/") ? path.slice(0, path.lastIndexOf("/") + 1) : path;
}

Deno.test("each published file has one line", () => {
  const listed = rows("file", "subject").map(([path]) => path!);
  assertEquals(listed.toSorted(), published().toSorted());
});

Deno.test("each path stands for a file that exists", () => {
  for (const [, path] of PAGE.matchAll(/`(\w+\/[\w/]+\.\w+)`/g)) {
    assert(Deno.statSync(new URL(path!, ROOT)).isFile, path);
  }
});

Deno.test("the arrows between folders are those of the imports", () => {
  const imported = new Map<string, Set<string>>();
  for (const path of published()) {
    const from = folderOf(path);
    const found = imported.get(from) ?? new Set();
    imported.set(from, found);
    const code = read(path).replaceAll(/^\s*(\*|\/\/).*$/gm, "");
    for (const [, target] of code.matchAll(/from "(\.[^"]+)"/g)) {
      const { href } = new URL(target!, new URL(path, ROOT));
      const to = folderOf(href.slice(ROOT.href.length));
      if (to !== from) found.add(to);
    }
  }
  const arrows = rows("folder", "may import").map(([folder, targets]) => [
    folder!,
    new Set(targets!.split(", ").filter((target) => target !== "")),
  ]);
  assertEquals(Object.fromEntries(arrows), Object.fromEntries(imported));
});

Deno.test("each function is in the file that is named with it", () => {
  const pairs = [...PAGE.matchAll(/`([#\w.]+)`\s+\(`([\w/]+\.ts)`\)/g)];
  assert(pairs.length > 100, `only ${pairs.length} are named`);
  const missing = pairs.filter(([, name, file]) => !defines(read(file!), name!))
    .map(([pair]) => pair);
  assertEquals(missing, []);
});

/** Whether a source has a declaration of this name, or of this member of a class. */
function defines(code: string, name: string): boolean {
  const [owner, member] = name.split(".") as [string, string?];
  const keyword = "(?:async )?(?:function\\*?|class|const|let|interface|type)";
  const found = new RegExp(`^(?:export )?${keyword} ${owner}\\b`, "m")
    .exec(code);
  if (found === null || member === undefined) return found !== null;
  const body = code.slice(found.index, code.indexOf("\n}\n", found.index));
  const modifier = "(?:static|async|override|protected|readonly|get) ";
  return new RegExp(`^  (?:${modifier})*\\*?${member}\\b[<(:=; ]`, "m")
    .test(body);
}

Deno.test("the index answers at least thirty questions", () => {
  const unanswered = rows("question", "answer").filter(([, answer]) =>
    !answer!.includes(".ts)")
  );
  assertEquals(unanswered, []);
  assert(rows("question", "answer").length >= 30);
});

Deno.test("the control block is drawn word by word", () => {
  assertEquals(drawn("word", "HEADER"), { ...layout.HEADER });
  assertEquals(drawn("word", "WORKER"), { ...layout.WORKER });
  assertEquals(drawn("double", "COUNT"), { ...layout.COUNT });
});

Deno.test("the kinds of an owner word are drawn", () => {
  const { UNCOMMITTED, FREE, TRANSIT, ABANDONED, HELD, SOILED, USED, CLAIMED } =
    layout;
  const kinds = {
    UNCOMMITTED,
    FREE,
    TRANSIT,
    ABANDONED,
    HELD,
    SOILED,
    USED,
    CLAIMED,
  };
  const places = drawn("bits 8–10", "kind");
  const words = Object.entries(places).map(([kind, place]) =>
    [kind, place << 8] as const
  );
  assertEquals(Object.fromEntries(words), kinds);
  for (const place of Object.values(kinds)) {
    assertEquals(layout.kindOf(layout.successor(-1, place, 254)), place);
    assertEquals(layout.workerOf(layout.successor(-1, place, 254)), 254);
  }
});

Deno.test("the parts of the control block begin where they are drawn", () => {
  const slots = 64;
  const control = new layout.Control(slots);
  const [header, workers, histograms, ranges, ...words] = rows(
    "from word",
    "words",
  );
  assertEquals(header, ["0", "64", "header"]);
  assertEquals(control.at(0, 0), 64);
  const perWorker = control.at(1, 0) - control.at(0, 0);
  assertEquals(workers!.slice(0, 2), [
    "64",
    `${layout.MOST_WORKERS + 1} × ${perWorker}`,
  ]);
  assertEquals(2 * control.countAt(1, 0), control.at(1, perWorker / 2));
  assertEquals(histograms!.slice(0, 2), [
    `${control.at(layout.MOST_WORKERS + 1, 0)}`,
    `2 × ${2 * SharedDurations.CELLS}`,
  ]);
  const perRange = 2 * (control.rangeAt(1) - control.rangeAt(0));
  const end = Number(words[0]![0]);
  assertEquals(ranges!.slice(0, 2), [
    `${2 * control.rangeAt(0)}`,
    `${(end - 2 * control.rangeAt(0)) / perRange} × ${perRange}`,
  ]);
  let at = end;
  for (const [, size, what] of words) {
    const part = what!.split(":")[0] as "owner";
    assertEquals(control[part].byteOffset, 4 * at, part);
    assertEquals(control[part].length, size === "n" ? slots : slots / 32, part);
    at += control[part].length;
  }
  assertEquals(control.buffer.byteLength, 4 * at);
});
