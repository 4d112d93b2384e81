/**
 * Deno tuned for programs that take fresh arrays: flags of V8, and a stand-in for the pooled
 * allocator that Deno works on (native/kept.c). Each is a contestant wherever fresh arrays are one.
 */
import type { Tuning } from "./child.ts";
import { compile, native } from "./compile.ts";

const FACTOR = { v8Flags: ["--external-memory-max-growing-factor=8"] };
const KEPT = "kept buffers";

/** The tunings that can be had here, by name, and what can not. */
export interface Tuned extends Disposable {
  readonly tunings: Readonly<Record<string, Tuning>>;
  readonly leftOut: readonly string[];
}

/** What each tuning is, by name, for a reader. */
export const TUNED: Readonly<Record<string, string>> = {
  "growing factor 8":
    "`--v8-flags=--external-memory-max-growing-factor=8`: V8 lets external memory grow to eight " +
    "times what it was, not to 1.1 times, before it collects",
  "semi-spaces of 64 MB":
    "`--v8-flags=--min-semi-space-size=64,--max-semi-space-size=64`: four times V8's own most, " +
    "from the start",
  [KEPT]:
    "freed buffers kept on a list for each power of two, and zeroed when they are taken " +
    "(`native/kept.c`, preloaded): what Deno's pooled allocator may come to",
};

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
  const tunings: Record<string, Tuning> = {
    "growing factor 8": FACTOR,
    "semi-spaces of 64 MB": {
      v8Flags: ["--min-semi-space-size=64", "--max-semi-space-size=64"],
    },
  };
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
