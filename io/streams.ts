/**
 * Single reads and full writes between a block and something that has `read` or `write`: what
 * `copy`, `readFrames` and `BlockChain` share.
 *
 * Here native code works on the block's own memory, so each call is lent the block: whatever
 * becomes of the caller, the block is not reused before the call has settled.
 */
import type { Block, LendOptions } from "../mod.ts";
import type { Abort } from "./abort.ts";

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
function kindOf(stream: Reader | Writer): LendOptions {
  return "remoteAddr" in stream && "localAddr" in stream ? SOCKET : OTHER;
}

/** Reads once into `block.bytes`, from `start` on. At least 1 byte, or `null` at the end. */
export async function readOnce(
  reader: Reader,
  block: Block,
  start: number,
  abort: Abort,
): Promise<number | null> {
  const kind = kindOf(reader);
  for (let tries = 0; tries < MOST_EMPTY_READS; tries++) {
    abort.check();
    const read = (bytes: Uint8Array) =>
      reader.read(start === 0 ? bytes : bytes.subarray(start));
    const size = await abort.race(block.lend(read, kind));
    if (size === null) return null;
    checkSize("reader.read()", size, block.size - start);
    if (size > 0) return size;
  }
  throw new TypeError(
    `reader.read() must give bytes or null, got 0 bytes ${MOST_EMPTY_READS} times in a row`,
  );
}

/** Writes the first `end` bytes of the block, all of them. */
export async function writeFully(
  writer: Writer,
  block: Block,
  end: number,
  abort: Abort,
): Promise<void> {
  const kind = kindOf(writer);
  for (let written = 0; written < end;) {
    abort.check();
    const write = (bytes: Uint8Array) =>
      writer.write(bytes.subarray(written, end));
    const size = await abort.race(block.lend(write, kind));
    checkSize("writer.write()", size, end - written);
    if (size === 0) {
      throw new Deno.errors.WriteZero(
        `writer.write() took none of ${end - written} bytes`,
      );
    }
    written += size;
  }
}

function checkSize(call: string, size: number, most: number): void {
  if (Number.isInteger(size) && size >= 0 && size <= most) return;
  throw new TypeError(
    `${call} must give an integer from 0 to ${most}, got ${size}`,
  );
}
