// Every adaptor on every kind of pool, with sources, readers and sinks that fail, lie,
// stall or go away, aborted, broken off and closed at any moment: no block is lost
// and nothing hangs. A seed that is printed replays the choices, if not the timing.
// SMRITI_IO_ROUNDS says how many rounds.

import { assertEquals } from "@std/assert";
import { deadline, delay } from "@std/async";
import { Readable } from "node:stream";
import { type Pool, SmritiError } from "@smriti/pool";
import {
  bufferedReader,
  chunks,
  collect,
  collector,
  copy,
  type Frame,
  lines,
  readBody,
  readFrames,
} from "@smriti/pool/io";
import { everyPool } from "../support/every_pool.ts";
import { lawful } from "../support/invariants.ts";
import { microtasks, until } from "../support/misuse.ts";
import { Rng, seedOfRun } from "../support/rng.ts";

const ROUNDS = Number(Deno.env.get("SMRITI_IO_ROUNDS") ?? 20);
const SIZE = 16;

/** One round: its choices, what has stalled, and what may have cost a block. */
class Round {
  readonly stalled: (() => void)[] = [];
  /** Whether a buffer was given away, or a file read may run on. */
  mayAbandon = false;

  constructor(readonly rng: Rng) {}

  /** True once in so many times. */
  once(times: number): boolean {
    return this.rng.below(times) === 0;
  }

  pick<T>(...values: T[]): T {
    return values[this.rng.below(values.length)];
  }

  async pause(): Promise<void> {
    if (this.once(2)) return;
    await (this.once(2) ? microtasks() : delay(this.rng.below(3)));
  }

  /** Until it is let go. */
  stall(): Promise<void> {
    return new Promise((resolve) => this.stalled.push(resolve));
  }

  letGo(): void {
    for (const resolve of this.stalled.splice(0)) resolve();
  }

  give(bytes: Uint8Array<ArrayBuffer>): void {
    if (bytes.length === 0 || !this.once(50)) return;
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    this.mayAbandon = true;
  }
}

// deno-lint-ignore no-explicit-any
type Any = any;

async function* bytesOf(round: Round): AsyncGenerator<Any> {
  const count = round.rng.below(12);
  for (let i = 0; i < count; i++) {
    await round.pause();
    if (round.once(60)) throw new Error("source");
    if (round.once(60)) await round.stall();
    const size = round.pick(0, 1, 3, 16, 17, 40, 200);
    yield round.once(12) ? oddOf(round, size) : new Uint8Array(size).fill(i);
  }
}

/** What is no chunk, or one that is not what it seems. */
function oddOf(round: Round, size: number): Any {
  const bytes = new Uint8Array(size);
  const buffer = new ArrayBuffer(9, { maxByteLength: 9 });
  switch (round.rng.below(5)) {
    case 0:
      return "text";
    case 1:
      return new Uint8Array(new SharedArrayBuffer(9));
    case 2:
      structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
      return bytes;
    case 3:
      return Object.defineProperty(bytes, "byteLength", { value: -5 });
  }
  setTimeout(() => buffer.resize(0), 1);
  return new Uint8Array(buffer);
}

function sourceOf(round: Round): Any {
  const bytes = bytesOf(round);
  const pull = async (controller: Any) => {
    const { done, value } = await bytes.next();
    if (done) controller.close();
    else controller.enqueue(value);
  };
  const readable = new Readable({
    async read() {
      try {
        const { done, value } = await bytes.next();
        // An empty one would be the last that a node stream asks for, and so would one that becomes
        // empty in its queue.
        const stops = value?.length === 0 || value?.buffer?.resizable;
        this.push(done ? null : stops ? "x" : value);
      } catch (error) {
        this.destroy(error as Error);
      }
    },
  });
  const iterator = {
    next: () => bytes.next(),
    return: round.pick<Any>(
      undefined,
      () => ({ done: true }),
      () => Promise.reject(new Error("return")),
      () => round.stall(),
      () => {
        throw new Error("return");
      },
    ),
  };
  const kind = round.rng.below(6);
  if (kind === 0) return bytes;
  if (kind === 1) return new ReadableStream({ pull });
  if (kind === 2) {
    const headers = { "content-length": `${round.rng.below(200)}` };
    const body = new ReadableStream({ pull });
    return new Response(body, { headers: round.once(2) ? headers : {} });
  }
  if (kind === 3) return { [Symbol.asyncIterator]: () => iterator };
  if (kind === 4) return Readable.from(bytes);
  if (round.once(6)) setTimeout(() => readable.destroy(), 2);
  return readable;
}

