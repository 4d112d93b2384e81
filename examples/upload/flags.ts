/**
 * The command line of the demo: what may be asked, and a clear refusal of everything else, before
 * any process is started.
 */
import { parseArgs } from "node:util";

/** A command line that cannot be honoured. The message names the value and the rule. */
export class FlagError extends Error {
  override name = "FlagError";
}

/** Limits with a reason: a demo that starts and then dies of its own size explains nothing. */
const MAX_BODY_BYTES = 64 * 2 ** 20;
const MAX_POOL_BYTES = 8 * 2 ** 30;

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

export type Flags = ReturnType<typeof parseFlags>;

/** Reads the command line. Throws `FlagError` for anything it cannot honour. */
export function parseFlags(args: string[]) {
  const values = split(args);
  const flags = {
    port: whole("port", values["port"], 0, 65_535),
    minSize: size("min-size", values["min-size"]),
    maxSize: size("max-size", values["max-size"]),
    seconds: whole("seconds", values["seconds"], 6, 3_600),
    connections: whole("connections", values["connections"], 1, 1_000),
    maxBlocks: whole("max-blocks", values["max-blocks"], 1, 100_000),
    serve: values["serve"],
    help: values["help"],
  };
  const { minSize, maxSize, maxBlocks } = flags;
  if (minSize > maxSize) {
    throw new FlagError(
      `--min-size is ${minSize} bytes, but must not be above --max-size, which is ${maxSize}`,
    );
  }
  if (maxSize * maxBlocks > MAX_POOL_BYTES) {
    throw new FlagError(
      `--max-blocks ${maxBlocks} of --max-size ${maxSize} bytes are more than the 8 GiB this ` +
        "demo allows",
    );
  }
  return flags;
}

function split(args: string[]) {
  try {
    const { values } = parseArgs({
      args,
      options: {
        "port": { type: "string", default: "0" },
        "min-size": { type: "string", default: "16K" },
        "max-size": { type: "string", default: "1M" },
        "seconds": { type: "string", default: "27" },
        "connections": { type: "string", default: "64" },
        "max-blocks": { type: "string", default: "80" },
        "serve": { type: "boolean", default: false },
        "help": { type: "boolean", short: "h", default: false },
      },
    });
    return values;
  } catch (error) {
    // The first sentence names what is wrong; the rest is advice about positional arguments.
    throw new FlagError(String((error as Error).message).split(". ")[0]);
  }
}

function whole(name: string, text: string, low: number, high: number): number {
  const number = /^\d+$/.test(text) ? Number(text) : NaN;
  if (number >= low && number <= high) return number;
  throw new FlagError(
    `--${name} is "${text}", but must be a whole number from ${low} to ${high}`,
  );
}

function size(name: string, text: string): number {
  const [, digits, unit] = /^(\d+)([KM]?)(?:i?B)?$/i.exec(text) ?? [];
  const bytes = Number(digits) *
    1024 ** ["", "K", "M"].indexOf(unit?.toUpperCase());
  if (bytes >= 1 && bytes <= MAX_BODY_BYTES) return bytes;
  throw new FlagError(
    `--${name} is "${text}", but must be 1 to 64M, like 65536, 64K or 1M`,
  );
}
