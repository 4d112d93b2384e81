// Explores what workers of a shared pool can do together: explicit states, depth first, each visited once.
// A state is the memory, where each worker stands, who sleeps and who has died. Steps of different workers
// interleave in every order, or in those with few preemptions where all are too many.

import { Control } from "../../shared/control.ts";
import type { SharedPoolHandle } from "../../shared/handle.ts";
import type { SharedPoolOptions } from "../../shared/options.ts";
import type { Rng } from "../support/rng.ts";
import { Memory, type Mode } from "./memory.ts";
import { StateSet } from "./state_set.ts";
import { replaceSystem } from "./system.ts";
import {
  after,
  type Ground,
  Hand,
  type Node,
  type Program,
  SPIN,
  spins,
  Worker,
} from "./worker.ts";
import { isRead, PAGES, Restart, THREAD, WordTable } from "./words.ts";

/** Some workers of a pool, and what they do. */
export interface Configuration {
  readonly options: SharedPoolOptions;
  /** At most 26. */
  readonly programs: readonly Program[];
  /** How many may die, at any access. */
  readonly deaths?: number;
  /** How often a worker may be interrupted that could go on, where all interleavings are too many. */
  readonly preemptions?: number;
  /** Whether one that spins goes on until there is a change, and never gives up. */
  readonly isPatient?: boolean;
  /** The most blocks that may be held at once, if the reserve keeps some back. */
  readonly mostHeld?: number;
}

/** What can happen next: a worker's step, a store of its that becomes visible, or its death. */
interface Move {
  readonly worker: number;
  readonly act: "step" | "drain" | "die";
  /** Which of several values it reads, or store it is. */
  readonly choice: number;
}

/** What was found. */
export interface Finding {
  readonly what: string;
  /** To be given to `replay`. */
  readonly trace: string;
}

export interface Result {
  readonly states: number;
  readonly steps: number;
  /** States in which no worker can do anything more, that were come to. */
  readonly ends: number;
  readonly isComplete: boolean;
  readonly finding: Finding | undefined;
}

class State {
  constructor(
    readonly memory: Memory,
    readonly nodes: Node[],
    /** Bits of those that have died. */
    public dead: number,
    public deaths: number,
    /** Who waits to be notified, in order: worker and place of the word by turns. */
    public sleepers: readonly number[],
    /** Bits of those that were notified, and have not gone on. */
    public woken: number,
    /** Who has stepped last, and how often one was interrupted. */
    public last: number,
    public preemptions: number,
  ) {}

  copy(): State {
    return new State(
      this.memory.copy(),
      this.nodes.slice(),
      this.dead,
      this.deaths,
      this.sleepers,
      this.woken,
      this.last,
      this.preemptions,
    );
  }
}

/** What is looked at in a state in which nothing can happen any more. */
export type EndCheck = (end: End) => string | undefined;

/** The end of an execution, as a check sees it. */
export interface End {
  readonly mode: Mode;
  readonly handle: SharedPoolHandle;
  readonly workers: readonly Last[];
  /** Does accesses on the words as they are then. */
  readonly ground: Ground;
}

/** A worker at the end of an execution. */
export interface Last {
  readonly workerId: number;
  readonly hand: Hand;
  readonly isDead: boolean;
  readonly isAsleep: boolean;
  /** Whether its program has ended. */
  readonly isDone: boolean;
  readonly holds: readonly number[];
}

/** How long, and with what numbers. */
export interface Limits {
  /** Ms. */
  readonly ms: number;
  readonly rng: Rng;
}

/** A state, and what is done in it. */
interface Level {
  readonly state: State;
  readonly moves: readonly Move[];
  next: number;
}

/** A way into a state, and what is wrong there. */
interface Path {
  readonly levels: Level[];
  readonly finding: string | undefined;
}

/** Ms between two turns of the event loop. */
const TURN_MS = 50;
/** Executions at random that must meet nothing unknown before all are looked at. */
const KNOWN = 30;
/** How often a worker dies that may, in those. */
const DEATH = 0.03;

/** As it was before anything is put in its place. */
const now = performance.now.bind(performance);

/** One configuration in one mode. */
export class Explorer {
  readonly #configuration: Configuration;
  readonly #mode: Mode;
  readonly #check: EndCheck;
  readonly #workers: Worker[];
  readonly #handle: SharedPoolHandle;
  /** Where the parts of the control block are, for names. */
  readonly #control: Control;
  /** All words before the exploration begins. */
  readonly #start = new Map<number, number>();
  readonly #words: WordTable;
  #visited = new StateSet();
  #steps = 0;
  #ends = 0;
  #checked = new StateSet();

