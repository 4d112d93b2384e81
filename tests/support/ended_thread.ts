// The number of a thread that has ended, as the OS counts them here. Run as a Worker, this file is
// that thread.

import { openNative } from "../../ffi/open.ts";

const NOBODY = 2 ** 31 - 1;

const native = openNative();
const threads = "reason" in native ? undefined : native.threads;

/** Ends a thread if it must: some systems know the ended only by what the living were given. */
export async function endedThread(): Promise<number> {
  if (threads === undefined || !threads.isAlive(NOBODY)) return NOBODY;
  const worker = new Worker(import.meta.url, { type: "module" });
  const number = await new Promise<number>((resolve) => {
    worker.onmessage = ({ data }) => resolve(data);
  });
  worker.terminate();
  while (threads.isAlive(number)) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return number;
}

if ("WorkerGlobalScope" in globalThis) {
  (globalThis as unknown as Worker).postMessage(threads?.current());
}
