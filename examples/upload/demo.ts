/**
 * The measurement: two servers, each in a process of its own, in rounds that alternate between
 * them, so that the noise of the machine meets both. It sends bodies of random size and content
 * over many connections and checks the digest in every answer. It is a closed loop: a connection
 * sends its next body when it has the answer to the last, so a slow server gets fewer requests
 * instead of a longer queue.
 */
import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { Child, type Cost, denoOf } from "../../bench/child.ts";
import { connect, reply, writeAll } from "../../bench/io/load.ts";
import { next } from "../../bench/measure.ts";
import type { ServerOptions, State } from "./server.ts";

/** What may be asked for; sizes in bytes. */
export type Settings = Record<
  "port" | "minSize" | "maxSize" | "connections" | "maxBlocks" | "seconds",
  number
>;

const ROUNDS = 3;
/** In each round a quarter of the connections, then all, then none: the pool grows and shrinks. */
const CALM_SHARE = 0.2, PAUSE_SHARE = 0.35;
/** Both servers run this long uncounted first: compiling is no part of the comparison. */
const WARM_UP_MS = 800;
const LOOK_MS = 100;
/** What the run may take beyond the seconds asked for, before it counts as stuck. */
const GRACE_MS = 90_000;
/** Bodies are made before the first request. */
const BODIES_BYTES = 256 * 1024 * 1024;
/**
 * A body goes out in pieces with a rest between them, as a network would bring it. Sent at once it
 * would lie in the kernel's buffers as a whole, and the server would never have two uploads open.
 */
const PIECE_SIZE = 64 * 1024;
const REST_MS = 4;

interface Body {
  readonly bytes: Uint8Array;
  readonly digest: string;
}

/** One server and everything measured of it. */
class Side {
  readonly waitedMs: number[] = [];
  wrong = 0;
  failed = 0;
  failure = "";
  activeMs = 0;
  cpuMicros = 0;
  peakBytes = 0;
  markCompacts = 0;

  constructor(
    readonly name: string,
    readonly child: Child<{ port: number }, State>,
    readonly port: number,
  ) {}

  percentile(share: number): number {
    const sorted = Float64Array.from(this.waitedMs).sort();
    return sorted[Math.floor(sorted.length * share)];
  }

  /** What must not have happened. */
  problems(): string[] {
    const { waitedMs, wrong, failed, failure } = this;
    return [
      waitedMs.length === 0 ? "no request was answered" : "",
      wrong > 0 ? `${wrong} wrong digests` : "",
      failed > 0 ? `${failed} failed requests, first: ${failure}` : "",
    ].filter((text) => text !== "").map((text) => `${this.name}: ${text}`);
  }
}

/** Runs the whole demo. Returns the exit code: 0 if every upload got its right digest. */
export async function runDemo(settings: Settings): Promise<number> {
  const { port, minSize, maxSize, connections, maxBlocks, seconds } = settings;
  // The servers end with this process.
  const deadline = setTimeout(() => {
    console.error("The demo is stuck; it was ended.");
    Deno.exit(1);
  }, seconds * 1_000 + GRACE_MS);
  await using pooled = start({ kind: "pooled", port, maxSize, maxBlocks });
  await using plain = start({
    kind: "req.bytes()",
    port: 0,
    maxSize,
    maxBlocks,
  });
  const ports = [await pooled.ready(), await plain.ready()];
  const sides = () => [
    new Side("pooled", pooled, ports[0].port),
    new Side("req.bytes()", plain, ports[1].port),
  ];
  console.log(
    `Uploads of ${minSize} to ${maxSize} bytes over ${connections} connections, ` +
      `at most ${maxBlocks} blocks.\n` +
      "Bar: █ acquired  ▒ free  · not committed, up to the pool's limit.\n",
  );
  const bodies = makeBodies(minSize, maxSize);
  const show = screen(maxBlocks);
  for (const side of sides()) {
    await round("warm-up", 0, WARM_UP_MS, side);
    if (side.wrong + side.failed > 0) throw new Error(side.problems().join());
  }
  const both = sides();
  for (let seed = 1; seed <= ROUNDS; seed++) {
    // They take turns at being the first, so that no slow noise meets always the same one.
    for (const side of seed % 2 === 1 ? both : both.toReversed()) {
      const label = `${side.name} ${seed}/${ROUNDS}`;
      await round(label, seed, seconds * 1_000 / (2 * ROUNDS), side);
    }
  }
  const { pool } = (await pooled.cost()).extra;
  for (const side of both) side.markCompacts = await side.child.stop();
  clearTimeout(deadline);
  console.log(`\n${table(both)}`);
  const problems = both.flatMap((side) => side.problems());
  const lost = pool!.acquiredBlocks + pool!.abandonedBlocks;
  if (lost > 0) problems.push(`pooled: ${lost} blocks were never released`);
  for (const problem of problems) console.error(`FAILED  ${problem}`);
  return problems.length === 0 ? 0 : 1;

  async function round(label: string, seed: number, ms: number, side: Side) {
    const before = await side.child.cost();
    const end = performance.now() + ms * (1 - PAUSE_SHARE);
    const start = performance.now();
    let isLoaded = true;
    const load = Promise.all(Array.from({ length: connections }, (_, at) => {
      const afterMs = at < connections / 4 ? 0 : ms * CALM_SHARE;
      return send(side, bodies, seed * 1_000 + at, afterMs, end);
    })).then(() => side.activeMs += performance.now() - start)
      .finally(() => isLoaded = false);
    const pauseEnd = () => performance.now() < end + ms * PAUSE_SHARE;
    while (isLoaded || pauseEnd()) {
      show(label, await side.child.cost());
      await delay(LOOK_MS);
    }
    await load;
    const after = await side.child.cost();
    // The pause after the load is included: work put off until then is still work.
    side.cpuMicros += after.cpuMicros - before.cpuMicros;
    side.peakBytes = after.peakBytes;
  }
}

