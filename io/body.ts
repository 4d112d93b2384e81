/**
 * Reads a body, whatever it comes from, announced or not, in chunks of any size. What has arrived is
 * taken out as there is room for it: copied, so that no source ever holds a block.
 */
import { Abort } from "./abort.ts";
import { bytesIn, checkStillThere } from "./bytes.ts";
import { invalidData, unexpectedEof } from "./errors.ts";
import { announcedBy, type BodySource, type Feed, open } from "./source.ts";

const NOTHING: Uint8Array = new Uint8Array(0);

/** One body being read. Exactly one `end()` must follow. */
export class Body {
  /** The length that the sender has announced, in bytes. */
  readonly announced: number | undefined;

  /** Interrupts it, and lets the event loop have its turns. */
  readonly abort: Abort;
  readonly #feed: Feed | undefined;
  /** What has arrived and was not taken: a plain view, and how long it was when it came. */
  #rest = NOTHING;
  #left = 0;
  #received = 0;
  #done: boolean;
  #hasLeft = false;

  /** Locks the source's stream. Reads go no further than needed to fill `room` bytes at once. */
  constructor(source: BodySource, room: number, signal?: AbortSignal) {
    this.abort = new Abort(signal);
    try {
      const announced = announcedBy(source);
      this.#feed = open(source, room, announced);
      this.#done = this.#feed === undefined;
      if (!this.#done) this.announced = announced;
    } catch (error) {
      this.abort.end();
      throw error;
    }
  }

  /** Bytes that have arrived and can be taken. */
  get available(): number {
    return this.#left;
  }

  /**
   * Waits until there is something to take; `false` means that the body has ended, with as many
   * bytes as announced.
   */
  fill(): Promise<boolean> {
    return this.read(isEnough);
  }

  /**
   * Reads on, calling `wants` whenever there is something to take, which must take all of it or say
   * that no more is wanted; `false` means that the body has ended before, with as many bytes as
   * announced. One promise for all of it, where `fill` makes one for each chunk.
   */
  async read(wants: () => boolean): Promise<boolean> {
    do {
      if (this.abort.check()) await this.abort.turn();
      if (this.#left > 0) continue;
      if (this.#done) {
        this.#checkLength();
        return false;
      }
      const { done, value } = await this.abort.race(this.#feed!.next());
      this.#done = Boolean(done);
      // Also when done: a stream's last bytes may come with the end.
      if (!this.#done || value !== undefined) this.#arrived(value);
    } while (this.#left === 0 || wants());
    return true;
  }

  /** Copies to `target` what has arrived, as far as it fits; returns how many bytes. */
  take(target: Uint8Array): number {
    const rest = this.#rest;
    checkStillThere("a chunk of source", rest, this.#left);
    const size = Math.min(rest.length, target.length);
    target.set(size === rest.length ? rest : rest.subarray(0, size));
    this.#left -= size;
    this.#rest = this.#left === 0 ? NOTHING : rest.subarray(size);
    return size;
  }

  /** Reads what is left and keeps none of it. Fails only with the signal's reason. */
  async drain(): Promise<void> {
    try {
      while (await this.fill()) {
        this.#rest = NOTHING;
        this.#left = 0;
      }
    } catch {
      // The answer does not depend on how a body ends that is thrown away.
      this.abort.check();
    }
  }

  /** Lets go of the source, and cancels it unless it was read to its end. */
  end(): void {
    this.abort.end();
    this.#rest = NOTHING;
    this.#left = 0;
    if (!this.#hasLeft) this.#feed?.end(this.#done);
  }

  /** Lets go of the source as it is; gives what has arrived and was not taken. */
  leave(): Uint8Array {
    const rest = new Uint8Array(this.#left);
    this.take(rest);
    this.#hasLeft = true;
    this.#feed?.leave();
    return rest;
  }

  #arrived(value: unknown): void {
    this.#rest = bytesIn("a chunk of source", value);
    this.#left = this.#rest.length;
    this.#feed!.came?.(this.#rest);
    this.#received += this.#left;
    const { announced } = this;
    if (announced !== undefined && this.#received > announced) {
      throw invalidData(
        `the body is longer than the ${announced} bytes that its Content-Length announced`,
      );
    }
  }

  #checkLength(): void {
    const { announced } = this;
    // An HTTP/2 upload that its sender cancels ends like a complete one: only the count shows it.
    if (announced === undefined || this.#received === announced) return;
    throw unexpectedEof(
      `the body ended after ${this.#received} of the ${announced} bytes that its ` +
        "Content-Length announced",
    );
  }
}

function isEnough(): boolean {
  return false;
}
