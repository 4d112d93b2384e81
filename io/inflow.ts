/**
 * The bytes of a reader on their way through one block, in order: what has arrived and was not
 * taken lies together and can be looked at. Knows nothing of frames and lines.
 */
import type { Abort } from "./abort.ts";
import { emptyReads, type Inlet, sizeRead } from "./streams.ts";
import type { Piece, Window } from "./window.ts";

/** Bytes that pass through a window. The caller ends the window. */
export class Inflow {
  readonly #inlet: Inlet;
  readonly #window: Window;
  readonly #abort: Abort;
  #start = 0;
  #end = 0;
  #empty = 0;
  /** Where the next read goes. */
  readonly #room = () => this.#window.part(this.#end, this.#window.size);

  /** Nothing has been read yet. */
  constructor(inlet: Inlet, window: Window, abort: Abort) {
    this.#inlet = inlet;
    this.#window = window;
    this.#abort = abort;
  }

  /** Bytes that have arrived and were not taken. */
  get available(): number {
    return this.#end - this.#start;
  }

  /** What is available, to look at until the next call. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#window.part(this.#start, this.#end);
  }

  /** Reads until `size` bytes are there, at most a block; `false` if the reader ends before. */
  async fill(size: number): Promise<boolean> {
    while (this.available < size) {
      if (this.#abort.check()) await this.#abort.turn();
      this.#makeRoom(size);
      const { kind } = this.#inlet;
      const reading = this.#inlet.read(this.#room);
      const read = kind === undefined
        ? await reading
        : await this.#abort.race(this.#window.lend(reading, kind));
      if (read === null) return false;
      this.#empty = emptyReads(read, this.#empty);
      this.#end += sizeRead(read, this.#window.size - this.#end);
    }
    return true;
  }

  /** The next `size` bytes, which are there, are taken. */
  skip(size: number): void {
    this.#start += size;
  }

  /** The same, as a piece of the window. */
  take(size: number): Piece {
    const start = this.#start;
    this.#start += size;
    return this.#window.piece(start, this.#start);
  }

  /** The next `size` bytes, which are there, as a view that ends with the window's next step. */
  view(size: number): Uint8Array<ArrayBuffer> {
    return this.#window.show(this.#start, this.#start + size);
  }

  /** Moves what is there to the front if the rest of it would not fit, or only in small reads. */
  #makeRoom(size: number): void {
    if (this.#start === 0) return;
    const room = this.#window.size - this.#end;
    const missing = size - this.available;
    if (room >= missing && room >= this.#window.size / 4) return;
    this.#window.bytes.copyWithin(0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
  }
}
