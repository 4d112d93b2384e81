// Other systems' memory under a shared pool, as far as one isolate can play it.

import type { Backend } from "../../ffi/backend.ts";
import { openNative, replaceNative } from "../../ffi/open.ts";
import { WindowsBackend } from "../../ffi/windows.ts";
import { playKernel32 } from "../support/kernel32.ts";

/** This system's backend. */
export function native(): Backend {
  const found = openNative();
  if ("reason" in found) throw new Error(found.detail);
  return found;
}

/**
 * Plays Windows until disposed: memory given back comes back with anything in it, and nothing is
 * known of threads.
 */
export function playWindows(): Disposable {
  const { kernel32 } = playKernel32(native(), true);
  return replacing(new WindowsBackend(kernel32));
}

/** Puts a backend in the place of this system's until disposed. */
export function replacing(backend: Backend): Disposable {
  const restore = replaceNative(backend);
  return { [Symbol.dispose]: restore };
}
