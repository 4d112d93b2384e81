/**
 * Checks of single values. A wrong one is a `TypeError` or `RangeError` that names the option, the
 * value and the rule.
 */

/** The longest delay a timer takes. */
export const MAX_DELAY_MS: number = 2 ** 31 - 1;

/** Control and direction characters that a terminal acts on, beyond those that JSON escapes. */
const CONTROLS = /[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** A text in quotes on one line, whatever is in it, cut to `most` characters. */
export function quote(text: string, most = 80): string {
  return JSON.stringify(text.slice(0, most)).replace(
    CONTROLS,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** How a value looks in a message: short. */
export function show(value: unknown): string {
  if (typeof value === "string") return quote(value);
  if (typeof value === "bigint") return `${value}n`;
  if (value === null || typeof value !== "object") {
    return typeof value === "function" ? "a function" : String(value);
  }
  return Array.isArray(value) ? "an array" : "an object";
}

/** Throws the error for a wrong value; `rule` completes "must be …". */
export function refuse(
  Kind: typeof TypeError | typeof RangeError,
  name: string,
  value: unknown,
  rule: string,
): never {
  throw new Kind(`${name} must be ${rule}, got ${show(value)}`);
}

/** A number in a range. */
export function number(
  name: string,
  value: unknown,
  fits: (value: number) => boolean,
  rule: string,
): number {
  if (typeof value !== "number") refuse(TypeError, name, value, rule);
  if (!fits(value)) refuse(RangeError, name, value, rule);
  return value;
}

/** An integer from `least` to `most`, both included. */
export function integer(
  name: string,
  value: unknown,
  least: number,
  most: number = Number.MAX_SAFE_INTEGER,
): number {
  return number(
    name,
    value,
    (v) => Number.isInteger(v) && v >= least && v <= most,
    most === Number.MAX_SAFE_INTEGER
      ? `an integer of at least ${least}`
      : `an integer from ${least} to ${most}`,
  );
}

/** `true` or `false`. */
export function boolean(name: string, value: unknown): boolean {
  if (typeof value !== "boolean") {
    refuse(TypeError, name, value, "true or false");
  }
  return value;
}

/** A string. */
export function text(name: string, value: unknown): string {
  if (typeof value !== "string") refuse(TypeError, name, value, "a string");
  return value;
}

/** A signal to stop. */
export function abortSignal(name: string, value: unknown): AbortSignal {
  if (value instanceof AbortSignal) return value;
  return refuse(TypeError, name, value, "an AbortSignal");
}

/** One of a few words. */
export function word<const W extends string>(
  name: string,
  value: unknown,
  words: readonly W[],
): W {
  const found = words.find((w) => w === value);
  if (found !== undefined) return found;
  const rule = `one of ${words.map(show).join(", ")}`;
  return refuse(
    typeof value === "string" ? RangeError : TypeError,
    name,
    value,
    rule,
  );
}

/** The argument as a record of known names, or an error that names an unknown one. */
export function record<N extends string>(
  what: string,
  value: unknown,
  names: ReadonlySet<N>,
): Readonly<Record<N, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    refuse(TypeError, what, value, "an object");
  }
  for (const name of Object.keys(value)) {
    if (!(names as ReadonlySet<string>).has(name)) {
      const known = [...names].join(", ");
      throw new TypeError(`unknown option ${show(name)}; known are ${known}`);
    }
  }
  return value as Record<N, unknown>;
}

/**
 * An object with the properties of these names as they are now, inherited ones too: for options that
 * are read more than once.
 *
 * @throws {TypeError} for anything but an object, and for other names
 */
export function snapshot<N extends string>(
  what: string,
  value: unknown,
  names: ReadonlySet<N>,
): Partial<Record<N, unknown>> {
  const given = record(what, value, names);
  const own: Partial<Record<N, unknown>> = {};
  for (const name of names) {
    const now = given[name];
    if (now !== undefined) own[name] = now;
  }
  return own;
}

/** A delay in milliseconds, from 0 to the longest a timer takes. */
export function duration(name: string, value: unknown): number {
  return number(
    name,
    value,
    (v) => v >= 0 && v <= MAX_DELAY_MS,
    `a number from 0 to ${MAX_DELAY_MS}`,
  );
}

/** What `check` makes of a value, if there is one. */
export function optional<T>(
  check: (name: string, value: unknown) => T,
  name: string,
  value: unknown,
): T | undefined {
  return value === undefined ? undefined : check(name, value);
}

/** A function, as an argument; `rule` says what else it may be. */
export function callable(
  name: string,
  value: unknown,
  rule = "a function",
): void {
  if (typeof value !== "function") refuse(TypeError, name, value, rule);
}