function start(options: ServerOptions): Child<{ port: number }, State> {
  const script = new URL("./server.ts", import.meta.url).href;
  const tuning = { v8Flags: ["--trace-gc"] };
  return new Child(denoOf(script, [JSON.stringify(options)], tuning));
}

function makeBodies(minSize: number, maxSize: number): Body[] {
  const count = Math.floor(BODIES_BYTES / ((minSize + maxSize) / 2));
  const most = Math.max(16, Math.min(256, count));
  // Every body is a window of its own on one random array: no two are equal, the array stays small.
  const noise = new Uint8Array(maxSize + most);
  for (let at = 0; at < noise.length; at += 65_536) {
    crypto.getRandomValues(noise.subarray(at, at + 65_536));
  }
  return Array.from({ length: most }, (_, index) => {
    // The extremes are always among them: the smallest, and the one that fills its whole block.
    const size = [minSize, maxSize][index] ??
      minSize + Math.floor(Math.random() * (maxSize - minSize + 1));
    const bytes = noise.subarray(index, index + size);
    return { bytes, digest: createHash("sha256").update(bytes).digest("hex") };
  });
}

/** One connection's uploads: both servers get the same bodies in the same order. */
async function send(
  side: Side,
  bodies: Body[],
  seed: number,
  afterMs: number,
  end: number,
): Promise<void> {
  await delay(afterMs);
  const buffer = new Uint8Array(8 * 1024);
  let conn: Deno.TcpConn | undefined;
  while (performance.now() < end) {
    seed = next(seed);
    const { bytes, digest } = bodies[(seed >> 8) % bodies.length];
    try {
      conn ??= await connect(side.port);
      // By hand: `fetch` would copy every body first, and take processor time from the server.
      const head = "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\n" +
        `content-length: ${bytes.length}\r\n\r\n`;
      await writeAll(conn, new TextEncoder().encode(head));
      for (let sent = 0; sent < bytes.length; sent += PIECE_SIZE) {
        if (sent > 0) await delay(REST_MS);
        await writeAll(conn, bytes.subarray(sent, sent + PIECE_SIZE));
      }
      const start = performance.now();
      const { status, text } = await reply(conn, buffer);
      side.waitedMs.push(performance.now() - start);
      if (status !== 200) throw new Error(`status ${status}: ${text}`);
      if (text.trim() !== digest) side.wrong++;
    } catch (error) {
      side.failed++;
      side.failure ||= String(error);
      conn?.close();
      conn = undefined;
      await delay(50); // a server that refuses everything must not be hammered
    }
  }
  conn?.close();
}

/** What the server under test is doing, a line a second. */
function screen(maxBlocks: number) {
  const start = performance.now();
  let last = { label: "", ms: 0 };
  const pad = (value: number, size: number) => value.toFixed(0).padStart(size);
  return (label: string, { extra, residentBytes }: Cost<State>): void => {
    const ms = performance.now() - start;
    if (label === last.label && ms - last.ms < 1_000) return;
    last = { label, ms };
    let text = `${(ms / 1_000).toFixed(1).padStart(5)} s  ` +
      `${label.padEnd(15)}${pad(extra.requests, 6)} requests  ` +
      `${pad(residentBytes / 1e6, 5)} MB`;
    if (extra.pool !== undefined) {
      const { committedBlocks, acquiredBlocks, freeBlocks } = extra.pool;
      const [dark, lit] = [acquiredBlocks, committedBlocks]
        .map((blocks) => Math.round(blocks / maxBlocks * 32));
      const bar = ("█".repeat(dark) + "▒".repeat(lit - dark)).padEnd(32, "·");
      text += `  ${pad(committedBlocks, 3)} committed ` +
        `${pad(acquiredBlocks, 3)} acquired ${
          pad(freeBlocks, 3)
        } free  [${bar}]`;
    }
    console.log(text);
  };
}

const ROWS: [title: string, digits: number, value: (side: Side) => number][] = [
  ["requests", 0, ({ waitedMs }) => waitedMs.length],
  ["requests/s", 0, (side) => side.waitedMs.length / side.activeMs * 1e3],
  ["p50 ms", 1, (side) => side.percentile(0.5)],
  ["p99 ms", 1, (side) => side.percentile(0.99)],
  ["p99.9 ms", 1, (side) => side.percentile(0.999)],
  ["server CPU µs/request", 0, (side) => side.cpuMicros / side.waitedMs.length],
  ["peak RSS MB", 0, ({ peakBytes }) => peakBytes / 1e6],
  ["mark-compacts", 0, ({ markCompacts }) => markCompacts],
  ["digests wrong", 0, ({ wrong }) => wrong],
  ["requests failed", 0, ({ failed }) => failed],
];

function table(sides: Side[]): string {
  const line = (title: string, ...cells: string[]) =>
    title.padEnd(22) +
    cells.map((cell) => cell.padStart(13)).join("").trimEnd();
  const heading = line("", ...sides.map(({ name }) => name), "ratio");
  const rows = ROWS.map(([title, digits, value]) => {
    const [a, b] = sides.map(value);
    const cells = [a, b].map((n) =>
      Number.isFinite(n) ? n.toFixed(digits) : "-"
    );
    return line(title, ...cells, b > 0 ? (a / b).toFixed(2) : "");
  });
  return [heading, "─".repeat(heading.length), ...rows].join("\n");
}
