// Explores configurations in Workers, each of which takes itself to run on the processor of the memory model.

import { CONFIGURATIONS } from "./configurations.ts";
import type { Result } from "./explorer.ts";
import { type Mode, MODES } from "./memory.ts";

/** What a Worker is told to explore, or to replay. */
export interface Order {
  readonly name: string;
  readonly mode: Mode;
  readonly ms: number;
  readonly seed: number;
  readonly replay?: string | undefined;
}

/** What it found. */
export interface Answer {
  readonly result?: Result;
  readonly wrong?: string | undefined;
  readonly lines?: string[];
}

const PROCESSORS: Record<Mode, string> = {
  sc: "x86_64",
  tso: "x86_64",
  stale: "aarch64",
};

/** One Worker for each processor, as long as they are needed. */
export class Explorers implements Disposable {
  readonly #workers = new Map<string, Worker>();

  /** What one configuration comes to in one model. */
  async explore(order: Order): Promise<Answer> {
    const name = PROCESSORS[order.mode];
    let worker = this.#workers.get(name);
    if (worker === undefined) {
      const url = new URL("./runner.ts", import.meta.url);
      worker = new Worker(url, { type: "module", name });
      this.#workers.set(name, worker);
    }
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => reject(new Error(event.message));
    worker.postMessage(order);
    return await promise;
  }

  [Symbol.dispose](): void {
    for (const worker of this.#workers.values()) worker.terminate();
  }
}

/** Every configuration in every memory model whose name has this part. */
export function chosen(part: string) {
  return Object.entries(CONFIGURATIONS).flatMap(([name, configuration]) =>
    MODES.map((mode) => ({ name, mode, configuration }))
  ).filter(({ name, mode }) => `${name}, ${mode}`.includes(part));
}

/** How much of it was explored, in words. */
export function extentOf(
  { isComplete, finding }: Result,
  preemptions?: number,
): string {
  if (finding !== undefined) return "VIOLATION";
  const bound = preemptions === undefined
    ? "all interleavings"
    : `all with ${preemptions} preemptions`;
  return isComplete ? bound : `${bound}: not completed`;
}