function readerOf(round: Round): Any {
  if (round.once(2)) return sourceOf(round);
  let left = round.rng.below(300);
  return {
    async read(into: Uint8Array) {
      await round.pause();
      if (round.once(40)) throw new Error("reader");
      if (round.once(60)) await round.stall();
      if (round.once(60)) {
        round.mayAbandon = true;
        throw new Deno.errors.Interrupted("reader");
      }
      if (round.once(60)) return round.pick<Any>(-1, 1.5, 1e9, "1", undefined);
      const size = Math.min(left, 1 + round.rng.below(into.length));
      into.fill(round.pick(1, 2, 10), 0, size);
      left -= size;
      return size === 0 ? null : size;
    },
  };
}

function sinkOf(round: Round): Any {
  const take = async () => {
    await round.pause();
    if (round.once(30)) throw new Error("sink");
    if (round.once(60)) await round.stall();
  };
  const writer = {
    async write(bytes: Uint8Array) {
      await take();
      return round.once(30)
        ? round.pick<Any>(0, -1, bytes.length + 1, true)
        : 1 + round.rng.below(bytes.length);
    },
  };
  const stream = new WritableStream({ write: take });
  const other = new WritableStream({ write: take });
  return round.pick<Any>(stream, other.getWriter(), writer, writer);
}

interface Options {
  signal: AbortSignal | undefined;
  timeoutMs: number | undefined;
}

const OPERATIONS: ((
  round: Round,
  pool: Pool,
  options: Options,
) => Promise<unknown>)[] = [
  async function body(round, pool, { signal }) {
    using block = await pool.acquire({ timeoutMs: 30 });
    const limit = round.pick(undefined, 0, 9);
    const drain = round.once(2);
    await readBody(sourceOf(round), block, { signal, limit, drain });
  },
  async function collected(round, pool, options) {
    const limit = round.pick(undefined, 0, SIZE, 50, 1000);
    using chain = await collect(sourceOf(round), pool, { ...options, limit });
    if (chain === null) return;
    for (const { bytes } of chain.chunks()) round.give(bytes);
    await round.pause();
    if (round.once(2)) await chain.writeTo(sinkOf(round), options);
    const reader = chain.stream({ signal: options.signal }).getReader();
    while (!(await reader.read()).done) {
      if (round.once(4)) return await reader.cancel();
    }
  },
  async function chunked(round, pool, options) {
    for await (const chunk of chunks(sourceOf(round), pool, options)) {
      if (round.once(4)) round.give(chunk.bytes);
      await round.pause();
      if (round.once(10)) break;
      if (round.once(20)) throw new Error("consumer");
    }
  },
  async function lined(round, pool, options) {
    const limit = round.pick(undefined, 0, 50);
    const given = { ...options, limit };
    for await (const _ of lines(sourceOf(round), pool, given)) {
      if (round.once(10)) break;
    }
  },
  async function copied(round, pool, { signal }) {
    using block = await pool.acquire({ timeoutMs: 30 });
    await copy(readerOf(round), sinkOf(round), block, { signal });
  },
  async function framed(round, pool, options) {
    const length = (head: Uint8Array) =>
      round.once(30) ? round.pick(undefined, -1, NaN) : head[0] % 20;
    const header = 1 + round.rng.below(3);
    const walk: AsyncIterable<Frame> = round.once(2)
      ? readFrames(readerOf(round), pool, { ...options, header, length })
      : readFrames(readerOf(round), pool, { ...options, lengthBytes: 1 });
    for await (const { head, bytes } of walk) {
      if (head.length > 0) round.give(bytes);
      await round.pause();
      if (round.once(10)) break;
    }
  },
  async function buffered(round, pool, options) {
    using reader = bufferedReader(readerOf(round), pool, options);
    for (let i = 0; i < 20; i++) {
      const size = round.rng.below(SIZE + 1);
      if (round.once(4)) {
        if (await reader.readLine() === null) return;
      } else if (await reader.fill(size)) round.give(reader.take(size));
      if (round.once(20)) return reader.rest();
      if (round.once(20)) return void reader.fill(SIZE).catch(() => {});
    }
  },
  async function written(round, pool, options) {
    const limit = round.pick(undefined, 0, SIZE, 50, 1000);
    using filling = collector(pool, { ...options, limit });
    const source = sourceOf(round);
    if (source instanceof ReadableStream) {
      await source.pipeTo(filling.writable as Any);
    } else {
      for await (const bytes of bytesOf(round)) {
        const writing = filling.write(bytes);
        if (round.once(3)) writing.catch(() => {});
        else await writing;
      }
    }
    using _ = filling.finish();
  },
  async function walked(round, pool, options) {
    const walk: AsyncIterator<unknown> = round.once(2)
      ? chunks(sourceOf(round), pool, options)
      : lines(sourceOf(round), pool, options);
    const steps = [];
    for (let i = 0; i < 4; i++) {
      steps.push(round.once(5) ? walk.return!() : walk.next());
      steps.at(-1)!.catch(() => {});
      await round.pause();
    }
    steps.push(walk.return!());
    await Promise.allSettled(steps);
  },
];

