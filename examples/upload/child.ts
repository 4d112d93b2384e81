/**
 * A measured server in a process of its own: started, asked what it has cost so far, ended. A byte
 * on its stdin asks, a line of JSON on its stderr answers, and the end of stdin ends it, so that it
 * does not outlive its parent. stdout is V8's, whose --trace-gc lines are counted.
 */
import type { ServerOptions, Snapshot } from "./server.ts";

/** How long it may take to end by itself before it is killed. */
const STOP_MS = 5_000;
const running = new Set<Deno.ChildProcess>();

/** For the ways out that run no `finally`: a signal, a deadline. */
export function killChildren(): void {
  for (const process of running) kill(process);
}

export class MeasuredServer implements AsyncDisposable {
  readonly name: string;
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #answers: AsyncGenerator<string>;
  readonly #markCompacts: Promise<number>;

  constructor(options: ServerOptions) {
    this.name = options.kind;
    const script = new URL("./server.ts", import.meta.url).href;
    this.#process = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--v8-flags=--trace-gc",
        script,
        JSON.stringify(options),
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    running.add(this.#process);
    this.#input = this.#process.stdin.getWriter();
    this.#answers = lines(this.#process.stderr);
    this.#markCompacts = count(this.#process.stdout, "Mark-Compact");
  }

  /** The port that it listens on, which is what it says first. */
  async port(): Promise<number> {
    return (await this.#next<{ port: number }>()).port;
  }

  async snapshot(): Promise<Snapshot> {
    // A broken pipe means that it has ended: then there is no answer either.
    await this.#input.write(new Uint8Array(1)).catch(() => {});
    return await this.#next();
  }

  /** Ends it. Returns its mark-compacts: V8 buffers those lines, so only the end has all. */
  async stop(): Promise<number> {
    await this.#input.close().catch(() => {});
    const deadline = setTimeout(() => kill(this.#process), STOP_MS);
    for await (const line of this.#answers) {
      console.error(`[${this.name}] ${line}`);
    }
    await this.#process.status;
    clearTimeout(deadline);
    return await this.#markCompacts;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    kill(this.#process);
    await this.#process.status;
    running.delete(this.#process);
  }

  async #next<T>(): Promise<T> {
    for (;;) {
      const { done, value } = await this.#answers.next();
      if (done) break;
      if (value.startsWith("{")) return JSON.parse(value);
      console.error(`[${this.name}] ${value}`);
    }
    const { code } = await this.#process.status;
    throw new Error(`the ${this.name} process ended with code ${code}`);
  }
}

function kill(process: Deno.ChildProcess): void {
  try {
    process.kill("SIGKILL");
  } catch {
    // It has ended already.
  }
}

async function count(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  word: string,
): Promise<number> {
  let found = 0;
  for await (const line of lines(stream)) if (line.includes(word)) found++;
  return found;
}

async function* lines(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
  if (rest !== "") yield rest;
}
