/**
 * What a figure depends on and a reader cannot see: the machine, and how busy it was.
 */

import { tried } from "../child.ts";

/** One line about this machine. */
export function machine(): string {
  const { total } = Deno.systemMemoryInfo();
  const memory = `${(total / 2 ** 30).toFixed(0)} GiB`;
  return [
    `${navigator.hardwareConcurrency} cores (${processor()})`,
    memory,
    `${Deno.build.os} ${Deno.osRelease()} ${Deno.build.arch}`,
    `Deno ${Deno.version.deno}, V8 ${Deno.version.v8}`,
  ].join(", ");
}

/** How many programs wanted a processor in the last minute. */
export function load(): string {
  return Deno.loadavg()[0].toFixed(1);
}

/** The commit that runs, and whether files differ from it. */
export async function commit(): Promise<string> {
  const { text, why } = await tried("git", ["rev-parse", "--short", "HEAD"]);
  if (why !== undefined) return "unknown";
  const changed = await tried("git", ["status", "--short", "--untracked=no"]);
  return text.trim() + (changed.text === "" ? "" : ", with changes");
}

function processor(): string {
  if (Deno.build.os !== "linux") return "name not read here";
  const name = /^model name\s*: (.+)$/m.exec(
    Deno.readTextFileSync("/proc/cpuinfo"),
  );
  return name?.[1] ?? "name not told";
}
