/**
 * Whether a thread of this process still runs: the only proof that a Worker can no longer write.
 *
 * Linux only. Elsewhere there is no proof, and nothing is taken from a Worker that may be alive.
 */

/** Asks the OS about threads. */
export interface Threads {
  /** This thread's number. */
  current(): number;
  /** Whether that thread of this process still exists. */
  isAlive(thread: number): boolean;
}

let opened: Threads | undefined;

/** The OS's word on threads, or `undefined` where there is none. Opens the library once. */
export function openThreads(): Threads | undefined {
  if (opened !== undefined || Deno.build.os !== "linux") return opened;
  for (const name of ["libc.so.6", "/lib64/libc.so.6", "/usr/lib/libc.so.6"]) {
    try {
      // SAFETY: the declared types are those of the prototypes in glibc 2.30 and later.
      const { symbols } = Deno.dlopen(name, {
        gettid: { parameters: [], result: "i32" },
        tgkill: { parameters: ["i32", "i32", "i32"], result: "i32" },
      });
      return opened = {
        // SAFETY: takes nothing and returns a number.
        current: () => symbols.gettid(),
        // SAFETY: signal 0 sends nothing: it only asks whether the thread exists.
        isAlive: (thread) => symbols.tgkill(Deno.pid, thread, 0) === 0,
      };
    } catch {
      // Another name, or an older glibc: then there is no proof.
    }
  }
  return undefined;
}
