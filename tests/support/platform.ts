// What this machine can do for a test beyond running it. A test that needs more is ignored where
// that is missing, by one of these names and never by the name of a system.

import { markAsUntransferable } from "node:worker_threads";
import { openNative } from "../../ffi/open.ts";

/** Whether a test can start another Deno. An emulator of another processor may not. */
export const canRunDeno: boolean = succeeds(Deno.execPath(), "--version");

/**
 * Whether another processor is emulated, as `tools/arm64/run.sh` says: address space then costs
 * memory, advice about memory is answered with 0 and forgotten, and time runs 50 times slower.
 */
export const isEmulated: boolean = Deno.env.has("SMRITI_EMULATED");

/** Whether native memory is to be had: whether there is a backend for this system. */
export const hasNative: boolean = !("reason" in openNative());

/** Whether the OS can prove that a thread has ended: only then does a dead Worker's all come back. */
export const provesDeath: boolean = nativeThreads();

/** Whether /proc tells about this process, and not about one that stands in for it (Wine does). */
export const hasProc: boolean = startsWith("/proc/self/stat", `${Deno.pid} `);

/** Whether there are a POSIX shell, pipes with names and signals that ask a process to end. */
export const hasPosixShell: boolean = succeeds("sh", "-c", "command -v mkfifo");

/** Whether there are pipes with names, and a read of one ends when it is closed: from Deno 2.8 on. */
export const hasPipes: boolean = hasPosixShell && isFrom(2, 8);

/** Whether node's `markAsUntransferable` is more than a name: from Deno 2.6 or 2.7 on. */
export const marksBuffers: boolean = returns(() =>
  markAsUntransferable(new ArrayBuffer(1))
);

function isFrom(major: number, minor: number): boolean {
  const [own = 0, ownMinor = 0] = Deno.version.deno.split(".").map(Number);
  return own > major || own === major && ownMinor >= minor;
}

function returns(act: () => void): boolean {
  try {
    act();
    return true;
  } catch {
    return false;
  }
}

function nativeThreads(): boolean {
  const native = openNative();
  return !("reason" in native) && native.threads !== undefined;
}

function succeeds(command: string, ...args: string[]): boolean {
  try {
    return new Deno.Command(command, { args, stdout: "null", stderr: "null" })
      .outputSync().success;
  } catch {
    return false;
  }
}

function startsWith(path: string, text: string): boolean {
  try {
    return Deno.readTextFileSync(path).startsWith(text);
  } catch {
    return false;
  }
}

/** Whether this Deno is of that version or a later one. */
export function hasDeno(...version: [number, number, number]): boolean {
  const mine = Deno.version.deno.split(/[.-]/).map(Number);
  const at = version.findIndex((part, i) => part !== mine[i]);
  return at < 0 || mine[at] > version[at];
}
