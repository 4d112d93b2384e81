/**
 * The live line: what the server under test is doing now. On a terminal one line is written over
 * and over; into a file or a pipe goes a plain line a second.
 */
import type { Snapshot } from "./server.ts";

const PLAIN_MS = 1_000;
const BAR_SIZE = 32;

export const LEGEND =
  "Bar: █ acquired  ▒ free  · not committed, up to the pool's limit.";

export class Screen {
  readonly #start = performance.now();
  readonly #isTerminal = Deno.stdout.isTerminal();
  readonly #maxBlocks: number;
  #written = -Infinity;

  constructor(maxBlocks: number) {
    this.#maxBlocks = maxBlocks;
  }

  show(label: string, state: Snapshot): void {
    const now = performance.now();
    if (!this.#isTerminal && now - this.#written < PLAIN_MS) return;
    this.#written = now;
    const seconds = ((now - this.#start) / 1_000).toFixed(1).padStart(5);
    const line = `${seconds} s  ${label.padEnd(15)}${this.#text(state)}`;
    if (!this.#isTerminal) return console.log(line);
    const { columns } = Deno.consoleSize();
    const text = `\r\x1b[K${line.slice(0, columns - 1)}`;
    Deno.stdout.writeSync(new TextEncoder().encode(text));
  }

  /** The last state stays on the screen; what follows begins on a line of its own. */
  end(): void {
    if (this.#isTerminal) console.log();
    this.#written = -Infinity;
  }

  #text({ requests, rssBytes, pool }: Snapshot): string {
    const pad = (value: number, size: number) =>
      value.toFixed(0).padStart(size);
    const text = `${pad(requests, 6)} requests  ${pad(rssBytes / 1e6, 5)} MB`;
    if (pool === undefined) return text;
    const { committedBlocks, acquiredBlocks, freeBlocks } = pool;
    const cells = (blocks: number) =>
      Math.round(blocks / this.#maxBlocks * BAR_SIZE);
    const dark = cells(acquiredBlocks), lit = cells(committedBlocks);
    const bar = ("█".repeat(dark) + "▒".repeat(lit - dark)).padEnd(
      BAR_SIZE,
      "·",
    );
    return `${text}  ${pad(committedBlocks, 3)} committed ${
      pad(acquiredBlocks, 3)
    } acquired ${pad(freeBlocks, 3)} free  [${bar}]`;
  }
}
