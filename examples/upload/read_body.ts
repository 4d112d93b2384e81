/**
 * Reads one request body whole into one block, with no buffer of its own. It never acquires or
 * releases the block, and it never answers the request.
 */

import type { Block } from "@smriti/pool";

/** One read asks for no more: the runtime's own buffer of a connection grows to the largest view ever asked for. */
const READ_SIZE = 64 * 1024;

/** The sender went away, or stopped before the length it had announced. */
export class UploadCut extends Error {
  override name = "UploadCut";
}

/**
 * Fills `block` with the body of `request` and returns the filled part, or `null` when the body is larger than `limit`
 * (the rest of it is cancelled, so the connection stays usable). The view lives as long as the lease of the block.
 */
export async function readBody(
  request: Request,
  block: Block,
  limit: number = block.size,
): Promise<Uint8Array<ArrayBuffer> | null> {
  const body = request.body;
  if (body === null) return block.bytes.subarray(0, 0);
  const announced = request.headers.get("content-length");
  if (announced !== null && Number(announced) > limit) {
    await cancel(body);
    return null;
  }
  const reader = byobReader(body);
  const filled = reader === null
    ? await copyChunks(body.getReader(), block, limit)
    : await fillBlock(reader, block, limit);
  // An HTTP/2 upload that its sender cancels ends like a complete one: only the count shows it.
  if (filled !== null && announced !== null && filled !== Number(announced)) {
    throw new UploadCut(
      `the upload ended after ${filled} of ${announced} bytes`,
    );
  }
  return filled === null ? null : block.bytes.subarray(0, filled);
}

/** The usual path: the runtime writes straight into the block. Returns the bytes read, or `null` when over `limit`. */
async function fillBlock(
  reader: ReadableStreamBYOBReader,
  block: Block,
  limit: number,
): Promise<number | null> {
  let filled = 0;
  while (filled < limit) {
    const end = Math.min(limit, filled + READ_SIZE);
    // The read takes the block's buffer away and brings it back as `value.buffer`. While it is away the block is lent:
    // not even a release could hand this memory to another request. A request body is a socket: when its read rejects,
    // nothing is written any more.
    const { done, value } = await lost(
      block.lend((bytes) => reader.read(bytes.subarray(filled, end)), {
        socket: true,
      }),
    );
    if (value === undefined) throw new UploadCut("the upload was cancelled");
    filled += value.byteLength; // also when done: the last bytes may come with the end
    block.reattach(value);
    if (done) return filled;
  }
  // The block is full, but the body must be read to its end, or the connection could not carry another request.
  const { done, value } = await lost(reader.read(new Uint8Array(1)));
  if (done && !value?.byteLength) return filled;
  await cancel(reader);
  return null;
}

/** The other path: a body that has arrived completely is no byte stream, its chunks are already in memory. */
async function copyChunks(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  block: Block,
  limit: number,
) {
  const bytes = block.bytes;
  let filled = 0;
  for (;;) {
    const { done, value } = await lost(reader.read());
    if (done) return filled;
    if (value.byteLength > limit - filled) {
      await cancel(reader);
      return null;
    }
    bytes.set(value, filled);
    filled += value.byteLength;
  }
}

/** The same route gets both kinds of body, by timing alone; asking is the only way to know which one this is. */
function byobReader(
  body: ReadableStream<Uint8Array>,
): ReadableStreamBYOBReader | null {
  try {
    return body.getReader({ mode: "byob" });
  } catch (error) {
    if (error instanceof TypeError && !body.locked) return null;
    throw error;
  }
}

/** A body that is refused may fail to cancel because its sender is gone: there is nobody left to tell. */
async function cancel(
  source: { cancel(reason?: unknown): Promise<void> },
): Promise<void> {
  await source.cancel("too large").catch(() => {});
}

/** Names a failed read for what it is: the reader's own error says only that a resource went bad. */
async function lost<T>(read: Promise<T>): Promise<T> {
  try {
    return await read;
  } catch (cause) {
    throw new UploadCut("the upload was cut", { cause });
  }
}
