/**
 * A line between the isolates of a process: what one says on it all others hear. Keeps no process
 * alive, and heals what Deno does to channels.
 *
 * When an isolate closes its last channel, Deno (2.9.6) ends the subscription some turns later, and
 * with it that of a channel opened meanwhile, which then hears nothing and throws when it posts.
 * Another one opened after that, even if closed at once, gets all of them subscribed again.
 */
import { Timer } from "../../pool/timers.ts";

/**
 * When a new line is tried out: after so many ms, and then after twice as many each time. At each
 * turn the old subscription ends, or one message more is heard before: the choice is random.
 */
const FIRST_TRIAL_MS = 20;
const LAST_TRIAL_MS = 1280;

/** The part of a channel used here. */
interface Channel {
  onmessage: (event: never) => void;
  postMessage(message: unknown): void;
  close(): void;
  unref(): unknown;
}

/** One end of the line of that name. */
export class JoinChannel {
  readonly #open: () => Channel;
  readonly #channel: Channel;
  #trial: Timer | undefined;

  private constructor(open: () => Channel) {
    this.#open = open;
    this.#channel = open();
    this.#channel.unref();
    this.#tryIn(FIRST_TRIAL_MS);
  }

  /** Opens a line. Only Node's channels can be unref'd: loaded by those who want one, and nobody else. */
  static async open(name: string): Promise<JoinChannel> {
    const { BroadcastChannel } = await import("node:worker_threads");
    return new JoinChannel(() =>
      new BroadcastChannel(name) as unknown as Channel
    );
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
    this.#trial?.stop();
    this.#channel.close();
  }

  #tryIn(ms: number): void {
    this.#trial = Timer.once(ms, this as JoinChannel, (line) => {
      line.say(null);
      if (ms < LAST_TRIAL_MS) line.#tryIn(2 * ms);
    });
  }
}
