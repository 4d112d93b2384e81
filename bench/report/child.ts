/**
 * A process for each measurement: V8 specialises a loop for what it has seen, and a heap remembers.
 *
 * The child tells its result as a line of JSON on stderr; stdout is V8's, for `--trace-gc`.
 */

/** The child's side. */
export function report(result: unknown): void {
  Deno.stderr.writeSync(
    new TextEncoder().encode(`${JSON.stringify(result)}\n`),
  );
}

/** Runs a module, beside this one or by its URL, in a Deno of its own. */
export async function inChild<T>(
  module: string,
  args: readonly (string | number)[],
  v8Flags: readonly string[] = [],
): Promise<T & { readonly trace: string }> {
  const { stdout, stderr } = await run(Deno.execPath(), [
    ...["run", "-A", "--no-check", "--frozen"],
    ...v8Flags.map((flag) => `--v8-flags=${flag}`),
    new URL(module, import.meta.url).href,
    ...args.map(String),
  ]);
  return { ...lastLine<T>(stderr), trace: stdout };
}

/** Runs a program that prints its result as JSON on stdout. */
export async function inProgram<T>(path: string, args: string[]): Promise<T> {
  return lastLine((await run(path, args)).stdout);
}

function lastLine<T>(text: string): T {
  return JSON.parse(text.trimEnd().split("\n").at(-1)!);
}

async function run(path: string, args: string[]) {
  const output = await new Deno.Command(path, { args }).output();
  const [stdout, stderr] = [output.stdout, output.stderr].map((bytes) =>
    new TextDecoder().decode(bytes)
  );
  if (output.success) return { stdout, stderr };
  throw new Error(
    `${path} ${args.join(" ")} ended with ${output.code}:\n${stderr}`,
  );
}
