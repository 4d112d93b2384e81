/**
 * The live line: what the server under test is doing now. On a terminal one line is written over
 * and over; into a file or a pipe goes a plain line a second. It only shows numbers, it takes
 * none.
 */

import type { Snapshot } from "./server.ts";

const PLAIN_MS = 1_000;
const BAR_SIZE = 32;
const MIN_BAR_SIZE = 8;
const ACQUIRED = "█", FREE = "▒", UNCOMMITTED = "·";

export const LEGEND =
  `Bar: ${ACQUIRED} acquired  ${FREE} free  ${UNCOMMITTED} not committed, up to the pool's limit.`;

export class Screen {
  readonly #start = performance.now();
  readonly #terminal = Deno.stdout.isTerminal();
  readonly #maxBlocks: number;
  #written = -Infinity;

  constructor(maxBlocks: number) {
    this.#maxBlocks = maxBlocks;
  }

  show(label: string, state: Snapshot): void {
    const now = performance.now();
    if (!this.#terminal && now - this.#written < PLAIN_MS) return;
    this.#written = now;
    const line = this.#line(label, (now - this.#start) / 1_000, state);
    if (this.#terminal) write(`\r\x1b[K${line}`);
    else write(line + "\n");
  }

  /** The last state stays on the screen; what follows begins on a line of its own. */
  end(): void {
    if (this.#terminal && this.#written > 0) write("\n");
    this.#written = -Infinity;
  }

  #line(
    label: string,
    seconds: number,
    { requests, rssBytes, pool }: Snapshot,
  ): string {
    const width = this.#terminal ? columns() - 1 : Infinity;
    let line = `${seconds.toFixed(1).padStart(5)} s  ${label.padEnd(15)}` +
      `${String(requests).padStart(6)} requests  ${
        (rssBytes / 1e6).toFixed(0).padStart(5)
      } MB`;
    if (pool !== null) {
      line += `  ${pad(pool.committedBlocks)} committed ${
        pad(pool.acquiredBlocks)
      } acquired ${pad(pool.freeBlocks)} free`;
      const room = Math.min(BAR_SIZE, width - line.length - 4);
      if (room >= MIN_BAR_SIZE) {
        line += `  [${
          bar(room, this.#maxBlocks, pool.acquiredBlocks, pool.committedBlocks)
        }]`;
      }
    }
    return line.slice(0, width);
  }
}

function bar(
  size: number,
  max: number,
  acquired: number,
  committed: number,
): string {
  const dark = Math.round(acquired / max * size);
  const lit = Math.max(dark, Math.round(committed / max * size));
  return ACQUIRED.repeat(dark) + FREE.repeat(lit - dark) +
    UNCOMMITTED.repeat(size - lit);
}

function columns(): number {
  try {
    return Deno.consoleSize().columns || 80;
  } catch {
    return 80;
  }
}

function pad(count: number): string {
  return String(count).padStart(3);
}

const encoder = new TextEncoder();

function write(text: string): void {
  const bytes = encoder.encode(text);
  for (let sent = 0; sent < bytes.length;) {
    sent += Deno.stdout.writeSync(bytes.subarray(sent));
  }
}