  constructor(configuration: Configuration, mode: Mode, check: EndCheck) {
    this.#configuration = configuration;
    this.#mode = mode;
    this.#check = check;
    const { options, programs } = configuration;
    // The maker of the pool, which leaves before anything is explored.
    const maker = new Hand(25, this.#direct, () => this.#handle);
    using _system = replaceSystem();
    this.#handle = maker.as(() => {
      maker.create(options);
      return maker.handle;
    });
    this.#control = new Control(options.maxBlocks, this.#handle.control);
    this.#workers = programs.map((program, index) =>
      new Worker(index, program, () => this.#handle)
    );
    for (const worker of this.#workers) worker.start(this.#direct);
    maker.as(() => maker.leave());
    this.#words = new WordTable(
      mode,
      (configuration.deaths ?? 0) > 0,
      (key) => this.#valueAt(key),
    );
  }

  /**
   * Explores all there is, or until the time is over: first some executions at random, which meet most of
   * the words that workers share, then all.
   */
  async explore({ ms, rng }: Limits): Promise<Result> {
    using _system = replaceSystem();
    const endAt = now() + ms;
    for (let known = 0;;) {
      try {
        this.#restart();
        const first = this.#begin();
        while (known < KNOWN && now() < endAt) {
          const path = this.#walk(first, rng);
          if (path.finding !== undefined) return this.#result(false, path);
          known++;
          await turn();
        }
        return await this.#all(first, endAt, rng);
      } catch (error) {
        if (!(error instanceof Restart)) throw error;
        // Rejections that nothing listens to are told between two turns of the event loop.
        await turn();
      }
    }
  }

  /** One execution. */
  #walk(first: State, rng: Rng): Path {
    const path: Path = { levels: [], finding: undefined };
    let state = first;
    for (;;) {
      const moves = this.#moves(state);
      const finding = this.#wrong(state) ?? this.#wrongEnd(state, moves);
      const alive = moves.filter(({ act }) => act !== "die");
      const from = alive.length === 0 || rng.chance(DEATH) ? moves : alive;
      const next = from.length === 0 ? 0 : rng.below(from.length);
      path.levels.push({ state, moves: from, next: next + 1 });
      if (finding !== undefined) return { ...path, finding };
      if (from.length === 0) return path;
      state = this.#make(state, from[next]!);
    }
  }

  /** All states, depth first. */
  async #all(first: State, endAt: number, rng: Rng): Promise<Result> {
    const levels: Level[] = [];
    const enter = (state: State): string | undefined => {
      if (!this.#isNew(state)) return undefined;
      const moves = this.#moves(state);
      // In an order of its own for each seed.
      const turn = rng.below(moves.length + 1);
      const turned = [...moves.slice(turn), ...moves.slice(0, turn)];
      levels.push({ state, moves: turned, next: 0 });
      return this.#wrong(state) ?? this.#wrongEnd(state, moves);
    };
    let finding = enter(first);
    let pause = now() + TURN_MS;
    for (let count = 0; levels.length > 0; count++) {
      if (finding !== undefined) {
        return this.#result(false, { levels, finding });
      }
      if (count % 64 === 0) {
        const time = now();
        if (time > endAt) return this.#result(false);
        if (time > pause) {
          await turn();
          pause = now() + TURN_MS;
        }
      }
      const top = levels.at(-1)!;
      if (top.next === top.moves.length) levels.pop();
      else finding = enter(this.#make(top.state, top.moves[top.next++]!));
    }
    return this.#result(true);
  }

  #restart(): void {
    this.#visited = new StateSet();
    this.#checked = new StateSet();
    this.#steps = this.#ends = 0;
  }

  #result(isComplete: boolean, path?: Path): Result {
    return {
      states: this.#visited.size,
      steps: this.#steps,
      ends: this.#ends,
      isComplete,
      finding: path?.finding === undefined ? undefined : {
        what: path.finding,
        trace: this.#written(path.levels),
      },
    };
  }

  /**
   * Goes through a trace, and tells each access. Here every access is a step, so that a trace does not
   * depend on what is known of the words.
   */
  replay(trace: string, tell: (line: string) => void): string | undefined {
    using _system = replaceSystem();
    for (;;) {
      try {
        this.#words.isAll = true;
        const lines: string[] = [];
        let state = this.#begin();
        let wrong = this.#wrong(state);
        for (const told of read(trace)) {
          for (const move of this.#movesOf(state, told)) {
            const next = this.#make(state, move);
            lines.push(this.#told(state, move, next));
            state = next;
            wrong ??= this.#wrong(state);
          }
        }
        wrong ??= this.#wrongEnd(state, this.#moves(state));
        lines.forEach(tell);
        return wrong;
      } catch (error) {
        if (!(error instanceof Restart)) throw error;
      }
    }
  }

  #wrongEnd(state: State, moves: readonly Move[]): string | undefined {
    const isEnd = moves.every(({ act }) => act === "die");
    return isEnd ? this.#end(state) : undefined;
  }

  /** A path as a trace: a worker's letter, and how many accesses it makes, which word of its shows, or its death. */
  #written(levels: readonly Level[]): string {
    const words: string[] = [];
    for (let at = 0; at + 1 < levels.length; at++) {
      const { state, moves, next } = levels[at]!;
      const { worker, act, choice } = moves[next - 1]!;
      const name = nameOf(worker);
      if (act === "die") words.push(`${name}!`);
      else if (act === "drain") {
        const word = this.#words.shared[state.memory.late[worker]![choice]!]!;
        words.push(`${name}~${this.#words.keys[word]}`);
      } else {
        const count = levels[at + 1]!.state.nodes[worker]!.count -
          state.nodes[worker]!.count;
        words.push(`${name}${count}${choice === 0 ? "" : `:${choice}`}`);
      }
    }
    return words.join(" ");
  }

  /** The moves of a word of a trace. */
  *#movesOf(state: State, told: Told): Generator<Move> {
    const { worker, act, count, choice } = told;
    if (act === "die") yield { worker, act, choice: 0 };
    else if (act === "step") {
      for (let i = 0; i < count; i++) {
        yield { worker, act, choice: i === 0 ? choice : 0 };
      }
    } else {
      // What only this worker reads may have been stored before.
      const late = state.memory.late[worker]!;
      const word = this.#words.find(count);
      const place = word === undefined ? -1 : this.#words.place(word);
      const end = late.findIndex((value, at) =>
        at % 2 === 0 && value === place
      );
      if (this.#mode === "stale") yield { worker, act, choice: end };
      else {
        for (let at = 0; at <= end; at += 2) yield { worker, act, choice: 0 };
      }
    }
  }

  #begin(): State {
    this.#words.begin();
    for (const worker of this.#workers) worker.begin(this.#words);
    const { initial, shared, readers } = this.#words;
    const memory = Memory.of(
      this.#mode,
      shared.map((word) => initial[word]!),
      this.#workers.length,
      shared.map((word) => readers[word]!),
    );
    const nodes = this.#workers.map(({ root }) => root);
    const { deaths = 0 } = this.#configuration;
    return new State(memory, nodes, 0, deaths, [], 0, -1, 0);
  }

  #isNew(state: State): boolean {
    const { memory, nodes, dead, sleepers, woken, last, preemptions } = state;
    const visited = this.#visited;
    visited.begin();
    for (const { id } of nodes) visited.mix(id);
    visited.mix(dead);
    visited.mix(woken);
    for (const each of sleepers) visited.mix(each);
    if (this.#configuration.preemptions !== undefined) {
      visited.mix(last);
      visited.mix(preemptions);
    }
    memory.hash(visited.mix);
    return visited.add();
  }

  #isDead(state: State, worker: number): boolean {
    return (state.dead >>> worker & 1) !== 0;
  }

  #isAsleep({ sleepers }: State, worker: number): boolean {
    for (let at = 0; at < sleepers.length; at += 2) {
      if (sleepers[at] === worker) return true;
    }
    return false;
  }

  /** Whether a worker can do its next step. */
  #canStep(state: State, worker: number): boolean {
    const { step } = state.nodes[worker]!;
    if (step === undefined || this.#isDead(state, worker)) return false;
    const { kind, word } = step;
    const node = state.nodes[worker]!;
    if (this.#configuration.isPatient && spins(node)) {
      return state.memory.words[this.#words.place(word)] !== node.result;
    }
    if (kind === "wait" || kind === "awake") {
      return !this.#isAsleep(state, worker);
    }
    if (kind !== "receive") return true;
    return state.memory.words[this.#words.place(word)] !== 0;
  }

  #moves(state: State): Move[] {
    const { memory, nodes, deaths } = state;
    const { preemptions: most = Infinity } = this.#configuration;
    const moves: Move[] = [];
    const goesOn = state.last >= 0 && this.#canStep(state, state.last);
    for (let worker = 0; worker < nodes.length; worker++) {
      if (this.#isDead(state, worker)) continue;
      for (const choice of memory.drainable(worker)) {
        moves.push({ worker, act: "drain", choice });
      }
      const { step } = nodes[worker]!;
      if (step === undefined) continue;
      if (deaths > 0) moves.push({ worker, act: "die", choice: 0 });
      if (!this.#canStep(state, worker)) continue;
      const interrupts = goesOn && worker !== state.last;
      if (interrupts && state.preemptions >= most) continue;
      const { length } = step.kind === "get"
        ? memory.loads(worker, this.#words.place(step.word))
        : { length: 1 };
      for (let choice = 0; choice < length; choice++) {
        moves.push({ worker, act: "step", choice });
      }
    }
    return moves;
  }

  #make(from: State, { worker, act, choice }: Move): State {
    this.#steps++;
    const state = from.copy();
    const { memory } = state;
    if (act === "drain") {
      memory.drainOne(worker, choice);
      return state;
    }
    if (act === "die") {
      memory.forget(worker);
      state.dead |= 1 << worker;
      state.deaths--;
      state.sleepers = without(state.sleepers, worker);
      const thread = this.#words.find(THREAD + 100 + worker);
      const place = thread === undefined ? -1 : this.#words.place(thread);
      if (place >= 0) memory.words[place] = 0;
      return state;
    }
    const goesOn = from.last >= 0 && from.last !== worker &&
      this.#canStep(from, from.last);
    if (goesOn) state.preemptions++;
    state.last = worker;
    const node = state.nodes[worker]!;
    const result = this.#carryOut(state, worker, choice);
    if (result === undefined) return state;
    const isIdle = result === node.result && spins(node) && !this.#words.isAll;
    const next = this.#workers[worker]!.next(
      this.#words,
      node,
      isIdle ? SPIN : result,
    );
    state.nodes[worker] = next;
    if (next.step === undefined) memory.forget(worker);
    return state;
  }

  /** What a step gives; `undefined` if the worker sleeps now. */
  #carryOut(state: State, worker: number, choice: number): number | undefined {
    const { memory } = state;
    const { kind, word, a, b } = state.nodes[worker]!.step!;
    const at = this.#words.place(word);
    const bit = 1 << worker;
    switch (kind) {
      case "get": {
        const value = memory.loads(worker, at)[choice]!;
        memory.loaded(worker, at, value);
        return value;
      }
      case "set":
        memory.store(worker, at, a);
        return 0;
      case "peek":
        return memory.words[at]!;
      case "load":
      case "receive":
        return memory.atomicLoad(worker, at);
      case "alive": {
        const value = memory.words[at]!;
        if (value === 0) memory.acquireAll(worker);
        return value;
      }
      case "fence":
        memory.fenceAll();
        return 0;
      case "awake":
        state.woken &= ~bit;
        return 0;
      case "wait":
      case "waitAsync": {
        memory.drain(worker);
        if ((state.woken & bit) !== 0) {
          state.woken &= ~bit;
          return 1;
        }
        if (memory.atomicLoad(worker, at) !== a) return 0;
        state.sleepers = [...state.sleepers, worker, at];
        return kind === "wait" ? undefined : 1;
      }
      case "notify": {
        memory.drain(worker);
        let left = a;
        let { sleepers } = state;
        for (let i = 0; i < sleepers.length && left > 0;) {
          if (sleepers[i + 1] !== at) i += 2;
          else {
            state.woken |= 1 << sleepers[i]!;
            sleepers = sleepers.toSpliced(i, 2);
            left--;
          }
        }
        state.sleepers = sleepers;
        return 0;
      }
      case "store":
        memory.atomicStore(worker, at, a);
        return 0;
      default: {
        memory.drain(worker);
        const old = memory.words[at]!;
        memory.atomicUpdate(worker, at, after(kind, old, a, b));
        return old;
      }
    }
  }
  /** What is wrong in a state. */
  #wrong(state: State): string | undefined {
    const { nodes, memory } = state;
    const { mostHeld = Infinity } = this.#configuration;
    const tickets = new Set<number>();
    const owners = new Map<number, number>();
    for (let worker = 0; worker < nodes.length; worker++) {
      const { failure, holds, hasViews, adopted } = nodes[worker]!;
      if (failure !== undefined) return `${nameOf(worker)}: ${failure}`;
      for (const ticket of adopted) {
        if (tickets.has(ticket)) return `a ticket was good twice`;
        tickets.add(ticket);
      }
      if (this.#isDead(state, worker)) continue;
      for (const slot of holds) {
        const other = owners.get(slot);
        if (other !== undefined) {
          return `slot ${slot} has two owners, ${nameOf(other)} and ${
            nameOf(worker)
          }`;
        }
        owners.set(slot, worker);
      }
      if (owners.size > mostHeld) return `${owners.size} blocks are held`;
      if (hasViews && this.#isUnmapped(memory)) {
        return `the memory is unmapped while ${nameOf(worker)} has views`;
      }
    }
    return undefined;
  }

  #isUnmapped({ words }: Memory): boolean {
    for (let page = 0; page < this.#configuration.options.maxBlocks; page++) {
      const word = this.#words.find(PAGES + page);
      if (word === undefined) continue;
      const place = this.#words.place(word);
      if (place >= 0 && words[place] === 2) return true;
    }
    return false;
  }

  #end(state: State): string | undefined {
    this.#ends++;
    const { nodes, memory } = state;
    const values = new Map<number, number>();
    const { keys, shared } = this.#words;
    const rests = nodes.map((node, worker) =>
      this.#workers[worker]!.goOn(this.#words, node)
    );
    for (const { own } of rests) {
      for (const [word, value] of own) values.set(keys[word]!, value);
    }
    shared.forEach((word, place) =>
      values.set(keys[word]!, memory.words[place]!)
    );
    for (let worker = 0; worker < nodes.length; worker++) {
      if (this.#isDead(state, worker)) values.set(THREAD + 100 + worker, 0);
    }
    const checked = this.#checked;
    checked.begin();
    for (const [key, value] of [...values].sort(([a], [b]) => a - b)) {
      checked.mix(key);
      checked.mix(value);
    }
    checked.mix(state.dead);
    for (const each of state.sleepers) checked.mix(each);
    for (const { holds } of nodes) for (const slot of holds) checked.mix(slot);
    if (!checked.add()) return undefined;
    const ground: Ground = {
      access: (kind, key, a, b) => {
        const old = values.get(key) ?? this.#valueAt(key);
        if (!isRead(kind)) values.set(key, after(kind, old, a, b));
        return old;
      },
    };
    for (const { stand } of rests) stand(ground);
    return this.#check({
      mode: this.#mode,
      handle: this.#handle,
      workers: nodes.map(({ step, workerId, holds }, worker) => ({
        workerId,
        hand: rests[worker]!.hand,
        isDead: this.#isDead(state, worker),
        isAsleep: this.#isAsleep(state, worker),
        isDone: step === undefined,
        holds,
      })),
      ground,
    });
  }

  /** Accesses before the exploration. */
  readonly #direct: Ground = {
    access: (kind, key, a, b) => {
      const old = this.#valueAt(key);
      if (!isRead(kind)) this.#start.set(key, after(kind, old, a, b));
      return old;
    },
  };

  #valueAt(key: number): number {
    const isThread = key >= THREAD && key < PAGES;
    return this.#start.get(key) ?? (isThread ? 1 : 0);
  }

  /** What a move does, for people. */
  #told(state: State, { worker, act, choice }: Move, next: State): string {
    const name = nameOf(worker);
    if (act === "die") return `${name} dies`;
    const nameAt = (place: number) =>
      this.#words.nameOf(this.#words.shared[place]!, this.#control);
    if (act === "drain") {
      const late = state.memory.late[worker]!;
      return `${name}'s ${nameAt(late[choice]!)} = ${late[choice + 1]} is seen`;
    }
    const { kind, word, a, b } = state.nodes[worker]!.step!;
    const given = kind === "compareExchange"
      ? `${a}, ${b}`
      : isRead(kind)
      ? ""
      : a;
    const result = next.nodes[worker]!.result;
    const told = kind === "set" ? "" : ` → ${result}`;
    return `${name} ${kind} ${
      this.#words.nameOf(word, this.#control)
    } ${given}${told}`;
  }
}

function without(sleepers: readonly number[], worker: number): number[] {
  const left: number[] = [];
  for (let at = 0; at < sleepers.length; at += 2) {
    if (sleepers[at] !== worker) left.push(sleepers[at]!, sleepers[at + 1]!);
  }
  return left;
}

const nameOf = (worker: number) => String.fromCharCode(65 + worker);

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
