// Litmus tests: what the protocol of shared pools takes for granted of this machine, of V8's compiler and of
// the OS's fence in all threads. Of two threads neither waits for the other; each writes down what it has
// seen, and the test compares that afterwards, so it holds on one processor and on many.

import { assertEquals } from "@std/assert";
import { native } from "./backends.ts";
import { isEmulated } from "../support/platform.ts";
import { knownFence } from "../../shared/cache.ts";

/** Rounds of the thread that is never held up, and of the other at most. */
const ROUNDS = isEmulated ? 20_000 : 5_000_000;

/** Words that both threads use, on lines of their own. */
const X = 16;
const Y = 32;
const STATE = 48;
const WORDS = 64;
/** Of `STATE`: what `here` is at. */
const BEGUN = 1;
const DONE = 2;

/** Does its part again and again, and writes down what it sees in each round, from 1 on. */
type Part = (words: Int32Array, seen: Int32Array) => void;

interface Litmus {
  readonly needsFence?: boolean;
  readonly here: Part;
  readonly there: Part;
  /** Of which round on which side what was seen is wrong, in words; undefined if nothing is. */
  readonly judge: (here: Int32Array, there: Int32Array) => string | undefined;
}

/** Of two that write and then look at what the other wrote, one at least sees it (Dekker). */
function oneSees(here: Int32Array, there: Int32Array): string | undefined {
  for (let round = 1; round < there.length && there[round] !== 0; round++) {
    // What this thread wrote next the other has not seen: so this one has seen what the other wrote.
    const next = there[round]!;
    if (next < here.length && here[next]! < round) {
      return `round ${next} here sees ${
        here[next]
      }, ${round} there the one before`;
    }
  }
}

const LITMUS: Record<string, Litmus> = {
  "store buffering, with plain accesses here and a fence in all threads there":
    {
      needsFence: true,
      here(words, seen) {
        for (let round = 1; round < seen.length; round++) {
          words[X] = round;
          seen[round] = words[Y]!;
        }
      },
      there(words, seen) {
        const fence = knownFence()!;
        for (let round = 1; round < seen.length; round++) {
          if (Atomics.load(words, STATE) === DONE) return;
          Atomics.store(words, Y, round);
          fence();
          seen[round] = words[X]! + 1;
        }
      },
      judge: oneSees,
    },
  "store buffering, with atomic accesses, as of announced takes": {
    here(words, seen) {
      for (let round = 1; round < seen.length; round++) {
        Atomics.add(words, X, 1);
        seen[round] = Atomics.load(words, Y);
      }
    },
    there(words, seen) {
      for (let round = 1; round < seen.length; round++) {
        if (Atomics.load(words, STATE) === DONE) return;
        Atomics.add(words, Y, 1);
        seen[round] = Atomics.load(words, X) + 1;
      }
    },
    judge: oneSees,
  },
  "message passing, with bytes behind an atomic word": {
    here(words, seen) {
      for (let round = 1; round < seen.length; round++) {
        words[X] = round;
        Atomics.store(words, Y, round);
      }
    },
    there(words, seen) {
      for (let round = 1; round < seen.length; round++) {
        if (Atomics.load(words, STATE) === DONE) return;
        const told = Atomics.load(words, Y);
        seen[round] = words[X]! - told;
      }
    },
    judge(_, there) {
      const late = there.findIndex((ahead) => ahead < 0);
      return late < 0
        ? undefined
        : `round ${late}: ${-there[late]!} writes unseen`;
    },
  },
};

const shared = () => new Int32Array(new SharedArrayBuffer(4 * ROUNDS));

if ("WorkerGlobalScope" in globalThis) {
  const scope = globalThis as unknown as Worker;
  scope.onmessage = ({ data: { name, words, seen } }) => {
    scope.postMessage("ready");
    Atomics.wait(words, STATE, 0);
    LITMUS[name as string]!.there(words, seen);
    scope.postMessage("done");
  };
} else {
  for (const [name, litmus] of Object.entries(LITMUS)) {
    Deno.test({
      name,
      ignore: litmus.needsFence === true && native().fence?.() !== 0,
      fn: async () => {
        const { here, judge } = litmus;
        const words = new Int32Array(new SharedArrayBuffer(4 * WORDS));
        const [mine, its] = [shared(), shared()];
        const worker = new Worker(import.meta.url, { type: "module" });
        const told = () => new Promise((resolve) => worker.onmessage = resolve);
        const ready = told();
        worker.postMessage({ name, words, seen: its });
        await ready;
        const done = told();
        Atomics.store(words, STATE, BEGUN);
        Atomics.notify(words, STATE);
        here(words, mine);
        Atomics.store(words, STATE, DONE);
        await done;
        worker.terminate();
        assertEquals(judge(mine, its), undefined);
      },
    });
  }
}
