// The workers of a configuration on the words that they share, as a transition system: states, the moves that
// are possible in each, what a move leads to, and what is wrong in a state. Searches nothing.
//
// A state is the memory, where each worker stands, who sleeps, who was woken and who has died.

import { Control } from "../../shared/control.ts";
import type { SharedPoolHandle } from "../../shared/handle.ts";
import type { SharedPoolOptions } from "../../shared/options.ts";
import { Memory, type Mode } from "./memory.ts";
import { StateSet } from "./state_set.ts";
import { replaceSystem, UNMAPPED } from "./system.ts";
import {
  after,
  type Ground,
  type Guess,
  Hand,
  type Node,
  type Program,
  SPIN,
  spins,
  Worker,
} from "./worker.ts";
import { isRead, PAGES, THREAD, WordTable } from "./words.ts";

/** Some workers of a pool, and what they do. */
export interface Configuration {
  readonly options: SharedPoolOptions;
  /** At most 24. The first one attaches before anything is explored. */
  readonly programs: readonly Program[];
  /** How many may die, at any access. */
  readonly deaths?: number;
  /** Whether one that spins is not scheduled before the word changes, and so never gives up. */
  readonly isPatient?: boolean;
  /** The most blocks that may be held at once, if the reserve keeps some back. */
  readonly mostHeld?: number;
}

/** What can happen next: a worker's step, a store of its that becomes visible, or its death. */
export interface Move {
  readonly worker: number;
  readonly act: "step" | "drain" | "die";
  /** Which of several values it reads, or which store it is. */
  readonly choice: number;
  /** Whether another worker is interrupted by it that could go on. */
  readonly isPreemption: boolean;
}

