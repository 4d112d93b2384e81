/**
 * A chain as a stream: its reader gets copies, a slice a pull, and each block goes back as soon as
 * it was read. Owns the blocks from then on.
 */
import type { Block } from "../mod.ts";
import { listenWeakly } from "./abort.ts";
import { disposeAll, firstOf } from "./blocks.ts";
import { hasHeadroom, UNWOUND } from "./headroom.ts";

/** Bytes in one slice: what a response or an upload takes at once. */
const SLICE = 64 * 1024;

/** All blocks are full, but for the last. `onRelease` is called after each that has gone back. */
export function chainStream(
  blocks: readonly Block[],
  byteLength: number,
  signal: AbortSignal | undefined,
  onRelease: () => void,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const slices = new Slices(blocks, byteLength, signal, onRelease);
  return new ReadableStream(slices, { highWaterMark: 0 });
}

class Slices implements UnderlyingDefaultSource<Uint8Array<ArrayBuffer>> {
  readonly #blocks: Block[];
  readonly #onRelease: () => void;
  readonly #signal: AbortSignal | undefined;
  #controller!: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>;
  #unlisten = () => {};
  /** Bytes of the chain that were not read, and of the first block those that were. */
  #left: number;
  #start = 0;

  constructor(
    blocks: readonly Block[],
    byteLength: number,
    signal: AbortSignal | undefined,
    onRelease: () => void,
  ) {
    this.#blocks = blocks.toReversed();
    this.#left = byteLength;
    this.#signal = signal;
    this.#onRelease = onRelease;
  }

  start(
    controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>,
  ): void {
    this.#controller = controller;
    if (this.#signal?.aborted) this.interrupt(this.#signal.reason);
    else if (this.#left === 0) this.#close();
    else this.#unlisten = listenWeakly(this.#signal, this);
  }

  async pull(): Promise<void> {
    try {
      const block = this.#blocks.at(-1)!;
      const used = Math.min(block.size, this.#start + this.#left);
      const size = Math.min(SLICE, used - this.#start);
      const slice = firstOf(block, used).slice(this.#start, this.#start + size);
      this.#start += size;
      this.#left -= size;
      if (this.#start === block.size || this.#left === 0) {
        this.#blocks.pop();
        this.#start = 0;
        block.release();
        this.#onRelease();
      }
      this.#controller.enqueue(slice);
      if (this.#left === 0) this.#close();
    } catch (error) {
      await UNWOUND; // the stack may have ended here
      this.interrupt(error);
    }
  }

  async cancel(): Promise<void> {
    if (!hasHeadroom()) await UNWOUND;
    this.#giveBack();
  }

  /** For the signal, and for what else ends it. */
  interrupt(reason: unknown): void {
    let error = reason;
    try {
      this.#giveBack();
    } catch (found) {
      error = found; // strict mode, on another slot
    }
    this.#controller.error(error);
  }

  #giveBack(): void {
    this.#unlisten();
    const blocks = this.#blocks.splice(0);
    try {
      disposeAll(blocks);
    } finally {
      this.#onRelease();
    }
  }

  #close(): void {
    this.#unlisten();
    this.#controller.close();
  }
}
