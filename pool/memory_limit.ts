/**
 * How much memory this process may have, by its container, its resource limits or the machine.
 *
 * The raw bound: what the process has taken already is not subtracted. Asks for no permission; what may
 * not be read is unknown. Also announces pools that can exceed it.
 */
import { totalmem } from "node:os";
import type { MemoryLimit } from "../ffi/backend.ts";
import { openNative } from "../ffi/open.ts";
import { cgroups, isGranted, readGranted } from "./cgroup.ts";
import { show } from "./checks.ts";
import { warn } from "./console.ts";
import { type OsRefusal, SmritiError } from "./errors.ts";
import type { Events } from "./events.ts";
import type { Layout } from "./layout.ts";
import type { FilledOptions } from "./options.ts";
import { Timer } from "./timers.ts";

export type { MemoryLimit };

/** A control group's number above this means no limit. */
const NO_LIMIT = 2 ** 60;

/** A process with V8 in it takes more than this before it makes a pool, so no limit is lower. */
const LEAST = 32 * 1024 * 1024;

/**
 * The tightest bound to the memory of this process that may be known, or `undefined` if none is.
 *
 * Looked for are the limits of its control groups (cgroup v2 and v1, the whole path up), which are read
 * where the permission to read their files is there already (`--allow-read=/proc/self,/sys/fs/cgroup`
 * is enough beside `--allow-ffi`; without it Deno wants `--allow-all`); `RLIMIT_AS` and `RLIMIT_DATA`
 * (with `--allow-ffi`); and the machine's memory (with `--allow-ffi` or `--allow-sys=systemMemoryInfo`).
 * No permission is asked for. Costs some 0.3 ms.
 *
 * @example As many blocks as fit into half of it
 * ```ts
 * import { BlockPool, memoryLimit } from "@smriti/pool";
 *
 * const blockSize = 64 * 1024;
 * const half = (memoryLimit()?.bytes ?? 512 * 1024 * 1024) / 2;
 * const maxBlocks = Math.min(4096, Math.floor(half / blockSize));
 * await using pool = new BlockPool({ blockSize, maxBlocks });
 * ```
 */
export function memoryLimit(): MemoryLimit | undefined {
  const native = openNative();
  const told = "reason" in native ? [] : native.host?.limits() ?? [];
  return tightest([...cgroupLimits(), ...told, ...machine()]);
}

/** The limits of the control groups found under `root`. */
export function cgroupLimits(root = ""): MemoryLimit[] {
  const limits: MemoryLimit[] = [];
  const add = (text: string | undefined) => {
    const bytes = text === undefined ? NaN : Number(text);
    if (bytes > 0 && bytes < NO_LIMIT) limits.push({ bytes, source: "cgroup" });
  };
  for (const { folder, version } of cgroups(root)) {
    add(
      readGranted(
        `${folder}/${version === 1 ? "memory.limit_in_bytes" : "memory.max"}`,
      ),
    );
    if (version === 2) continue;
    // Includes the limits of groups above those that are visible.
    const stat = readGranted(`${folder}/memory.stat`);
    add(stat?.match(/^hierarchical_memory_limit (\d+)$/m)?.[1]);
  }
  return limits;
}

/** The smallest of some limits; of equal ones the first. */
export function tightest(
  limits: readonly MemoryLimit[],
): MemoryLimit | undefined {
  let least: MemoryLimit | undefined;
  for (const limit of limits) {
    if (least === undefined || limit.bytes < least.bytes) least = limit;
  }
  return least && Object.freeze({ ...least });
}

function machine(): MemoryLimit[] {
  const mayAsk = isGranted({ name: "sys", kind: "systemMemoryInfo" });
  return mayAsk ? [{ bytes: totalmem(), source: "machine" }] : [];
}

/**
 * Looks whether a pool can come to more than the process may have. Returns what then is to be called
 * once there is the pool: in the next turn of the event loop, when the program has had time to listen,
 * it is told by the event `oversized`, or by `console.warn`.
 *
 * @throws {SmritiError} `out-of-memory` with `prefault`, which would have it all made resident
 */
export function checkSize(
  options: FilledOptions,
  layout: Layout,
  events: Events,
  limitOf: () => MemoryLimit | undefined = memoryLimit,
): (() => Timer) | undefined {
  const mostBytes = layout.bytesOf(options.maxBlocks);
  if (mostBytes <= LEAST) return undefined;
  const limit = limitOf();
  if (limit === undefined || mostBytes <= limit.bytes) return undefined;
  const { bytes: limitBytes, source } = limit;
  const fitting = layout.blocksIn(limitBytes);
  const pool = options.name;
  const words = `pool ${show(pool)} can come to ${mostBytes} bytes, and this ` +
    `process may have ${limitBytes} (${source}): ` +
    (fitting > 0
      ? `at most ${fitting} blocks fit (maxBlocks is ${options.maxBlocks})`
      : "not even one block fits");
  if (options.prefault) {
    const cause: OsRefusal = {
      call: "prefault",
      bytes: mostBytes,
      error: source,
    };
    throw new SmritiError(
      "out-of-memory",
      `${words}; prefault would make all of it resident`,
      { cause },
    );
  }
  const tell = () => {
    const detail = () => ({ pool, mostBytes, limitBytes });
    if (!events.emit("oversized", detail)) warn(words);
  };
  return () => Timer.once(0, events, tell);
}
