/**
 * A process for each measurement: V8 specialises a loop for what it has seen, and a heap remembers.
 *
 * The child tells what it found as a line of JSON on stderr; stdout is V8's, for `--trace-gc`. A
 * child that serves is asked for its cost by a byte on its stdin, and ends with its stdin, so that
 * it does not outlive its parent.
 */
import { cpuUsage } from "node:process";

/** What a server process says about itself. */
export interface Cost<Extra = unknown> {
  /** Processor time since its start, user and system, in microseconds. */
  readonly cpuMicros: number;
  /** The most memory that was ever resident, in bytes; off Linux the most that was seen. */
  readonly peakBytes: number;
  /** Resident now. */
  readonly residentBytes: number;
  /** Whatever else the server wants to say. */
  readonly extra: Extra;
}

let seenBytes = 0;

/** The most memory that this process ever had resident; off Linux at the moments of these calls. */
export function peakBytes(): number {
  seenBytes = Math.max(seenBytes, Deno.memoryUsage().rss);
  if (Deno.build.os !== "linux") return seenBytes;
  const status = Deno.readTextFileSync("/proc/self/status");
  return 1024 * Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)![1]);
}

/** The child's side: tells one thing. */
export function report(value: unknown): void {
  const bytes = new TextEncoder().encode(`${JSON.stringify(value)}\n`);
  for (let sent = 0; sent < bytes.length;) {
    sent += Deno.stderr.writeSync(bytes.subarray(sent));
  }
}

/** The child's side: reports `ready`, then its cost whenever it is asked, until stdin ends. */
export async function answer(
  ready: unknown,
  extra: () => unknown = () => null,
  close?: () => Promise<void>,
): Promise<never> {
  report(ready);
  const command = new Uint8Array(1);
  while (await Deno.stdin.read(command) !== null) {
    const { user, system } = cpuUsage();
    const cost: Cost = {
      cpuMicros: user + system,
      peakBytes: peakBytes(),
      residentBytes: Deno.memoryUsage().rss,
      extra: extra(),
    };
    report(cost);
  }
  await close?.();
  Deno.exit(0);
}

/** A program and what it is given. */
export interface Program {
  readonly path: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** What is given to Deno itself: flags of V8, the environment. */
export interface Tuning {
  readonly v8Flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Longer than any one measurement takes: what hangs is ended, and fails. */
export const MOST_MS = 120_000;

/** A module in a Deno of its own. */
export function denoOf(
  module: string,
  args: readonly (string | number)[],
  { v8Flags = [], env }: Tuning = {},
): Program {
  return {
    path: Deno.execPath(),
    args: [
      ...["run", "-A", "--no-check", "--frozen"],
      ...(v8Flags.length > 0 ? [`--v8-flags=${v8Flags.join(",")}`] : []),
      module,
      ...args.map(String),
    ],
    env,
  };
}

/** The parent's side of a child that serves. */
export class Child<Ready, Extra = unknown> implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #answers: AsyncIterator<string>;
  readonly #markCompacts: Promise<number>;

  /** Starts it; after `mostMs`, if that is given, it is ended. */
  constructor({ path, args, env }: Program, mostMs?: number) {
    this.#process = new Deno.Command(path, {
      args: [...args],
      env: { ...env },
      signal: mostMs === undefined ? undefined : AbortSignal.timeout(mostMs),
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#input = this.#process.stdin.getWriter();
    this.#answers = lines(this.#process.stderr);
    const isTraced = args.some((one) => one.includes("--trace-gc"));
    this.#markCompacts = Array.fromAsync(lines(this.#process.stdout)).then(
      (all) =>
        isTraced ? all.filter((line) => /Mark-Compact/.test(line)).length : NaN,
    );
  }

  /** What it said first. */
  ready(): Promise<Ready> {
    return this.#next();
  }

  /** What it has cost so far. */
  async cost(): Promise<Cost<Extra>> {
    // A broken pipe means that it has ended: then there is no answer either.
    await this.#input.write(new Uint8Array(1)).catch(() => {});
    return await this.#next();
  }

  /**
   * Ends it in order; gives the mark-compacts of its whole life, which V8 buffers until then; NaN of
   * a program that does not trace them.
   */
  async stop(): Promise<number> {
    await this.#input.close().catch(() => {});
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
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
}

/** Runs a module in a Deno of its own; gives what it reported. */
export async function inChild<T>(
  module: string,
  args: readonly (string | number)[],
  tuning: Tuning = {},
): Promise<T & { readonly trace: string }> {
  const { stdout, stderr } = await run(denoOf(module, args, tuning));
  return { ...lastLine<T>(stderr), trace: stdout };
}

/** Runs a program that prints its result as JSON on stdout. */
export async function inProgram<T>(path: string, args: string[]): Promise<T> {
  return lastLine((await run({ path, args })).stdout);
}

function lastLine<T>(text: string): T {
  return JSON.parse(text.trimEnd().split("\n").at(-1)!);
}

async function run({ path, args, env }: Program) {
  const { stdout, stderr, code } = await output({ path, args, env });
  if (code === 0) return { stdout, stderr };
  throw new Error(`${path} ${args.join(" ")} ended with ${code}:\n${stderr}`);
}

async function output({ path, args, env }: Program) {
  const { code, stdout, stderr } = await new Deno.Command(path, {
    args: [...args],
    env: { ...env },
    signal: AbortSignal.timeout(MOST_MS),
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** What a program prints; if it is not here or does not succeed, why. */
export async function tried(
  path: string,
  args: readonly string[],
): Promise<{ text: string; why?: string }> {
  try {
    const { code, stdout, stderr } = await output({ path, args });
    if (code === 0) return { text: stdout };
    const line = stderr.split("\n").find((line) =>
      /error|cannot find/.test(line)
    );
    const why = (line ?? stderr).replace(/^.*?(error|ld): /, "").trim();
    return { text: "", why };
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return { text: "", why: `no ${path} here` };
  }
}
