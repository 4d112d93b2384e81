/**
 * The control groups that this process is in: where their files are, and what stands in these.
 *
 * Reads what may be read already and never asks for a permission. Knows no pools, and decides nothing.
 */
import { readFileSync } from "node:fs";
import { openNative } from "../ffi/open.ts";

/** A control group that accounts for memory. */
export interface Cgroup {
  /** Where its files are. */
  readonly folder: string;
  /** Which files it has. */
  readonly version: 1 | 2;
}

/**
 * A file of the system's as text, or `undefined` if it is missing or may not be read.
 *
 * Deno reads files under /proc and /sys for programs with all permissions only. Where the permissions
 * to read this file and for FFI were given, libc reads it.
 */
export function readGranted(path: string): string | undefined {
  if (!isGranted({ name: "read", path })) return undefined;
  try {
    // By Node's function, what was read would stay external memory until V8 collects it.
    return "Deno" in globalThis
      ? Deno.readTextFileSync(path)
      : readFileSync(path, "utf8");
  } catch (error) {
    if (!("Deno" in globalThis)) return undefined;
    if (!(error instanceof Deno.errors.NotCapable)) return undefined;
    const native = openNative();
    const text = "reason" in native ? "" : native.host?.read(path);
    return text || undefined;
  }
}

/** Whether a permission was given already; runtimes without such a question answer when asked to act. */
export function isGranted(permission: Deno.PermissionDescriptor): boolean {
  return !("Deno" in globalThis) ||
    Deno.permissions.querySync(permission).state === "granted";
}

/**
 * The control groups that account for this process's memory, its own one first and then those that it
 * is in, as far as they are to be seen; `root` is where /proc and the mounts are looked for.
 */
export function cgroups(root = ""): Cgroup[] {
  const own = readGranted(`${root}/proc/self/cgroup`);
  const mounts = readGranted(`${root}/proc/self/mountinfo`);
  if (own === undefined || mounts === undefined) return [];
  const paths: { cgroup?: string; cgroup2?: string } = {};
  for (const line of own.split("\n")) {
    // ID:CONTROLLERS:PATH, without controllers for version 2.
    const [, controllers, path] = line.match(/^\d+:([^:]*):(.*)$/) ?? [];
    if (controllers === undefined || path === undefined) continue;
    if (controllers === "") paths.cgroup2 = path;
    if (controllers.split(",").includes("memory")) paths.cgroup = path;
  }
  const found = new Map<string, Cgroup>();
  for (const line of mounts.split("\n")) {
    // ID PARENT DEVICE ROOT PLACE OPTIONS [TAG...] - KIND SOURCE OPTIONS
    const [mount = "", kind = ""] = line.split(" - ");
    const [type, , options = ""] = kind.split(" ");
    if (type !== "cgroup" && type !== "cgroup2") continue;
    const [, , , top, place] = mount.split(" ").map(unescape);
    const path = paths[type];
    if (path === undefined || top === undefined || place === undefined) {
      continue;
    }
    if (type === "cgroup" && !options.split(",").includes("memory")) continue;
    const inside = below(top, path);
    // The process is in no group that this mount shows.
    if (inside === undefined) continue;
    for (let depth = inside.length; depth >= 0; depth--) {
      const folder = [root + place, ...inside.slice(0, depth)].join("/");
      found.set(folder, { folder, version: type === "cgroup" ? 1 : 2 });
    }
  }
  return [...found.values()];
}

/** The steps from the folder `top` down to `path`, if that is in it. */
function below(top: string, path: string): string[] | undefined {
  const steps = (text: string) => text.split("/").filter((step) => step !== "");
  const above = steps(top);
  const all = steps(path);
  const isIn = above.every((step, at) => step === all[at]);
  return isIn && !all.includes("..") ? all.slice(above.length) : undefined;
}

/** Spaces and the like stand as octal numbers in a list of mounts. */
function unescape(text: string): string {
  return text.replaceAll(
    /\\([0-7]{3})/g,
    (_, code) => String.fromCharCode(parseInt(code, 8)),
  );
}
