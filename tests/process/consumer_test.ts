// A project that depends on this one, with the strictest flags there are, has the package by path or by links:
// then the compiler looks at our sources with their flags, and nothing in them may be wrong.

import { assertEquals, assertMatch } from "@std/assert";
import { canRunDeno } from "../support/platform.ts";

const ROOT = new URL("../../", import.meta.url);
const CONFIG = JSON.parse(Deno.readTextFileSync(new URL("deno.json", ROOT)));
const ENTRIES: Record<string, string> = CONFIG.exports;

const isNewest = !/^2\.[5-8]\./.test(Deno.version.deno);

/** All that asks for more than `strict`, as far as Deno lets a program say it. */
const FLAGS = {
  allowUnreachableCode: false,
  allowUnusedLabels: false,
  erasableSyntaxOnly: true,
  exactOptionalPropertyTypes: true,
  // The compiler of older versions has it for projects with declarations alone.
  ...(isNewest && { isolatedDeclarations: true }),
  noFallthroughCasesInSwitch: true,
  noImplicitOverride: true,
  noImplicitReturns: true,
  noPropertyAccessFromIndexSignature: true,
  noUncheckedIndexedAccess: true,
  noUncheckedSideEffectImports: true,
  noUnusedLocals: true,
  noUnusedParameters: true,
  verbatimModuleSyntax: true,
};

/** A project that imports the package, as the compiler sees it. */
async function check(
  code: string,
  config: Record<string, unknown>,
): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "smriti-consumer-" });
  try {
    await Deno.writeTextFile(`${folder}/main.ts`, code);
    await Deno.writeTextFile(
      `${folder}/deno.json`,
      JSON.stringify({ ...config, compilerOptions: FLAGS }),
    );
    const { code: status, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["check", "--quiet", "--no-lock", "main.ts"],
      cwd: folder,
      env: { NO_COLOR: "1" },
      stdout: "null",
      stderr: "piped",
    }).output();
    const said = new TextDecoder().decode(stderr);
    return status === 0 ? "" : said || `exit code ${status}`;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const byPath = {
  imports: Object.fromEntries(
    Object.entries(ENTRIES).map(([name, file]) => [
      `@smriti/pool${name.slice(1)}`,
      new URL(file, ROOT).href,
    ]),
  ),
};

const byLinks = {
  imports: Object.fromEntries(
    Object.keys(ENTRIES).map((name) => [
      `@smriti/pool${name.slice(1)}`,
      `jsr:@smriti/pool@${CONFIG.version}${name.slice(1)}`,
    ]),
  ),
  links: [decodeURIComponent(ROOT.pathname)],
};

/** Each entry, and the types of options that it exports. */
const entries = Object.entries(ENTRIES).map(([name, file], at) => {
  const text = Deno.readTextFileSync(new URL(file, ROOT))
    .replaceAll(/\/\*[^]*?\*\/|\/\/.*/g, "");
  const options = [...text.matchAll(/\b\w+Options\b/g)].map(([type]) => type)
    .filter((type) =>
      type !== "FilledOptions" && !type.endsWith("FilledOptions")
    );
  return { module: `m${at}`, name: `@smriti/pool${name.slice(1)}`, options };
});

/** Uses every entry; each option of each type of options must take `undefined`. */
const CODE = `${
  entries.map(({ module, name }) => `import * as ${module} from "${name}";`)
    .join("\n")
}

type Optional<T> = {
  [K in keyof T]-?: Record<never, never> extends Pick<T, K> ? K : never;
}[keyof T];
type Refusing<T> = {
  [K in Optional<T>]: undefined extends Required<T>[K] ? never : K;
}[Optional<T>];
type Check<Names extends never> = Names;

${
  entries.flatMap(({ module, options }) =>
    options.map((type) =>
      `export type ${module}${type} = Check<Refusing<${module}.${type}>>;`
    )
  ).join("\n")
}
console.log(${entries.map(({ module }) => module).join(", ")});
`;

/** How a program uses it. */
const USE = `
import { BlockPool, type Pool } from "@smriti/pool";
import { collect, copy, readBody } from "@smriti/pool/io";
import { observePool } from "@smriti/pool/otel";
import { SharedBlockPool } from "@smriti/pool/shared";

export async function use(signal: AbortSignal | undefined): Promise<number> {
  const pool: Pool = new BlockPool({ blockSize: 1, maxBlocks: 1, name: undefined });
  const block = await pool.acquire({ signal, timeoutMs: undefined });
  const request = new Request("http://localhost");
  await readBody(request, block, { signal, limit: undefined });
  await collect(request, pool, { signal });
  using file = await Deno.open("x");
  await copy(file, file, block, { signal, onProgress: undefined });
  const shared = SharedBlockPool.create({ blockSize: 1, maxBlocks: 1, overdueMs: undefined });
  observePool(shared)[Symbol.dispose]();
  const [first] = await shared.acquireMany(1, { signal });
  return first?.size ?? 0;
}
`;

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, ignore: !canRunDeno, fn });
}

// Older versions look for the entries of a linked package in its parent folder.
const ways = isNewest ? { path: byPath, links: byLinks } : { path: byPath };
for (const [how, config] of Object.entries(ways)) {
  test(`a consumer with the strictest flags accepts the package by ${how}`, async () => {
    assertEquals(await check(CODE, config), "");
    assertEquals(await check(USE, config), "");
  });
}

test("what no strict consumer accepts is found", async () => {
  const said = await check("export const wrong = [1][0] + 1;", byPath);
  assertMatch(said, /TS2532|TS9010/);
});
