// What a task of the soak does next: drawn from its own random numbers before it is begun, so that
// the seed gives the same decisions again, however the tasks fall in between each other.

import { Rng } from "../../support/rng.ts";

/** One thing done with a block while it is held. */
export type Step =
  | { do: "check" | "rewrite" | "structuredClone" | "worker" }
  | { do: "pause" | "lend"; ms: number }
  | { do: "file" | "socket" | "byob" }
  | { do: "race"; ms: number }
  | { do: "escape"; heal: boolean }
  | { do: "cut" | "interrupt" | "lateWrite" };

/** One lease, or several at once. */
export interface Plan {
  /** Which pool, as a share of those there are. */
  readonly pool: number;
  /** Bytes asked of a pool with size classes, as a share of its largest. */
  readonly size: number;
  readonly way: "acquire" | "try" | "many" | "use";
  readonly count: number;
  readonly reserved: boolean;
  readonly upgrade: boolean;
  readonly tag: string | undefined;
  readonly timeoutMs: number | undefined;
  /** When the signal aborts. */
  readonly abortMs: number | undefined;
  readonly steps: readonly Step[];
  readonly end: "release" | "dispose" | "pool" | "twice" | "whileLent";
}

const STEPS: readonly [number, (rng: Rng) => Step][] = [
  [30, () => ({ do: "check" })],
  [20, () => ({ do: "rewrite" })],
  [12, (rng) => ({ do: "pause", ms: rng.below(12) })],
  [12, (rng) => ({ do: "lend", ms: rng.below(6) })],
  [6, () => ({ do: "structuredClone" })],
  [3, () => ({ do: "worker" })],
  [4, () => ({ do: "file" })],
  [6, () => ({ do: "socket" })],
  [4, () => ({ do: "byob" })],
  [3, (rng) => ({ do: "race", ms: rng.below(4) })],
  [0.6, () => ({ do: "cut" })],
  [0.04, () => ({ do: "interrupt" })],
  [0.04, (rng) => ({ do: "escape", heal: rng.chance(0.5) })],
  [0.1, () => ({ do: "lateWrite" })],
];

const TOTAL = STEPS.reduce((sum, [weight]) => sum + weight, 0);

function step(rng: Rng): Step {
  let at = rng.next() / 2 ** 32 * TOTAL;
  for (const [weight, make] of STEPS) {
    at -= weight;
    if (at < 0) return make(rng);
  }
  return { do: "check" };
}

/** The next plan. */
export function plan(rng: Rng): Plan {
  const way = rng.pick(["acquire", "acquire", "acquire", "try", "many", "use"]);
  return {
    pool: rng.next() / 2 ** 32,
    size: rng.next() / 2 ** 32,
    way: way as Plan["way"],
    count: 1 + rng.below(4),
    reserved: rng.chance(0.1),
    upgrade: rng.chance(0.3),
    tag: rng.chance(0.2) ? `task ${rng.below(100)}` : undefined,
    timeoutMs: rng.chance(0.3) ? rng.below(20) : undefined,
    abortMs: rng.chance(0.1) ? rng.below(10) : undefined,
    steps: Array.from({ length: rng.below(6) }, () => step(rng)),
    end: rng.pick([
      "release",
      "release",
      "dispose",
      "pool",
      "twice",
      "whileLent",
    ]),
  };
}

/** The random numbers of one task. */
export function streamOf(seed: number, task: number): Rng {
  return new Rng((seed ^ Math.imul(task + 1, 0x9e3779b1)) >>> 0);
}

/** A number that two runs share if, and only if, their decisions are the same. */
export function digest(seed: number, tasks: number): string {
  let hash = 0x811c9dc5;
  for (let task = 0; task < tasks; task++) {
    const rng = streamOf(seed, task);
    const text = JSON.stringify(Array.from({ length: 50 }, () => plan(rng)));
    for (let at = 0; at < text.length; at++) {
      hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
    }
  }
  return (hash >>> 0).toString(16).padStart(8, "0");
}
