/**
 * A line between the isolates of a process: what one says on it all others hear. Keeps no process
 * alive, and heals what Deno does to channels.
 *
 * When an isolate closes its last channel, Deno (2.9.6) ends the subscription some turns later, and
 * with it that of a channel opened meanwhile, which then hears nothing and throws when it posts.
 * Another one opened after that, even if closed at once, gets all of them subscribed again.
 */
import { unref } from "../pool/sizer.ts";

/**
 * How often a new line is tried out, and how many ms lie between. At each turn the old subscription
 * ends, or one message more is heard before: the choice is random.
 */
const TRIALS = 30;
const TRIAL_MS = 20;

/** The part of a channel used here. */
interface Channel {
  onmessage: (event: never) => void;
  postMessage(message: unknown): void;
  close(): void;
  unref(): unknown;
}

/** One end of the line of that name. */
export class Line {
  readonly #open: () => Channel;
  readonly #channel: Channel;
  readonly #trying: ReturnType<typeof setInterval>;

  private constructor(open: () => Channel) {
    this.#open = open;
    this.#channel = open();
    this.#channel.unref();
    let trials = TRIALS;
    this.#trying = unref(setInterval(() => {
      if (--trials === 0) clearInterval(this.#trying);
      this.say(null);
    }, TRIAL_MS));
  }

  /** Opens a line. Only Node's channels can be unref'd: loaded by those who want one, and nobody else. */
  static async open(name: string): Promise<Line> {
    const { BroadcastChannel } = await import("node:worker_threads");
    return new Line(() => new BroadcastChannel(name) as unknown as Channel);
  }

  /** Whom to tell what others say, from now on; never `null`. */
  hear(listener: (message: object) => void): void {
    this.#channel.onmessage = ({ data }: MessageEvent) => {
      if (typeof data === "object" && data !== null) listener(data);
    };
  }

  /** Says something to all others who have the line. */
  say(message: object | null): void {
    try {
      this.#channel.postMessage(message);
    } catch {
      this.#open().close();
      this.#channel.postMessage(message);
    }
  }

  /** Nothing is heard any more. */
  close(): void {
    clearInterval(this.#trying);
    this.#channel.close();
  }
}
