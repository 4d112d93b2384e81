/**
 * The two request handlers that the demo compares. They differ in one thing: where the body's
 * bytes are kept. Nothing here measures or listens.
 */
import { createHash } from "node:crypto";
import { type BlockPool, SmritiError } from "@smriti/pool";
import { readBody } from "@smriti/pool/io";

export type Handler = (request: Request) => Promise<Response>;

/** How long an upload may wait for a block before the server says that it is busy. */
const WAIT_MS = 5_000;
/** How long it may take to arrive: a sender that stops must not keep a block. */
export const READ_MS = 10_000;
/** What a full or closing pool says. Any other code is a mistake and must not look like load. */
const BUSY = ["timeout", "exhausted", "closed"];

/** The body goes into a block: nothing to allocate, nothing to collect, and a hard size limit. */
export function pooledHandler(pool: BlockPool): Handler {
  return async (request) => {
    try {
      using block = await pool.acquire({ timeoutMs: WAIT_MS });
      const signal = AbortSignal.timeout(READ_MS);
      const body = await readBody(request, block, { signal });
      if (body === null) return plain(413, `larger than ${block.size} bytes`);
      const digest = sha256(body);
      // Only these bytes were written: only they need zeroing. `using` sees to all other ways out.
      block.release(body.byteLength);
      return plain(200, digest);
    } catch (error) {
      // The sender went away, or was too slow.
      if (!(error instanceof SmritiError)) return plain(400, String(error));
      if (!BUSY.includes(error.code)) throw error;
      await request.body?.cancel();
      return plain(503, `busy: ${error.message}`);
    }
  };
}

/** The usual way: the runtime allocates a fresh array for every body. */
export function bytesHandler(maxSize: number): Handler {
  return async (request) => {
    try {
      const body = await request.bytes();
      if (body.byteLength <= maxSize) return plain(200, sha256(body));
      return plain(413, `larger than ${maxSize} bytes`);
    } catch (error) {
      return plain(400, String(error));
    }
  };
}

/**
 * Works on the bytes where they lie. `crypto.subtle.digest` would be as right, but it copies its
 * input first: a fresh array for every body, which is what the pool is there to avoid.
 */
function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function plain(status: number, text: string): Response {
  return new Response(text + "\n", { status });
}
