// A process in which another mapping has some of the places of the registry, as the arguments say, each
// in another way. Prints whether any is left, then what came of joining a pool in two threads.

import { openNative } from "../../ffi/open.ts";
import { SmritiError } from "../../mod.ts";
import { PAGE_BYTES, PLACES } from "../../ffi/process_page.ts";
import { SharedBlockPool } from "../../shared/mod.ts";

const options = { blockSize: 16_384, maxBlocks: 4 };

/** The pool's number, or the code of the error and the system's word. */
async function join(): Promise<string> {
  try {
    const pool = await SharedBlockPool.join("here", options);
    return `${pool.handle.range.base}`;
  } catch (error) {
    if (!(error instanceof SmritiError)) throw error;
    return `${error.code} ${(error.cause as { call: string }).call}`;
  }
}

if ("WorkerGlobalScope" in globalThis) {
  (globalThis as unknown as Worker).postMessage(await join());
} else {
  const native = openNative();
  if ("reason" in native) throw new Error(native.detail);
  let free = 0;
  PLACES.forEach((place, at) => {
    const range = native.mapAt(place, PAGE_BYTES);
    // V8 has it, which reserves much at random: a foreigner like any other.
    if (typeof range === "number") return;
    const what = Deno.args[at];
    if (what === undefined) {
      native.unmap(range);
      free++;
      return;
    }
    const view = native.view(range, 0, PAGE_BYTES);
    new Uint8Array(view).fill(what === "bytes" ? 0xab : 0);
    view.transfer(0);
    if (what === "forbidden") native.protect(range, 0, PAGE_BYTES, false);
  });
  console.log(free > 0);
  console.log(await join());
  const worker = new Worker(import.meta.url, { type: "module" });
  worker.onmessage = ({ data }) => {
    console.log(data);
    Deno.exit();
  };
}
