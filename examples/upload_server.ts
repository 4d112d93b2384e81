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
import { killChildren } from "./upload/child.ts";
import { runDemo } from "./upload/demo.ts";
import { FlagError, type Flags, HELP, parseFlags } from "./upload/flags.ts";
import { UploadServer } from "./upload/server.ts";

/** Windows knows no SIGTERM that a process could listen to. */
const STOP_SIGNALS: Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT", "SIGBREAK"]
  : ["SIGINT", "SIGTERM"];

function serve(flags: Flags): void {
  const server = new UploadServer({ ...flags, kind: "pooled", live: true });
  const url = `http://127.0.0.1:${server.port}/`;
  console.log(
    `Listening on ${url} with at most ${flags.maxBlocks} blocks of ${flags.maxSize} bytes. Try:

  curl --data-binary @FILE ${url}    answers the SHA-256 of FILE, like sha256sum FILE
  curl ${url}                        what the server and its pool are doing
  a browser at ${url}                the same, live (this machine only)

Ctrl-C ends it.`,
  );
  onStop(async () => {
    console.log(
      "\nClosing after the uploads in progress; again to end at once.",
    );
    await server.close();
    console.log("Closed: no block is out, the memory is unmapped.");
    Deno.exit(0); // a sender that stays connected would keep the process alive
  });
}

/** Stops in good order at the first signal; a second one ends the process at once. */
function onStop(stop: () => void | Promise<void>): void {
  const listener = () => {
    for (const signal of STOP_SIGNALS) {
      Deno.removeSignalListener(signal, listener);
    }
    Promise.resolve(stop()).catch((error) => {
      console.error(String(error));
      Deno.exit(1);
    });
  };
  for (const signal of STOP_SIGNALS) Deno.addSignalListener(signal, listener);
}

async function main(): Promise<void> {
  const flags = parseFlags(Deno.args);
  if (flags.help) return console.log(HELP);
  if (flags.serve) return serve(flags);
  onStop(() => {
    killChildren();
    Deno.exit(130);
  });
  Deno.exit(await runDemo(flags));
}

try {
  await main();
} catch (error) {
  killChildren();
  if (error instanceof FlagError) {
    console.error(`${error.message}\nSee --help.`);
    Deno.exit(2);
  }
  console.error(
    `The demo failed: ${error instanceof Error ? error.message : error}`,
  );
  Deno.exit(1);
}
