/**
 * Errors of kinds that the runtime has, as its own APIs throw them: a body or a protocol that ends
 * too early or is not what it says. Where there is no `Deno` they are errors of these names.
 */

type Kind = "InvalidData" | "UnexpectedEof" | "WriteZero";

function error(kind: Kind, message: string): Error {
  const kinds = (globalThis as { Deno?: typeof Deno }).Deno?.errors;
  if (kinds !== undefined) return new kinds[kind](message);
  return Object.assign(new Error(message), { name: kind });
}

/** What has come is not what was announced or allowed. */
export function invalidData(message: string): Error {
  return error("InvalidData", message);
}

/** More was announced than has come. */
export function unexpectedEof(message: string): Error {
  return error("UnexpectedEof", message);
}

/** A write has taken nothing. */
export function writeZero(message: string): Error {
  return error("WriteZero", message);
}
