// Rules of the repository, read from its sources as text: which file may import which, what must be
// explained, what must be in the README. A rule that once cost a bug stands here.

import { assert, assertEquals } from "@std/assert";

const ROOT = new URL("../../", import.meta.url);

/** From each folder of published code, the folders it may import from. */
const ARROWS: Record<string, readonly string[]> = {
  ffi: ["ffi"],
  pool: ["pool", "ffi"],
  shared: ["shared", "pool", "ffi"],
  io: ["io", "mod.ts"],
  otel: ["otel", "mod.ts"],
  lint: ["lint"],
  "mod.ts": ["pool"],
};

/** Exported names that stand for several things today. None is added; one that has gone leaves the list. */
const HOMONYMS = ["refuse", "show"];

function read(path: string): string {
  return Deno.readTextFileSync(new URL(path, ROOT));
}

function* files(folder: string, ending = ".ts"): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(new URL(folder, ROOT))) {
    const path = `${folder}/${name}`;
    if (isDirectory) yield* files(path, ending);
    else if (name.endsWith(ending)) yield path;
  }
}

function published(): string[] {
  const folders = Object.keys(ARROWS).filter((name) => !name.endsWith(".ts"));
  const all = ["mod.ts"];
  for (const folder of folders) {
    try {
      all.push(...files(folder));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return all;
}

/** First part of a path: its folder, or the file itself at the root. */
function room(path: string): string {
  return path.split("/")[0];
}

Deno.test("imports follow the arrows of ARCHITECTURE.md", () => {
  const wrong: string[] = [];
  for (const path of published()) {
    const code = read(path).replaceAll(/^\s*(\*|\/\/).*$/gm, "");
    for (const [, target] of code.matchAll(/from "([^"]+)"/g)) {
      if (target.startsWith("node:")) continue;
      assert(target.startsWith("."), `${path} imports ${target}`);
      const file = new URL(target, new URL(path, ROOT)).href.slice(
        ROOT.href.length,
      );
      if (!ARROWS[room(path)].includes(room(file))) {
        wrong.push(`${path} → ${file}`);
      }
    }
  }
  assertEquals(wrong, []);
});

/** The files whose values a file imports or exports again. Imports of types are gone when it runs. */
function valueImports(path: string): string[] {
  const statement =
    /^(?:import|export) (?!type )(?:\{([^}]*)\} from |[^;"]*? from )?"(\.[^"]+)";/gm;
  return [...read(path).matchAll(statement)].flatMap(([, names, target]) => {
    const isTypes = /^(\s*type \w+( as \w+)?,?)+\s*$/.test(names ?? "");
    const file = new URL(target, new URL(path, ROOT)).href;
    return isTypes ? [] : [file.slice(ROOT.href.length)];
  });
}

Deno.test("no import of a value runs in a circle", () => {
  const circles: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, way: readonly string[]) => {
    if (way.includes(path)) circles.push([...way, path].join(" → "));
    if (done.has(path)) return;
    done.add(path);
    for (const next of valueImports(path)) visit(next, [...way, path]);
  };
  for (const path of published()) visit(path, []);
  assertEquals(circles, []);
});

Deno.test("an exported name means one thing in ffi/, pool/, shared/ and io/", () => {
  const homes = new Map<string, string[]>();
  const exported =
    /^export (?:abstract )?(?:const|let|class|(?:async )?function\*?) (\w+)/gm;
  for (const path of published()) {
    if (!/^(ffi|pool|shared|io)\//.test(path)) continue;
    for (const [, name] of read(path).matchAll(exported)) {
      homes.set(name, [...homes.get(name) ?? [], path]);
    }
  }
  assert(homes.size > 200, `only ${homes.size} names found`);
  const doubles = [...homes].filter(([, paths]) => paths.length > 1);
  const names = doubles.map(([name]) => name).sort();
  assertEquals(names, HOMONYMS, JSON.stringify(doubles));
});

Deno.test("every source file opens with a comment of what it owns", () => {
  const bare = published().filter((path) => !read(path).startsWith("/**\n * "));
  assertEquals(bare, []);
});

Deno.test("a SAFETY line stands above native calls and above views made or revoked", () => {
  const sensitive =
    /symbols\.\w+\(|#c\.\w+\(|Deno\.dlopen\(|UnsafePointer\.\w+\(|getArrayBuffer\(|new Deno\.UnsafePointerView\(|\.transfer\(/;
  const bare: string[] = [];
  for (const path of published()) {
    const lines = read(path).split("\n");
    lines.forEach((line, at) => {
      if (!sensitive.test(line) || /^\s*(\*|\/\/|\/\*\*)/.test(line)) return;
      const above = lines.slice(Math.max(0, at - 9), at + 1).join("\n");
      if (!above.includes("SAFETY:")) {
        bare.push(`${path}:${at + 1}: ${line.trim()}`);
      }
    });
  }
  assertEquals(bare, []);
});

Deno.test("options, codes, statistics and events all stand in the docs", () => {
  const reference = read("docs/reference.md");
  const names = (path: string, start: string, member: RegExp) => {
    const text = read(path);
    const from = text.indexOf(start);
    assert(from >= 0, `${path} has no ${start}`);
    const body = text.slice(from, text.indexOf("\n}", from));
    return [...body.matchAll(member)].map(([, name]) => name);
  };
  const codes = read("pool/errors.ts").match(/SmritiErrorCode =([^;]+);/)![1];
  const all = [
    ...names(
      "pool/options.ts",
      "export interface PoolOptions",
      /^ {2}(\w+)\??:/gm,
    ),
    ...names("pool/stats.ts", "export interface PoolStats", /readonly (\w+):/g),
    ...names(
      "pool/events.ts",
      "export interface PoolEventMap",
      /^ {2}(\w+): /gm,
    ),
    ...[...codes.matchAll(/"([\w-]+)"/g)].map(([, code]) => code),
  ];
  assert(all.length > 50, `only ${all.length} names found`);
  assertEquals(all.filter((name) => !reference.includes(`\`${name}\``)), []);

  const workers = read("docs/workers.md");
  const more = [
    ...names(
      "shared/options.ts",
      "export interface SharedPoolOptions",
      /^ {2}(\w+)\??:/gm,
    ),
    ...names(
      "shared/shared_stats.ts",
      "export interface SharedPoolStats",
      /readonly (\w+):/g,
    ),
  ];
  assertEquals(more.length, 3);
  assertEquals(more.filter((name) => !workers.includes(`\`${name}\``)), []);
});

Deno.test("nothing is left over: no markers, no machine paths, no registry hosts", () => {
  const found: string[] = [];
  const banned = new RegExp(
    [
      "TO" + "DO",
      "FIX" + "ME",
      "X" + "XX",
      "/work" + "/",
      "registry\\.npm" + "js",
      "npm\\.js" + "r\\.",
    ].join("|"),
  );
  const texts = [
    ...published(),
    ...files("tests"),
    ...files("bench"),
    ...files("examples"),
  ];
  for (const path of [...texts, "README.md", "ARCHITECTURE.md", "deno.json"]) {
    read(path).split("\n").forEach((line, at) => {
      if (banned.test(line)) found.push(`${path}:${at + 1}: ${line.trim()}`);
    });
  }
  assertEquals(found, []);
});

Deno.test("comments, messages and documents name things and events, not persons", () => {
  const persons =
    /\b(whoever|whomever|somebody|someone|nobody|anybody|everybody|deserves?)\b/i;
  const seats = /\bseats?\b/i;
  const core = /^(ffi|pool|shared)\//;
  const found: string[] = [];
  const folders = ["tests", "bench", "examples", "tools"];
  for (
    const path of [
      ...published(),
      ...folders.flatMap((each) => [...files(each)]),
      ...files("docs", ".md"),
      "README.md",
      "ARCHITECTURE.md",
    ]
  ) {
    read(path).split("\n").forEach((line, at) => {
      const [comment] = line.match(/^\s*(\*|\/\*\*|\/\/).*$/) ?? [""];
      // In published code and in the tables of planted bugs, texts too.
      const said = path.startsWith("tests/") && !path.includes("/planted/")
        ? comment
        : line;
      if (persons.test(said) || core.test(path) && seats.test(comment)) {
        found.push(`${path}:${at + 1}: ${line.trim()}`);
      }
    });
  }
  assertEquals(found, []);
});
