/**
 * Arrays of bytes that come from the caller, as they are and not as they say: an array, a subclass
 * or a Proxy may have a `byteLength` of its own, its memory may be shared, resizable or gone.
 *
 * Everything is asked of the built-in getters, once. Reads and writes no bytes.
 */
import { refuse } from "./check.ts";

const TypedArray = Object.getPrototypeOf(Uint8Array.prototype);

function getter<T>(name: string | symbol): (of: unknown) => T {
  const { get } = Object.getOwnPropertyDescriptor(TypedArray, name)!;
  return (of) => get!.call(of);
}

/** The name of the kind of array, `undefined` of anything else, a Proxy of one included. */
const kindOf = getter<string | undefined>(Symbol.toStringTag);
const bufferOf = getter<ArrayBufferLike>("buffer");
const offsetOf = getter<number>("byteOffset");
const lengthOf = getter<number>("length");

/** Throws for an array whose memory is gone, which else only looks empty. */
const { at } = Uint8Array.prototype;

/** A plain view of the bytes in `value`, which must be a Uint8Array that has its memory still. */
export function bytesIn(name: string, value: unknown): Uint8Array {
  if (kindOf(value) !== "Uint8Array") {
    refuse(TypeError, name, value, "a Uint8Array");
  }
  const length = lengthOf(value);
  if (length === 0) checkMemory(name, value as Uint8Array);
  return new Uint8Array(bufferOf(value), offsetOf(value), length);
}

/** Throws unless a plain view still has as many bytes as it had. */
export function checkStillThere(
  name: string,
  view: Uint8Array,
  length: number,
): void {
  if (view.length !== length) throw lost(name);
}

function checkMemory(name: string, view: Uint8Array): void {
  try {
    at.call(view, 0);
  } catch {
    throw lost(name);
  }
}

function lost(name: string): TypeError {
  return new TypeError(
    `${name} must keep its memory until it was read: it was transferred, or its buffer shrunk`,
  );
}
