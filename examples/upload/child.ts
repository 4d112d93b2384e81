/**
 * Processes that talk in JSON lines: commands go in by stdin, and one report for each command
 * comes back by stderr. stdout stays free for V8, whose --trace-gc lines are counted. What is no
 * report on stderr is an error of the child and is passed on. A child ends when its stdin ends,
 * so none outlives its parent, however that one died.
 */

// ---- the child's side ----

/** The commands of the parent. The loop over them ends when the parent is gone or has no more. */
export async function* commands<Command>(): AsyncGenerator<Command> {
  for await (const line of lines(Deno.stdin.readable)) {
    yield JSON.parse(line) as Command;
  }
}

/** Sends one report. Synchronous: the last one must be out before the process ends. */
export function report(value: unknown): void {
  const bytes = new TextEncoder().encode(JSON.stringify(value) + "\n");
  for (let sent = 0; sent < bytes.length;) {
    sent += Deno.stderr.writeSync(bytes.subarray(sent));
  }
}

// ---- the parent's side ----

/** How long a child may take to end by itself before it is killed. */
const STOP_MS = 5_000;

const running = new Set<Deno.ChildProcess>();

/** For the ways out that run no `finally`: a signal, a deadline. */
export function killChildren(): void {
  for (const process of running) kill(process);
}

/** One child process. Its first report, made without a command, says that it is ready. */
export class Child<Command, Ready, Report> implements AsyncDisposable {
  readonly ready: Promise<Ready>;
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #waiting: PromiseWithResolvers<unknown>[] = [];
  readonly #markCompacts: Promise<number>;
  #ended = false;

  constructor(
    readonly name: string,
    script: string,
    options: unknown,
    v8Flags: string[] = [],
  ) {
    this.#process = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        ...v8Flags.map((flag) => `--v8-flags=${flag}`),
        new URL(script, import.meta.url).href,
        JSON.stringify(options),
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    running.add(this.#process);
    this.#input = this.#process.stdin.getWriter();
    this.#markCompacts = count(this.#process.stdout, "Mark-Compact");
    this.ready = this.#next<Ready>();
    this.#listen();
  }

  /** Sends a command and waits for its report. Fails when the child ends instead of answering. */
  ask(command: Command): Promise<Report> {
    const answer = this.#next<Report>();
    // A broken pipe means that the child has ended: `#listen` tells everyone who waits.
    this.#input.write(new TextEncoder().encode(JSON.stringify(command) + "\n"))
      .catch(() => {});
    return answer;
  }

  /** Ends the child. Returns its mark-compacts: V8 buffers those lines, so only the end has all. */
  async stop(): Promise<number> {
    await this.#input.close().catch(() => {});
    const deadline = setTimeout(() => kill(this.#process), STOP_MS);
    await this.#process.status;
    clearTimeout(deadline);
    return await this.#markCompacts;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    kill(this.#process);
    await this.#process.status;
  }

  #next<T>(): Promise<T> {
    const next = Promise.withResolvers<unknown>();
    if (this.#ended) {
      next.reject(new Error(`the ${this.name} process has ended`));
    } else this.#waiting.push(next);
    // Whoever awaits it still sees the error, but nobody has to be waiting yet.
    next.promise.catch(() => {});
    return next.promise as Promise<T>;
  }

  async #listen(): Promise<void> {
    for await (const line of lines(this.#process.stderr)) {
      if (line.startsWith("{")) {
        this.#waiting.shift()?.resolve(JSON.parse(line));
      } else if (line !== "") console.error(`[${this.name}] ${line}`);
    }
    const { code } = await this.#process.status;
    running.delete(this.#process);
    this.#ended = true;
    const error = new Error(
      `the ${this.name} process ended with code ${code} before it answered`,
    );
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
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
  stream: ReadableStream<Uint8Array>,
  word: string,
): Promise<number> {
  let found = 0;
  for await (const line of lines(stream)) if (line.includes(word)) found++;
  return found;
}

async function* lines(
  stream: ReadableStream<Uint8Array>,
): AsyncGenerator<string> {
  let rest = "";
  for await (
    const text of stream.pipeThrough(
      new TextDecoderStream() as TransformStream<Uint8Array, string>,
    )
  ) {
    const parts = (rest + text).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
  if (rest !== "") yield rest;
}
