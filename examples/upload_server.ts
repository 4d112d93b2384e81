/**
 * Uploads into pooled memory: a demo that measures itself, and with --serve a server for your own
 * curl.
 *
 * deno task demo            measure the pooled server beside the same server on req.bytes()
 * deno task demo --serve    only the pooled server
 * deno task demo --help     all flags
 *
 * upload/app.ts is what you would write yourself; the rest measures.
 */
import { flags } from "../bench/flags.ts";
import { runDemo, type Settings } from "./upload/demo.ts";
import { UploadServer } from "./upload/server.ts";

const HELP =
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

const DEFAULTS = {
  "serve": false,
  "port": 0,
  "min-size": 16 * 1024,
  "max-size": 1024 * 1024,
  "connections": 64,
  "max-blocks": 80,
  "seconds": 27,
};

/** Limits with a reason: a demo that starts and then dies of its own size explains nothing. */
function check(given: typeof DEFAULTS): void {
  const between = (
    name: keyof typeof DEFAULTS,
    least: number,
    most: number,
  ) => {
    const value = Number(given[name]);
    if (value >= least && value <= most) return;
    throw new RangeError(`--${name} is ${value}, must be ${least} to ${most}`);
  };
  between("port", 0, 65_535);
  between("max-size", 1, 64 * 2 ** 20);
  between("min-size", 1, given["max-size"]);
  between("connections", 1, 1_000);
  between("max-blocks", 1, Math.min(1e5, 8 * 2 ** 30 / given["max-size"]));
  between("seconds", 6, 3_600);
}

function serve(settings: Settings): void {
  const server = new UploadServer({ ...settings, kind: "pooled", live: true });
  const url = `http://127.0.0.1:${server.port}/`;
  console.log(
    `Listening on ${url} with at most ${settings.maxBlocks} blocks of ${settings.maxSize} bytes. Try:

  curl --data-binary @FILE ${url}    answers the SHA-256 of FILE, like sha256sum FILE
  curl ${url}                        what the server and its pool are doing
  a browser at ${url}                the same, live (this machine only)

Ctrl-C ends it.`,
  );
  // Windows knows no SIGTERM that a process could listen to.
  const signals: Deno.Signal[] = Deno.build.os === "windows"
    ? ["SIGINT", "SIGBREAK"]
    : ["SIGINT", "SIGTERM"];
  const stop = async () => {
    for (const signal of signals) Deno.removeSignalListener(signal, stop);
    console.log(
      "\nClosing after the uploads in progress; again to end at once.",
    );
    await server.close();
    console.log("Closed: no block is out, the memory is unmapped.");
    Deno.exit(0); // a sender that stays connected would keep the process alive
  };
  for (const signal of signals) Deno.addSignalListener(signal, stop);
}

const given = flags(HELP, DEFAULTS, check);
const settings: Settings = {
  ...given,
  minSize: given["min-size"],
  maxSize: given["max-size"],
  maxBlocks: given["max-blocks"],
};
try {
  if (given.serve) serve(settings);
  else Deno.exit(await runDemo(settings));
} catch (error) {
  console.error(`The demo failed: ${(error as Error).message}`);
  Deno.exit(1);
}
