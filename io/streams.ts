/**
 * What `copy`, `readFrames` and `BlockChain` know of the things they read from and write to: their
 * shape, what `lend` must be told of them, and which counts they may give.
 *
 * There, native code works on the block's own memory, so each call is lent the block: whatever
 * becomes of the caller, the block is not reused before the call has settled. The loops are written
 * out where they run, because a promise more for each step is a tenth of its cost.
 */
import type { LendOptions } from "../mod.ts";

/** What bytes can be read from: `Deno.Conn`, `Deno.FsFile`, `Deno.stdin`, or your own. */
export interface Reader {
  /** Reads up to `p.byteLength` bytes into `p`; resolves to how many, or to `null` at the end. */
  read(p: Uint8Array): Promise<number | null>;
}

/** What bytes can be written to: `Deno.Conn`, `Deno.FsFile`, `Deno.stdout`, or your own. */
export interface Writer {
  /** Writes some of `p`; resolves to how many bytes. */
  write(p: Uint8Array): Promise<number>;
}

/** So often in a row may a reader give no bytes and yet not be at its end. */
const MOST_EMPTY_READS = 100;

const SOCKET: LendOptions = { socket: true };
const OTHER: LendOptions = {};

/**
 * What `lend` has to know: a socket that was closed has let go of the memory, a file has not. What
 * is neither for certain counts as a file.
 */
export function kindOf(stream: Reader | Writer): LendOptions {
  return "remoteAddr" in stream && "localAddr" in stream ? SOCKET : OTHER;
}

/** What a read of at most `most` bytes gave, if that can be. */
export function sizeRead(size: number, most: number): number {
  return checkSize("reader.read()", size, most);
}

/** What a write of `most` bytes took, if that can be: some of it. */
export function sizeWritten(size: number, most: number): number {
  if (checkSize("writer.write()", size, most) > 0) return size;
  throw new Deno.errors.WriteZero(
    `writer.write() took none of ${most} bytes`,
  );
}

/** How many reads in a row have given nothing, this one included; not too many. */
export function emptyReads(size: number, before: number): number {
  if (size > 0) return 0;
  if (before + 1 < MOST_EMPTY_READS) return before + 1;
  throw new TypeError(
    `reader.read() must give bytes or null, got 0 bytes ${MOST_EMPTY_READS} times in a row`,
  );
}

function checkSize(call: string, size: number, most: number): number {
  if (Number.isInteger(size) && size >= 0 && size <= most) return size;
  throw new TypeError(
    `${call} must give an integer from 0 to ${most}, got ${size}`,
  );
}
