/**
 * Compiles what is written in C and Go in native/, if the compilers and the libraries are here; else
 * says what is left out, and why. Installs nothing: `native/setup.sh` does.
 */
import { tried } from "./child.ts";

const NATIVE = new URL("./native/", import.meta.url);

/** One compilation. */
export interface Build {
  readonly compiler: string;
  readonly flags: (target: string) => readonly string[];
  /** Contestants that need it. */
  readonly names: readonly string[];
}

/** What could be compiled, by contestant, and what could not; goes away when it is disposed of. */
export interface Built extends Disposable {
  readonly paths: ReadonlyMap<string, string>;
  readonly leftOut: readonly string[];
}

/** The path of a file in native/. */
export function native(file: string): string {
  return decodeURIComponent(new URL(file, NATIVE).pathname);
}

/** Compiles into a folder of its own. */
export async function compile(builds: readonly Build[]): Promise<Built> {
  const folder = await Deno.makeTempDir({ prefix: "smriti-bench-" });
  const paths = new Map<string, string>();
  const leftOut: string[] = [];
  for (const [at, { compiler, flags, names }] of builds.entries()) {
    const target = `${folder}/built${at}`;
    const { why } = await tried(compiler, flags(target));
    for (const name of names) {
      if (why === undefined) paths.set(name, target);
      else leftOut.push(`${name} (${why})`);
    }
  }
  return {
    paths,
    leftOut,
    [Symbol.dispose]: () => Deno.removeSync(folder, { recursive: true }),
  };
}

/** What a report says of it. */
export function leftOutText(leftOut: readonly string[]): string {
  return leftOut.length === 0
    ? "No contestant was left out."
    : `Left out: ${leftOut.join("; ")}.`;
}
