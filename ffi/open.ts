/**
 * Picks the native backend for this system and opens it once per isolate: the only file that names them
 * all. Importing needs no permission and asks for none; where it is there already the library is opened
 * at once, so that the sanitizers of a test do not count it as a resource of the first test that makes
 * a pool.
 */
import type { Backend } from "./backend.ts";
import { darwin } from "./darwin.ts";
import { linux } from "./linux.ts";
import { openPosix } from "./posix.ts";
import { openWindows } from "./windows.ts";

/** Why there is no native backend. */
export interface Refusal {
  /** `permission`: `--allow-ffi` is missing. `unsupported`: this system has no backend. */
  readonly reason: "permission" | "unsupported";
  /** What was found, for the message. */
  readonly detail: string;
}

let opened: Backend | undefined;

/** The native backend, or why there is none. Cheap after the first success. */
export function openNative(): Backend | Refusal {
  if (opened !== undefined) return opened;
  const refusal = refusedNow();
  if (refusal !== undefined) return refusal;
  const backend = openForThisSystem();
  if (typeof backend === "string") {
    return { reason: "unsupported", detail: backend };
  }
  opened = backend;
  return backend;
}

/**
 * Why no view of native memory can be made now. The functions of a library that is open go on when the
 * permission is taken back; what makes views does not.
 */
export function refusedNow(): Refusal | undefined {
  if (!("Deno" in globalThis)) {
    return { reason: "unsupported", detail: "only Deno gives it" };
  }
  const { state } = Deno.permissions.querySync({ name: "ffi" });
  return state === "granted" ? undefined : {
    reason: "permission",
    detail: `the ffi permission is "${state}"`,
  };
}

function openForThisSystem(): Backend | string {
  switch (Deno.build.os) {
    case "linux":
      return openPosix(linux);
    case "darwin":
      return openPosix(darwin);
    case "windows":
      return openWindows();
    default:
      return `no backend for ${Deno.build.os}`;
  }
}

/** Puts `backend` in place of this system's, until the returned function is called. For tests. */
export function replaceNative(backend: Backend): () => void {
  const before = opened;
  opened = backend;
  return () => {
    opened = before;
  };
}

openNative();
