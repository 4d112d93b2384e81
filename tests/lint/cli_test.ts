// The plugin as a user has it: named in a `deno.json`, run by `deno lint`.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { canRunDeno } from "../support/platform.ts";

const PLUGIN = new URL("../../lint/mod.ts", import.meta.url).href;

const BAD = `import { BlockPool } from "@smriti/pool";
const pool = new BlockPool({ blockSize: 4096, maxBlocks: 8 });
export async function f(conn: Deno.Conn) {
  const block = await pool.acquire();
  const n = await conn.read(block.bytes);
  if (n === null) return 0;
  block.release();
  return block.bytes[0];
}
`;

/** A project of one file that lists the plugin. */
class Project implements Disposable {
  readonly #folder = Deno.makeTempDirSync({ prefix: "smriti_lint_" });

  constructor(source: string, lint: Record<string, unknown> = {}) {
    const config = {
      imports: { "@smriti/pool": "jsr:@smriti/pool@0" },
      lint: { plugins: [PLUGIN], ...lint },
    };
    this.#write("deno.json", JSON.stringify(config));
    this.#write("main.ts", source);
  }

  async lint(...args: string[]): Promise<{ code: number; text: string }> {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["lint", ...args, "main.ts"],
      cwd: this.#folder,
      env: { NO_COLOR: "1" },
    }).output();
    const decoder = new TextDecoder();
    return { code, text: decoder.decode(stdout) + decoder.decode(stderr) };
  }

  get source(): string {
    return Deno.readTextFileSync(`${this.#folder}/main.ts`);
  }

  #write(name: string, text: string): void {
    Deno.writeTextFileSync(`${this.#folder}/${name}`, text);
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.#folder, { recursive: true });
  }
}

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, ignore: !canRunDeno, fn });
}

test("deno lint --json of a project that lists the plugin has its reports", async () => {
  using project = new Project(BAD);
  const { code, text } = await project.lint("--json");
  assertEquals(code, 1);
  const { diagnostics, errors } = JSON.parse(text.slice(text.indexOf("{")));
  assertEquals(errors, []);
  const found = diagnostics.map((each: {
    code: string;
    range: { start: { line: number } };
  }) => `${each.range.start.line} ${each.code}`);
  assertEquals(found.sort(), [
    "4 smriti/release",
    "8 smriti/no-use-after-release",
  ]);
  for (const { message, hint } of diagnostics) assert(message && hint);
});

test("deno lint shows message and hint", async () => {
  using project = new Project(BAD);
  const { text } = await project.lint();
  assertStringIncludes(text, "`block` is acquired here and not released");
  assertStringIncludes(text, "`using block = …`");
});

test("a comment switches one report off, and no other", async () => {
  const source = BAD.replace(
    "  const block",
    "  // deno-lint-ignore smriti/release\n  const block",
  );
  using project = new Project(source);
  const { text } = await project.lint();
  assert(!text.includes("smriti/release]"), text);
  assertStringIncludes(text, "smriti/no-use-after-release");
});

test("a rule can be excluded", async () => {
  using project = new Project(BAD, {
    rules: { exclude: ["smriti/no-use-after-release"] },
  });
  const { text } = await project.lint();
  assert(!text.includes("no-use-after-release"), text);
  assertStringIncludes(text, "smriti/release");
});

test("deno lint --fix writes `using`", async () => {
  using project = new Project(BAD.replace("  return block.bytes[0];\n", ""));
  const { code, text } = await project.lint("--fix");
  assertEquals(code, 0, text);
  assertStringIncludes(project.source, "using block = await pool.acquire();");
});

test("a right program passes", async () => {
  using project = new Project(
    BAD.replace("const block", "using block").replace(
      "  block.release();\n",
      "",
    ),
  );
  const { code, text } = await project.lint();
  assertEquals(code, 0, text);
});
