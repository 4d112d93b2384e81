/**
 * Experimental, as all of `join`. A broadcast channel between the isolates of a process that does not
 * keep the process alive, with a work-around for lost subscriptions.
 *
 * When an isolate closes its last channel, Deno (2.9.6) cancels the subscription some turns later, and
 * with it that of a channel opened meanwhile, which then receives nothing and throws when it posts.
 * Opening another channel after that, even if it is closed at once, subscribes all of them again.
 */
import { Timer } from "../../pool/timers.ts";

/**
 * When a new channel is tested by posting: after so many ms, then after twice as many each time. The
 * old subscription ends at an unknown turn of the event loop, so one test is not enough.
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

/** One end of the channel of a name. */
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

  /** Opens a channel. Only Node's can be unref'd; the module is loaded by the first `join`. */
  static async open(name: string): Promise<JoinChannel> {
    const { BroadcastChannel } = await import("node:worker_threads");
    return new JoinChannel(() =>
      new BroadcastChannel(name) as unknown as Channel
    );
  }

  /** Sets the listener for messages of others; `null`, which tests post, is left out. */
  hear(listener: (message: object) => void): void {
    this.#channel.onmessage = ({ data }: MessageEvent) => {
      if (typeof data === "object" && data !== null) listener(data);
    };
  }

  /** Posts a message to all other ends. */
  say(message: object | null): void {
    try {
      this.#channel.postMessage(message);
    } catch {
      this.#open().close();
      this.#channel.postMessage(message);
    }
  }

  /** Closes this end: no message is received any more. */
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
