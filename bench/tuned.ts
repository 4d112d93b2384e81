/**
 * Deno tuned for programs that take fresh arrays: flags of V8, and a stand-in for the pooled
 * allocator that Deno works on (native/kept.c). Each is a contestant wherever fresh arrays are one.
 */
import type { Tuning } from "./child.ts";
import { compile, native } from "./compile.ts";

const FLAGS: Readonly<Record<string, string[]>> = {
  "growing factor 8": ["--external-memory-max-growing-factor=8"],
  "semi-spaces of 64 MB": [
    "--min-semi-space-size=64",
    "--max-semi-space-size=64",
  ],
};
const KEPT = "kept buffers";

/** By name, what a reader is told of each tuning. */
export const TUNED: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    Object.entries(FLAGS).map(([name, flags]) =>
      [name, `\`--v8-flags=${flags.join(",")}\``] as const
    ),
  ),
  [KEPT]: "a stand-in for the pooled allocator that Deno works on: freed " +
    "buffers on lists, zeroed when they are taken",
};

/** The same in a sentence. */
export const TUNED_NOTE = `Tuned: ${
  Object.entries(TUNED).map(([name, what]) => `${name} is ${what}`).join("; ")
}.`;

/** The tunings that can be had here, by name, and what can not. */
export interface Tuned extends Disposable {
  readonly tunings: Readonly<Record<string, Tuning>>;
  readonly leftOut: readonly string[];
}

/** Finds them; compiles the stand-in. */
export async function tuned(): Promise<Tuned> {
  const built = await compile([{
    names: [KEPT],
    compiler: "cc",
    flags: (target) => {
      const files = ["-o", target, native("kept.c")];
      return ["-O2", "-shared", "-fPIC", ...files, "-pthread"];
    },
  }]);
  const tunings: Record<string, Tuning> = {};
  for (const [name, v8Flags] of Object.entries(FLAGS)) {
    tunings[name] = { v8Flags };
  }
  const kept = built.paths.get(KEPT);
  if (kept !== undefined) tunings[KEPT] = { env: { LD_PRELOAD: kept } };
  return {
    tunings,
    leftOut: built.leftOut,
    [Symbol.dispose]: () => built[Symbol.dispose](),
  };
}

/** The name of a contestant that is tuned so. */
export function tunedName(name: string, tuning: string): string {
  return `${name}, ${tuning}`;
}
