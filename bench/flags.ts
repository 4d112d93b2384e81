/**
 * The command line of a bench: `--name value` with a default for each name, and a clear refusal of
 * everything else.
 */
import { parseArgs, type ParseArgsConfig } from "node:util";

/** Texts, switches, and numbers: integers from 1, with K for 1024 and M for 1024 K. */
export type Defaults = Record<string, string | boolean | number>;

/**
 * Reads the command line; with `--help`, or if it cannot be honoured, prints `help` and ends.
 * `check` throws what else is wrong.
 */
export function flags<D extends Defaults>(
  help: string,
  defaults: D,
  check?: (flags: D) => void,
): D {
  try {
    const options: NonNullable<ParseArgsConfig["options"]> = {};
    for (const [name, value] of Object.entries({ ...defaults, help: false })) {
      options[name] = {
        type: typeof value === "boolean" ? "boolean" : "string",
      };
    }
    options.help.short = "h";
    const values: Record<string, unknown> =
      parseArgs({ args: Deno.args, options }).values;
    if (values.help) {
      console.log(help);
      Deno.exit(0);
    }
    const given = Object.entries(values).map(([name, value]) => [
      name,
      typeof defaults[name] === "number" ? integer(name, value) : value,
    ]);
    const all: D = { ...defaults, ...Object.fromEntries(given) };
    check?.(all);
    return all;
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${help}`);
    Deno.exit(2);
  }
}

function integer(name: string, text: unknown): number {
  const [, digits, unit] = /^(\d+)([KM]?)$/i.exec(String(text)) ?? [];
  const value = Number(digits) *
    1024 ** ["", "K", "M"].indexOf(unit?.toUpperCase());
  if (Number.isSafeInteger(value) && value >= 1) return value;
  throw new RangeError(`--${name} must be an integer from 1, got ${text}`);
}
