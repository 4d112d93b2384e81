/**
 * Reads one request body whole into one block, with no buffer of its own. It never acquires or
 * releases the block, and it never answers the request.
 */

import { type Block, SmritiError } from "@smriti/pool";

/** No read asks for more: each connection keeps a buffer as large as its largest read. */
const MAX_READ_SIZE = 64 * 1024;
/** Nor for less: a read of a few bytes never ends when the body comes chunked (Deno 2.9.6). */
const MIN_READ_SIZE = 4 * 1024;

/** The sender went away, was too slow, or stopped before the length it had announced. */
export class UploadCut extends Error {
  override name = "UploadCut";
}

/** What a body may be. */
export interface ReadBodyOptions {
  /** Bytes, at most the size of the block, which is the default. */
  readonly limit?: number;
  /** From the first read to the last: whoever stops sending must not keep the block. */
  readonly timeoutMs: number;
}

type Bytes = Uint8Array<ArrayBuffer>;

/** How far a body has been read. */
interface Progress {
  readonly filled: number;
  readonly done: boolean;
}

/**
 * Fills `block` with the body of `request`. Returns the filled part, which lives as long as the
 * lease, or `null` when the body is larger than the limit: its rest is cancelled then.
 *
 * Throws `UploadCut` when the body does not arrive complete and in time. The block is the caller's
 * to release in every case.
 */
export async function readBody(
  request: Request,
  block: Block,
  { limit = block.size, timeoutMs }: ReadBodyOptions,
): Promise<Bytes | null> {
  const body = request.body;
  if (body === null) return block.bytes.subarray(0, 0);
  const announced = request.headers.get("content-length");
  if (announced !== null && Number(announced) > limit) {
    await cancel(body);
    return null;
  }
  const reader = byobReader(body) ?? body.getReader();
  let late = false;
  const deadline = setTimeout(() => {
    late = true;
    cancel(reader);
  }, timeoutMs);
  try {
    const { filled, done } = reader instanceof ReadableStreamBYOBReader
      ? await readInPlace(reader, block, limit)
      : await copyChunks(() => reader.read(), block, 0, limit);
    if (late) throw new UploadCut("too late");
    if (!done) {
      await cancel(reader);
      return null;
    }
    // An HTTP/2 upload that its sender cancels ends like a complete one: only the count shows it.
    if (announced !== null && filled !== Number(announced)) {
      throw new UploadCut(`got ${filled} of ${announced} bytes`);
    }
    return block.bytes.subarray(0, filled);
  } catch (cause) {
    if (cause instanceof SmritiError) throw cause; // no sender's doing
    if (late) throw new UploadCut(`the upload took more than ${timeoutMs} ms`);
    if (cause instanceof UploadCut) throw cause;
    // The runtime says only that a resource went bad.
    throw new UploadCut("the upload was cut", { cause });
  } finally {
    clearTimeout(deadline);
  }
}

/** The usual path: the runtime writes straight into the block. */
async function readInPlace(
  reader: ReadableStreamBYOBReader,
  block: Block,
  limit: number,
): Promise<Progress> {
  let filled = 0;
  while (limit - filled >= MIN_READ_SIZE) {
    const end = Math.min(limit, filled + MAX_READ_SIZE);
    // The read takes the block's buffer away and brings it back as `value.buffer`. Meanwhile the
    // block is lent, so not even a release could give this memory to another request.
    const { done, value } = await block.lend(async (bytes) => {
      const { done, value } = await reader.read(bytes.subarray(filled, end));
      if (value === undefined) throw new UploadCut("the read was cancelled");
      return { done, value };
      // `socket`: a read that fails does not bring the buffer back, but it has let go of it, so the
      // block stays good. Without this, whoever cuts an upload would cost the pool a block.
    }, { socket: true });
    block.reattach(value);
    filled += value.byteLength; // also when done: the last bytes may come with the end
    if (done) return { filled, done };
  }
  // Only a body read to its end leaves the connection free for the next request, so there is one
  // more read at least. It gets memory of its own: the block has no room for it, or not enough.
  const read = () => reader.read(new Uint8Array(MIN_READ_SIZE));
  return await copyChunks(read, block, filled, limit);
}

/**
 * For chunks that are somewhere else: the end of a body that fills its block, and the whole of one
 * that had arrived before it was asked for, which is no byte stream.
 */
async function copyChunks(
  read: () => Promise<ReadableStreamReadResult<Bytes>>,
  block: Block,
  filled: number,
  limit: number,
): Promise<Progress> {
  for (;;) {
    const { done, value } = await read();
    const size = value?.byteLength ?? 0;
    if (size > limit - filled) return { filled, done: false };
    if (size > 0) block.bytes.set(value!, filled);
    filled += size;
    if (done) return { filled, done };
  }
}

/** The same route gets both kinds of body, by timing alone. Only asking tells which one this is. */
function byobReader(
  body: ReadableStream<Bytes>,
): ReadableStreamBYOBReader | null {
  try {
    return body.getReader({ mode: "byob" });
  } catch (error) {
    if (error instanceof TypeError && !body.locked) return null;
    throw error;
  }
}

/** Cancelling may fail because the sender is gone; then there is nobody left to tell. */
async function cancel(
  source: { cancel(reason?: unknown): Promise<void> },
): Promise<void> {
  await source.cancel("not wanted").catch(() => {});
}