async function play(pool: Pool, round: Round, seed: number): Promise<void> {
  const { rng } = round;
  const aborting = new AbortController();
  if (round.once(3)) setTimeout(() => aborting.abort(new Error("abort")), 3);
  const operations = Array.from({ length: 1 + rng.below(6) }, async () => {
    const signal = round.once(2) ? aborting.signal : undefined;
    const timeoutMs = round.pick(undefined, 0, 5, 50);
    const operation = OPERATIONS[rng.below(OPERATIONS.length)];
    try {
      await operation(round, pool, { signal, timeoutMs });
    } catch (error) {
      // What went wrong is the others' doing; how it is told is tested elsewhere.
      const isBug = error instanceof SmritiError &&
        ["foreign-block", "corrupted", "out-of-memory"].includes(error.code);
      if (isBug) throw error;
    }
  });
  const closing = round.once(5)
    ? delay(2).then(() => pool.close({ timeoutMs: round.pick(0, 5, 2000) }))
      .catch(() => {})
    : undefined;
  const timer = setInterval(() => round.letGo(), 10);
  try {
    await deadline(Promise.all(operations), 30_000);
    await closing;
    await until(() => lawful(pool).acquiredBlocks === 0);
    if (closing !== undefined) return;
    const { abandonedBlocks, waiting } = lawful(pool);
    if (!round.mayAbandon) assertEquals([abandonedBlocks, waiting], [0, 0]);
    await pool.close();
  } catch (cause) {
    throw new Error(`seed ${seed}, ${pool.name}`, { cause });
  } finally {
    clearInterval(timer);
    round.letGo();
  }
}

Deno.test("adaptors lose no block and do not hang, whatever is done to them", {
  // What was given up in the middle may end after its round.
  sanitizeOps: false,
  sanitizeResources: false,
}, async () => {
  const seed = seedOfRun();
  const rng = new Rng(seed);
  for (let i = 0; i < ROUNDS; i++) {
    const maxBlocks = 1 + rng.below(6);
    for (const pool of everyPool({ blockSize: SIZE, maxBlocks })) {
      await play(pool, new Round(rng), seed);
    }
  }
});
