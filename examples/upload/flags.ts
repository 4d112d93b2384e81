/**
 * The command line of the demo: what may be asked, and a clear refusal of everything else. It
 * decides nothing about servers or pools; `parseFlags` is a pure function, so a bad value costs
 * no process.
 */

import { parseArgs } from "node:util";

/** A command line that cannot be honoured. The message names the value and the rule. */
export class FlagError extends Error {
  override name = "FlagError";
}

export interface Flags {
  readonly port: number;
  readonly minSize: number;
  readonly maxSize: number;
  readonly seconds: number;
  readonly connections: number;
  readonly maxBlocks: number;
  readonly serve: boolean;
  readonly help: boolean;
}

const MIB = 1024 * 1024;
const UNIT_BYTES: Record<string, number> = { "": 1, K: 1024, M: MIB };

/** Limits with a reason: a demo that starts and then dies of its own size explains nothing. */
const MAX_BODY_BYTES = 64 * MIB;
const MAX_POOL_BYTES = 8 * 1024 * MIB;

export const HELP =
  `An upload server on pooled memory, measured beside the same server on req.bytes().

  deno task demo [flags]

  --serve             only the pooled server, for your own curl and browser; Ctrl-C ends it
  --port N            port of the pooled server on 127.0.0.1   (default: any free one)
  --min-size SIZE     smallest body sent                       (default 16K)
  --max-size SIZE     largest body, and the block size         (default 1M)
  --connections N     uploads at the same time                 (default 64)
  --max-blocks N      limit of the pool                        (default 80)
  --seconds N         seconds of the whole measurement         (default 27)
  --help              this text

SIZE is a whole number of bytes, or one with K (1024) or M (1024 K) behind it.`;

/** Reads the command line. Throws `FlagError` for anything it cannot honour. */
export function parseFlags(args: string[]): Flags {
  const values = split(args);
  const flags: Flags = {
    port: whole("port", values["port"], 0, 0, 65_535),
    minSize: size("min-size", values["min-size"], 16 * 1024),
    maxSize: size("max-size", values["max-size"], MIB),
    seconds: whole("seconds", values["seconds"], 27, 6, 3_600),
    connections: whole("connections", values["connections"], 64, 1, 1_000),
    maxBlocks: whole("max-blocks", values["max-blocks"], 80, 1, 100_000),
    serve: values["serve"] === true,
    help: values["help"] === true,
  };
  if (flags.minSize > flags.maxSize) {
    throw new FlagError(
      `--min-size is ${flags.minSize} bytes, but must not be above --max-size, ` +
        `which is ${flags.maxSize}`,
    );
  }
  if (flags.maxSize * flags.maxBlocks > MAX_POOL_BYTES) {
    throw new FlagError(
      `--max-blocks ${flags.maxBlocks} of --max-size ${flags.maxSize} bytes are more than the ` +
        "8 GiB this demo allows",
    );
  }
  return flags;
}

type Values = Record<string, string | boolean | undefined>;

function split(args: string[]): Values {
  try {
    const text = { type: "string" } as const;
    const { values } = parseArgs({
      args,
      strict: true,
      allowPositionals: false,
      options: {
        "port": text,
        "min-size": text,
        "max-size": text,
        "seconds": text,
        "connections": text,
        "max-blocks": text,
        "serve": { type: "boolean" },
        "help": { type: "boolean", short: "h" },
      },
    });
    return values;
  } catch (error) {
    // The first sentence names what is wrong; the rest is advice about positional arguments.
    throw new FlagError(String((error as Error).message).split(". ")[0]);
  }
}

function whole(
  name: string,
  value: Values[string],
  fallback: number,
  low: number,
  high: number,
): number {
  if (value === undefined) return fallback;
  const number = /^\d+$/.test(String(value)) ? Number(value) : NaN;
  if (!(number >= low && number <= high)) {
    throw new FlagError(
      `--${name} is "${value}", but must be a whole number from ${low} to ${high}`,
    );
  }
  return number;
}

function size(name: string, value: Values[string], fallback: number): number {
  if (value === undefined) return fallback;
  const match = /^(\d+)([KM]?)(?:i?B)?$/i.exec(String(value));
  const bytes = match
    ? Number(match[1]) * UNIT_BYTES[match[2].toUpperCase()]
    : NaN;
  if (!(bytes >= 1 && bytes <= MAX_BODY_BYTES)) {
    throw new FlagError(
      `--${name} is "${value}", but must be 1 to 64M, like 65536, 64K or 1M`,
    );
  }
  return bytes;
}
