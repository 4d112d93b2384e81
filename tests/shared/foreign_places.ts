// A process in which somebody else has some of the places of the board, as the arguments say, each
// in another way. Joins a pool by name in two threads and prints what came of it.

import { openNative } from "../../ffi/open.ts";
import { SmritiError } from "../../mod.ts";
import { BOARD_BYTES, PLACES } from "../../shared/board.ts";
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
  Deno.args.forEach((what, at) => {
    const range = native.mapAt(PLACES[at], BOARD_BYTES);
    if (typeof range === "number") throw new Error(`${PLACES[at]} is taken`);
    const view = native.view(range, 0, BOARD_BYTES);
    new Uint8Array(view).fill(what === "bytes" ? 0xab : 0);
    view.transfer(0);
    if (what === "forbidden") native.protect(range, 0, BOARD_BYTES, false);
  });
  console.log(await join());
  const worker = new Worker(import.meta.url, { type: "module" });
  worker.onmessage = ({ data }) => {
    console.log(data);
    Deno.exit();
  };
}
