// Files that are broken, odd, deep or large: the plugin never throws, whatever the parser makes of
// them. What the parser itself refuses is not linted at all.

import { assert, assertEquals } from "@std/assert";
import { Rng } from "../support/rng.ts";
import { lint, programsOf } from "./programs.ts";

const HEAD = `import { BlockPool } from "@smriti/pool";
const pool = new BlockPool({ blockSize: 64, maxBlocks: 8 });
async function f(x) { const block = await pool.acquire(); const view = block.bytes;
`;

/** Lints a text; `undefined` if the parser refuses it. */
function tryLint(fileName: string, source: string): number | undefined {
  try {
    return lint(fileName, source).length;
  } catch (error) {
    if (error instanceof Error && /errored/.test(error.message)) {
      throw new Error(`on ${JSON.stringify(source)}`, { cause: error.cause });
    }
    return undefined;
  }
}

const ODD = [
  "",
  ";",
  "a(); ; b();",
  "for (;;);",
  "while (pool.acquire());",
  "if (block); else block.release();",
  "const [, , b] = await pool.acquireMany(3);",
  "const { ...rest } = block; const { bytes = 1, ...others } = block;",
  "class A { static { pool.acquireSync(); } static x = pool.acquireSync(); ; }",
  "class A { #b; m() { return #b in this; } get [pool.acquire()]() { return 1; } }",
  "export default function () { return pool.acquire(); }",
  "export default class { m() { return pool.acquireSync(); } }",
  "export default pool.acquireSync();",
  "namespace A.B { export const b = pool.acquireSync(); }",
  "declare const pool: import('@smriti/pool').BlockPool; pool.acquireSync();",
  "enum E { A = 1, 'b' } type T = { [k: string]: Block; (): Block; new (): Block };",
  "label: for (const x of y) { continue label; } other: { break other; }",
  "switch (pool.acquireSync()) {} switch (x) { default: case 1: block.release(); }",
  "try {} catch {} finally {} try { throw pool.acquireSync(); } catch ({ bytes }) {}",
  "`${`${pool.acquireSync()}`}`; pool.acquireSync()`${block}`;",
  "const r = /(?<x>a)/v, n = 1_000n, o = 0xf_f; block.bytes[0n];",
  "(await pool?.acquire?.())?.bytes?.[0]!.x satisfies Y as Z;",
  "pool.acquire(...a, ...await pool.acquireMany(2)); f(...block);",
  "async () => { for await (using b of pool.acquireMany(2)); }",
  "let a, b; [a, b] = await pool.acquireMany(2); ({ a, b: [a] } = b);",
  "a ||= await pool.acquire(); a &&= pool.acquireSync(); a ??= a; a += pool.acquireSync();",
  "function* g() { yield* chunks(r, pool); const x = yield pool.acquireSync(); }",
  "new pool.acquire; new (pool.acquire()); new.target; import.meta.pool.acquire();",
  "@pool.acquire() class D { @pool.use((b) => b) m(@dec p: Block) {} }",
  "function f(this: Block, { a: [{ b = block }] }: { a: Block[] }, ...c: Block[]) {}",
  "const pool = pool.acquire(pool); const block = block; var v = v.bytes;",
  "const f = (b: Block) => g(b), g = (b: Block) => f(b); f(await pool.acquire());",
  "const f = () => f; f()()()(pool.acquireSync());",
  "do { var x = await pool.acquire(); } while (x.bytes[0]); x.release();",
  "using x = null, y = await pool.acquire(), z = undefined;",
  "const x = <Block> y; const z = y as unknown as Block; z.bytes; x[0];",
  "return_: { await using q = pool; await q.acquire(); }",
  "with_(block).x = block; block.x.y = block.bytes; block = block;",
];

Deno.test("odd programs do not throw, in any language", () => {
  for (const source of ODD) {
    for (const end of ["ts", "tsx", "js", "jsx", "mts", "cts"]) {
      tryLint(`odd.${end}`, source);
      tryLint(`odd.${end}`, `${HEAD}${source}\n}`);
    }
  }
});

Deno.test("what stands behind a stray semicolon is not taken for missing", () => {
  // The tree of Deno 2.9 ends a list of statements there.
  const source = `${HEAD}view[0] = 1;\n;\nblock.release();\n}\n`;
  assertEquals(lint("a.ts", source), []);
});

Deno.test("deep programs do not throw", () => {
  const deep = (n: number) => [
    `return ${Array(n).fill("view[0]").join(" + ")};`,
    `return ${Array(n).fill("view").join(" ?? ")};`,
    `return ${"g(".repeat(n)}view${")".repeat(n)};`,
    `return view${".subarray(1)".repeat(n)};`,
    `return ${"[".repeat(n)}view${"]".repeat(n)};`,
    `return ${"x ? view : ".repeat(n)}0;`,
    `return ${"() => ".repeat(n)}view;`,
    `${"{".repeat(n)}view[0];${"}".repeat(n)}`,
    `${"if (x) {".repeat(n)}view[0];${"}".repeat(n)}`,
    `${"if (x) view[0]; else ".repeat(n)}{}`,
    `${"for (;;) {".repeat(n)}view[0];${"}".repeat(n)}`,
    `${"try {".repeat(n)}view[0];${"} finally { view[1]; }".repeat(n)}`,
    `const a: ${"Array<".repeat(n)}Block${">".repeat(n)} = x;`,
  ];
  for (const n of [10, 150, 250]) {
    for (const source of deep(n)) tryLint("a.ts", `${HEAD}${source}}`);
  }
});

Deno.test("a huge file does not throw, and what it has is found", () => {
  const one = (i: number) =>
    `async function f${i}(conn) {
  const block = await pool.acquire();
  if (conn === null) return ${i};
  await conn.read(block.bytes);
  block.release();
}`;
  const source = `${HEAD}}\n${
    Array.from({ length: 2_000 }, (_, i) => one(i)).join("\n")
  }`;
  assertEquals(lint("a.js", source).length, 2_001);
});

Deno.test("a function without end in sight is given up, not reported wrongly", () => {
  const lines = "await conn.read(block.bytes);\n".repeat(20_000);
  assertEquals(lint("a.ts", `${HEAD}${lines}block.release(); }`), []);
});

const JUNK = [
  ..."; { } ( ) [ ] , => ... ?. ! : = == null".split(" "),
  ..."await async yield using return throw break continue new this super".split(
    " ",
  ),
  ..."block block.bytes block.release() pool.acquire() pool.use((b)=>b)".split(
    " ",
  ),
  "try {",
  "} catch {",
  "} finally {",
  "for (;;) ",
  "switch (x) { case 1:",
  "if (x) ",
  "else ",
  "class A { static { ",
  "function* ",
  "`${block}`",
];

Deno.test("programs with random damage do not throw", () => {
  const rng = new Rng(21);
  const below = (n: number) => rng.next() % n;
  const programs = [
    ...programsOf("programs/release.txt"),
    ...programsOf("programs/mixed.txt"),
  ];
  let linted = 0;
  for (let round = 0; round < 3_000; round++) {
    const { source } = programs[below(programs.length)];
    const words = source.split(/(\s+|[()[\]{};,.]|=>)/);
    for (let count = 1 + below(3); count > 0; count--) {
      const at = below(words.length);
      const word = below(2) === 0
        ? JUNK[below(JUNK.length)]
        : words[below(words.length)];
      words.splice(at, below(3), ...below(3) === 0 ? [] : [word]);
    }
    if (tryLint("damaged.ts", words.join("")) !== undefined) linted++;
  }
  assert(linted > 150, `${linted} programs were still programs`);
});