export class State {
  constructor(
    readonly memory: Memory,
    /** Words without a place in memory, each of one worker. */
    readonly own: number[],
    readonly nodes: Node[],
    /** Bits of those that have died. */
    public dead: number,
    /** How many may still die. */
    public deaths: number,
    /** Who waits to be notified, in order: worker and word by turns. */
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
      this.own.slice(),
      this.nodes.slice(),
      this.dead,
      this.deaths,
      this.sleepers,
      this.woken,
      this.last,
      this.preemptions,
    );
  }

  isDead(worker: number): boolean {
    return (this.dead >>> worker & 1) !== 0;
  }

  isAsleep(worker: number): boolean {
    for (let at = 0; at < this.sleepers.length; at += 2) {
      if (this.sleepers[at] === worker) return true;
    }
    return false;
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

/** What this pass takes the words for was too little: it begins anew. */
export class Restart extends Error {}

/** The number of the thread that makes the pool, and leaves once the first worker is attached. */
const MAKER = 25;

/** One configuration, in one memory model after the other. */
export class Machine {
  readonly #configuration: Configuration;
  readonly #check: EndCheck;
  readonly #workers: Worker[];
  readonly #handle: SharedPoolHandle;
  readonly #control: Control;
  /** All words before the exploration begins. */
  readonly #start = new Map<number, number>();
  readonly words: WordTable;
  #mode: Mode = "sc";
  /** Ends that were looked at. */
  #checked = new StateSet();

  constructor(configuration: Configuration, check: EndCheck) {
    this.#configuration = configuration;
    this.#check = check;
    const { options, programs, deaths = 0 } = configuration;
    const maker = new Hand(MAKER, this.#direct, () => this.#handle);
    using _system = replaceSystem();
    this.#handle = maker.as(() => {
      maker.create(options);
      return maker.handle;
    });
    this.#control = new Control(options.maxBlocks, this.#handle.control);
    this.words = new WordTable(deaths > 0, (key) => this.#valueAt(key));
    this.#workers = programs.map((program, index) =>
      new Worker(index, program, () => this.#handle, this.words)
    );
    const [first, ...others] = this.#workers;
    first!.start(this.#direct);
    // Before the others come: who comes later finds no id free but those given back since.
    maker.as(() => maker.leave());
    for (const worker of others) worker.start(this.#direct);
  }

  /**
   * The state in which a pass begins, and its words.
   *
   * @throws {Restart} as `make`
   */
  begin(mode: Mode): State {
    const { words } = this;
    words.begin(mode);
    this.#mode = mode;
    this.#checked = new StateSet();
    const { initial, shared } = words;
    const memory = Memory.of(
      mode,
      shared.map((word) => initial[word]!),
      this.#workers.length,
      shared.map((word) => words.readers(word)),
    );
    const { deaths = 0 } = this.#configuration;
    const state = new State(memory, [...initial], [], 0, deaths, [], 0, -1, 0);
    for (let worker = 0; worker < this.#workers.length; worker++) {
      const guess = this.#guess(state, worker);
      state.nodes[worker] = this.#workers[worker]!.root(guess);
      this.#advance(state, worker);
    }
    return state;
  }

  /** Feeds all that tells two states apart to a hash; without `last` and the preemptions. */
  hash(state: State, mix: (value: number) => void): void {
    const { memory, nodes, dead, sleepers, woken } = state;
    for (let worker = 0; worker < nodes.length; worker++) {
      const { id, adopted } = nodes[worker]!;
      // Of a dead one nothing else is asked.
      if (state.isDead(worker)) adopted.forEach(mix);
      else mix(id);
    }
    mix(dead);
    mix(woken);
    for (const each of sleepers) mix(each);
    memory.hash(mix);
  }

  /** Whether a worker can make its next access. */
  #canStep(state: State, worker: number): boolean {
    const node = state.nodes[worker]!;
    const { step } = node;
    if (step === undefined || state.isDead(worker)) return false;
    const { kind, word } = step;
    if (kind === "wait" || kind === "awake") return !state.isAsleep(worker);
    if (kind === "receive") return this.#value(state, word) !== 0;
    return !(this.#configuration.isPatient && spins(node)) ||
      this.#value(state, word) !== node.result;
  }

  #value({ memory, own }: State, word: number): number {
    const place = this.words.place(word);
    return place < 0
      ? own[word] ?? this.words.initial[word]!
      : memory.words[place]!;
  }

  /** What can happen, the worker that has stepped last first. */
  moves(state: State): Move[] {
    const { memory, nodes, last } = state;
    const moves: Move[] = [];
    // One that spins gives way.
    const goesOn = last >= 0 && this.#canStep(state, last) &&
      !spins(nodes[last]!);
    const first = Math.max(last, 0);
    for (let turn = 0; turn < nodes.length; turn++) {
      const worker = (first + turn) % nodes.length;
      if (state.isDead(worker)) continue;
      const isPreemption = goesOn && worker !== last;
      const { step } = nodes[worker]!;
      if (step !== undefined && this.#canStep(state, worker)) {
        const { length } = step.kind === "get"
          ? memory.loads(worker, this.words.place(step.word))
          : { length: 1 };
        for (let choice = 0; choice < length; choice++) {
          moves.push({ worker, act: "step", choice, isPreemption });
        }
      }
      for (const choice of memory.drainable(worker)) {
        if (!this.#isAwaited(state, worker, choice)) continue;
        moves.push({ worker, act: "drain", choice, isPreemption: false });
      }
      if (step !== undefined && this.#mayDie(state, worker)) {
        moves.push({ worker, act: "die", choice: 0, isPreemption: false });
      }
    }
    return moves;
  }

  /**
   * Whether it is explored here that a late store is seen: it commutes with all but the accesses of others to
   * its word, and to those of the stores behind it where they are seen in order.
   */
  #isAwaited({ nodes, memory }: State, worker: number, choice: number) {
    const late = memory.late[worker]!;
    const end = this.#mode === "tso" ? late.length : choice + 1;
    return nodes.some(({ step }, other) => {
      if (step === undefined || other === worker) return false;
      const place = this.words.place(step.word);
      for (let at = choice; at < end; at += 2) {
        if (late[at] === place) return true;
      }
      return false;
    });
  }

  /**
   * Whether a death is explored here. A death is noticed by those who ask whether the thread lives, and by
   * who notifies if it slept; where it commutes with all that others do next it is one after its last step.
   */
  #mayDie(state: State, worker: number): boolean {
    if (state.deaths === 0) return false;
    if (state.last === worker || state.last < 0) return true;
    if (state.isAsleep(worker)) return true;
    const thread = this.words.find(THREAD + 100 + worker);
    return state.nodes.some(({ step }) =>
      step?.kind === "alive" && step.word === thread
    );
  }

  /**
   * The state that a move leads to: a step, and the accesses after it that are none.
   *
   * @throws {Restart} if the words are taken for too little
   */
  make(from: State, { worker, act, choice, isPreemption }: Move): State {
    const state = from.copy();
    const { memory } = state;
    if (act === "drain") memory.drainOne(worker, choice);
    else if (act === "die") {
      memory.forget(worker);
      state.dead |= 1 << worker;
      state.deaths--;
      state.sleepers = without(state.sleepers, worker);
      const thread = this.words.find(THREAD + 100 + worker);
      if (thread !== undefined) this.#set(state, thread, 0);
    } else {
      if (isPreemption) state.preemptions++;
      state.last = worker;
      this.#access(state, worker, choice);
      this.#advance(state, worker);
    }
    return state;
  }

  /** The accesses of a worker that are no steps. */
  #advance(state: State, worker: number): void {
    for (;;) {
      if (this.words.isOutdated) throw new Restart();
      const { step } = state.nodes[worker]!;
      if (step === undefined) return state.memory.forget(worker);
      const { word, kind } = step;
      if (this.words.isAll || this.words.isStep(word, worker, kind)) return;
      this.#access(state, worker, 0);
    }
  }

  /** One access of a worker, if it does not sleep now. */
  #access(state: State, worker: number, choice: number): void {
    const node = state.nodes[worker]!;
    const result = this.#carryOut(state, worker, choice);
    if (result === undefined) return;
    const isIdle = result === node.result && spins(node) && !this.words.isAll;
    state.nodes[worker] = this.#workers[worker]!.next(
      node,
      isIdle ? SPIN : result,
      this.#guess(state, worker),
    );
  }

  /** What a worker's accesses give if no other does anything meanwhile. */
  #guess(state: State, worker: number): Guess {
    let alone: State | undefined;
    return (node) => {
      alone ??= state.copy();
      alone.nodes[worker] = node;
      const isIdle = spins(node) && !this.words.isAll;
      return this.words.isOutdated || isIdle || !this.#canStep(alone, worker)
        ? undefined
        : this.#carryOut(alone, worker, 0);
    };
  }

  #set(state: State, word: number, value: number): void {
    const place = this.words.place(word);
    if (place < 0) state.own[word] = value;
    else state.memory.words[place] = value;
  }

  /** What an access gives; `undefined` if the worker sleeps now. */
  #carryOut(state: State, worker: number, choice: number): number | undefined {
    const { memory } = state;
    const { kind, word, a, b } = state.nodes[worker]!.step!;
    const at = this.words.place(word);
    if (at < 0) {
      const old = this.#value(state, word);
      if (!isRead(kind)) state.own[word] = after(kind, old, a, b);
      else if (kind === "load") memory.acquireAll(worker);
      return old;
    }
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
        state.sleepers = [...state.sleepers, worker, word];
        return kind === "wait" ? undefined : 1;
      }
      case "notify": {
        memory.drain(worker);
        let left = a;
        let { sleepers } = state;
        for (let i = 0; i < sleepers.length && left > 0;) {
          if (sleepers[i + 1] !== word) i += 2;
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

  /** What is wrong in a state, if anything; `moves` are what can happen there. */
  wrong(state: State, moves: readonly Move[]): string | undefined {
    const isEnd = moves.every(({ act }) => act === "die");
    return this.#wrong(state) ?? (isEnd ? this.#end(state) : undefined);
  }

  #wrong(state: State): string | undefined {
    const { nodes } = state;
    const { mostHeld = Infinity } = this.#configuration;
    const tickets = new Set<number>();
    const owners = new Map<number, number>();
    for (let worker = 0; worker < nodes.length; worker++) {
      const { failure, holds, hasViews, adopted } = nodes[worker]!;
      const name = nameOf(worker);
      if (failure !== undefined) return `${name}: ${failure}`;
      for (const ticket of adopted) {
        if (tickets.has(ticket)) return `a ticket was good twice`;
        tickets.add(ticket);
      }
      if (state.isDead(worker)) continue;
      for (const slot of holds) {
        const other = owners.get(slot);
        if (other !== undefined) {
          return `slot ${slot} has two owners, ${nameOf(other)} and ${name}`;
        }
        owners.set(slot, worker);
      }
      if (owners.size > mostHeld) return `${owners.size} blocks are held`;
      if (hasViews && this.#isUnmapped(state)) {
        return `the memory is unmapped while ${name} has views`;
      }
    }
    return undefined;
  }

  #isUnmapped(state: State): boolean {
    for (let page = 0; page < this.#configuration.options.maxBlocks; page++) {
      const word = this.words.find(PAGES + page);
      if (word !== undefined && this.#value(state, word) === UNMAPPED) {
        return true;
      }
    }
    return false;
  }

  #end(state: State): string | undefined {
    const { nodes } = state;
    // What no other asks for is late still.
    nodes.forEach((_, at) => state.memory.drain(at));
    const { keys } = this.words;
    const values = new Map(
      keys.map((key, word) => [key, this.#value(state, word)]),
    );
    const checked = this.#checked;
    checked.begin();
    for (const value of values.values()) checked.mix(value);
    checked.mix(state.dead);
    for (const each of state.sleepers) checked.mix(each);
    nodes.forEach(({ holds }, worker) => {
      if (!state.isDead(worker)) holds.forEach(checked.mix);
    });
    if (!checked.add()) return undefined;
    for (let worker = 0; worker < nodes.length; worker++) {
      if (state.isDead(worker)) values.set(THREAD + 100 + worker, 0);
    }
    const ground: Ground = {
      access: (kind, key, a, b) => {
        const old = values.get(key) ?? this.#valueAt(key);
        if (!isRead(kind)) values.set(key, after(kind, old, a, b));
        return old;
      },
    };
    const rests = nodes.map((node, at) => this.#workers[at]!.goOn(node));
    for (const rest of rests) rest.stand(ground);
    return this.#check({
      mode: this.#mode,
      handle: this.#handle,
      workers: nodes.map(({ step, workerId, holds }, worker) => ({
        workerId,
        hand: rests[worker]!.hand,
        isDead: state.isDead(worker),
        isAsleep: state.isAsleep(worker),
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
  told(state: State, { worker, act, choice }: Move, next: State): string {
    const name = nameOf(worker);
    if (act === "die") return `${name} dies`;
    const { words } = this;
    const nameAt = (word: number) => words.nameOf(word, this.#control);
    if (act === "drain") {
      const late = state.memory.late[worker]!;
      const word = words.shared[late[choice]!]!;
      return `${name}'s ${nameAt(word)} = ${late[choice + 1]} is seen`;
    }
    const { kind, word, a, b } = state.nodes[worker]!.step!;
    const given = kind === "compareExchange"
      ? ` ${a}, ${b}`
      : isRead(kind)
      ? ""
      : ` ${a}`;
    const { result } = next.nodes[worker]!;
    const isTold = kind !== "set" && kind !== "store";
    return `${name} ${kind} ${nameAt(word)}${given}${
      isTold ? ` → ${result}` : ""
    }`;
  }
}

function without(sleepers: readonly number[], worker: number): number[] {
  const left: number[] = [];
  for (let at = 0; at < sleepers.length; at += 2) {
    if (sleepers[at] !== worker) left.push(sleepers[at]!, sleepers[at + 1]!);
  }
  return left;
}

/** A worker's letter. */
export function nameOf(worker: number): string {
  return String.fromCharCode(65 + worker);
}
