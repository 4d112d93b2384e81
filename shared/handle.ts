/**
 * The pool handle: plain data by which another isolate attaches, checked on arrival.
 */
import type { Range } from "../ffi/backend.ts";
import { show } from "../pool/checks.ts";
import { SmritiError } from "../pool/errors.ts";
import type { FilledOptions } from "../pool/options.ts";
import { Control, HEADER, MAGIC, VERSION } from "./control.ts";

/** The options of a shared pool, filled. */
export type SharedFilledOptions = FilledOptions & {
  readonly ticketTimeoutMs: number;
};

/**
 * Lets another isolate of the same process attach. Structured-cloneable; good as long as an
 * isolate is attached.
 */
export interface SharedPoolHandle {
  /** The control block. */
  readonly control: SharedArrayBuffer;
  /** Where the memory is. */
  readonly range: Range;
  /** The pool's options. */
  readonly options: SharedFilledOptions;
  /** The process whose addresses these are. */
  readonly pid: number;
}

/**
 * A checked copy of a handle of a pool in this process, laid out as this version expects. A copy,
 * because the caller's object may answer differently the next time.
 */
export function readHandle(given: SharedPoolHandle): SharedPoolHandle {
  const handle = copyOf(given);
  const known = typeof handle === "object" && handle !== null &&
    handle.control instanceof SharedArrayBuffer &&
    typeof handle.range?.base === "bigint" &&
    Number.isInteger(handle.options?.maxBlocks);
  if (!known) {
    throw new TypeError(
      `handle must be the handle of a SharedBlockPool, got ${show(handle)}`,
    );
  }
  const { control, options, range, pid } = handle;
  const words = new Int32Array(control, 0, control.byteLength >>> 2);
  if (words.length < 16 || words[HEADER.MAGIC] !== MAGIC) {
    throw new TypeError(
      "handle is not of a SharedBlockPool: its control block is something else",
    );
  }
  if (words[HEADER.VERSION] !== VERSION || pid !== Deno.pid) {
    throw new SmritiError(
      "unsupported",
      `handle is of version ${words[HEADER.VERSION]} and process ${pid}; ` +
        `this is version ${VERSION} and process ${Deno.pid}`,
    );
  }
  const isWhole = control.byteLength === Control.bytes(options.maxBlocks) &&
    words[HEADER.SEAL] === sealOf(options, range);
  if (!isWhole) {
    throw new TypeError(
      "handle is not as the pool made it: options, addresses and control block do not belong together",
    );
  }
  return handle;
}

/** A structured clone, which has no getters. The control block itself stays shared. */
function copyOf(handle: SharedPoolHandle): SharedPoolHandle {
  try {
    return structuredClone(handle);
  } catch (cause) {
    throw new TypeError(
      "handle must be the handle of a SharedBlockPool, got what cannot be cloned",
      { cause },
    );
  }
}

/**
 * Writes the address of a new control block into it. All isolates of a process see it at the same
 * address; a copy has another one.
 *
 * @throws {SmritiError} `permission`
 */
export function markHome({ words, buffer }: Control): void {
  [words[HEADER.HOME], words[HEADER.HOME_HIGH]] = addressOf(buffer);
}

/**
 * Throws unless the control block is the pool's own.
 *
 * @throws {TypeError} if it is a copy
 * @throws {SmritiError} `permission`
 */
export function checkHome({ words, buffer }: Control): void {
  const [low, high] = addressOf(buffer);
  if (words[HEADER.HOME] === low && words[HEADER.HOME_HIGH] === high) return;
  throw new TypeError(
    "handle has a copy of the pool's control block: by two of them a block would have two owners",
  );
}

/** The address of a control block, low and high half. */
function addressOf(control: SharedArrayBuffer): [low: number, high: number] {
  try {
    // SAFETY: the address is turned into a number, and nothing is read there.
    const pointer = Deno.UnsafePointer.of(new Uint8Array(control) as never);
    // SAFETY: as above.
    const address = BigInt(Deno.UnsafePointer.value(pointer));
    return [
      Number(BigInt.asIntN(32, address)),
      Number(BigInt.asIntN(32, address >> 32n)),
    ];
  } catch (cause) {
    throw new SmritiError(
      "permission",
      "a shared pool needs the flag --allow-ffi, and the permission was taken back",
      { cause },
    );
  }
}

/**
 * Check sum of the options and addresses of a handle: with a wrong one, views would reach other memory.
 * Types are part of it: `new Boolean(true)` and `true` are written alike, and only one of them is `===
 * true`.
 */
export function sealOf(options: SharedFilledOptions, range: Range): number {
  const text = JSON.stringify(
    [options, range],
    (_, value) =>
      typeof value === "object" ? value : `${typeof value} ${value}`,
  );
  return hashOf(text);
}

/**
 * 32-bit FNV-1a hash of a text, by UTF-16 code units. `basis` seeds it: another basis gives another
 * hash.
 */
export function hashOf(text: string, basis = 0x811c9dc5): number {
  let hash = basis;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  return hash;
}
