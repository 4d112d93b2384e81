/**
 * A server process of its own: started, asked what it has cost so far, stopped.
 *
 * Commands go in by stdin, a byte each; answers come back by stderr, a line of JSON each. stdout
 * is V8's, whose `--trace-gc` lines are counted when the process has ended: V8 buffers them.
 */
import { cpuUsage } from "node:process";

/** What a server process says about itself. */
export interface Cost {
  /** Processor time since its start, user and system, in microseconds. */
  readonly cpuMicros: number;
  /** The most memory that was ever resident, in bytes. */
  readonly peakBytes: number;
  /** Resident now. */
  readonly residentBytes: number;
  /** Whatever else the server wants to say. */
  readonly extra: unknown;
}

/** The child's side: reports `ready`, then its cost whenever it is asked, until stdin ends. */
export async function answer(
  ready: unknown,
  extra: () => unknown = () => null,
): Promise<never> {
  report(ready);
  const command = new Uint8Array(1);
  while (await Deno.stdin.read(command) !== null) {
    const { user, system } = cpuUsage();
    const status = Deno.readTextFileSync("/proc/self/status");
    const bytes = (name: string) =>
      1024 *
      Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)![1]);
    report({
      cpuMicros: user + system,
      peakBytes: bytes("VmHWM"),
      residentBytes: bytes("VmRSS"),
      extra: extra(),
    });
  }
  Deno.exit(0);
}

function report(value: unknown): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${JSON.stringify(value)}\n`));
}

/** The parent's side. */
export class Child<Ready> implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #answers: AsyncIterator<string>;
  readonly #markCompacts: Promise<number>;

  /** Starts `deno run` with these arguments. */
  constructor(args: readonly string[]) {
    const flags = ["-A", "--no-check", "--v8-flags=--trace-gc"];
    this.#process = new Deno.Command(Deno.execPath(), {
      args: ["run", ...flags, ...args],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#input = this.#process.stdin.getWriter();
    this.#answers = lines(this.#process.stderr);
    this.#markCompacts = count(this.#process.stdout, "Mark-Compact");
  }

  /** What it said first. */
  ready(): Promise<Ready> {
    return this.#next();
  }

  /** What it has cost so far. */
  async cost(): Promise<Cost> {
    await this.#input.write(new Uint8Array(1));
    return await this.#next();
  }

  /** Ends it in order; gives the mark-compacts of its whole life. */
  async stop(): Promise<number> {
    await this.#input.close();
    await this.#process.status;
    return await this.#markCompacts;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#process.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.#process.status;
  }

  async #next<T>(): Promise<T> {
    for (;;) {
      const { done, value } = await this.#answers.next();
      if (done) throw new Error("a server process has ended");
      if (value.startsWith("{")) return JSON.parse(value);
      console.error(value);
    }
  }
}

async function* lines(
  stream: ReadableStream<Uint8Array>,
): AsyncGenerator<string> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const bytes of stream) {
    const parts = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = parts.pop()!;
    yield* parts;
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
