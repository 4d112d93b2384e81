// Runs an example in a process of its own, with the permissions that its first
// lines say it needs, and stops it as Ctrl-C would.

import { assertEquals } from "@std/assert";
import { hasProc } from "./platform.ts";

const EXAMPLES = new URL("../../examples/", import.meta.url);

/** `deno run` as the example's comment gives it. */
export function command(name: string, args: string[] = []): Deno.Command {
  const url = new URL(`${name}.ts`, EXAMPLES);
  const line = /deno run (.*) examples\//.exec(Deno.readTextFileSync(url));
  if (line === null) throw new Error(`${name} does not say how it is run`);
  const flags = line[1].split(" ");
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", ...flags, url.href, ...args],
    stdout: "piped",
    stderr: "piped",
  });
}

/** A running example that listens. */
export class Running implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #lines: ReadableStreamDefaultReader<string>;
  readonly #errors: Promise<string>;
  #told = "";
  #heard = Promise.withResolvers<void>();
  /** Where it listens. */
  port = 0;

  constructor(name: string, ...args: string[]) {
    this.#child = command(name, args).spawn();
    this.#lines = this.#child.stdout.pipeThrough(new TextDecoderStream())
      .getReader();
    this.#errors = this.#listen();
  }

  async #listen(): Promise<string> {
    const text = this.#child.stderr.pipeThrough(new TextDecoderStream());
    for await (const piece of text) {
      this.#told += piece;
      this.#heard.resolve();
      this.#heard = Promise.withResolvers();
    }
    return this.#told;
  }

  /** Waits until it has written a line to stderr. */
  async told(): Promise<void> {
    while (!this.#told.endsWith("\n")) await this.#heard.promise;
  }

  /** Waits until it says where it listens. */
  async listening(): Promise<this> {
    const { value = "" } = await this.#lines.read();
    const match = /^listening on \S+:(\d+)/.exec(value);
    if (match === null) throw new Error(`${value}\n${await this.#errors}`);
    this.port = Number(match[1]);
    if (hasProc) assertEquals(listeners(this.port), ["0100007F"]);
    return this;
  }

  /** The next that it writes to stdout. */
  async said(): Promise<string> {
    return (await this.#lines.read()).value ?? "";
  }

  /** Stops it as Ctrl-C would; gives what it wrote to stderr. */
  async stop(): Promise<string> {
    const isWindows = Deno.build.os === "windows"; // has no signals to send
    this.#child.kill(isWindows ? "SIGKILL" : "SIGINT");
    let rest = "";
    for (;;) {
      const { done, value } = await this.#lines.read();
      if (done) break;
      rest += value;
    }
    const { code } = await this.#child.status;
    const errors = await this.#errors;
    if (!isWindows) {
      assertEquals([code, rest], [0, "every block came back\n"], errors);
    }
    return errors;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.#child.status;
    await this.#errors;
    await this.#lines.cancel();
  }
}

/** The addresses on which this port is listened at, as the kernel writes them. */
function listeners(port: number): string[] {
  const end = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const listening = { tcp: "0A", tcp6: "0A", udp: "07", udp6: "07" };
  return Object.entries(listening)
    .flatMap(([table, state]) =>
      Deno.readTextFileSync(`/proc/net/${table}`).split("\n")
        .map((row) => row.trim().split(/ +/))
        .filter((row) => row[3] === state && row[1].endsWith(end))
    )
    .map(([, local]) => local.slice(0, -end.length));
}
