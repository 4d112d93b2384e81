// Explores what the workers of a configuration can do together: depth first, each state once, in every order
// of their steps with at most so many preemptions (iterative context bounding). What is found has a trace,
// which can be gone through again, access by access.

import {
  type Configuration,
  type EndCheck,
  Machine,
  type Move,
  nameOf,
  Restart,
  type State,
} from "./machine.ts";
import type { Mode } from "./memory.ts";
import { StateSet } from "./state_set.ts";
import { replaceSystem } from "./system.ts";

/** What was found. */
export interface Finding {
  readonly what: string;
  /** To be given to `replay`. */
  readonly trace: string;
}

/** What one pass came to. */
export interface Pass {
  readonly states: number;
  readonly steps: number;
  /** States in which no worker can do anything more, that were come to. */
  readonly ends: number;
  /** Whether all was explored up to the bound; and whether the bound has kept anything back. */
  readonly isComplete: boolean;
  readonly isBounded: boolean;
  readonly finding: Finding | undefined;
}

/** A state, and what is done in it. */
interface Level {
  readonly state: State;
  readonly moves: readonly Move[];
  next: number;
}

/** Ms between two turns of the event loop, in which rejections that nothing listens to are told. */
const TURN_MS = 50;

/** As it was before anything is put in its place. */
const now = performance.now.bind(performance);

/** One configuration, in one memory model after the other: what was learnt of its workers is kept. */
export class Explorer {
  readonly #machine: Machine;

  constructor(configuration: Configuration, check: EndCheck) {
    this.#machine = new Machine(configuration, check);
  }

  /** All that can happen with at most so many preemptions; for at most so many ms. */
  async explore(mode: Mode, bound: number, ms = Infinity): Promise<Pass> {
    using _system = replaceSystem();
    const endAt = now() + ms;
    for (;;) {
      try {
        return await this.#pass(mode, bound, endAt);
      } catch (error) {
        if (!(error instanceof Restart)) throw error;
        await turn();
      }
    }
  }

  async #pass(mode: Mode, bound: number, endAt: number): Promise<Pass> {
    const machine = this.#machine;
    const visited = new StateSet();
    const levels: Level[] = [];
    let steps = 0;
    let ends = 0;
    let isBounded = false;
    const result = (isComplete: boolean, what?: string): Pass => ({
      states: visited.size,
      steps,
      ends,
      isComplete,
      isBounded,
      finding: what === undefined
        ? undefined
        : { what, trace: this.#written(levels) },
    });
    const enter = (state: State): string | undefined => {
      visited.begin();
      machine.hash(state, visited.mix);
      if (bound < Infinity) visited.mix(state.last);
      if (!visited.add(bound < Infinity ? state.preemptions : 0)) return;
      const all = machine.moves(state);
      if (all.length === 0) ends++;
      const moves = state.preemptions < bound
        ? all
        : all.filter(({ isPreemption }) => !isPreemption);
      if (moves.length < all.length) isBounded = true;
      levels.push({ state, moves, next: 0 });
      return machine.wrong(state, all);
    };
    let wrong = enter(machine.begin(mode));
    let pause = now() + TURN_MS;
    while (levels.length > 0) {
      if (wrong !== undefined) return result(false, wrong);
      if (steps % 64 === 0) {
        const time = now();
        if (time > endAt) return result(false);
        if (time > pause) {
          await turn();
          pause = now() + TURN_MS;
        }
      }
      const top = levels.at(-1)!;
      if (top.next === top.moves.length) levels.pop();
      else {
        steps++;
        wrong = enter(machine.make(top.state, top.moves[top.next++]!));
      }
    }
    return result(true);
  }

  /**
   * Goes through a trace, and tells each access; gives what is wrong then. Every access is a step here, so
   * that a trace does not depend on what is known of the words.
   */
  replay(
    mode: Mode,
    trace: string,
    tell: (line: string) => void,
  ): string | undefined {
    using _system = replaceSystem();
    const { words } = this.#machine;
    words.isAll = true;
    try {
      for (;;) {
        try {
          return this.#goThrough(mode, trace, tell);
        } catch (error) {
          if (!(error instanceof Restart)) throw error;
        }
      }
    } finally {
      words.isAll = false;
    }
  }

  #goThrough(mode: Mode, trace: string, tell: (line: string) => void) {
    const machine = this.#machine;
    const lines: string[] = [];
    let state = machine.begin(mode);
    for (const told of read(trace)) {
      for (const move of this.#movesOf(mode, state, told)) {
        const next = machine.make(state, move);
        lines.push(machine.told(state, move, next));
        state = next;
      }
    }
    lines.forEach(tell);
    return machine.wrong(state, machine.moves(state));
  }

  /** A path as a trace: a worker's letter, and how many accesses it makes, which word of its shows, or its death. */
  #written(levels: readonly Level[]): string {
    const { shared, keys } = this.#machine.words;
    const written: string[] = [];
    let runs = -1;
    let accesses = 0;
    // A choice is that of the first access.
    let chosen = "";
    const run = (worker: number, count: number, choice: number) => {
      if (worker === runs && choice === 0) written.pop();
      else {
        accesses = 0;
        chosen = choice === 0 ? "" : `:${choice}`;
      }
      runs = worker;
      accesses += count;
      written.push(`${nameOf(worker)}${accesses}${chosen}`);
    };
    levels[0]!.state.nodes.forEach(({ count }, worker) =>
      run(worker, count, 0)
    );
    for (let at = 0; at + 1 < levels.length; at++) {
      const { state, moves, next } = levels[at]!;
      const { worker, act, choice } = moves[next - 1]!;
      const name = nameOf(worker);
      if (act === "step") {
        const { count } = levels[at + 1]!.state.nodes[worker]!;
        run(worker, count - state.nodes[worker]!.count, choice);
        continue;
      }
      runs = -1;
      if (act === "die") written.push(`${name}!`);
      else {
        const place = state.memory.late[worker]![choice]!;
        written.push(`${name}~${keys[shared[place]!]}`);
      }
    }
    return written.join(" ");
  }

  /** The moves of a word of a trace. */
  *#movesOf(
    mode: Mode,
    state: State,
    { worker, act, count, choice }: Told,
  ): Generator<Move> {
    const move = { worker, act, choice: 0, isPreemption: false };
    if (act === "die") yield move;
    else if (act === "step") {
      for (let i = 0; i < count; i++) {
        yield i === 0 ? { ...move, choice } : move;
      }
    } else {
      // What only this worker reads may have been stored before.
      const late = state.memory.late[worker]!;
      const { words } = this.#machine;
      const word = words.find(count);
      const place = word === undefined ? -1 : words.place(word);
      const end = late.findIndex((value, at) =>
        at % 2 === 0 && value === place
      );
      if (mode === "stale") yield { ...move, choice: end };
      else for (let at = 0; at <= end; at += 2) yield move;
    }
  }
}

/** A word of a trace. */
interface Told {
  readonly worker: number;
  readonly act: Move["act"];
  /** Accesses, or the word that shows. */
  readonly count: number;
  readonly choice: number;
}

function read(trace: string): Told[] {
  return trace.trim().split(/\s+/).filter(Boolean).map((word) => {
    const parts = word.match(/^([A-Z])([~!]?)(\d*)(?::(\d+))?$/);
    if (parts === null) throw new TypeError(`not a word of a trace: ${word}`);
    const [, name, sign, count, choice] = parts;
    return {
      worker: name!.charCodeAt(0) - 65,
      act: sign === "~" ? "drain" : sign === "!" ? "die" : "step",
      count: Number(count),
      choice: Number(choice ?? 0),
    };
  });
}

function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
