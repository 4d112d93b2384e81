/**
 * Which runtime this is, and whether pools work on it.
 *
 * Owns the versions; what there is of a runtime's own is asked for where it is used.
 */
import { SmritiError } from "./errors.ts";

/** The oldest that the tests run on, as major and minor version. */
const OLDEST: Readonly<Record<string, readonly [number, number]>> = {
  Deno: [2, 5],
  Node: [24, 0],
  Bun: [1, 4],
};

interface Versions {
  readonly Deno?: { readonly version?: { readonly deno?: string } };
  readonly process?: {
    readonly versions?: { readonly bun?: string; readonly node?: string };
    readonly getBuiltinModule?: (
      name: string,
    ) => { readonly isMainThread?: boolean } | undefined;
  };
}

/** Name and version of this runtime, such as `["Deno", "2.9.6"]`. */
export function runtime(): readonly [name: string, version: string] {
  const { Deno, process } = globalThis as Versions;
  // Deno and Bun have a `process` that passes for Node's.
  const deno = Deno?.version?.deno;
  if (deno !== undefined) return ["Deno", deno];
  const bun = process?.versions?.bun;
  if (bun !== undefined) return ["Bun", bun];
  return ["Node", process?.versions?.node ?? "of an unknown version"];
}

/** Whether this isolate is a Worker, of the Web or of `node:worker_threads`, which has another scope. */
export function isWorker(): boolean {
  if ("WorkerGlobalScope" in globalThis) return true;
  const { process } = globalThis as Versions;
  return process?.getBuiltinModule?.("node:worker_threads")?.isMainThread ===
    false;
}

/**
 * Throws on a runtime that is too old.
 *
 * @throws {SmritiError} `unsupported`
 */
export function checkRuntime(
  [name, version]: readonly [name: string, version: string] = runtime(),
): void {
  const [major, minor] = OLDEST[name]!;
  const [hasMajor = 0, hasMinor = 0] = version.split(".").map(Number);
  // A version that is no number is accepted.
  if (!(hasMajor < major || hasMajor === major && hasMinor < minor)) return;
  throw new SmritiError(
    "unsupported",
    `Smriti needs ${name} ${major}.${minor} or newer; this is ${name} ${version}`,
  );
}
