/**
 * Counts the lines of all files of a folder, reading each through the same block: no array for
 * each file, and nothing for the garbage collector to do.
 *
 *     deno run --allow-read --allow-ffi examples/batch_reader.ts FOLDER
 */
import { BlockPool } from "@smriti/pool";

const NEWLINE = 10;

/** Lines of one file, as `wc -l` counts them. */
function lines(path: string, bytes: Uint8Array): number {
  using file = Deno.openSync(path);
  let count = 0;
  for (;;) {
    // Synchronous reads are the fastest for files in the page cache, and done when they return,
    // so there is nothing to lend. A server would read with `await block.lend(…)` instead.
    const size = file.readSync(bytes);
    if (size === null) return count;
    const part = bytes.subarray(0, size);
    for (let at = 0; (at = part.indexOf(NEWLINE, at)) >= 0; at++) count++;
  }
}

const folder = Deno.args[0] ?? ".";
using pool = new BlockPool({ blockSize: 256 * 1024, maxBlocks: 1 });
using block = pool.acquireSync();
let files = 0;
let total = 0;
for (const { name, isFile } of Deno.readDirSync(folder)) {
  if (!isFile) continue;
  files++;
  total += lines(`${folder}/${name}`, block.bytes);
}
console.log(`${files} files, ${total} lines`);
