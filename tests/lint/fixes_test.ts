// What `deno lint --fix` writes: only where it cannot change anything else, and then the report is
// gone.

import { assertEquals } from "@std/assert";
import { lint } from "./programs.ts";

/** A text with all fixes made. */
function fixed(source: string): string {
  const fixes = lint("a.ts", source).flatMap(({ fix }) => fix ?? []);
  let text = source;
  for (const { range: [start, end], text: to } of fixes.reverse()) {
    text = text.slice(0, start) + (to ?? "") + text.slice(end);
  }
  return text;
}

const HEAD = `import { BlockPool } from "@smriti/pool";
const pool = new BlockPool({ blockSize: 64, maxBlocks: 8 });
`;

const CASES: [string, string, string][] = [
  [
    "`using` for a block that goes nowhere",
    `async function f() {
  const block = await pool.acquire();
  return block.bytes[0];
}`,
    `async function f() {
  using block = await pool.acquire();
  return block.bytes[0];
}`,
  ],
  [
    "`using` beside an early release",
    `async function f(x: number) {
  const block = await pool.acquire();
  if (x > 0) return x;
  block.release();
}`,
    `async function f(x: number) {
  using block = await pool.acquire();
  if (x > 0) return x;
  block.release();
}`,
  ],
  [
    "no `using` for a block that is given away on another way",
    `async function f(x: number) {
  const block = await pool.acquire();
  if (x > 0) return x;
  return block;
}`,
    `async function f(x: number) {
  const block = await pool.acquire();
  if (x > 0) return x;
  return block;
}`,
  ],
  [
    "`await` before an acquire",
    `async function f() {
  using block = pool.acquire();
  return block.bytes[0];
}`,
    `async function f() {
  using block = await pool.acquire();
  return block.bytes[0];
}`,
  ],
  [
    "`await` before an acquire whose member is asked for",
    `async function f() {
  return pool.acquire().size;
}`,
    `async function f() {
  return (await pool.acquire()).size;
}`,
  ],
  [
    "no `await` where none may stand",
    `function f() {
  const block = pool.acquire();
  block.bytes.fill(0);
}`,
    `function f() {
  const block = pool.acquire();
  block.bytes.fill(0);
}`,
  ],
  [
    "`await` before a write",
    `async function f(conn: Deno.Conn) {
  using block = await pool.acquire();
  conn.write(block.bytes);
}`,
    `async function f(conn: Deno.Conn) {
  using block = await pool.acquire();
  await conn.write(block.bytes);
}`,
  ],
  [
    "`return await`",
    `async function f(conn: Deno.Conn) {
  using block = await pool.acquire();
  return conn.write(block.bytes);
}`,
    `async function f(conn: Deno.Conn) {
  using block = await pool.acquire();
  return await conn.write(block.bytes);
}`,
  ],
  [
    "`.bytes`",
    `async function f() {
  using block = await pool.acquire();
  return new Response(block);
}`,
    `async function f() {
  using block = await pool.acquire();
  return new Response(block.bytes);
}`,
  ],
  [
    "no `.bytes` for a short form",
    `async function f(url: string) {
  using body = await pool.acquire();
  return await fetch(url, { body });
}`,
    `async function f(url: string) {
  using body = await pool.acquire();
  return await fetch(url, { body });
}`,
  ],
];

for (const [title, bad, good] of CASES) {
  Deno.test(`--fix: ${title}`, () => {
    assertEquals(fixed(HEAD + bad), HEAD + good);
    if (bad !== good && !title.includes("member")) {
      assertEquals(lint("a.ts", HEAD + good), []);
    }
  });
}
