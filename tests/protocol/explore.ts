// Explores configurations in Workers, each of which takes itself to run on the processor of the memory model.

import { CONFIGURATIONS } from "./configurations.ts";
import type { Pass } from "./explorer.ts";
import { type Mode, MODES } from "./memory.ts";

/** A configuration in a memory model. */
export interface Row {
  readonly name: string;
  readonly mode: Mode;
}

/** What a Worker is told to explore, or to replay. */
export interface Order extends Row {
  /** Preemptions; all by default. */
  readonly bound?: number;
  /** By default as long as it takes. */
  readonly ms?: number;
  readonly replay?: string;
}

/** What it found. */
export interface Answer {
  readonly pass?: Pass;
  readonly wrong?: string | undefined;
  readonly lines?: string[];
}

/** One Worker for each processor, as long as they are needed. */
export class Explorers implements Disposable {
  readonly #workers = new Map<string, Worker>();
  readonly #root: string;

  /** Explores the code beside which the runner in this folder lies. */
  constructor(root: string = import.meta.url) {
    this.#root = root;
  }

  /** Where plain loads keep their order, or do not. */
  processorOf(mode: Mode): typeof Deno.build.arch {
    return mode === "stale" ? "aarch64" : "x86_64";
  }

  /** Has an order carried out; one at a time for each processor. */
  async do(order: Order): Promise<Answer> {
    const name = this.processorOf(order.mode);
    let worker = this.#workers.get(name);
    if (worker === undefined) {
      const url = new URL("./runner.ts", this.#root);
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

/** The configuration of that name, or all with that part in their names, in one model or all. */
export function chosen(part: string, mode: string): Row[] {
  const names = part in CONFIGURATIONS
    ? [part]
    : Object.keys(CONFIGURATIONS).filter((name) => name.includes(part));
  const modes = MODES.filter((each) => mode === "" || each === mode);
  return names.flatMap((name) => modes.map((mode) => ({ name, mode })));
}
