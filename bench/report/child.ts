/**
 * A process for each measurement: V8 specialises a loop for what it has seen, and a heap remembers.
 *
 * The child tells its result as a line of JSON on stderr; stdout is V8's, for `--trace-gc`.
 */

/** What a child said, and what V8 said about it. */
export interface Told<T> {
  readonly result: T;
  /** The lines of `--trace-gc`, if that was asked for. */
  readonly trace: string;
}

/** The child's side. */
export function report(result: unknown): void {
  Deno.stderr.writeSync(
    new TextEncoder().encode(`${JSON.stringify(result)}\n`),
  );
}

/** Runs a module of this folder in a Deno of its own. */
export async function inChild<T>(
  module: string,
  args: readonly (string | number)[],
  v8Flags: readonly string[] = [],
): Promise<Told<T>> {
  const flags = v8Flags.length === 0 ? [] : [`--v8-flags=${v8Flags.join(",")}`];
  return await run<T>(Deno.execPath(), [
    "run",
    "-A",
    "--no-check",
    "--frozen",
    ...flags,
    new URL(module, import.meta.url).href,
    ...args.map(String),
  ], "stderr");
}

/** Runs a program that prints its result as JSON on stdout. */
export async function inProgram<T>(
  path: string,
  args: readonly string[],
): Promise<T> {
  return (await run<T>(path, args, "stdout")).result;
}

async function run<T>(
  path: string,
  args: readonly string[],
  from: "stdout" | "stderr",
): Promise<Told<T>> {
  const output = await new Deno.Command(path, {
    args: [...args],
    stdout: "piped",
    stderr: "piped",
  }).output();
  const stdout = new TextDecoder().decode(output.stdout);
  const stderr = new TextDecoder().decode(output.stderr);
  const line = (from === "stdout" ? stdout : stderr).trimEnd().split("\n").at(
    -1,
  );
  if (!output.success || !line?.startsWith("{")) {
    throw new Error(
      `${path} ${args.join(" ")} ended with ${output.code}:\n${stderr}`,
    );
  }
  return { result: JSON.parse(line), trace: stdout };
}
